//! What is done with the network: a value, computed from the options before anything is changed.

use crate::net::pure::iface::{self, by_name, unicast, Iface};
use crate::net::pure::kernel_ip::{self, KernelIp};
use crate::net::pure::link_kind::LinkKind;
use core::net::IpAddr;

/// The most interfaces of the options.
const IFACES_MAX: usize = 64;
/// The most words of `ip=`, and of `nameserver=`.
const WORDS_MAX: usize = 16;
/// Between the metrics of two default routes.
const METRIC_STEP: u32 = 100;

/// What the options say about the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkConfig {
    /// `b2c.iface`.
    pub ifaces: Vec<Iface>,
    /// `ip=` of the kernel's line.
    pub kernel: Vec<KernelIp>,
    /// `nameserver=` of the kernel's line.
    pub nameservers: Vec<IpAddr>,
    /// The card by which the machine has booted (`BOOTIF=`).
    pub preferred_mac: Option<[u8; 6]>,
    /// How long to wait for a carrier, if not for as long as usual.
    pub carrier_ms: Option<u64>,
    /// The same for a lease.
    pub lease_ms: Option<u64>,
}

/// Which of the three ways it is.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// DHCP on every wired interface at once; what the kernel itself has set up is left.
    Dhcp,
    /// Nothing but the loopback: `ip=off`.
    Off,
    Named(Named),
}

/// Interfaces by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The devices that have to be there.
    pub cards: Vec<String>,
    /// How the links come up, in this order.
    pub steps: Vec<Step>,
    /// What each of them gets.
    pub ifaces: Vec<Planned>,
    pub warnings: Vec<String>,
}

/// An interface, and the metric of its default routes.
#[derive(Debug, PartialEq, Eq)]
pub struct Planned {
    pub iface: Iface,
    pub metric: u32,
}

/// One change of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Make(String, LinkKind),
    /// The member is raised by it.
    Join {
        member: String,
        master: String,
        is_bond: bool,
    },
    Raise(String),
}

impl NetworkConfig {
    /// Reads a value of `b2c.iface`.
    pub fn add(&mut self, value: &str, warnings: &mut Vec<String>) -> Result<(), String> {
        iface::add(&mut self.ifaces, value, warnings)?;
        if self.ifaces.len() > IFACES_MAX {
            return Err("more than 64 interfaces".into());
        }
        Ok(())
    }

    /// Reads a word of the kernel's own or of another program's, if it is about the network.
    pub fn add_word(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "ip" if self.kernel.len() < WORDS_MAX => self.kernel.push(kernel_ip::parse(value)?),
            "nameserver" if self.nameservers.len() < WORDS_MAX => self.nameservers.push(unicast(value)?),
            "ip" | "nameserver" => return Err("more than 16 such words".into()),
            "BOOTIF" => {
                let mac = kernel_ip::bootif(value).ok_or("not of the form 01-52-54-00-12-34-56")?;
                self.preferred_mac = Some(mac);
            }
            _ => {}
        }
        Ok(())
    }

    /// Plans: `b2c.iface` counts more than `ip=`, and this more than DHCP everywhere. With `by_kernel` the kernel has
    /// done what `ip=` says.
    pub fn plan(&self, by_kernel: bool) -> Result<Plan, String> {
        if !self.ifaces.is_empty() {
            return named(&self.ifaces).map(Plan::Named);
        }
        if by_kernel || self.kernel.is_empty() {
            return Ok(Plan::Dhcp);
        }
        let mut ifaces: Vec<Iface> = Vec::new();
        for own in self.kernel.iter().filter_map(|word| word.iface.as_ref()) {
            merge(&mut ifaces, own);
        }
        if !ifaces.is_empty() {
            return named(&ifaces).map(Plan::Named);
        }
        let dhcp = self.kernel.iter().any(|word| word.dhcp);
        Ok(if dhcp { Plan::Dhcp } else { Plan::Off })
    }
}

/// Words for one interface add up.
fn merge(ifaces: &mut Vec<Iface>, own: &Iface) {
    let Some(iface) = ifaces.iter_mut().find(|iface| iface.name == own.name) else {
        ifaces.push(own.clone());
        return;
    };
    iface.dhcp |= own.dhcp;
    iface.mtu = own.mtu.or(iface.mtu);
    iface.addresses.extend(&own.addresses);
    iface.nameservers.extend(&own.nameservers);
    own.gateways.iter().for_each(|gateway| iface.set_gateway(*gateway));
}

fn named(ifaces: &[Iface]) -> Result<Named, String> {
    let mut plan = Named::default();
    check_members(ifaces)?;
    for iface in ifaces.iter().filter(|iface| !iface.name.is_empty()) {
        visit(ifaces, &iface.name, &mut plan, &mut Vec::new())?;
    }
    for is_v4 in [true, false] {
        let mut gateways = Vec::new();
        for iface in ifaces {
            gateways.extend(gateway_text(iface, is_v4));
        }
        if let [_, .., last] = gateways.as_slice() {
            plan.warnings.push(format!("two default routes: {}; the last counts: {last}", gateways.join(", ")));
        }
    }
    for (at, iface) in ifaces.iter().enumerate() {
        plan.ifaces.push(Planned { iface: iface.clone(), metric: metric(ifaces, at) });
    }
    Ok(plan)
}

