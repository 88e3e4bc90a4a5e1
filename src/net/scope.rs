//! Link-local addresses of servers: by which interface they are reached.

use crate::net::pure::families::{parse_if_inet6, Own};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// The kernel's IPv6 addresses; not there without IPv6.
pub const ADDRESSES: &str = "/proc/net/if_inet6";

/// The addresses of all interfaces.
pub fn own_addresses() -> Vec<Own> {
    parse_if_inet6(&std::fs::read_to_string(ADDRESSES).unwrap_or_default())
}

/// A server's address and port. Routers give themselves as name server by their link-local address, which is nothing
/// without an interface: it is the first one that has an address beyond the link, as [`crate::net::links::Network`] has
/// name servers of that one only.
pub fn socket_addr(server: IpAddr, port: u16) -> SocketAddr {
    match server {
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            let own = own_addresses();
            let of = own.iter().find(|own| own.is_usable()).or_else(|| own.iter().find(|own| own.is_link_local()));
            SocketAddrV6::new(address, port, 0, of.map_or(0, |own| own.index)).into()
        }
        _ => SocketAddr::new(server, port),
    }
}
