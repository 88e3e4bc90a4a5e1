//! Keeps the network's leases while containers run: renews them, applies what has changed, and asks anew for what was
//! lost.
//!
//! It is a process of the boot and no thread, since the boot forks; and a mistake in reading what a stranger sends ends
//! this process alone. A container does not see it, unless it shares the host's PID namespace; if such a container
//! kills it, it is started again before the next one.

use crate::net::links::{self, Network};
use crate::net::pure::dhcp::{frame, release};
use crate::net::pure::dns::parse_resolv_conf;
use crate::net::step::STEP;
use crate::report::Report;
use crate::sys::machine::uptime_ms;
use crate::sys::process::{self, Pid};
use crate::sys::{io, signal};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

mod keeper;

pub use keeper::Keeper;

/// Of a message to the boot: less than a pipe takes whole.
const MESSAGE_BYTES: usize = 4096;
/// Ends a message.
const END: &str = "\n\n";

/// The network of a boot, and the process that keeps its leases.
#[derive(Default)]
pub struct Kept {
    network: Network,
    held: Vec<Held>,
    /// The search domains that are a lease's; there may be others, by IPv6.
    of_lease: Vec<String>,
    task: Option<Task>,
    is_changed: bool,
}

/// What is to be given back at the end.
struct Held {
    mac: [u8; 6],
    address: Ipv4Addr,
    server: Ipv4Addr,
}

struct Task {
    pid: Pid,
    changes: OwnedFd,
}

impl Kept {
    /// Starts the process, where there is a lease to keep, or no network yet.
    pub fn start(network: Network, report: &Report) -> Kept {
        let (mut held, mut of_lease) = (Vec::new(), Vec::new());
        for interface in &network.interfaces {
            if let Some(lease) = &interface.lease {
                held.push(Held { mac: interface.mac, address: lease.address, server: lease.server });
                of_lease.extend_from_slice(&lease.search);
            }
        }
        let mut kept = Kept { held, of_lease, network, task: None, is_changed: false };
        if is_to_be_kept(&kept.network) {
            kept.task = start(&kept.network, report);
        }
        kept
    }

    /// The text of the next containers' `/etc/resolv.conf`, as the last [`Kept::take`] has left it.
    pub fn resolv_conf(&self) -> String {
        links::resolv_conf(&self.network)
    }

    /// The network, if it has changed since the last call.
    pub fn change(&mut self, report: &Report) -> Option<&Network> {
        self.take(report);
        std::mem::take(&mut self.is_changed).then_some(&self.network)
    }

    /// Ends the process; the addresses stay.
    pub fn stop(&mut self, report: &Report) {
        self.take(report);
        if let Some(task) = self.task.take() {
            let _ = process::kill(task.pid, signal::SIGKILL);
            let _ = process::wait(task.pid);
        }
    }

    /// Gives the leases back, without waiting for anything. To be called when the network is used no more.
    pub fn release(&mut self) {
        for held in self.held.drain(..) {
            let xid = uptime_ms() as u32;
            let payload = release(held.address, held.server, held.mac, xid);
            let socket = UdpSocket::bind((held.address, frame::CLIENT_PORT));
            // The lease ends by itself if this fails.
            let _ = socket.and_then(|socket| socket.send_to(&payload, (held.server, frame::SERVER_PORT)));
        }
    }

    /// Reads what the process has told. To be called by the boot itself, and not by a process of it: each message is
    /// read once.
    pub fn take(&mut self, report: &Report) {
        let Some(task) = self.task.take() else { return };
        let mut text = Vec::new();
        let mut buffer = [0; MESSAGE_BYTES];
        let mut is_over = false;
        loop {
            match io::read(task.changes.as_fd(), &mut buffer) {
                Ok(0) => break is_over = true,
                Ok(length) => text.extend_from_slice(buffer.get(..length).unwrap_or_default()),
                Err(_) => break,
            }
        }
        let text = String::from_utf8_lossy(&text);
        if let Some(last) = text.trim_end_matches('\n').rsplit(END).next().filter(|last| !last.is_empty()) {
            self.told(last);
        }
        if is_over {
            let _ = process::wait(task.pid);
            report.warn(STEP, "what keeps the leases has ended, and is started again");
            self.task = start(&self.network, report);
        } else {
            self.task = Some(task);
        }
    }

