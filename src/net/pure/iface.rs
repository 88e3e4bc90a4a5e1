//! The values of `b2c.iface`: `NAME[,dhcp][,address=CIDR]...`, one interface each.

use crate::net::pure::link_kind::LinkKind;
use crate::pure::suggest::suggest;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest name of an interface (IFNAMSIZ without the NUL).
const NAME_MAX: usize = 15;
/// The most parameters of an interface, of all its words together.
const PARAMETERS_MAX: usize = 64;
/// The most members of a bond or a bridge.
const MEMBERS_MAX: usize = 16;
/// The bounds of an MTU: what IPv4 takes at least (RFC 791), and the largest Ethernet device.
const MTU: core::ops::RangeInclusive<u32> = 68..=65535;
const ID_MAX: u16 = 4094;

/// The kernel's names of the modes of bonds, in the order of their numbers (`linux/if_bonding.h`).
pub const BOND_MODES: [&str; 7] =
    ["balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"];
const ACTIVE_BACKUP: u8 = 1;

const PARAMETERS: [&str; 11] =
    ["dhcp", "auto", "address", "gateway", "route", "nameserver", "forward", "mtu", "bond", "bridge", "mode"];

/// What is made of an interface: what the link is, and what it gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Iface {
    /// Empty: the first wired interface with a carrier (`ip=` without a device).
    pub name: String,
    pub kind: LinkKind,
    pub dhcp: bool,
    pub forward: bool,
    pub mtu: Option<u32>,
    pub addresses: Vec<(IpAddr, u8)>,
    /// One of a family.
    pub gateways: Vec<IpAddr>,
    pub routes: Vec<StaticRoute>,
    pub nameservers: Vec<IpAddr>,
}

/// A route by a gateway of the same family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticRoute {
    pub destination: IpAddr,
    pub prefix: u8,
    pub via: IpAddr,
}

/// Reads a value into `ifaces`: a name that is there already gets what the value adds. An unknown parameter is a
/// warning, as in boot2container.
pub fn add(ifaces: &mut Vec<Iface>, value: &str, warnings: &mut Vec<String>) -> Result<(), String> {
    let mut words = value.split(',');
    let name = words.next().unwrap_or_default();
    check_name(name)?;
    let at = ifaces.iter().position(|iface| iface.name == name).unwrap_or_else(|| {
        ifaces.push(Iface { name: name.into(), kind: by_name(name), ..Iface::default() });
        ifaces.len() - 1
    });
    let Some(iface) = ifaces.get_mut(at) else { return Ok(()) };
    let mut mode = None;
    for word in words.filter(|word| !word.is_empty()) {
        let (key, value) = word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)));
        if !PARAMETERS.contains(&key) {
            warnings.push(unknown(name, key));
            continue;
        }
        let read = match key {
            "mode" => mode_number(value.unwrap_or_default()).map(|number| mode = Some(number)),
            _ => iface.parameter(key, value),
        };
        read.map_err(|why| [name, ": '", word, "': ", &why].concat())?;
    }
    match (&mut iface.kind, mode) {
        (LinkKind::Bond { mode, .. }, Some(number)) => *mode = number,
        (_, Some(_)) => return Err([name, ": mode= is a bond's: write bond=eth0+eth1, too"].concat()),
        _ => {}
    }
    if iface.count() > PARAMETERS_MAX {
        return Err([name, ": more than 64 parameters"].concat());
    }
    Ok(())
}

impl Iface {
    fn parameter(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        match (key, value) {
            ("dhcp" | "auto", None) => self.dhcp = true,
            ("forward", None) => self.forward = true,
            ("dhcp" | "auto" | "forward", Some(_)) => return Err("takes no value".into()),
            (_, None | Some("")) => return Err("a value is missing: write it after =".into()),
            ("address", Some(value)) => {
                let own = address(value)?;
                if !self.addresses.contains(&own) {
                    self.addresses.push(own);
                }
            }
            ("gateway", Some(value)) => self.set_gateway(unicast(value)?),
            ("route", Some(value)) => self.routes.push(route(value)?),
            ("nameserver", Some(value)) => self.nameservers.push(unicast(value)?),
            ("mtu", Some(value)) => {
                self.mtu = Some(mtu(value).ok_or("not a number from 68 to 65535")?);
            }
            ("bond", Some(value)) => {
                self.set_kind(LinkKind::Bond { members: self.members(value)?, mode: ACTIVE_BACKUP })?
            }
            ("bridge", Some(value)) => self.set_kind(LinkKind::Bridge { members: self.members(value)? })?,
            _ => {}
        }
        Ok(())
    }

