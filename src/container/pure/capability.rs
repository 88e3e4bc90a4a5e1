//! The names of capabilities(7).

use crate::pure::suggest::suggest;

/// In the order of their numbers (linux/capability.h), without `CAP_`.
pub const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// `ALL`, `CAP_NET_ADMIN`, `net_admin`: a bit for each number, or what is wrong.
pub fn parse(text: &str) -> Result<u64, String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if name == "ALL" {
        return Ok(u64::MAX);
    }
    if let Some(number) = NAMES.iter().position(|known| *known == name) {
        return Ok(1 << number);
    }
    let hint = suggest(&mut NAMES.iter().copied(), name).map(|near| [": did you mean ", near, "?"].concat());
    Err(["'", text, "' is no capability", &hint.unwrap_or_default()].concat())
}

/// podman's default ones, as Debian's containers.conf has them.
pub const DEFAULT: u64 = 0x8004_05fb;

/// The five sets of capabilities(7) of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sets {
    pub bounding: u64,
    /// The effective and the permitted set, which are one here.
    pub effective: u64,
    /// The inheritable and the ambient set, which are one, too.
    pub ambient: u64,
}

/// The sets that podman gives a container, of those that are `available`. A privileged one has all, whatever
/// `--cap-drop` says; a user other than root gets what `--cap-add` names, and no more.
pub fn sets(is_privileged: bool, is_root: bool, add: u64, drop: u64, available: u64) -> Sets {
    let bounding = match (is_privileged, drop) {
        (true, _) => u64::MAX,
        (false, u64::MAX) => add,
        (false, drop) => (DEFAULT | add) & !drop,
    };
    let bounding = bounding & available;
    if is_root {
        Sets { bounding, effective: bounding, ambient: 0 }
    } else {
        Sets { bounding, effective: add & available, ambient: add & available }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_every_spelling() {
        assert_eq!(parse("CAP_CHOWN"), Ok(1));
        assert_eq!(parse("net_admin"), Ok(1 << 12));
        assert_eq!(parse("cap_Checkpoint_Restore"), Ok(1 << 40));
        assert_eq!(parse("all"), Ok(u64::MAX));
        assert_eq!(parse("NET_ADMN").unwrap_err(), "'NET_ADMN' is no capability: did you mean NET_ADMIN?");
        assert_eq!(parse("").unwrap_err(), "'' is no capability");
    }

    /// Promise: isolation-flags
    #[test]
    fn podmans_sets() {
        const ALL: u64 = (1 << 41) - 1;
        let default = NAMES.iter().enumerate().filter(|(number, _)| DEFAULT & 1 << number != 0).map(|(_, name)| *name);
        // containers.conf(5) of Debian's golang-github-containers-common.
        let debians = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT SETFCAP";
        assert_eq!(default.collect::<Vec<_>>().join(" "), debians);
        let net_admin = 1 << 12;
        for (privileged, root, add, drop, want) in [
            (true, true, 0, 1, (ALL, ALL, 0)),
            (true, false, 0, 0, (ALL, 0, 0)),
            (true, false, net_admin, 0, (ALL, net_admin, net_admin)),
            (false, true, 0, 0, (DEFAULT, DEFAULT, 0)),
            (false, true, net_admin, 1, (DEFAULT & !1 | net_admin, DEFAULT & !1 | net_admin, 0)),
            (false, true, 1, u64::MAX, (1, 1, 0)),
            (false, true, u64::MAX, 1, (ALL & !1, ALL & !1, 0)),
            (false, false, 0, 0, (DEFAULT, 0, 0)),
            (false, false, net_admin, 0, (DEFAULT | net_admin, net_admin, net_admin)),
            (false, false, u64::MAX, 1, (ALL & !1, ALL, ALL)),
        ] {
            let got = sets(privileged, root, add, drop, ALL);
            assert_eq!((got.bounding, got.effective, got.ambient), want, "{privileged} {root} {add:x} {drop:x}");
        }
        assert_eq!(sets(true, true, 0, 0, 7).bounding, 7);
    }
}
