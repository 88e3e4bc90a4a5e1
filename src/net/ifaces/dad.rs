//! Waits for the kernel's duplicate address detection.

use super::{has, Setup};
use crate::net::links::Interface;
use crate::net::pure::static_route::{flagged, DAD_FAILED, TENTATIVE};
use crate::net::step::STEP;
use crate::report::Failure;
use crate::sys::machine::uptime_ms;
use crate::sys::socket;
use std::net::{IpAddr, Ipv6Addr};

/// Duplicate address detection: a random delay of up to a second, and one probe of a second (RFC 4862, 5.4).
const DAD_MS: u64 = 3_000;
const DAD_POLL_MS: i32 = 50;
const IF_INET6: &str = "/proc/net/if_inet6";

impl Setup<'_> {
    /// A new IPv6 address cannot be used before it is known that no other machine has it.
    pub(super) fn wait_for_dad(&mut self) {
        let is_v6 = |interface: &Interface| interface.addresses.iter().any(|(own, _)| own.is_ipv6());
        if !self.interfaces.iter().any(is_v6) {
            return;
        }
        let end_ms = uptime_ms() + DAD_MS;
        loop {
            let table = std::fs::read_to_string(IF_INET6).unwrap_or_default();
            let is_own = |other: &Ipv6Addr| self.interfaces.iter().any(|each| has(each, &IpAddr::from(*other)));
            let waits = flagged(&table, TENTATIVE).iter().any(is_own);
            let taken: Vec<Ipv6Addr> = flagged(&table, DAD_FAILED).into_iter().filter(is_own).collect();
            for taken in taken {
                let what = [&taken.to_string(), ": another machine has this address"].concat();
                self.problems.push(Failure::new(STEP, what).hint("give each machine an address of its own"));
                for interface in &mut self.interfaces {
                    interface.addresses.retain(|(other, _)| *other != IpAddr::from(taken));
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
