//! `ip=` of the kernel's line, in the forms of the kernel (Documentation/admin-guide/nfs/nfsroot.rst) and of
//! dracut.cmdline(7), and `BOOTIF=` of PXELINUX.

use crate::net::pure::iface::{by_name, check_name, ip, mtu, number, unicast, Iface};
use core::net::{IpAddr, Ipv4Addr};

/// The most fields of a word: ten of the kernel's.
const FIELDS_MAX: usize = 10;

/// What one `ip=` asks for. Nothing in it: `off`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelIp {
    /// The interface that is named, or has an address.
    pub iface: Option<Iface>,
    /// DHCP on every wired interface.
    pub dhcp: bool,
    pub ntp: Vec<IpAddr>,
}

/// What is said of automatic configuration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Auto {
    Off,
    Dhcp,
    /// IPv6 alone, which needs no more than the link.
    Ipv6,
}

/// Reads the value of `ip=`.
pub fn parse(value: &str) -> Result<KernelIp, String> {
    let fields = fields(value)?;
    let field = |at: usize| fields.get(at).copied().unwrap_or_default();
    if fields.len() == 1 {
        if let Some(auto) = auto(value).filter(|_| !value.is_empty()) {
            return Ok(KernelIp { dhcp: auto != Auto::Off, ..KernelIp::default() });
        }
    }
    // IFACE:AUTOCONF[:MTU[:MAC]], dracut's short form.
    if !field(0).is_empty() && ip(field(0)).is_none() {
        let auto = auto(field(1)).filter(|_| fields.len() > 1 && !field(1).is_empty()).ok_or_else(unknown)?;
        let mut iface = named(field(0))?;
        iface.mtu = mtu(field(2));
        return Ok(KernelIp { iface: with_auto(iface, auto), ..KernelIp::default() });
    }
    let mut found = KernelIp::default();
    let mut iface = if field(5).is_empty() { Iface::default() } else { named(field(5))? };
    servers(&fields, &mut iface, &mut found)?;
    let auto = auto(field(6)).ok_or_else(|| ["'", field(6), "' is not one of off, none, on, any, dhcp"].concat())?;
    match address(field(0))? {
        Some(own) => {
            iface.addresses.push((own, prefix(field(3), &own)?));
            iface.gateways.extend(address(field(2))?);
            found.iface = Some(iface);
        }
        None if iface.name.is_empty() => found.dhcp = auto != Auto::Off,
        None => found.iface = with_auto(iface, auto),
    }
    Ok(found)
}

/// `01-aa-bb-cc-dd-ee-ff`: the type of the hardware (1 is Ethernet) and the address of the card that has booted.
pub fn bootif(value: &str) -> Option<[u8; 6]> {
    let is_byte = |pair: &str| pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
    let byte = |pair| u8::from_str_radix(pair, 16).ok().filter(|_| is_byte(pair));
    let mut bytes = value.split(['-', ':']).map(byte);
    let mut next = || bytes.next().flatten();
    let kind = next()?;
    let mac = [next()?, next()?, next()?, next()?, next()?, next()?];
    (kind == 1 && bytes.next().is_none()).then_some(mac)
}

/// Name servers, time server and MTU, behind the kernel's first seven fields.
fn servers(fields: &[&str], iface: &mut Iface, found: &mut KernelIp) -> Result<(), String> {
    for (at, text) in fields.iter().enumerate().skip(7).filter(|(_, text)| !text.is_empty()) {
        match (at, number(text)) {
            (7, Some(_)) => iface.mtu = mtu(text),
            (9, _) => found.ntp.extend(address(text)?),
            // Behind an MTU stands dracut's hardware address, cut at its colons.
            _ if fields.get(7).is_some_and(|text| number(text).is_some()) => break,
            _ => iface.nameservers.extend(address(text)?),
        }
    }
    Ok(())
}

fn named(name: &str) -> Result<Iface, String> {
    check_name(name)?;
    Ok(Iface { name: name.into(), kind: by_name(name), ..Iface::default() })
}

fn with_auto(mut iface: Iface, auto: Auto) -> Option<Iface> {
    iface.dhcp = auto == Auto::Dhcp;
    (auto != Auto::Off).then_some(iface)
}

