//! DHCP messages and the client's state machine, with virtual time.
//!
//! ```text
//!            start ─► Selecting ──OFFER──► Requesting ──ACK──► Bound ──T1──► Renewing ──T2──► Rebinding
//!                       ▲  DISCOVER          │  REQUEST          ▲ └──────────┴──ACK──────────────┘ │
//!                       └──── NAK, silence ──┘                   └── (nothing answers until the end) ▼ Lost
//! ```
//!
//! The client works on whole IPv4 packets, since before it has an address only
//! a packet socket reaches it (RFC 2131 section 4.1).

pub mod client;
mod drops;
pub mod frame;
pub mod message;

pub use crate::net::pure::dhcp::client::{Action, Client};
pub use crate::net::pure::dhcp::drops::{Drop, Drops};
pub use crate::net::pure::dhcp::message::{Lease, Route};
