//! Routes that the options name: what the kernel is told.

use crate::net::pure::iface::{masked, StaticRoute};
use crate::net::pure::netlink::Route;
use core::net::IpAddr;

/// The kernel's metric of an IPv6 route that has none.
const METRIC_V6: u32 = 1024;
/// The metric of an interface's default routes in the family's own numbers.
pub fn metric(metric: u32, route: &StaticRoute) -> u32 {
    match (metric, route.prefix, route.via) {
        (0, ..) | (_, 1.., _) => 0,
        (_, _, IpAddr::V4(_)) => metric,
        (_, _, IpAddr::V6(_)) => METRIC_V6 + metric,
    }
}

/// A gateway outside of the interface's subnets is taken to be on the link, as a lease's is.
pub fn route_of(index: u32, addresses: &[(IpAddr, u8)], route: &StaticRoute) -> Route {
    let is_link_local = matches!(route.via, IpAddr::V6(via) if via.is_unicast_link_local());
    let is_near = |(own, prefix): &(IpAddr, u8)| {
        own.is_ipv4() == route.via.is_ipv4() && masked(own, *prefix) == masked(&route.via, *prefix)
    };
    Route {
        index,
        destination: route.destination,
        prefix: route.prefix,
        gateway: Some(route.via),
        source: None,
        onlink: !is_link_local && !addresses.iter().any(is_near),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_outside_of_the_subnets_are_on_the_link() {
        let addresses = [([10, 0, 2, 15].into(), 24), ("2001:db8::2".parse().unwrap(), 64)];
        for (via, onlink) in [
            ("10.0.2.2", false),
            ("10.0.3.2", true),
            ("2001:db8::1", false),
            ("2001:db8:0:1::1", true),
            ("fe80::1", false),
        ] {
            let via = via.parse().unwrap();
            let route = route_of(3, &addresses, &StaticRoute { destination: masked(&via, 0), prefix: 0, via });
            assert_eq!((route.onlink, route.gateway), (onlink, Some(via)));
        }
    }

    #[test]
    fn only_default_routes_have_a_metric() {
        let of = |own, prefix, via: &str| {
            let via = via.parse().unwrap();
            metric(own, &StaticRoute { destination: masked(&via, 0), prefix, via })
        };
        assert_eq!((of(0, 0, "10.0.0.1"), of(100, 0, "10.0.0.1"), of(100, 8, "10.0.0.1")), (0, 100, 0));
        assert_eq!((of(0, 0, "fe80::1"), of(100, 0, "fe80::1")), (0, 1124));
    }
}
