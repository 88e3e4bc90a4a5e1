//! The step `network`: how its failures are told, and how long it waits.

use crate::report::Failure;
use crate::sys;

/// The step's word on the console.
pub const STEP: &str = "network";

/// How long to wait, since the first link was raised.
#[derive(Clone, Copy)]
pub struct Limits {
    pub lease_ms: u64,
    /// While no interface has a carrier.
    pub carrier_ms: u64,
    /// The interface that the machine was booted by (`BOOTIF=`), which is preferred.
    pub preferred_mac: Option<[u8; 6]>,
}

/// A switch port under spanning tree forwards after 30 s; a link is up after 5 s at most.
pub const LIMITS: Limits = Limits { lease_ms: 60_000, carrier_ms: 15_000, preferred_mac: None };

/// The failure of a system call, or of a request to the kernel, that is about `object`.
pub fn failed(object: &str, error: sys::Error) -> Failure {
    Failure::new(STEP, format!("{object}: {error}"))
}
