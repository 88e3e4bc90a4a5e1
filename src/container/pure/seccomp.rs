//! The filter of system calls (seccomp(2)): podman's own, or a profile in its
//! JSON, as a program that the kernel runs at each call.
//!
//! The letter before a call's name in the tables is its class in podman's
//! profile: a key of [`PRIVILEGES`], or one of
//!
//! - none: allowed, `!`: refused (EPERM), `-`: unheard of (the default: ENOSYS),
//! - `=`: `personality`, with the values that are harmless,
//! - `?`: `socket`, but for those of the audit log.

mod abi;
#[cfg(any(feature = "host", target_arch = "aarch64", target_arch = "arm"))]
mod arm;
mod assemble;
mod column;
mod error;
mod filter;
mod profile;
#[cfg(any(feature = "host", target_arch = "x86_64"))]
mod x86;

pub use crate::container::pure::seccomp::abi::{Abi, Machine, NATIVE};
pub use crate::container::pure::seccomp::error::Error;
pub use crate::container::pure::seccomp::filter::Instruction;
pub use crate::container::pure::seccomp::profile::compile;

use crate::container::pure::seccomp::assemble::assemble;
use crate::container::pure::seccomp::filter::{
    errno, Call, Comparison, Condition, Filter, ALLOW, EINVAL, ENOSYS, EPERM,
};

/// podman's filter (containers-common's seccomp.json).
pub fn default_filter(machine: &Machine) -> Result<Vec<Instruction>, Error> {
    let calls = machine.abi.entries().map(|entry| default_call(entry.class, machine.capabilities)).collect();
    assemble(&Filter { default: errno(ENOSYS), abis: machine.abi.family().into(), calls })
}

/// Calls that need a capability: allowed with it, EPERM without.
const PRIVILEGES: [(u8, u64); 9] = [
    (b'R', 1 << 2),  // CAP_DAC_READ_SEARCH
    (b'M', 1 << 16), // CAP_SYS_MODULE
    (b'I', 1 << 17), // CAP_SYS_RAWIO
    (b'C', 1 << 18), // CAP_SYS_CHROOT
    (b'T', 1 << 19), // CAP_SYS_PTRACE
    (b'P', 1 << 20), // CAP_SYS_PACCT
    (b'A', 1 << 21), // CAP_SYS_ADMIN
    (b'K', 1 << 25), // CAP_SYS_TIME
    (b'Y', 1 << 26), // CAP_SYS_TTY_CONFIG
];
const CAP_AUDIT_WRITE: u64 = 1 << 29;

/// personality(2): Linux as it is, `UNAME26` and `PER_LINUX32` in all
/// combinations, and the question what it is.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];
const AF_NETLINK: u64 = 16;
const NETLINK_AUDIT: u64 = 9;

fn default_call(class: u8, capabilities: u64) -> Call {
    let condition = |argument, comparison, value| Condition { argument, comparison, value, mask: u64::MAX };
    match class {
        0 => Call::Return(ALLOW),
        b'!' => Call::Return(errno(EPERM)),
        b'=' => {
            let rule = |value: &u64| (vec![condition(0, Comparison::Equal, *value)], ALLOW);
            Call::When(PERSONALITIES.iter().map(rule).collect())
        }
        b'?' if capabilities & CAP_AUDIT_WRITE != 0 => Call::Return(ALLOW),
        b'?' => Call::When(vec![
            (vec![condition(2, Comparison::NotEqual, NETLINK_AUDIT)], ALLOW),
            (vec![condition(0, Comparison::NotEqual, AF_NETLINK)], ALLOW),
            (vec![], errno(EINVAL)),
        ]),
        _ => match PRIVILEGES.iter().find(|(key, _)| *key == class) {
            Some((_, needed)) if capabilities & needed != 0 => Call::Return(ALLOW),
            Some(_) => Call::Return(errno(EPERM)),
            None => Call::Unlisted,
        },
    }
}
