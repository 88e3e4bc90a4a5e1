//! The ways to call the kernel, and the calls that each has.
//!
//! Each call of an architecture has an entry in its table: its name, its two
//! numbers, and what podman's profile makes of it. The names stand in the order
//! of the native numbers, `@N` where one does not follow the last; those behind
//! `|` are there for 32-bit programs only. The letter before a name is its
//! class, see `default_call` in [`super`].

#[cfg(any(feature = "host", target_arch = "aarch64", target_arch = "arm"))]
use crate::container::pure::seccomp::arm;
use crate::container::pure::seccomp::column;
#[cfg(any(feature = "host", target_arch = "x86_64"))]
use crate::container::pure::seccomp::x86;

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

/// The calling convention of the architecture that this is built for.
pub const NATIVE: Abi = if cfg!(target_arch = "aarch64") {
    Abi::Aarch64
} else if cfg!(target_arch = "arm") {
    Abi::Arm
} else {
    Abi::X86_64
};

/// The kernel and the container that a filter is for.
pub struct Machine {
    pub abi: Abi,
    /// The container's bounding set.
    pub capabilities: u64,
    /// The kernel's major and minor number.
    pub kernel: (u32, u32),
}

/// A line of a table.
pub struct Entry {
    pub name: &'static str,
    pub class: u8,
    native: Option<u32>,
    compat: Option<u32>,
}

/// x32's numbers have this bit (Linux, `__X32_SYSCALL_BIT`).
pub const X32_BIT: u32 = 0x4000_0000;
/// x32's own numbers, from 512 on: calls whose arguments hold pointers in memory.
const X32_NAMES: &str = "rt_sigaction rt_sigreturn ioctl readv writev recvfrom sendmsg recvmsg execve ptrace \
    rt_sigpending rt_sigtimedwait rt_sigqueueinfo sigaltstack timer_create mq_notify kexec_load waitid \
    set_robust_list get_robust_list vmsplice move_pages preadv pwritev rt_tgsigqueueinfo recvmmsg sendmmsg \
    process_vm_readv process_vm_writev setsockopt getsockopt io_setup io_submit execveat preadv2 pwritev2";
const X32_FIRST: u32 = 512;

impl Abi {
    /// The conventions that a kernel of this architecture knows.
    pub fn family(self) -> &'static [Abi] {
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

    pub fn number_of(self, entry: &Entry) -> Option<u32> {
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

    pub fn entries(self) -> impl Iterator<Item = Entry> {
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
        named.zip(compat).map(|((name, class, native), compat)| Entry {
            name,
            class,
            native,
            compat: column::number(*compat),
        })
    }
}