    fn told(&mut self, text: &str) {
        let mut conf = parse_resolv_conf(text);
        let network = &mut self.network;
        // What a lease has not brought stays, behind what one has.
        network.nameservers.retain(IpAddr::is_ipv6);
        conf.nameservers.append(&mut network.nameservers);
        network.nameservers = conf.nameservers;
        network.search.retain(|name| !self.of_lease.contains(name));
        self.of_lease.clone_from(&conf.search);
        conf.search.append(&mut network.search);
        network.search = conf.search;
        self.held.clear();
        for line in text.lines() {
            self.held.extend(held(line));
        }
        for interface in &mut network.interfaces {
            let held = self.held.iter().find(|held| held.mac == interface.mac);
            match (held, &mut interface.lease) {
                (Some(held), Some(lease)) => (lease.address, lease.server) = (held.address, held.server),
                _ => interface.lease = None,
            }
        }
        self.is_changed = true;
    }
}

/// Whether there is a lease to keep, or one may come yet: also where the boot went on by IPv6 alone, since a DHCPv4
/// server may be late, or its first answers be lost.
fn is_to_be_kept(network: &Network) -> bool {
    let mut is_kept = network.interfaces.is_empty() && !network.is_named;
    for interface in &network.interfaces {
        // A DHCPv6 server's address is a whole one (RFC 8415, section 18.2.10.1).
        let is_v6 = |(own, prefix): &(IpAddr, u8)| own.is_ipv6() && (*prefix == 128 || !network.is_named);
        is_kept |= interface.lease.is_some() || interface.addresses.iter().any(is_v6);
    }
    is_kept
}

/// `lease MAC ADDRESS SERVER`, the MAC address as a number.
fn held(line: &str) -> Option<Held> {
    let mut words = line.strip_prefix("lease ")?.split(' ');
    let [_, _, mac @ ..] = words.next()?.parse::<u64>().ok()?.to_be_bytes();
    Some(Held { mac, address: words.next()?.parse().ok()?, server: words.next()?.parse().ok()? })
}

fn start(network: &Network, report: &Report) -> Option<Task> {
    let (changes, to) = io::pipe().ok()?;
    io::set_nonblocking(changes.as_fd(), true).and_then(|()| io::set_nonblocking(to.as_fd(), true)).ok()?;
    let pid = process::fork(&mut || {
        let _ = process::die_with_parent();
        let kept = Keeper::new(network, report).and_then(|mut keeper| keeper.run(&to));
        match kept {
            Ok(()) => 0,
            Err(failure) => {
                report.warn(STEP, format_args!("the leases are not kept: {}", failure.what));
                1
            }
        }
    });
    match pid {
        Ok(pid) => Some(Task { pid, changes }),
        Err(error) => {
            report.warn(STEP, format_args!("the leases are not kept: {error}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::links::Interface;

    /// Promise: renewals
    #[test]
    fn a_lease_may_come_after_the_boot_went_on_by_ipv6() {
        let network = |is_named, addresses: &[(&str, u8)]| {
            let addresses = addresses.iter().map(|(own, prefix)| (own.parse().unwrap(), *prefix)).collect();
            let (name, gateways) = ("eth0".into(), Vec::new());
            let interface = Interface { index: 2, name, mac: [0; 6], addresses, gateways, lease: None, metric: 0 };
            Network { interfaces: vec![interface], is_named, ..Network::default() }
        };
        assert!(is_to_be_kept(&network(false, &[("2001:db8::5", 64)])));
        assert!(is_to_be_kept(&network(true, &[("2001:db8::5", 128)])), "of DHCPv6");
        assert!(!is_to_be_kept(&network(true, &[("2001:db8::5", 64)])), "the lab's own");
        assert!(!is_to_be_kept(&network(false, &[("10.0.2.15", 24)])), "the kernel's");
        assert!(is_to_be_kept(&Network::default()));
        assert!(!is_to_be_kept(&Network { is_named: true, ..Network::default() }), "ip=off");
    }

    /// Promise: lease-changes
    #[test]
    fn what_the_process_tells_is_what_the_boot_takes() {
        let text = "lease 90520731923542 10.0.2.15 10.0.2.2\nsearch lab example.org\nnameserver 10.0.2.3\nnone\n";
        let mut kept = Kept::default();
        kept.network.nameservers = vec!["10.0.2.9".parse().unwrap(), "2001:db8::53".parse().unwrap()];
        kept.told(text);
        let servers: Vec<String> = kept.network.nameservers.iter().map(|server| server.to_string()).collect();
        assert_eq!(servers, ["10.0.2.3", "2001:db8::53"], "those of IPv6 stay");
        assert_eq!(kept.network.search, ["lab", "example.org"]);
        kept.network.search.push("by.ipv6".into());
        let [held] = &kept.held[..] else { panic!() };
        assert_eq!((held.mac, held.address), ([0x52, 0x54, 0, 0x12, 0x34, 0x56], [10, 0, 2, 15].into()));
        assert_eq!(held.server, Ipv4Addr::new(10, 0, 2, 2));
        kept.told("none\n");
        assert!(kept.held.is_empty());
        assert_eq!(kept.network.search, ["by.ipv6"], "what no lease has brought stays");
    }
}
