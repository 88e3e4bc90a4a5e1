//! The values of options: addresses, routes, names.

use core::net::{IpAddr, Ipv4Addr};

const MAX_ROUTES: usize = 64;
const MAX_SERVERS: usize = 8;
/// Search domains that are taken; each is a query for every name.
pub const MAX_SEARCH: usize = 8;
/// Labels of one name; no name has more.
const MAX_LABELS: usize = 128;
pub const MAX_DOMAIN: usize = 253;

/// A route of options 3, 33 or 121.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub destination: Ipv4Addr,
    pub prefix: u8,
    /// None: the destination is on the link (RFC 3442's router 0.0.0.0).
    pub gateway: Option<Ipv4Addr>,
}

/// The routes of option 121 (RFC 3442). None where it is empty or malformed: then option 3 counts.
pub fn classless_routes(mut bytes: &[u8]) -> Option<Vec<Route>> {
    let mut routes = Vec::new();
    while let [prefix, rest @ ..] = bytes {
        let prefix = (*prefix <= 32).then_some(*prefix)?;
        let significant = usize::from(prefix.div_ceil(8));
        let mut octets = [0; 4];
        octets.get_mut(..significant)?.copy_from_slice(rest.get(..significant)?);
        let router = address(rest.get(significant..significant + 4)?)?;
        bytes = rest.get(significant + 4..)?;
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        let destination = Ipv4Addr::from_bits(u32::from_be_bytes(octets) & mask);
        let gateway = (!router.is_unspecified()).then_some(router);
        // A router that cannot be a host makes only its own route unusable.
        if routes.len() < MAX_ROUTES && gateway.is_none_or(is_host) {
            routes.push(Route { destination, prefix, gateway });
        }
    }
    (!routes.is_empty()).then_some(routes)
}

/// The routes of option 33 (RFC 2132 section 5.8): a destination and its router; the mask is that of the destination's
/// class, or a host's. A default route is not allowed there.
pub fn static_routes(bytes: &[u8]) -> Vec<Route> {
    let mut routes = Vec::new();
    for pair in bytes.chunks_exact(8) {
        let (to, by) = pair.split_at(4);
        let (Some(destination), Some(gateway)) = (address(to), address(by)) else { continue };
        let class = class_prefix(destination);
        let prefix = if destination.to_bits() & (u32::MAX >> class) == 0 { class } else { 32 };
        if is_host(destination) && is_host(gateway) && routes.len() < MAX_ROUTES {
            routes.push(Route { destination, prefix, gateway: Some(gateway) });
        }
    }
    routes
}

/// The domains of option 119 (RFC 3397), up to the first that is malformed. A pointer counts from the option's begin,
/// whatever pieces it came in, and leads back.
pub fn search_list(bytes: &[u8]) -> Vec<String> {
    let (mut found, mut at) = (Vec::new(), 0);
    while found.len() < MAX_SEARCH && at < bytes.len() {
        let Some((name, next)) = compressed_name(bytes, at) else { break };
        found.push(name);
        at = next;
    }
    found
}

/// The name at `at`, and where the next one begins.
fn compressed_name(bytes: &[u8], mut at: usize) -> Option<(String, usize)> {
    let (mut text, mut next) = (Vec::new(), None);
    for _ in 0..MAX_LABELS {
        let length = *bytes.get(at)?;
        at = match length {
            0 => return Some((name(&text, MAX_DOMAIN)?, next.unwrap_or(at + 1))),
            1..=63 => {
                let end = at + 1 + usize::from(length);
                if !text.is_empty() {
                    text.push(b'.');
                }
                text.extend_from_slice(bytes.get(at + 1..end).filter(|label| !label.contains(&b'.'))?);
                end
            }
            192.. => {
                let to = usize::from(length & 63) << 8 | usize::from(*bytes.get(at + 1)?);
                next.get_or_insert(at + 2);
                // Backwards only: no loop.
                (to < at).then_some(to)?
            }
            _ => return None,
        };
    }
    None
}

/// Whether `address` can be a host's: not 0/8, not loopback, not multicast, reserved or broadcast.
pub fn is_host(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first != 0 && first != 127 && first < 224
}

/// The hosts of a list of addresses.
pub fn hosts(bytes: &[u8]) -> Vec<IpAddr> {
    let mut hosts = Vec::new();
    for host in bytes.chunks_exact(4).filter_map(address) {
        if is_host(host) && hosts.len() < MAX_SERVERS {
            hosts.push(host.into());
        }
    }
    hosts
}

/// A host or domain name of letters, digits, `-`, `_` and `.`; some servers end it with NULs (RFC 2132 section 2).
pub fn name(bytes: &[u8], limit: usize) -> Option<String> {
    let end = bytes.iter().rposition(|b| *b != 0)? + 1;
    let name = core::str::from_utf8(bytes.get(..end)?).ok()?.trim_end_matches('.');
    let harmless = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let first = name.bytes().next()?;
    (name.len() <= limit && first != b'-' && first != b'.' && name.bytes().all(harmless)).then(|| name.into())
}

/// None for a mask with holes, and for 0.0.0.0, with which every address would be on the link.
pub fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    let prefix = bits.leading_ones();
    (prefix > 0 && prefix == bits.count_ones()).then_some(prefix as u8)
}

/// The prefix by the address's class (RFC 1122), for servers that send no mask.
pub fn class_prefix(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}

/// An address, where `value` has its length.
pub fn address(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}
