//! `modules.dep` and `modules.alias`: the kernel modules that a device needs, in order.
//!
//! depmod(8) writes these files; their formats are in modules.dep(5) and, for
//! the rest, in kmod's sources. The texts are scanned and not indexed: a boot
//! makes few look-ups, and one pass over a file costs less than an index.

use crate::kernel::pure::modprobe;
use crate::kernel::pure::pattern::alias_matches;
pub use crate::kernel::pure::pattern::same_name;

/// A dependency chain longer than this is a loop in a faulty file: the longest of
/// a distribution's kernel is below ten.
const DEPTH_MAX: usize = 32;

/// The module's name in a path: `kernel/drivers/net/virtio-net.ko.xz` gives `virtio-net`.
pub fn name(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.find(".ko").map_or(file, |end| file.get(..end).unwrap_or(file))
}

/// Whether a module can be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    Found,
    /// `modules.dep` does not have it.
    Missing,
    /// Its path, or that of a module that it depends on: modprobe.d says that it is never loaded.
    Never(&'a str),
}

/// Appends to `order` the paths to load for the module `wanted`, dependencies
/// first, itself last, without those that `order` has already. Appends nothing
/// unless it is found.
pub fn load_order<'a>(texts: &Texts<'a>, wanted: &str, order: &mut Vec<&'a str>) -> Lookup<'a> {
    append(texts, wanted, order, DEPTH_MAX)
}

/// The texts that depmod(8) writes, and the user's; all but the first may be empty.
#[derive(Clone, Copy, Default)]
pub struct Texts<'a> {
    /// `modules.dep`
    pub dep: &'a str,
    /// `modules.softdep`
    pub softdep: &'a str,
    /// `modules.alias`
    pub alias: &'a str,
    /// Lines as in modprobe.d ([`modprobe`])
    pub conf: &'a str,
}

fn append<'a>(texts: &Texts<'a>, wanted: &str, order: &mut Vec<&'a str>, depth: usize) -> Lookup<'a> {
    let Some((path, needs)) = find(texts.dep, wanted) else { return Lookup::Missing };
    if order.contains(&path) || depth == 0 {
        return Lookup::Found;
    }
    if modprobe::install(texts.conf, name(path)).is_some_and(modprobe::is_nothing) {
        return Lookup::Never(path);
    }
    let start = order.len();
    for early in soft(texts.softdep, wanted).into_iter().chain(soft(texts.conf, wanted)) {
        if append(texts, early, order, depth - 1) == Lookup::Missing {
            // An alias that several modules have, as `crypto-crc32c`.
            for_devices(texts.alias, &[early.to_string()], &mut |name| {
                append(texts, name, order, depth - 1);
            });
        }
    }
    // depmod lists all dependencies, the first to load last; busybox's depmod lists
    // direct ones only. To follow each serves both.
    for need in needs.split_ascii_whitespace().rev() {
        if let Lookup::Never(need) = append(texts, name(need), order, depth - 1) {
            order.truncate(start);
            return Lookup::Never(need);
        }
    }
    if !order.contains(&path) {
        order.push(path);
    }
    Lookup::Found
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
        load_order(&Texts { dep: DEP, softdep, alias, conf: "" }, wanted, &mut order);
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
        assert_eq!(load_order(&texts, "virtio_pci", &mut list), Lookup::Found);
        assert_eq!(load_order(&texts, "virtio-net", &mut list), Lookup::Found);
        assert_eq!(load_order(&texts, "nothere", &mut list), Lookup::Missing);
        assert_eq!(list.len(), 6);
    }

    /// `install NAME /bin/true` keeps out what depends on it, too, and nothing else.
    /// Promise: modprobe-d
    #[test]
    fn what_modprobe_d_never_loads() {
        let conf = "install net_failover /bin/false\nblacklist virtio_pci\ninstall crc32c* /bin/true\n\
                    install virtio /sbin/modprobe virtio\nsoftdep ext4 pre: crc32c_generic virtio_ring\n";
        let texts = Texts { dep: DEP, conf, ..Texts::default() };
        let mut list = Vec::new();
        let never = Lookup::Never("kernel/drivers/net/net_failover.ko.xz");
        assert_eq!(load_order(&texts, "virtio_net", &mut list), never);
        assert_eq!(list, [""; 0]);
        assert_eq!(load_order(&texts, "virtio_pci", &mut list), Lookup::Found, "by its name");
        assert_eq!(load_order(&texts, "ext4", &mut list), Lookup::Found, "a soft dependency is not needed");
        let names: Vec<&str> = list.iter().map(|path| name(path)).collect();
        assert_eq!(names, ["virtio", "virtio_ring", "virtio_pci", "ext4"]);
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
    fn devices_find_their_modules() {
        let alias = "# Aliases\nalias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\nalias fs-ext4 ext4\n\
                     alias virtio:d00000001v* virtio_net\nalias broken\nalias virtio:d00000004v* virtio_rng";
        let mut found = Vec::new();
        let devices = ["virtio:d00000004v00001AF4".to_string(), "fs-ext4".into(), "virtio:d00000001v00001AF4".into()];
        for_devices(alias, &devices, &mut |name| found.push(name));
        assert_eq!(found, ["ext4", "virtio_net", "virtio_rng"]);
    }
}
