//! The filter of system calls (seccomp(2)): podman's own, or a profile in its
//! JSON, as a program that the kernel runs at each call.
//!
//! Each call of an architecture has an entry in its table: its name, its two
//! numbers, and what podman's profile makes of it. The names stand in the order
//! of the native numbers, `@N` where one does not follow the last; those behind
//! `|` are there for 32-bit programs only. The letter before a name is its
//! class: a key of [`PRIVILEGES`], or one of
//!
//! - none: allowed, `!`: refused (EPERM), `-`: unheard of (the default: ENOSYS),
//! - `=`: `personality`, with the values that are harmless,
//! - `?`: `socket`, but for those of the audit log.

#[cfg(any(feature = "host", target_arch = "aarch64", target_arch = "arm"))]
mod arm;
mod assemble;
mod profile;
#[cfg(any(feature = "host", target_arch = "x86_64"))]
mod x86;

use crate::container::pure::seccomp::assemble::assemble;
pub use crate::container::pure::seccomp::profile::{compile, Error};

/// One instruction of classic BPF (linux/filter.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub value: u32,
}

/// A way to call the kernel, with numbers of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    X86_64,
    /// 64-bit registers and 32-bit pointers; told by a bit of the number.
    X32,
    X86,
    Aarch64,
    Arm,
}

/// For whom the filter is.
pub struct Machine {
    pub abi: Abi,
    /// The container's bounding set.
    pub capabilities: u64,
    /// The kernel's major and minor number.
    pub kernel: (u32, u32),
}

/// The own convention of the machine that this is built for.
pub const NATIVE: Abi = if cfg!(target_arch = "aarch64") {
    Abi::Aarch64
} else if cfg!(target_arch = "arm") {
    Abi::Arm
} else {
    Abi::X86_64
};

/// podman's filter (containers-common's seccomp.json).
pub fn default_filter(machine: &Machine) -> Result<Vec<Instruction>, Error> {
    let calls = machine.abi.entries().map(|entry| default_call(entry.class, machine.capabilities)).collect();
    assemble(&Filter { default: errno(ENOSYS), abis: machine.abi.family().into(), calls })
}

const EPERM: u32 = 1;
const EINVAL: u32 = 22;
const ENOSYS: u32 = 38;

const ALLOW: u32 = 0x7fff_0000;

/// `SECCOMP_RET_ERRNO`, with the number in the low half.
const fn errno(number: u32) -> u32 {
    0x0005_0000 | number & 0xffff
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

/// What is to become a program.
struct Filter {
    /// For every call that is not listed.
    default: u32,
    /// Whoever calls in another way is killed.
    abis: Vec<Abi>,
    /// In the order of the table.
    calls: Vec<Call>,
}

/// What the kernel is to answer to a call.
#[derive(Clone, PartialEq, Eq)]
enum Call {
    Unlisted,
    Return(u32),
    /// That of the first rule whose conditions all hold; else the default.
    When(Vec<(Vec<Condition>, u32)>),
}

#[derive(Clone, PartialEq, Eq)]
struct Condition {
    /// 0 to 5.
    argument: u32,
    comparison: Comparison,
    value: u64,
    /// What of the argument is looked at; only [`Comparison::Equal`] has less than all.
    mask: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// A line of a table.
struct Entry {
    name: &'static str,
    class: u8,
    native: Option<u32>,
    compat: Option<u32>,
}

/// In a column of numbers: there is no such call.
const NONE: u16 = 0xffff;
/// Arm's private calls are written as `PRIVATE` and the rest, and begin at 0xf0000.
const PRIVATE: u16 = 0x8000;
const ARM_PRIVATE: u32 = 0xf_0000;

/// x32's numbers have this bit (Linux, `__X32_SYSCALL_BIT`).
const X32_BIT: u32 = 0x4000_0000;
/// x32's own numbers, from 512 on: calls whose arguments hold pointers in memory.
const X32_NAMES: &str = "rt_sigaction rt_sigreturn ioctl readv writev recvfrom sendmsg recvmsg execve ptrace \
    rt_sigpending rt_sigtimedwait rt_sigqueueinfo sigaltstack timer_create mq_notify kexec_load waitid \
    set_robust_list get_robust_list vmsplice move_pages preadv pwritev rt_tgsigqueueinfo recvmmsg sendmmsg \
    process_vm_readv process_vm_writev setsockopt getsockopt io_setup io_submit execveat preadv2 pwritev2";
const X32_FIRST: u32 = 512;

impl Abi {
    /// Those of a machine whose own it is: no other's calls can come there.
    fn family(self) -> &'static [Abi] {
        match self {
            Abi::X86_64 => &[Abi::X86_64, Abi::X86, Abi::X32],
            Abi::Aarch64 => &[Abi::Aarch64, Abi::Arm],
            Abi::X32 => &[Abi::X32],
            Abi::X86 => &[Abi::X86],
            Abi::Arm => &[Abi::Arm],
        }
    }

    /// The kernel's number of the call `name`.
    pub fn number(self, name: &str) -> Option<u32> {
        self.entries().find(|entry| entry.name == name).and_then(|entry| self.number_of(&entry))
    }

    fn number_of(self, entry: &Entry) -> Option<u32> {
        match self {
            Abi::X86_64 | Abi::Aarch64 => entry.native,
            Abi::X86 | Abi::Arm => entry.compat,
            Abi::X32 => {
                let own = X32_NAMES.split(' ').zip(X32_FIRST..).find(|(name, _)| *name == entry.name);
                own.map(|(_, number)| number).or(entry.native).map(|number| number | X32_BIT)
            }
        }
    }

    /// The table that it has a column of.
    fn table(self) -> (&'static str, &'static [u16]) {
        match self {
            #[cfg(any(feature = "host", target_arch = "x86_64"))]
            Abi::X86_64 | Abi::X32 | Abi::X86 => (x86::NAMES, &x86::COMPAT),
            #[cfg(any(feature = "host", target_arch = "aarch64", target_arch = "arm"))]
            Abi::Aarch64 | Abi::Arm => (arm::NAMES, &arm::COMPAT),
            #[allow(unreachable_patterns)]
            _ => ("", &[]),
        }
    }

    fn entries(self) -> impl Iterator<Item = Entry> {
        let (names, compat) = self.table();
        let mut next = Some(0);
        let named = names.split(' ').filter_map(move |word| {
            if let Some(number) = word.strip_prefix('@') {
                next = number.parse().ok();
                return None;
            }
            if word == "|" {
                next = None;
                return None;
            }
            let native = next;
            next = next.map(|number: u32| number + 1);
            let is_class = |byte: &u8| !byte.is_ascii_lowercase() && *byte != b'_';
            let class = word.bytes().next().filter(is_class);
            let name = word.get(usize::from(class.is_some())..).unwrap_or_default();
            Some((name, class.unwrap_or(0), native))
        });
        named.zip(compat).map(|((name, class, native), compat)| {
            let compat = match *compat {
                NONE => None,
                private if private & PRIVATE != 0 => Some(ARM_PRIVATE + u32::from(private & !PRIVATE)),
                number => Some(u32::from(number)),
            };
            Entry { name, class, native, compat }
        })
    }
}
