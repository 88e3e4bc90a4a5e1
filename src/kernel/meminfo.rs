//! How much memory the machine has.

/// Memory that is available without swapping, in bytes; none where the kernel does not say.
pub fn available_bytes() -> Option<u64> {
    field("MemAvailable:")
}

/// All memory, in bytes; none where the kernel does not say.
pub fn total_bytes() -> Option<u64> {
    field("MemTotal:")
}

fn field(name: &str) -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/meminfo").ok()?, name)
}

/// A field of /proc/meminfo (proc(5)), in bytes.
fn parse(meminfo: &str, name: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_meminfo() {
        let text = "MemTotal:         110592 kB\nMemAvailable:      65536 kB\n";
        assert_eq!(parse(text, "MemAvailable:"), Some(64 << 20));
        assert_eq!(parse(text, "MemTotal:"), Some(108 << 20));
        assert_eq!(parse("MemTotal: 1 kB\n", "MemAvailable:"), None);
        assert_eq!(parse("MemAvailable: 99999999999999999999 kB", "MemAvailable:"), None);
    }
}
