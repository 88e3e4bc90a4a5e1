//! The step `network`: how its failures are told, and how long it waits.

use crate::report::Failure;
use crate::sys;

/// The step's word on the console.
pub const STEP: &str = "network";

/// How long to wait, since the first link was raised.
#[derive(Clone, Copy)]
pub struct Limits {
    pub lease_ms: u64,
    /// While no interface has a carrier, or one that is named is not there.
    pub carrier_ms: u64,
    /// The interface that the machine was booted by (`BOOTIF=`), which is preferred.
    pub preferred_mac: Option<[u8; 6]>,
}

/// A switch port under spanning tree forwards after 30 s. A link is up after 5 s, and after 30 s behind a switch or a
/// media converter that starts with the machine.
pub const LIMITS: Limits = Limits { lease_ms: 60_000, carrier_ms: 40_000, preferred_mac: None };
/// Where nothing can be done without a network: after a power cut a lab's DHCP server may start minutes later than its
/// machines.
pub const PATIENT: Limits = Limits { lease_ms: 900_000, ..LIMITS };

/// The failure of a system call, or of a request to the kernel, that is about `object`.
pub fn failed(object: &str, error: sys::Error) -> Failure {
    Failure::new(STEP, format!("{object}: {error}"))
}

/// ` in 60 s`
pub fn within(limit_ms: u64) -> String {
    format!(" in {} s", limit_ms / 1000)
}

/// Nothing is at the other end of `what`.
pub fn no_carrier(what: &str) -> Failure {
    Failure::new(STEP, format!("no carrier on {what}"))
        .hint("is the cable plugged in, and the machine at its other end on?")
}