/// The words of the kernel (`ic_proto_name`) and of dracut. An empty one is the kernel's default: any protocol.
fn auto(text: &str) -> Option<Auto> {
    Some(match text {
        "off" | "none" => Auto::Off,
        "" | "on" | "any" | "dhcp" | "dhcp4" | "bootp" | "rarp" | "both" | "single-dhcp" | "either6" => Auto::Dhcp,
        "dhcp6" | "auto6" | "link6" | "link-local" => Auto::Ipv6,
        _ => return None,
    })
}

/// The fields between colons, of which those in brackets separate nothing.
fn fields(value: &str) -> Result<Vec<&str>, String> {
    let (mut fields, mut start, mut inside) = (Vec::new(), 0, false);
    for (at, c) in value.char_indices() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            ':' if !inside => {
                fields.push(value.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    fields.push(value.get(start..).unwrap_or_default());
    // dracut's hardware address is the only thing that may be longer.
    if inside || fields.len() > FIELDS_MAX + 5 {
        return Err(unknown());
    }
    Ok(fields)
}

/// None for an empty field and for 0.0.0.0, which the kernel takes for one.
fn address(text: &str) -> Result<Option<IpAddr>, String> {
    if text.is_empty() || ip(text).is_some_and(|address| address.is_unspecified()) {
        return Ok(None);
    }
    unicast(text).map(Some).map_err(|why| ["'", text, "': ", &why].concat())
}

/// The length of the prefix, of a mask or a number; where there is none, that of the address's class, as the kernel
/// takes it (`ic_setup_if`), and 64 for IPv6.
fn prefix(text: &str, own: &IpAddr) -> Result<u8, String> {
    let wrong = || ["'", text, "' is not a netmask"].concat();
    let (max, class) = match own {
        IpAddr::V4(v4) => match v4.octets() {
            [0..=127, ..] => (32, 8),
            [128..=191, ..] => (32, 16),
            _ => (32, 24),
        },
        IpAddr::V6(_) => (128, 64),
    };
    if text.is_empty() {
        return Ok(class);
    }
    if let Some(bits) = number(text) {
        return if (1..=max).contains(&bits) { Ok(bits as u8) } else { Err(wrong()) };
    }
    let mask = text.parse::<Ipv4Addr>().ok().filter(|_| own.is_ipv4()).ok_or_else(wrong)?.to_bits();
    let ones = mask.leading_ones();
    if ones == 0 || mask.checked_shl(ones).unwrap_or(0) != 0 {
        return Err(wrong());
    }
    Ok(ones as u8)
}

fn unknown() -> String {
    "neither dhcp or off, nor DEVICE:dhcp, nor ADDRESS::GATEWAY:NETMASK:HOSTNAME:DEVICE:off".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The interface as a value of `b2c.iface`; otherwise `dhcp` or `off`.
    fn of(value: &str) -> Result<String, String> {
        let found = parse(value)?;
        let iface = found.iface.as_ref().map(|iface| {
            if iface.name.is_empty() {
                "?".to_string() + &iface.emit()
            } else {
                iface.emit()
            }
        });
        Ok(iface.unwrap_or_else(|| if found.dhcp { "dhcp".into() } else { "off".into() }))
    }

    /// Promise: ip-words
    #[test]
    fn forms_of_the_kernel_and_of_dracut() {
        for (value, iface) in [
            ("dhcp", "dhcp"),
            ("on", "dhcp"),
            ("any", "dhcp"),
            ("both", "dhcp"),
            ("", "dhcp"),
            ("off", "off"),
            ("none", "off"),
            ("::::dut::dhcp", "dhcp"),
            (":::::eth0:dhcp", "eth0,dhcp"),
            (":::::eth0", "eth0,dhcp"),
            (":::::eth0:off", "off"),
            ("0.0.0.0:::::eth0:dhcp", "eth0,dhcp"),
            ("eth0:dhcp", "eth0,dhcp"),
            ("eth0:on:1400", "eth0,dhcp,mtu=1400"),
            ("eth0:dhcp::52:54:00:12:34:56", "eth0,dhcp"),
            ("eth0:auto6", "eth0"),
            ("eth1:off", "off"),
            ("eth0.7:dhcp", "eth0.7,dhcp"),
            ("10.0.0.2::10.0.0.1:255.255.255.0::eth0:off", "eth0,address=10.0.0.2/24,gateway=10.0.0.1"),
            ("10.0.0.2:10.0.0.9:10.0.0.1:255.255.0.0:dut:eth0:none", "eth0,address=10.0.0.2/16,gateway=10.0.0.1"),
            ("10.0.0.2::10.0.0.1:24::eth0:none", "eth0,address=10.0.0.2/24,gateway=10.0.0.1"),
            ("10.0.0.2:::255.255.255.255::eth0", "eth0,address=10.0.0.2/32"),
            ("10.0.0.2", "?,address=10.0.0.2/8"),
            ("172.16.0.2", "?,address=172.16.0.2/16"),
            ("192.168.0.2::192.168.0.1", "?,address=192.168.0.2/24,gateway=192.168.0.1"),
            (
                "10.0.0.2::10.0.0.1:24::eth0:off:10.0.0.3:10.0.0.4:10.0.0.5",
                "eth0,address=10.0.0.2/24,gateway=10.0.0.1,nameserver=10.0.0.3,nameserver=10.0.0.4",
            ),
            (
                "10.0.0.2::10.0.0.1:24::eth0:off:9000:52:54:00:12:34:56",
                "eth0,mtu=9000,address=10.0.0.2/24,gateway=10.0.0.1",
            ),
            ("[2001:db8::2]::[2001:db8::1]:48:dut:eth0:none", "eth0,address=2001:db8::2/48,gateway=2001:db8::1"),
            ("[2001:db8::2]:::::eth0:none", "eth0,address=2001:db8::2/64"),
        ] {
            assert_eq!(of(value).as_deref(), Ok(iface), "{value}");
        }
        let found = parse("10.0.0.2::10.0.0.1:24:dut:eth0:off:::10.0.0.5").unwrap();
        assert_eq!(found.ntp, [IpAddr::from([10, 0, 0, 5])]);
        assert!(parse("::::a/b;c::dhcp").is_ok(), "the host name is not used");
    }

    /// Promise: ip-words
    /// Input: network-options
    #[test]
    fn what_is_none_of_these_forms_says_why() {
        for (value, why) in [
            ("eth0", "neither dhcp or off"),
            ("ibft", "neither dhcp or off"),
            ("eth0:maybe", "neither dhcp or off"),
            ("[2001:db8::2", "neither dhcp or off"),
            ("sixteenletters16:dhcp", "'sixteenletters16' is not an interface's name"),
            ("10.0.0.2::router", "'router': not an IP address"),
            ("10.0.0.2:::255.0.255.0::eth0:off", "'255.0.255.0' is not a netmask"),
            ("10.0.0.2:::0.0.0.0::eth0:off", "'0.0.0.0' is not a netmask"),
            ("10.0.0.2:::33::eth0:off", "'33' is not a netmask"),
            ("[2001:db8::2]:::255.255.0.0::eth0:off", "'255.255.0.0' is not a netmask"),
            ("10.0.0.2:::24::eth0:maybe", "'maybe' is not one of off, none, on, any, dhcp"),
            ("224.0.0.1:::24::eth0:off", "'224.0.0.1': no host can have this address"),
            ("10.0.0.2:::24::eth0:off:dns", "'dns': not an IP address"),
            (&":".repeat(99), "neither dhcp or off"),
        ] {
            let found = of(value).expect_err(value);
            assert!(found.starts_with(why), "{value}: {found}");
        }
    }

    #[test]
    fn the_card_that_has_booted() {
        assert_eq!(bootif("01-52-54-00-ab-CD-ef"), Some([0x52, 0x54, 0, 0xab, 0xcd, 0xef]));
        assert_eq!(bootif("01:52:54:00:ab:cd:ef"), Some([0x52, 0x54, 0, 0xab, 0xcd, 0xef]));
        for value in
            ["", "eth0", "01-52-54-00-ab-cd", "20-52-54-00-ab-cd-ef", "01-52-54-00-ab-cd-ef-00", "01-+2-54-00-ab-cd-ef"]
        {
            assert_eq!(bootif(value), None, "{value}");
        }
    }
}
