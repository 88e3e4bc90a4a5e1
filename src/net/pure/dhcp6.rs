//! DHCPv6 messages and the client's state machine, with virtual time (RFC 8415).
//!
//! ```text
//! addresses ─► Soliciting ──ADVERTISE──► Requesting ──REPLY──► Bound ──T1──► Renewing ──T2──► Rebinding
//!                 │  ▲  SOLICIT             │  REQUEST          ▲ └───────────┴──REPLY───────────┘ │
//!                 │  └── silence, refusal ──┘                   │  (nothing answers until the end) ▼ Lost
//!                 └──REPLY (rapid commit)───────────────────────┘
//! information only ─► Informing ──REPLY──► Informed
//! ```
//!
//! Who asks is decided by a router: its advertisement says whether there are addresses (M) or only information (O).

pub mod client;
pub mod message;

pub use crate::net::pure::dhcp6::client::{Action, Client};
pub use crate::net::pure::dhcp6::message::{Drop, Info, Lease};