    /// The last gateway of a family counts.
    pub fn set_gateway(&mut self, gateway: IpAddr) {
        self.gateways.retain(|other| other.is_ipv4() != gateway.is_ipv4());
        self.gateways.push(gateway);
    }

    fn set_kind(&mut self, kind: LinkKind) -> Result<(), String> {
        match self.kind {
            LinkKind::Card => self.kind = kind,
            LinkKind::Vlan { .. } => return Err("a name with a VLAN's number is a VLAN's: choose another".into()),
            _ => return Err("it is a bond or a bridge already".into()),
        }
        Ok(())
    }

    fn members(&self, value: &str) -> Result<Vec<String>, String> {
        let mut members: Vec<String> = Vec::new();
        for name in value.split('+') {
            check_name(name)?;
            if name == self.name || members.iter().any(|other| other == name) || members.len() == MEMBERS_MAX {
                return Err("names of 1 to 16 other interfaces, each once, joined by +".into());
            }
            members.push(name.into());
        }
        Ok(members)
    }

    fn count(&self) -> usize {
        self.addresses.len() + self.routes.len() + self.nameservers.len()
    }

    /// Writes the value from which this is read.
    pub fn emit(&self) -> String {
        let mut text = self.name.clone();
        match &self.kind {
            LinkKind::Card | LinkKind::Vlan { .. } => {}
            LinkKind::Bridge { members } => text.extend([",bridge=", &members.join("+")]),
            LinkKind::Bond { members, mode } => {
                let mode = BOND_MODES.get(usize::from(*mode)).copied().unwrap_or_default();
                text.extend([",bond=", &members.join("+"), ",mode=", mode]);
            }
        }
        for (is_set, word) in [(self.dhcp, ",dhcp"), (self.forward, ",forward")] {
            text.push_str(if is_set { word } else { "" });
        }
        if let Some(mtu) = self.mtu {
            text.extend([",mtu=", &mtu.to_string()]);
        }
        for (address, prefix) in &self.addresses {
            text.extend([",address=", &address.to_string(), "/", &prefix.to_string()]);
        }
        for gateway in &self.gateways {
            text.extend([",gateway=", &gateway.to_string()]);
        }
        for route in &self.routes {
            let destination = [&route.destination.to_string(), "/", &*route.prefix.to_string()].concat();
            text.extend([",route=", &destination, ":", &route.via.to_string()]);
        }
        for server in &self.nameservers {
            text.extend([",nameserver=", &server.to_string()]);
        }
        text
    }
}

/// `eth0.12` is the VLAN 12 of `eth0`.
pub fn by_name(name: &str) -> LinkKind {
    match name.rsplit_once('.').map(|(parent, id)| (parent, number(id))) {
        Some((parent, Some(id))) if (1..=u32::from(ID_MAX)).contains(&id) && !parent.is_empty() => {
            LinkKind::Vlan { parent: parent.into(), id: id as u16 }
        }
        _ => LinkKind::Card,
    }
}

/// Names as the kernel takes them (`dev_valid_name`), without what separates names and values here.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !b"/:,+='\"".contains(&byte);
    if name.is_empty() {
        return Err("an interface has no name: write it first, as in eth0,dhcp".into());
    }
    if name.len() > NAME_MAX || !name.bytes().all(is_allowed) || [".", ".."].contains(&name) {
        return Err(
            ["'", name, "' is not an interface's name: 1 to 15 letters, digits and signs as in eth0.12"].concat()
        );
    }
    let id = name.rsplit_once('.').and_then(|(_, id)| number(id));
    if id.is_some() && by_name(name) == LinkKind::Card {
        return Err(["'", name, "': a VLAN has a number from 1 to 4094"].concat());
    }
    Ok(())
}

