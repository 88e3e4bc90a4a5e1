//! Addresses that no server may send us to: only the user may name them.
//!
//! Services at link-local addresses and a cloud's metadata service trust the machine and hold its secrets; a DNS server
//! or a redirect must not choose what the machine asks them.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The metadata services besides 169.254.169.254: of AWS, Google and Oracle by IPv6, and of Alibaba.
const METADATA: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
];

/// Whether `address` is link-local (169.254.0.0/16, fe80::/10) or a cloud's metadata service. IPv4 in IPv6 counts:
/// mapped, compatible and of NAT64 (RFC 4291, RFC 6052).
pub fn is_restricted(address: IpAddr) -> bool {
    let address = match address {
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into(),
            // `::1` and its neighbours are no IPv4.
            _ => v6.to_ipv4().filter(|v4| v4.octets()[0] != 0).map_or(address, IpAddr::V4),
        },
        v4 => v4,
    };
    METADATA.contains(&address)
        || match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        }
}

/// As [`is_restricted`], of a URL's host, with or without its port. A host in brackets that is no address counts as
/// restricted; a name does not, since what it resolves to is checked before the connection.
pub fn is_restricted_host(host: &str) -> bool {
    let address = match host.strip_prefix('[') {
        Some(rest) => rest.split([']', '%']).next(),
        None => host.split(':').next(),
    };
    match address.unwrap_or_default().trim_end_matches('.').parse() {
        Ok(address) => is_restricted(address),
        Err(_) => host.starts_with('['),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: no-link-local-names
    /// Input: link-local
    #[test]
    fn link_local_and_metadata_addresses_are_restricted() {
        for near in [
            "169.254.0.0",
            "169.254.169.254",
            "169.254.255.255",
            "fe80::1",
            "febf:ffff::1",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "100.100.100.200",
            "::ffff:100.100.100.200",
        ] {
            assert!(is_restricted(near.parse().unwrap()), "{near}");
        }
        for far in [
            "169.253.255.255",
            "169.255.0.0",
            "10.0.0.1",
            "127.0.0.1",
            "::1",
            "::",
            "fec0::1",
            "fe7f::1",
            "fd00::1",
            "fd00:ec2::253",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::a9fe:a9fe",
            "2001:db8::a9fe:a9fe",
            "100.100.100.201",
        ] {
            assert!(!is_restricted(far.parse().unwrap()), "{far}");
        }
    }
}
