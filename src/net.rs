//! The network: links, addresses, names, time, HTTP and TLS.

#![forbid(unsafe_code)]
pub mod cancel;
pub mod dhcp;
pub mod discipline;
pub mod dns;
pub mod http;
pub mod ifaces;
pub mod ipv6;
pub mod links;
pub mod ntp;
pub mod ports;
pub mod pure;
pub mod random;
pub mod rtnetlink;
pub mod scope;
pub mod step;
pub mod task;
mod udp;
