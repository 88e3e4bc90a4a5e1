//! Network protocols: bytes in, values and actions out.

pub mod dhcp;
pub mod dns;
pub mod http;
pub mod iface;
pub mod kernel_ip;
pub mod link_kind;
pub mod netlink;
pub mod plan;
pub mod proxy;
pub mod restricted;
pub mod sntp;
pub mod static_route;