/// `10.0.0.1 by eth0`
fn gateway_text(iface: &Iface, is_v4: bool) -> Option<String> {
    let gateway = iface.gateways.iter().find(|gateway| gateway.is_ipv4() == is_v4)?;
    let name = if iface.name.is_empty() { "the first card" } else { &iface.name };
    Some(format!("{gateway} by {name}"))
}

/// A member carries no addresses, and is in one bond or bridge.
fn check_members(ifaces: &[Iface]) -> Result<(), String> {
    let mut seen: Vec<&str> = Vec::new();
    for iface in ifaces {
        for member in members(&iface.kind) {
            if seen.contains(&member.as_str()) {
                return Err(format!("{member}: is a member of two, one of them {}", iface.name));
            }
            seen.push(member);
            let own = ifaces.iter().find(|other| other.name == *member);
            if own.is_some_and(|own| own.dhcp || !own.addresses.is_empty()) {
                return Err(format!("{member}: is a member of {}, which has the addresses of both", iface.name));
            }
        }
    }
    Ok(())
}

fn members(kind: &LinkKind) -> &[String] {
    match kind {
        LinkKind::Bond { members, .. } | LinkKind::Bridge { members } => members,
        LinkKind::Card | LinkKind::Vlan { .. } => &[],
    }
}

/// Adds the steps of `name`, after those of what it is made of. `open` holds the links that wait for it.
fn visit(ifaces: &[Iface], name: &str, plan: &mut Named, open: &mut Vec<String>) -> Result<(), String> {
    let is_done = |step: &Step| matches!(step, Step::Make(done, _) | Step::Raise(done) if done == name);
    if plan.cards.iter().any(|card| card == name) || plan.steps.iter().any(is_done) {
        return Ok(());
    }
    if open.iter().any(|other| other == name) {
        return Err(format!("{name}: is made of itself: {}", open.join(", ")));
    }
    open.push(name.into());
    let known = ifaces.iter().find(|iface| iface.name == name);
    let kind = known.map_or_else(|| by_name(name), |iface| iface.kind.clone());
    if let LinkKind::Vlan { parent, .. } = &kind {
        visit(ifaces, parent, plan, open)?;
    }
    for member in members(&kind) {
        visit(ifaces, member, plan, open)?;
    }
    open.pop();
    match kind {
        LinkKind::Card => plan.cards.push(name.into()),
        _ => plan.steps.push(Step::Make(name.into(), kind.clone())),
    }
    let is_bond = matches!(kind, LinkKind::Bond { .. });
    for member in members(&kind) {
        plan.steps.push(Step::Join { member: member.clone(), master: name.into(), is_bond });
    }
    // A bond takes no member that is up.
    if !ifaces.iter().any(|iface| members(&iface.kind).iter().any(|member| member == name)) {
        plan.steps.push(Step::Raise(name.into()));
    }
    Ok(())
}

