//! The cache disk: it keeps images, and is clean after every boot.

use crate::lab::{boot_with, disk, lab, Seen, POWER_DOWN, SAFE};
use ocinit::host::qemu::{Disk, Machine};
use std::path::{Path, PathBuf};
use std::process::Command;

pub fn with_disk(path: &Path) -> impl FnOnce(&mut Machine) {
    let path = PathBuf::from(path);
    move |machine| machine.disks.push(Disk { path, serial: String::new(), read_only: false, snapshot: false })
}

/// The output of the file system's own checker, which repairs nothing.
pub fn clean(disk: &Path) {
    let output = Command::new("e2fsck").args(["-f", "-n"]).arg(disk).output().expect("e2fsck");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("recovering journal") && !text.contains("was not cleanly unmounted"), "{text}");
    // The checker alone calls a file system clean whose journal has to be replayed.
    let header = Command::new("dumpe2fs").arg("-h").arg(disk).output().expect("dumpe2fs");
    let header = String::from_utf8_lossy(&header.stdout).into_owned();
    assert!(!header.contains("needs_recovery"), "{header}");
}

fn pulled(seen: &Seen) -> usize {
    seen.lines().filter(|line| line.contains("] pull ") && line.contains(" layers, ")).count()
}

/// Promise: cache-disk-unmounted, cached-image-boots
#[test]
fn second_boot_fetches_nothing() {
    let Some(disk) = disk("cache.img", 64, "B2C_CACHE") else { return };
    let words = r#"b2c.cache_device=auto b2c.run="pull:layers echo one""#;
    let Some(seen) = boot_with("cache_first", words, with_disk(&disk)) else { return };
    seen.over(0, POWER_DOWN);
    assert_eq!(pulled(&seen), 1);
    clean(&disk);
    let words = r#"b2c.cache_device=/dev/vda b2c.run="pull:layers echo two""#;
    let Some(seen) = boot_with("cache_second", words, with_disk(&disk)) else { return };
    seen.over(0, POWER_DOWN);
    seen.at("two");
    assert_eq!(pulled(&seen), 0);
    seen.says("all layers are stored already");
    clean(&disk);
    // The registry is away: what is cached runs.
    let words = r#"b2c.cache_device=auto b2c.run="pull:layers echo three""#;
    let Some(seen) = boot_with("cache_no_registry", words, |machine| {
        with_disk(&disk)(machine);
        machine.network = ocinit::host::qemu::Network::User(vec!["restrict=on".into()]);
    }) else {
        return;
    };
    seen.over(0, POWER_DOWN);
    seen.at("three");
    seen.says("using the image of an earlier pull");
    clean(&disk);
}

/// Promise: cache-disk-unmounted
#[test]
fn clean_after_failures() {
    let Some(disk) = disk("failing.img", 64, "B2C_CACHE") else { return };
    let words =
        r#"b2c.cache_device=auto b2c.run="pull:payload crash" b2c.run="pull:nothing" b2c.run="pull:payload reboot""#;
    let Some(seen) = boot_with("cache_failing", words, with_disk(&disk)) else { return };
    seen.says("FAIL pull");
    clean(&disk);
}

/// Even a crash of the init ends with the disk unmounted.
#[test]
fn clean_after_a_crash() {
    let Some(disk) = disk("crashing.img", 64, "B2C_CACHE") else { return };
    let words = r#"b2c.cache_device=auto b2c.run="-v /proc:/machine pull:payload break-init /machine""#;
    let Some(seen) = boot_with("cache_crash", words, with_disk(&disk)) else { return };
    seen.says("FAIL init  crashed: signal 4");
    seen.ends(POWER_DOWN);
    clean(&disk);
}

/// After a power cut the next boot has whole files: a layer that was not synced is fetched again, a synced one is not.
/// Promise: power-cut
#[test]
fn power_cut() {
    let Some(lab) = lab() else { return };
    let Some(disk) = disk("power.img", 64, "B2C_CACHE") else { return };
    let words = r#"b2c.cache_device=auto b2c.run="pull:layers cat /turned/inside""#;
    for (name, moment) in [("power_pull", "layer 1/"), ("power_start", "top")] {
        lab.boot_until(name, words, with_disk(&disk), moment).never(SAFE);
    }
    let Some(seen) = boot_with("power_after", words, with_disk(&disk)) else { return };
    seen.over(0, POWER_DOWN);
    seen.at("top");
    clean(&disk);
    let Some(seen) = boot_with("power_later", words, with_disk(&disk)) else { return };
    seen.over(0, POWER_DOWN);
    seen.says("all layers are stored already");
}

