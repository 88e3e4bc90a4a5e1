//! DHCP messages and the client's state machine, with virtual time.
//!
//! ```text
//!      start -> Selecting --OFFER--> Requesting --ACK, no ARP answer--> Bound --T1--> Renewing --T2--> Rebinding
//!                 ^ DISCOVER           | REQUEST, ARP probe             ^ |             |              |
//!                 +-- NAK, silence, ---+                                | +-- carrier --+------ACK-----+--> the end,
//!                     DECLINE                                           |     again: Rebooting         |    NAK: Lost
//!                                                                       +------------------------------+
//! ```
//!
//! The client works on whole IPv4 packets, since before it has an address only
//! a packet socket reaches it (RFC 2131 section 4.1).

pub mod arp;
pub mod client;
mod drops;
pub mod frame;
pub mod message;
pub mod servers;
#[cfg(test)]
mod simulation;
mod values;

pub use crate::net::pure::dhcp::client::{release, Action, Client};
pub use crate::net::pure::dhcp::drops::{Drop, Drops};
pub use crate::net::pure::dhcp::message::{Lease, Route};
