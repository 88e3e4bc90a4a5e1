//! `modules.dep` and `modules.alias`: the kernel modules that a device needs, in order.
//!
//! depmod(8) writes these files; their formats are in modules.dep(5) and, for
//! the rest, in kmod's sources. The texts are scanned and not indexed: a boot
//! makes few look-ups, and one pass over a file costs less than an index.

/// A dependency chain longer than this is a loop in a faulty file: the longest of
/// a distribution's kernel is below ten.
const DEPTH_MAX: usize = 32;

/// The module's name in a path: `kernel/drivers/net/virtio-net.ko.xz` gives `virtio-net`.
pub fn name(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.find(".ko").map_or(file, |end| file.get(..end).unwrap_or(file))
}

/// Names are equal with `-` for `_`: files say `virtio-rng.ko`, the kernel `virtio_rng`.
pub fn same_name(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(|(a, b)| fold(a) == fold(b))
}

/// Appends to `order` the paths to load for the module `wanted`, dependencies
/// first, itself last, without those that `order` has already. False, and nothing
/// appended, where `modules.dep` does not have it.
pub fn load_order<'a>(texts: &Texts<'a>, wanted: &str, order: &mut Vec<&'a str>) -> bool {
    append(texts, wanted, order, DEPTH_MAX)
}

/// The texts that depmod(8) writes; all but the first may be empty.
#[derive(Clone, Copy, Default)]
pub struct Texts<'a> {
    /// `modules.dep`
    pub dep: &'a str,
    /// `modules.softdep`
    pub softdep: &'a str,
    /// `modules.alias`
    pub alias: &'a str,
}

fn append<'a>(texts: &Texts<'a>, wanted: &str, order: &mut Vec<&'a str>, depth: usize) -> bool {
    let Some((path, needs)) = find(texts.dep, wanted) else { return false };
    if order.contains(&path) || depth == 0 {
        return true;
    }
    for early in soft(texts.softdep, wanted) {
        if !append(texts, early, order, depth - 1) {
            // An alias that several modules have, as `crypto-crc32c`.
            for_devices(texts.alias, &[early.to_string()], &mut |name| {
                append(texts, name, order, depth - 1);
            });
        }
    }
    // depmod lists all dependencies, the first to load last; busybox's depmod lists
    // direct ones only. To follow each serves both.
    for need in needs.split_ascii_whitespace().rev() {
        append(texts, name(need), order, depth - 1);
    }
    if !order.contains(&path) {
        order.push(path);
    }
    true
}

/// The line of `wanted` in `modules.dep`: its path, and the rest of the line.
fn find<'a>(dep: &'a str, wanted: &str) -> Option<(&'a str, &'a str)> {
    dep.lines().filter_map(|line| line.split_once(':')).find(|(path, _)| same_name(name(path), wanted))
}

/// The path of the module `wanted` in `modules.dep`.
pub fn find_path<'a>(dep: &'a str, wanted: &str) -> Option<&'a str> {
    find(dep, wanted).map(|(path, _)| path)
}

/// The modules to load before NAME, by `softdep NAME pre: A B post: C`.
pub fn soft<'a>(softdep: &'a str, wanted: &str) -> Vec<&'a str> {
    let mut before = Vec::new();
    for line in softdep.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("softdep") || !words.next().is_some_and(|name| same_name(name, wanted)) {
            continue;
        }
        let mut pre = false;
        for word in words {
            match word {
                "pre:" => pre = true,
                "post:" => pre = false,
                _ if pre => before.push(word),
                _ => {}
            }
        }
    }
    before
}

/// Calls `found` with the name of each module that an `alias PATTERN NAME` line
/// of `modules.alias` gives for one of `devices` (modalias strings, or names
/// such as `fs-ext4`). One pass, in the file's order; a name may come twice.
pub fn for_devices<'a>(alias: &'a str, devices: &[String], found: &mut dyn FnMut(&'a str)) {
    for line in alias.lines() {
        let Some((pattern, name)) = line.strip_prefix("alias ").and_then(|rest| rest.rsplit_once(' ')) else {
            continue;
        };
        let pattern = pattern.trim_end().as_bytes();
        if devices.iter().any(|device| alias_matches(pattern, device.as_bytes())) {
            found(name);
        }
    }
}

