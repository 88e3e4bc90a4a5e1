//! Network protocols: bytes in, values and actions out.

pub mod choice;
pub mod dhcp;
pub mod dhcp6;
pub mod dns;
pub mod domains;
pub mod families;
pub mod http;
pub mod iface;
pub mod kernel_ip;
pub mod link_kind;
pub mod merge;
pub mod netlink;
pub mod plan;
pub mod proxy;
pub mod ra;
pub mod restricted;
pub mod sntp;
pub mod static_route;
