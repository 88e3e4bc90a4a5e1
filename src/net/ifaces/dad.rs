//! Waits for the kernel's duplicate address detection.

use super::{has, Setup};
use crate::net::links::Interface;
use crate::net::scope::own_addresses;
use crate::net::step::STEP;
use crate::report::Failure;
use crate::sys::machine::uptime_ms;
use crate::sys::socket;
use std::net::IpAddr;

/// Duplicate address detection: a random delay of up to a second, and one probe of a second (RFC 4862, 5.4).
const DAD_MS: u64 = 3_000;
const DAD_POLL_MS: i32 = 50;

impl Setup<'_> {
    /// A new IPv6 address cannot be used before it is known that no other machine has it.
    #[inline(never)]
    pub(super) fn wait_for_dad(&mut self) {
        let is_v6 = |interface: &Interface| interface.addresses.iter().any(|(own, _)| own.is_ipv6());
        if !self.interfaces.iter().any(is_v6) {
            return;
        }
        let end_ms = uptime_ms() + DAD_MS;
        loop {
            let mut waits = false;
            for other in own_addresses() {
                let address = IpAddr::from(other.address);
                if !self.interfaces.iter().any(|each| has(each, &address)) {
                    continue;
                }
                waits |= other.is_tentative();
                if other.is_duplicate() {
                    let what = format!("{address}: another machine has this address");
                    self.problems.push(Failure::new(STEP, what).hint("give each machine an address of its own"));
                    for interface in &mut self.interfaces {
                        interface.addresses.retain(|(other, _)| *other != address);
                    }
                }
            }
            if !waits || uptime_ms() >= end_ms {
                return;
            }
            if socket::poll_readable([self.kernel.events()], DAD_POLL_MS).is_err() || self.kernel.changes().is_err() {
                return;
            }
        }
    }
}