/// Whether the kernel's alias `pattern` (`*`, `?`, `[0-9a]`) matches all of
/// `modalias`; `-` and `_` are equal outside of brackets. An unclosed bracket
/// matches nothing. Time is bounded by the product of the lengths.
pub fn alias_matches(pattern: &[u8], modalias: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, modalias);
    // Where to continue when what follows the last star does not match.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), text.split_first()) {
            (Some((b'*', rest)), _) => {
                star = Some((rest, text));
                pattern = rest;
                continue;
            }
            (None, None) => return true,
            (Some((head, rest)), Some((byte, after))) => {
                if let Some(rest) = step(*head, rest, *byte) {
                    (pattern, text) = (rest, after);
                    continue;
                }
            }
            _ => {}
        }
        // Only the last star is tried again: the shortest match of earlier ones is enough.
        let Some((rest, from)) = star else { return false };
        let Some((_, after)) = from.split_first() else { return false };
        star = Some((rest, after));
        (pattern, text) = (rest, after);
    }
}

/// Matches one byte against the pattern's element `head`; gives the rest of the pattern.
fn step(head: u8, rest: &[u8], byte: u8) -> Option<&[u8]> {
    match head {
        b'?' => Some(rest),
        b'[' => {
            let end = rest.iter().position(|b| *b == b']')?;
            let (set, after) = rest.split_at(end);
            set_has(set, byte).then(|| after.get(1..).unwrap_or(&[]))
        }
        _ => (fold(head) == fold(byte)).then_some(rest),
    }
}

/// `0-9a-f`, `abc`.
fn set_has(mut set: &[u8], byte: u8) -> bool {
    loop {
        set = match set {
            [low, b'-', high, rest @ ..] => {
                if (*low..=*high).contains(&byte) {
                    return true;
                }
                rest
            }
            [one, rest @ ..] => {
                if *one == byte {
                    return true;
                }
                rest
            }
            [] => return false,
        };
    }
}

fn fold(byte: u8) -> u8 {
    if byte == b'-' {
        b'_'
    } else {
        byte
    }
}

