//! The filter of system calls (seccomp(2)): podman's own, or a profile in its
//! JSON, as a program that the kernel runs at each call.
//!
//! The letter before a call's name in the tables is its class in podman's
//! profile: a key of [`PRIVILEGES`], or one of
//!
//! - none: allowed, `!`: refused (EPERM), `-`: unheard of (the default: ENOSYS),
//! - `=`: `personality`, with the values that are harmless,
//! - `E`: `perf_event_open`, which needs CAP_SYS_ADMIN and is unheard of with it
//!   alone: CAP_PERFMON has to be there, too,
//! - `?`: `socket`, but for those of the audit log and of virtual machines.

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

/// podman's filter (the seccomp.json of containers-common that podman 5.8 comes with).
pub fn default_filter(machine: &Machine) -> Result<Vec<Instruction>, Error> {
    let calls = machine.abi.entries().map(|entry| default_call(entry.class, machine.capabilities)).collect();
    assemble(&Filter { default: errno(ENOSYS), abis: machine.abi.family().into(), calls })
}

const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_AUDIT_WRITE: u64 = 1 << 29;
const CAP_PERFMON: u64 = 1 << 38;
const CAP_BPF: u64 = 1 << 39;

/// Calls that need a capability, or one of two: allowed with it, EPERM without.
const PRIVILEGES: [(u8, u64); 11] = [
    (b'R', 1 << 2),  // CAP_DAC_READ_SEARCH
    (b'M', 1 << 16), // CAP_SYS_MODULE
    (b'I', 1 << 17), // CAP_SYS_RAWIO
    (b'C', 1 << 18), // CAP_SYS_CHROOT
    (b'T', 1 << 19), // CAP_SYS_PTRACE
    (b'P', 1 << 20), // CAP_SYS_PACCT
    (b'A', CAP_SYS_ADMIN),
    (b'B', CAP_SYS_ADMIN | CAP_BPF),
    (b'E', CAP_SYS_ADMIN),
    (b'K', 1 << 25), // CAP_SYS_TIME
    (b'Y', 1 << 26), // CAP_SYS_TTY_CONFIG
];

/// personality(2): Linux as it is, `UNAME26` and `PER_LINUX32` in all
/// combinations, and the question what it is.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];
const AF_NETLINK: u64 = 16;
const NETLINK_AUDIT: u64 = 9;
const AF_VSOCK: u64 = 40;
/// The arguments of socket(2) are of 32 bits: the kernel does not look at the rest.
const INT: u64 = u32::MAX as u64;

fn default_call(class: u8, capabilities: u64) -> Call {
    let equal = |argument, value, mask| Condition { argument, comparison: Comparison::Equal, value, mask };
    match class {
        0 => Call::Return(ALLOW),
        b'!' => Call::Return(errno(EPERM)),
        b'=' => Call::When(PERSONALITIES.iter().map(|value| (vec![equal(0, *value, u64::MAX)], ALLOW)).collect()),
        b'?' => {
            let mut rules = vec![(vec![equal(0, AF_VSOCK, INT)], errno(EPERM)), (vec![], ALLOW)];
            if capabilities & CAP_AUDIT_WRITE == 0 {
                rules.insert(1, (vec![equal(0, AF_NETLINK, INT), equal(2, NETLINK_AUDIT, INT)], errno(EINVAL)));
            }
            Call::When(rules)
        }
        b'E' if capabilities & (CAP_SYS_ADMIN | CAP_PERFMON) == CAP_SYS_ADMIN => Call::Unlisted,
        _ => match PRIVILEGES.iter().find(|(key, _)| *key == class) {
            Some((_, needed)) if capabilities & needed != 0 => Call::Return(ALLOW),
            Some(_) => Call::Return(errno(EPERM)),
            None => Call::Unlisted,
        },
    }
}
