//! What the kernel's texts say of the machine.

/// The processor's name in /proc/cpuinfo, which each architecture writes in its own way.
pub fn cpu(info: &str) -> Option<&str> {
    const KEYS: [&str; 4] = ["model name", "cpu model", "cpu", "uarch"];
    let fields = info.lines().filter_map(|line| line.split_once(':'));
    let mut named = fields.filter(|(key, _)| KEYS.iter().any(|name| key.trim().eq_ignore_ascii_case(name)));
    named.next().map(|(_, value)| value.trim())
}

/// The size of all memory in /proc/meminfo, with its unit.
pub fn memory(info: &str) -> &str {
    info.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default().trim()
}

/// A size as lsblk(8) writes it: `1G`, `465.8G`.
pub fn size(bytes: u64) -> String {
    let (mut unit, mut letter) = (1, 'B');
    for next in "KMGTPE".chars() {
        if bytes / unit >= 1024 {
            (unit, letter) = (unit * 1024, next);
        }
    }
    let tenths = (u128::from(bytes) * 10 + u128::from(unit) / 2) / u128::from(unit);
    let mut text = (tenths / 10).to_string();
    if tenths % 10 != 0 {
        text += ".";
        text += &(tenths % 10).to_string();
    }
    text.push(letter);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_lsblk_writes_them() {
        for (bytes, want) in [
            (512, "512B"),
            (4096, "4K"),
            (64 << 20, "64M"),
            (29_884_416, "28.5M"),
            (500_107_862_016, "465.8G"),
            (1 << 40, "1T"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(size(bytes), want);
        }
    }

    #[test]
    fn processors_by_their_architectures() {
        for (info, want) in [
            (
                "processor\t: 0\nmodel\t\t: 85\nmodel name\t: QEMU Virtual CPU: 2.5+\nflags: x",
                Some("QEMU Virtual CPU: 2.5+"),
            ),
            ("processor\t: 0\nBogoMIPS\t: 108.00\nCPU implementer\t: 0x41\n", None),
            ("processor\t: 0\ncpu\t\t: POWER9, altivec supported\n", Some("POWER9, altivec supported")),
            ("processor\t: 0\nhart\t\t: 2\nuarch\t\t: sifive,u74-mc\n", Some("sifive,u74-mc")),
            ("Model Name\t\t: Loongson-3A5000\n", Some("Loongson-3A5000")),
            ("", None),
        ] {
            assert_eq!(cpu(info), want);
        }
    }

    #[test]
    fn memory_with_its_unit() {
        assert_eq!(memory("MemTotal:         249384 kB\nMemFree: 1 kB\n"), "249384 kB");
        assert_eq!(memory(""), "");
    }
}
