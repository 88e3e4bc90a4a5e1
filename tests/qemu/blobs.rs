//! Layers that need no unpacking, with and without the kernel modules that mount them.

use crate::lab::{boot, disk, lab, Lab, POWER_DOWN};
use crate::support::images;
use ocinit::host::image::{tar, Entry, Image};
use ocinit::host::modules::{self, Profile};
use ocinit::host::qemu::Disk;

/// Puts `squashfs` (one layer) and `mixed` (an erofs, and a tar that links to its file) into the registry.
fn push(lab: &Lab, dir: &str) -> Option<()> {
    let dir = lab.dir.join(dir);
    let directory = dir.join("erofs");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("kept"), "in the erofs\n").unwrap();
    std::fs::write(directory.join("gone"), "in the erofs\n").unwrap();
    let squashfs = images::squashfs(&dir, &lab.payload)?;
    let file = dir.join("layer.erofs");
    let words = ["--quiet", "--all-root", "-zlz4hc", &file.to_string_lossy(), &directory.to_string_lossy()];
    let erofs = images::packed(&file, "mkfs.erofs", &words, b"")?;
    let top = tar(&[Entry::hardlink("twin", "kept"), Entry::file(".wh.gone", 0o644, "")]);
    let mixed = Image {
        layers: vec![squashfs.layers[0].clone(), erofs, top],
        config: squashfs.config.clone(),
        ..images::payload(&[])
    };
    images::push(&lab.registry, &dir, "squashfs", squashfs);
    images::push(&lab.registry, &dir, "mixed", mixed);
    Some(())
}

/// In memory, then from the disk: the modules are loaded when such a layer is met, and no loop device stays bound.
/// Promise: packed-layers
#[test]
fn packed_layers() {
    let Some(lab) = lab() else { return };
    let (Some(()), Some(path)) = (push(&lab, "packed"), disk("blobs.img", 64, "B2C_CACHE")) else { return };
    let names = ["squashfs", "erofs"].map(String::from);
    let initramfs = lab.build("with-squashfs", |spec| {
        spec.modules = Some(modules::select(&lab.modules, Profile::Vm, &names).unwrap());
    });
    let words = r#"b2c.run="pull:squashfs" b2c.run="pull:mixed stat /twin /gone" b2c.run="pull:mixed cat /twin"
        b2c.run="pull:payload stat /sys/block/loop0 /sys/block/loop0/loop /sys/block/loop1/loop""#;
    for cache in ["none", "auto"] {
        let seen =
            lab.boot(&format!("blobs, cache {cache}"), &format!("b2c.cache_device={cache} {words}"), |machine| {
                machine.initrd = initramfs.clone();
                machine.disks.push(Disk {
                    path: path.clone(),
                    serial: String::new(),
                    read_only: false,
                    snapshot: false,
                });
            });
        seen.over(0, POWER_DOWN);
        seen.at("Hello from a container");
        seen.at("in the erofs");
        seen.never("WARN");
        assert!(seen.says("/twin file").contains(" 0644 0:0 "));
        for gone in ["/gone", "/sys/block/loop0/loop", "/sys/block/loop1/loop"] {
            seen.says(&format!("{gone} No such file"));
        }
        seen.says("/sys/block/loop0 symlink");
        seen.never("blockdev");
        assert_eq!((seen.count("drivers    squashfs"), seen.count("drivers    erofs")), (1, 1));
    }
    crate::cache::clean(&path);
}

/// Promise: lying-packed-layers
#[test]
fn kernel_without_squashfs() {
    let Some(lab) = lab() else { return };
    if push(&lab, "without").is_none() {
        return;
    }
    let Some(seen) = boot("no-squashfs", r#"b2c.run="pull:squashfs""#) else { return };
    seen.over(125, POWER_DOWN);
    seen.golden("no-squashfs");
}
