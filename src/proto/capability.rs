//! The names of capabilities(7).

use super::nearest::nearest;

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
    let hint = nearest(NAMES.iter().copied(), name).map(|near| [": did you mean ", near, "?"].concat());
    Err(["«", text, "» is no capability", &hint.unwrap_or_default()].concat())
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
        assert_eq!(parse("NET_ADMN").unwrap_err(), "«NET_ADMN» is no capability: did you mean NET_ADMIN?");
        assert_eq!(parse("").unwrap_err(), "«» is no capability");
    }
}