/// Everything on a disk except ocinit's directory: kind, mode, owner, time, content, target of a link.
fn content(disk: &Path) -> String {
    let dumped = disk.with_extension("dumped");
    let _ = std::fs::remove_dir_all(&dumped);
    std::fs::create_dir(&dumped).unwrap();
    let command = format!("rdump / {}", dumped.display());
    assert!(Command::new("debugfs").arg("-R").arg(command).arg(disk).status().expect("debugfs").success());
    let list = r#"find . -mindepth 1 -path ./ocinit -prune -o \( -type l -printf '%P %y %U:%G %l\n' \
        -o -printf '%P %y %m %U:%G %T@\n' \) | sort
        find . -path ./ocinit -prune -o -type f -print | sort | xargs sha256sum"#;
    let listed = Command::new("sh").arg("-c").arg(list).current_dir(&dumped).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    String::from_utf8(listed.stdout).unwrap()
}

/// An ext4 disk of somebody else's: with a store's names on it, and more.
pub fn somebodys(name: &str, more: impl FnOnce(&Path)) -> Option<PathBuf> {
    let lab = lab()?;
    let (disk, files) = (lab.dir.join(format!("{name}.img")), lab.dir.join(name));
    for part in ["tmp", "containers", "layers", "blobs", "configs", "images", "volumes", "empty", ".tried", "home"] {
        std::fs::create_dir_all(files.join(part).join("0/upper")).unwrap();
        std::fs::write(files.join(part).join("0/letter"), part).unwrap();
    }
    std::fs::write(files.join("tmp/0/pull.0"), "earlier-boot\nlayers/0\n").unwrap();
    for link in ["layers/x", "tmp/1", "containers/1", "volumes/named"] {
        std::os::unix::fs::symlink("../home", files.join(link)).unwrap();
    }
    more(&files);
    std::fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F", "-L", "B2C_CACHE", "-d"]).arg(&files).arg(&disk).status();
    assert!(made.expect("mkfs.ext4").success());
    Some(disk)
}

/// Promise: foreign-directories
#[test]
fn a_disk_keeps_what_somebody_else_has_on_it() {
    let Some(disk) = somebodys("somebodys", |_| ()) else { return };
    let before = content(&disk);
    assert!(before.contains("tmp/0/letter f 644") && before.contains("layers/x l 0:0 ../home"), "{before}");
    let words = r#"b2c.cache_device=/dev/vda b2c.run="--nonsense pull:layers""#;
    let Some(seen) = boot_with("theirs_refused", words, with_disk(&disk)) else { return };
    seen.says("FAIL options  b2c.run: --nonsense");
    assert_eq!(content(&disk), before);
    for (name, device, pulls) in [("theirs", "/dev/vda", 1), ("theirs_again", "auto", 0)] {
        let words = format!(r#"b2c.cache_device={device} b2c.run="-v named:/n pull:layers echo one""#);
        let Some(seen) = boot_with(name, &words, with_disk(&disk)) else { return };
        seen.over(0, POWER_DOWN);
        seen.at("one");
        seen.says("ext4, its directory 'ocinit' at /var/lib/ocinit");
        assert_eq!(pulled(&seen), pulls);
        clean(&disk);
        assert_eq!(content(&disk), before);
    }
}

/// A directory with the name of ocinit's but without its mark; and a store with parts that are links out of it.
/// Promise: foreign-directories
#[test]
fn a_directory_that_is_not_ours_is_left_alone() {
    let foreign = |files: &Path| {
        std::fs::create_dir_all(files.join("ocinit/tmp/0")).unwrap();
        std::fs::write(files.join("ocinit/tmp/letter"), "kept").unwrap();
    };
    let link = |files: &Path| std::os::unix::fs::symlink("home", files.join("ocinit")).unwrap();
    let leads_out = |files: &Path| {
        std::fs::create_dir(files.join("ocinit")).unwrap();
        std::fs::write(files.join("ocinit/ocinit-store"), "1\n").unwrap();
        std::os::unix::fs::symlink("../home", files.join("ocinit/tmp")).unwrap();
    };
    let disks = [
        (
            "foreign",
            somebodys("foreign", foreign),
            "its directory 'ocinit' is not empty and has no file 'ocinit-store'",
        ),
        ("link", somebodys("link", link), "'ocinit' is a symbolic link, which is not followed; images are kept in mem"),
        ("out", somebodys("out", leads_out), "'tmp' is a symbolic link, which is not followed; the disk is left alone"),
    ];
    for (name, disk, why) in disks {
        let Some(disk) = disk else { return };
        let before = content(&disk);
        let words = r#"b2c.cache_device=/dev/vda b2c.run="pull:payload echo one""#;
        let Some(seen) = boot_with(&format!("not_ours_{name}"), words, with_disk(&disk)) else { return };
        seen.over(0, POWER_DOWN);
        seen.at("one");
        seen.says(why);
        clean(&disk);
        assert_eq!(content(&disk), before, "{name}");
        if name == "foreign" {
            let listed = Command::new("debugfs").args(["-R", "cat /ocinit/tmp/letter"]).arg(&disk).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&listed.stdout), "kept");
        }
    }
}