fn unknown(name: &str, key: &str) -> String {
    let mut text = ["b2c.iface=", name, ": '", key, "' is not a parameter: ignored"].concat();
    if let Some(meant) = suggest(&mut PARAMETERS.iter().copied(), key) {
        text.extend(["; did you mean ", meant, "?"]);
    }
    text
}

fn mode_number(text: &str) -> Result<u8, String> {
    let number = BOND_MODES.iter().position(|mode| *mode == text);
    number.map(|number| number as u8).ok_or_else(|| ["not one of ", &BOND_MODES.join(", ")].concat())
}

/// Digits only: what Rust's `parse` takes has a sign, too.
pub fn number(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// The bytes of a link's largest packet.
pub fn mtu(text: &str) -> Option<u32> {
    number(text).filter(|mtu| MTU.contains(mtu))
}

/// An address in which IPv6 may stand in brackets.
pub fn ip(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// An address that a host can have.
pub fn unicast(text: &str) -> Result<IpAddr, String> {
    let address = ip(text).ok_or("not an IP address, such as 10.0.0.2 or 2001:db8::2")?;
    let is_none = match address {
        IpAddr::V4(v4) => v4.octets().first() == Some(&0) || v4.is_broadcast() || v4.to_bits() >> 28 == 14,
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast(),
    };
    if is_none {
        return Err("no host can have this address".into());
    }
    Ok(address)
}

fn width(address: &IpAddr) -> u8 {
    if address.is_ipv4() {
        32
    } else {
        128
    }
}

/// `10.0.0.2/24`; without a length of the prefix it is the address alone, as `ip address add` has it.
pub fn address(text: &str) -> Result<(IpAddr, u8), String> {
    let (own, prefix) = text.split_once('/').map_or((text, None), |(own, prefix)| (own, Some(prefix)));
    let own = unicast(own)?;
    let prefix = match prefix {
        None => width(&own),
        Some(text) => prefix_of(text, &own).filter(|prefix| *prefix > 0).ok_or_else(|| bad_prefix(&own))?,
    };
    Ok((own, prefix))
}

fn prefix_of(text: &str, address: &IpAddr) -> Option<u8> {
    number(text).filter(|prefix| *prefix <= u32::from(width(address))).map(|prefix| prefix as u8)
}

fn bad_prefix(address: &IpAddr) -> String {
    let max = if address.is_ipv4() { "32" } else { "128" };
    ["the length of the prefix, after /, is a number from 1 to ", max].concat()
}

/// `10.8.0.0/16:10.0.0.1`, `2001:db8:8::/48:fe80::1`, `[2001:db8:8::]/48:[fe80::1]`, `default:10.0.0.1`. IPv6 has
/// colons of its own: the one that separates is the first after the prefix.
fn route(text: &str) -> Result<StaticRoute, String> {
    const FORM: &str = "write DESTINATION/PREFIX:GATEWAY, as in 10.8.0.0/16:10.0.0.1";
    let from = text.find('/').or_else(|| text.find(']')).unwrap_or(0);
    let (end, _) = text.char_indices().find(|(at, c)| *at >= from && *c == ':').ok_or(FORM)?;
    let (network, via) = (text.get(..end).unwrap_or_default(), text.get(end + 1..).unwrap_or_default());
    let via = unicast(via).map_err(|why| ["the gateway: ", &why].concat())?;
    if network == "default" {
        let any = if via.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        return Ok(StaticRoute { destination: any, prefix: 0, via });
    }
    let (destination, prefix) = network.split_once('/').map_or((network, None), |(net, prefix)| (net, Some(prefix)));
    let destination = ip(destination).ok_or(FORM)?;
    let prefix = match prefix {
        None => width(&destination),
        Some(text) => prefix_of(text, &destination).ok_or_else(|| bad_prefix(&destination))?,
    };
    if destination.is_ipv4() != via.is_ipv4() {
        return Err("the destination and the gateway are of two families".into());
    }
    let bare = masked(&destination, prefix);
    if bare != destination {
        return Err(["it has bits beyond its prefix: write ", &bare.to_string(), "/", &prefix.to_string()].concat());
    }
    Ok(StaticRoute { destination, prefix, via })
}

/// The first `prefix` bits of an address.
pub fn masked(address: &IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let shift = 32u32.saturating_sub(prefix.into());
            Ipv4Addr::from_bits(v4.to_bits() & u32::MAX.checked_shl(shift).unwrap_or(0)).into()
        }
        IpAddr::V6(v6) => {
            let shift = 128u32.saturating_sub(prefix.into());
            Ipv6Addr::from_bits(v6.to_bits() & u128::MAX.checked_shl(shift).unwrap_or(0)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Result<Iface, String> {
        let (mut ifaces, mut warnings) = (Vec::new(), Vec::new());
        add(&mut ifaces, value, &mut warnings)?;
        assert_eq!(warnings, [""; 0], "{value}");
        Ok(ifaces.remove(0))
    }

    /// Promise: iface
    #[test]
    fn every_form_is_read_and_written_as_it_was() {
        for (value, canonical) in [
            ("eth0", "eth0"),
            ("eth0,auto", "eth0,dhcp"),
            ("eth0,,dhcp,", "eth0,dhcp"),
            ("eth0,address=10.0.0.2/24,gateway=10.0.0.1,forward", "eth0,forward,address=10.0.0.2/24,gateway=10.0.0.1"),
            ("eth0,address=10.0.0.2", "eth0,address=10.0.0.2/32"),
            ("eth0,address=[2001:db8::2]/64,address=10.0.0.2/8", "eth0,address=2001:db8::2/64,address=10.0.0.2/8"),
            ("eth0,gateway=10.0.0.1,gateway=10.0.0.3,gateway=fe80::1", "eth0,gateway=10.0.0.3,gateway=fe80::1"),
            ("e,route=10.8.0.0/16:10.0.0.1", "e,route=10.8.0.0/16:10.0.0.1"),
            ("e,route=10.8.0.1:10.0.0.1", "e,route=10.8.0.1/32:10.0.0.1"),
            ("e,route=default:10.0.0.1", "e,route=0.0.0.0/0:10.0.0.1"),
            ("e,route=default:fe80::1", "e,route=::/0:fe80::1"),
            ("e,route=2001:db8:8::/48:fe80::1", "e,route=2001:db8:8::/48:fe80::1"),
            ("e,route=[2001:db8:8::]/48:[fe80::1]", "e,route=2001:db8:8::/48:fe80::1"),
            ("e,route=[2001:db8:8::1]:[fe80::1]", "e,route=2001:db8:8::1/128:fe80::1"),
            ("e,nameserver=10.0.0.3,nameserver=2001:db8::53", "e,nameserver=10.0.0.3,nameserver=2001:db8::53"),
            ("e,mtu=9000", "e,mtu=9000"),
            ("bond0,bond=eth0+eth1,dhcp", "bond0,bond=eth0+eth1,mode=active-backup,dhcp"),
            ("lab,mode=802.3ad,bond=eth0", "lab,bond=eth0,mode=802.3ad"),
            ("br0,bridge=eth0+eth1.7,dhcp", "br0,bridge=eth0+eth1.7,dhcp"),
            ("eth0.12,dhcp", "eth0.12,dhcp"),
        ] {
            let iface = of(value).unwrap_or_else(|why| panic!("{value}: {why}"));
            assert_eq!(iface.emit(), canonical, "{value}");
            assert_eq!(of(canonical), Ok(iface), "{value}");
        }
        assert_eq!(of("bond0.5.7").unwrap().kind, LinkKind::Vlan { parent: "bond0.5".into(), id: 7 });
        assert_eq!(of("lan.a").unwrap().kind, LinkKind::Card);
    }

    /// Promise: iface
    /// Input: network-options
    #[test]
    fn faulty_values_show_the_parameter_and_the_reason() {
        for (value, why) in [
            ("", "an interface has no name"),
            (",dhcp", "an interface has no name"),
            ("dhcp=yes", "'dhcp=yes' is not an interface's name"),
            ("sixteenletters16", "'sixteenletters16' is not an interface's name: 1 to 15 letters"),
            ("../etc", "'../etc' is not an interface's name"),
            ("eth0.4095", "'eth0.4095': a VLAN has a number from 1 to 4094"),
            ("eth0.0", "'eth0.0': a VLAN has a number from 1 to 4094"),
            ("eth0,dhcp=1", "eth0: 'dhcp=1': takes no value"),
            ("eth0,address", "eth0: 'address': a value is missing"),
            ("eth0,address=", "eth0: 'address=': a value is missing"),
            ("eth0,address=10.0.0.256/24", "eth0: 'address=10.0.0.256/24': not an IP address"),
            ("eth0,address=10.0.0.2/33", "eth0: 'address=10.0.0.2/33': the length of the prefix, after /, is a number"),
            ("eth0,address=10.0.0.2/0", "eth0: 'address=10.0.0.2/0': the length of the prefix"),
            ("eth0,address=10.0.0.2/+8", "eth0: 'address=10.0.0.2/+8': the length of the prefix"),
            ("eth0,address=224.0.0.1/24", "eth0: 'address=224.0.0.1/24': no host can have this address"),
            ("eth0,address=0.0.0.0/24", "eth0: 'address=0.0.0.0/24': no host can have this address"),
            ("eth0,gateway=router", "eth0: 'gateway=router': not an IP address"),
            ("eth0,gateway=::", "eth0: 'gateway=::': no host can have this address"),
            ("eth0,route=10.8.0.0/16", "eth0: 'route=10.8.0.0/16': write DESTINATION/PREFIX:GATEWAY"),
            (
                "eth0,route=10.8.0.1/16:10.0.0.1",
                "eth0: 'route=10.8.0.1/16:10.0.0.1': it has bits beyond its prefix: write 10.8.0.0/16",
            ),
            (
                "eth0,route=10.8.0.0/16:fe80::1",
                "eth0: 'route=10.8.0.0/16:fe80::1': the destination and the gateway are of two",
            ),
            ("eth0,route=10.8.0.0/16:", "eth0: 'route=10.8.0.0/16:': the gateway: not an IP address"),
            ("eth0,mtu=67", "eth0: 'mtu=67': not a number from 68 to 65535"),
            ("eth0,bond=eth0", "eth0: 'bond=eth0': names of 1 to 16 other interfaces"),
            ("b,bond=a+a", "b: 'bond=a+a': names of 1 to 16 other interfaces"),
            ("b,bond=a+", "b: 'bond=a+': an interface has no name"),
            ("b,bond=a,bridge=c", "b: 'bridge=c': it is a bond or a bridge already"),
            ("eth0.5,bridge=c", "eth0.5: 'bridge=c': a name with a VLAN's number is a VLAN's"),
            ("eth0,mode=802.3ad", "eth0: mode= is a bond's"),
            ("b,bond=a,mode=lacp", "b: 'mode=lacp': not one of balance-rr, active-backup"),
        ] {
            let found = of(value).expect_err(value);
            assert!(found.starts_with(why), "{value}: {found}");
        }
        let long = ["eth0", &",nameserver=10.0.0.3".repeat(65)].concat();
        assert_eq!(of(&long), Err("eth0: more than 64 parameters".into()));
    }

    /// Promise: iface
    #[test]
    fn words_of_one_name_add_up_and_unknown_parameters_are_told() {
        let (mut ifaces, mut warnings) = (Vec::new(), Vec::new());
        for value in ["eth0,dhcp", "eth1,adress=10.0.0.2/24,wol", "eth0,address=10.0.0.2/24"] {
            add(&mut ifaces, value, &mut warnings).unwrap();
        }
        let texts: Vec<String> = ifaces.iter().map(Iface::emit).collect();
        assert_eq!(texts, ["eth0,dhcp,address=10.0.0.2/24", "eth1"]);
        assert_eq!(
            warnings,
            [
                "b2c.iface=eth1: 'adress' is not a parameter: ignored; did you mean address?",
                "b2c.iface=eth1: 'wol' is not a parameter: ignored",
            ]
        );
    }
}