/// Appends to `params` the parameters that the kernel's command line has for the
/// module (`NAME.PARAM=VALUE`), separated by spaces, as modprobe does: the kernel
/// itself reads them only for built-in modules.
pub fn parameters(cmdline: &str, module: &str, params: &mut String) {
    for word in cmdline.split_ascii_whitespace() {
        let Some((name, param)) = word.split_once('.') else { continue };
        if same_name(name, module) && !param.is_empty() {
            if !params.is_empty() {
                params.push(' ');
            }
            params.push_str(param);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/net/core/failover.ko:
kernel/drivers/net/net_failover.ko.xz: kernel/net/core/failover.ko
kernel/drivers/net/virtio-net.ko: kernel/drivers/net/net_failover.ko.xz kernel/drivers/virtio/virtio_ring.ko
kernel/a.ko: kernel/b.ko
kernel/b.ko: kernel/a.ko
kernel/fs/ext4/ext4.ko:
kernel/crypto/crc32c_generic.ko:
";

    fn order(wanted: &str) -> Vec<&'static str> {
        let mut order = Vec::new();
        let softdep = "softdep ext4 pre: crypto-crc32c nothere post: a\nsoftdep b pre: virtio\n";
        let alias = "alias fs-ext4 ext4\nalias crypto-crc32c crc32c_intel\nalias crypto-crc32c crc32c_generic\n";
        load_order(&Texts { dep: DEP, softdep, alias }, wanted, &mut order);
        order.iter().map(|path| name(path)).collect()
    }

    /// Promise: soft-dependencies
    #[test]
    fn dependencies_come_first_and_once() {
        assert_eq!(order("virtio_pci"), ["virtio", "virtio_ring", "virtio_pci"]);
        // Direct dependencies only, as busybox writes them: followed.
        assert_eq!(order("virtio_net"), ["virtio", "virtio_ring", "failover", "net_failover", "virtio-net"]);
        // By an alias, and by a name.
        assert_eq!(order("ext4"), ["crc32c_generic", "ext4"]);
        assert_eq!(order("b").first(), Some(&"virtio"));
        assert_eq!(order("nothere"), [""; 0]);
    }

    #[test]
    fn a_loop_ends() {
        assert_eq!(order("a").len(), 3);
    }

    #[test]
    fn several_share_their_dependencies() {
        let (mut list, texts) = (Vec::new(), Texts { dep: DEP, ..Texts::default() });
        assert!(load_order(&texts, "virtio_pci", &mut list));
        assert!(load_order(&texts, "virtio-net", &mut list));
        assert!(!load_order(&texts, "nothere", &mut list));
        assert_eq!(list.len(), 6);
    }

    #[test]
    fn names_from_paths() {
        assert_eq!(name("kernel/drivers/net/virtio-net.ko.xz"), "virtio-net");
        assert_eq!(name("e1000e.ko"), "e1000e");
        assert_eq!(name("plain"), "plain");
        assert!(same_name("virtio-net", "virtio_net"));
        assert!(!same_name("virtio", "virtio_net"));
    }

    #[test]
    fn aliases_as_the_kernel_writes_them() {
        let virtio = b"pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00";
        assert!(alias_matches(b"pci:v00001AF4d*sv*sd*bc*sc*i*", virtio));
        assert!(!alias_matches(b"pci:v00008086d*sv*sd*bc*sc*i*", virtio));
        assert!(alias_matches(b"virtio:d00000001v*", b"virtio:d00000001v00001AF4"));
        assert!(!alias_matches(b"virtio:d00000001v*", b"virtio:d00000002v00001AF4"));
        assert!(alias_matches(b"usb:v0BDAp815[0-36]d*", b"usb:v0BDAp8153d3000"));
        assert!(alias_matches(b"usb:v0BDAp815[0-36]d*", b"usb:v0BDAp8156d3000"));
        assert!(!alias_matches(b"usb:v0BDAp815[0-36]d*", b"usb:v0BDAp8154d3000"));
        assert!(alias_matches(b"of:N*T*Cbrcm,bcm2711-genet-v5C*", b"of:NethernetT(null)Cbrcm,bcm2711_genet_v5Cx"));
        assert!(!alias_matches(b"mdio:0000000????1000*", b"mdio:00000001011000000"));
        assert!(alias_matches(b"mdio:0000000????1000*", b"mdio:00000001011100011"));
        assert!(alias_matches(b"*", b""));
        assert!(alias_matches(b"a*", b"a"));
        assert!(!alias_matches(b"a?", b"a"));
        assert!(!alias_matches(b"", b"a"));
        assert!(!alias_matches(b"a[0-9", b"a5"));
        assert!(alias_matches(b"*a*b", b"xaxbxaxb"));
    }

    #[test]
    fn many_stars_are_not_exponential() {
        let pattern = b"a*".repeat(200);
        let text = [b"a".repeat(4000), b"b".to_vec()].concat();
        assert!(alias_matches(&pattern, &text));
        assert!(!alias_matches(&[pattern, b"c".to_vec()].concat(), &text));
    }

    #[test]
    fn devices_find_their_modules() {
        let alias = "# Aliases\nalias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\nalias fs-ext4 ext4\n\
                     alias virtio:d00000001v* virtio_net\nalias broken\nalias virtio:d00000004v* virtio_rng";
        let mut found = Vec::new();
        let devices = ["virtio:d00000004v00001AF4".to_string(), "fs-ext4".into(), "virtio:d00000001v00001AF4".into()];
        for_devices(alias, &devices, &mut |name| found.push(name));
        assert_eq!(found, ["ext4", "virtio_net", "virtio_rng"]);
    }

    #[test]
    fn parameters_of_the_command_line() {
        let mut params = String::new();
        parameters(
            "quiet virtio_net.napi_tx=1 b2c.run=x virtio-net.csum=0 virtio_net. other.a=1",
            "virtio_net",
            &mut params,
        );
        assert_eq!(params, "napi_tx=1 csum=0");
    }
}