/// The metric of an interface's default routes: a gateway that is named goes before one of a lease, and of both the
/// last counts, as boot2container's `ip route replace` has it. The others stay, for what is bound to their interface.
fn metric(ifaces: &[Iface], at: usize) -> u32 {
    let key = |at: usize| ifaces.get(at).map(|iface| (!iface.gateways.is_empty(), at));
    let mut metric = 0;
    for (other_at, other) in ifaces.iter().enumerate() {
        if (other.dhcp || !other.gateways.is_empty()) && key(other_at) > key(at) {
            metric += METRIC_STEP;
        }
    }
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(ifaces: &[&str], words: &[&str]) -> NetworkConfig {
        let mut config = NetworkConfig::default();
        for value in ifaces {
            config.add(value, &mut Vec::new()).unwrap();
        }
        for word in words {
            let (key, value) = word.split_once('=').unwrap();
            config.add_word(key, value).unwrap();
        }
        config
    }

    fn named(ifaces: &[&str]) -> Named {
        match config(ifaces, &[]).plan(false) {
            Ok(Plan::Named(named)) => named,
            other => panic!("{other:?}"),
        }
    }

    fn steps(ifaces: &[&str]) -> Vec<String> {
        let text = |step: Step| match step {
            Step::Make(name, kind) => format!("make {name} {}", kind.text()),
            Step::Join { member, master, is_bond } => {
                format!("{member} {} {master}", if is_bond { "down, to" } else { "to" })
            }
            Step::Raise(name) => format!("raise {name}"),
        };
        named(ifaces).steps.into_iter().map(text).collect()
    }

    /// Promise: iface
    #[test]
    fn what_a_link_is_made_of_comes_first() {
        assert_eq!(steps(&["eth0.5,dhcp", "eth0"]), ["raise eth0", "make eth0.5 vlan", "raise eth0.5"]);
        assert_eq!(
            steps(&["bond0.7,dhcp", "bond0,bond=eth1+eth0"]),
            [
                "make bond0 bond",
                "eth1 down, to bond0",
                "eth0 down, to bond0",
                "raise bond0",
                "make bond0.7 vlan",
                "raise bond0.7"
            ]
        );
        assert_eq!(
            steps(&["br0,bridge=eth0+eth1.5"]),
            ["raise eth1", "make eth1.5 vlan", "make br0 bridge", "eth0 to br0", "eth1.5 to br0", "raise br0"]
        );
        assert_eq!(named(&["br0,bridge=bond0", "bond0,bond=eth1+eth0", "eth2"]).cards, ["eth1", "eth0", "eth2"]);
    }

    /// Promise: iface
    #[test]
    fn what_cannot_be_made_is_refused() {
        for (ifaces, why) in [
            (vec!["br0,bridge=br1", "br1,bridge=br0"], "br0: is made of itself: br0, br1"),
            (vec!["b,bridge=b.5"], "b: is made of itself: b, b.5"),
            (vec!["b0,bond=eth0", "b1,bond=eth0"], "eth0: is a member of two, one of them b1"),
            (vec!["b0,bond=eth0", "eth0,dhcp"], "eth0: is a member of b0, which has the addresses of both"),
        ] {
            assert_eq!(config(&ifaces, &[]).plan(false), Err(why.into()));
        }
        let mut config = NetworkConfig::default();
        let refused = (0..99).find_map(|n| config.add(&format!("eth{n}"), &mut Vec::new()).err());
        assert_eq!(refused.as_deref(), Some("more than 64 interfaces"));
    }

    /// Promise: iface
    #[test]
    fn of_two_default_routes_the_last_counts() {
        let metrics = |ifaces: &[&str]| named(ifaces).ifaces.iter().map(|each| each.metric).collect::<Vec<_>>();
        assert_eq!(metrics(&["eth0,dhcp", "eth1,address=10.0.0.2/24"]), [0, 0]);
        assert_eq!(metrics(&["eth0,gateway=10.0.0.1", "eth1,gateway=10.1.0.1"]), [100, 0]);
        assert_eq!(metrics(&["eth0,gateway=10.0.0.1", "eth1,dhcp", "eth2,dhcp"]), [0, 200, 100]);
        let both = named(&["eth0,gateway=10.0.0.1", "eth1,gateway=10.1.0.1,gateway=fe80::1"]);
        let text = "two default routes: 10.0.0.1 by eth0, 10.1.0.1 by eth1; the last counts: 10.1.0.1 by eth1";
        assert_eq!(both.warnings, [text]);
    }

    /// Promise: iface, ip-words
    #[test]
    fn the_order_of_preference() {
        let of = |ifaces: &[&str], words: &[&str], by_kernel| match config(ifaces, words).plan(by_kernel).unwrap() {
            Plan::Dhcp => "dhcp".into(),
            Plan::Off => "off".into(),
            Plan::Named(named) => {
                let texts: Vec<String> = named.ifaces.iter().map(|each| each.iface.emit()).collect();
                texts.join(" ")
            }
        };
        assert_eq!(of(&[], &[], false), "dhcp");
        assert_eq!(of(&["eth0,dhcp"], &["ip=off"], false), "eth0,dhcp");
        assert_eq!(of(&["eth0,dhcp"], &["ip=dhcp"], true), "eth0,dhcp");
        assert_eq!(of(&[], &["ip=dhcp"], false), "dhcp");
        assert_eq!(of(&[], &["ip=off"], false), "off");
        assert_eq!(of(&[], &["ip=eth1:off"], false), "off");
        assert_eq!(of(&[], &["ip=10.0.0.2:::24::eth0:off"], true), "dhcp", "the kernel has done it");
        assert_eq!(
            of(&[], &["ip=eth0:dhcp", "ip=eth1:off", "ip=10.1.0.2:::24::eth2:off"], false),
            "eth0,dhcp eth2,address=10.1.0.2/24"
        );
        assert_eq!(
            of(&[], &["ip=10.1.0.2::10.1.0.1:24::eth2:off", "ip=[2001:db8::2]::[fe80::1]:64::eth2:off"], false),
            "eth2,address=10.1.0.2/24,address=2001:db8::2/64,gateway=10.1.0.1,gateway=fe80::1"
        );
        let config = config(&[], &["ip=::::dut-7::dhcp", "nameserver=10.0.0.3", "BOOTIF=01-52-54-00-12-34-56"]);
        assert_eq!(config.nameservers.len(), 1);
        assert_eq!(config.preferred_mac, Some([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
    }
}
