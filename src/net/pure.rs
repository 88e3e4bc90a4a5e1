//! Network protocols: bytes in, values and actions out.

pub mod choice;
pub mod dhcp;
pub mod dns;
pub mod http;
pub mod netlink;
pub mod proxy;
pub mod restricted;
pub mod sntp;
