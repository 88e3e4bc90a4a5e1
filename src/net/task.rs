//! Keeps the network's leases while containers run: renews them, applies what has changed, and asks anew for what was
//! lost.
//!
//! It is a process of the boot and no thread, since the boot forks; and a mistake in reading what a stranger sends ends
//! this process alone. A container does not see it, unless it shares the host's PID namespace; if such a container
//! kills it, it is started again before the next one.

use crate::net::links::{self, Interface, Network};
use crate::net::pure::dhcp::{frame, release};
use crate::net::pure::dns::ResolvConf;
use crate::net::pure::merge::add_new;
use crate::net::step::STEP;
use crate::report::Report;
use crate::sys::machine::uptime_ms;
use crate::sys::process::{self, Pid};
use crate::sys::{io, signal};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

mod keeper;

pub use keeper::Keeper;
use keeper::END;

/// Of a message to the boot: less than a pipe takes whole.
const MESSAGE_BYTES: usize = 4096;

/// The network of a boot, and the process that keeps its leases.
#[derive(Default)]
pub struct Kept {
    network: Network,
    held: Vec<Held>,
    /// The name servers and search domains that are a lease's. There may be others, by options and by IPv6.
    of_lease: ResolvConf,
    task: Option<Task>,
    is_changed: bool,
}

/// What is to be given back at the end.
struct Held {
    index: u32,
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
        let (mut held, mut of_lease) = (Vec::new(), ResolvConf::default());
        for Interface { index, mac, lease, .. } in &network.interfaces {
            if let Some(lease) = lease {
                held.push(Held { index: *index, mac: *mac, address: lease.address, server: lease.server });
                of_lease.nameservers.extend_from_slice(&lease.nameservers);
                of_lease.search.extend_from_slice(&lease.search);
            }
        }
        let mut kept = Kept { held, of_lease, network, task: None, is_changed: false };
        if is_to_be_kept(&kept.network) {
            kept.task = start(&kept.network, false, report);
        }
        kept
    }

    /// As the last [`Kept::take`] has left it.
    pub fn network(&self) -> &Network {
        &self.network
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
            self.task = start(&self.network, true, report);
        } else {
            self.task = Some(task);
        }
    }

    fn told(&mut self, text: &str) {
        let mut new = ResolvConf::default();
        self.held.clear();
        for line in text.lines() {
            self.held.extend(held(line));
            let server = line.strip_prefix("nameserver ");
            new.nameservers.extend(server.and_then(|server| server.parse::<IpAddr>().ok()));
            new.search.extend(line.strip_prefix("domain ").map(String::from));
        }
        let old = std::mem::replace(&mut self.of_lease, new);
        let Network { nameservers, search, named_servers, interfaces, .. } = &mut self.network;
        // What a lease has not brought stays: in front what the options name, behind it what is IPv6's.
        let mut later = nameservers.split_off((*named_servers).min(nameservers.len()));
        later.retain(|server| !old.nameservers.contains(server));
        add_new(nameservers, &self.of_lease.nameservers);
        add_new(nameservers, &later);
        let mut later = std::mem::take(search);
        later.retain(|name| !old.search.contains(name));
        add_new(search, &self.of_lease.search);
        add_new(search, &later);
        for interface in interfaces {
            let held = self.held.iter().find(|held| held.index == interface.index);
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
        let has_v6 = interface.addresses.iter().any(|(own, _)| own.is_ipv6());
        is_kept |= interface.lease.is_some() || interface.wants_lease || (has_v6 && !network.is_named);
    }
    is_kept
}

/// `lease INDEX MAC ADDRESS SERVER`, the MAC address as a number.
fn held(line: &str) -> Option<Held> {
    let mut words = line.strip_prefix("lease ")?.split(' ');
    let index = words.next()?.parse().ok()?;
    let [_, _, mac @ ..] = words.next()?.parse::<u64>().ok()?.to_be_bytes();
    Some(Held { index, mac, address: words.next()?.parse().ok()?, server: words.next()?.parse().ok()? })
}

/// A process that is started `again` has the leases confirmed: nobody knows how old they are.
fn start(network: &Network, again: bool, report: &Report) -> Option<Task> {
    let (changes, to) = io::pipe().ok()?;
    io::set_nonblocking(changes.as_fd(), true).and_then(|()| io::set_nonblocking(to.as_fd(), true)).ok()?;
    let pid = process::fork(&mut || {
        let _ = process::die_with_parent();
        let kept = Keeper::new(network, report).and_then(|mut keeper| {
            if again {
                keeper.confirm();
            }
            keeper.run(&to)
        });
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
    use crate::net::pure::netlink::Link;

    /// Promise: renewals
    #[test]
    fn a_lease_may_come_after_the_boot_went_on_by_ipv6() {
        let network = |is_named, addresses: &[(&str, u8)]| {
            let addresses = addresses.iter().map(|(own, prefix)| (own.parse().unwrap(), *prefix)).collect();
            let interface = Interface { addresses, ..Interface::of(&link()) };
            Network { interfaces: vec![interface], is_named, ..Network::default() }
        };
        assert!(is_to_be_kept(&network(false, &[("2001:db8::5", 64)])));
        assert!(!is_to_be_kept(&network(false, &[("10.0.2.15", 24)])), "the kernel's");
        let mut named = network(true, &[("2001:db8::5", 64)]);
        assert!(!is_to_be_kept(&named), "the lab's own");
        named.interfaces[0].wants_lease = true;
        assert!(is_to_be_kept(&named), "b2c.iface=eth0,dhcp");
        assert!(is_to_be_kept(&Network::default()));
        assert!(!is_to_be_kept(&Network { is_named: true, ..Network::default() }), "ip=off");
    }

    fn link() -> Link {
        let (index, name, kind) = (2, "eth0".into(), String::new());
        Link { index, name, ethernet: true, mac: [0; 6], mtu: 1500, up: true, carrier: true, running: true, kind }
    }

    /// Promise: lease-changes
    #[test]
    fn what_the_process_tells_is_what_the_boot_takes() {
        let text =
            "lease 3 90520731923542 10.0.2.15 10.0.2.2\nnameserver 10.0.2.3\ndomain lab\ndomain example.org\nnone\n";
        let mut kept = Kept::default();
        let servers = ["10.0.2.8", "10.0.2.9", "2001:db8::53"].map(|server| server.parse().unwrap());
        kept.network.nameservers = servers.to_vec();
        kept.network.named_servers = 1;
        kept.of_lease.nameservers = vec![servers[0], servers[1]];
        let shown =
            |kept: &Kept| -> Vec<String> { kept.network.nameservers.iter().map(|server| server.to_string()).collect() };
        kept.told(text);
        assert_eq!(shown(&kept), ["10.0.2.8", "10.0.2.3", "2001:db8::53"], "those of options and of IPv6 stay");
        assert_eq!(kept.network.search, ["lab", "example.org"]);
        kept.network.search.push("by.ipv6".into());
        let [held] = &kept.held[..] else { panic!() };
        assert_eq!((held.index, held.mac), (3, [0x52, 0x54, 0, 0x12, 0x34, 0x56]));
        assert_eq!((held.address, held.server), ([10, 0, 2, 15].into(), Ipv4Addr::new(10, 0, 2, 2)));
        kept.told("none\n");
        assert!(kept.held.is_empty());
        assert_eq!(kept.network.search, ["by.ipv6"], "what no lease has brought stays");
        assert_eq!(shown(&kept), ["10.0.2.8", "2001:db8::53"]);
    }
}
