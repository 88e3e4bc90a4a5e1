//! The cache disk: it keeps images, and is clean after every boot.

use crate::lab::{boot_with, disk, lab, Seen, POWER_DOWN, SAFE};
use ocinit::host::qemu::{Disk, Machine};
use std::path::{Path, PathBuf};
use std::process::Command;

pub fn with_disk(path: &Path) -> impl FnOnce(&mut Machine) {
    let path = PathBuf::from(path);
    move |machine| machine.disks.push(Disk { path, serial: String::new(), read_only: false, snapshot: false })
}

/// What the file system's own checker says, without repairing anything.
pub fn clean(disk: &Path) {
    let output = Command::new("e2fsck").args(["-f", "-n"]).arg(disk).output().expect("e2fsck");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("recovering journal") && !text.contains("was not cleanly unmounted"), "{text}");
    // The checker alone would call a journal clean that needs a replay.
    let header = Command::new("dumpe2fs").arg("-h").arg(disk).output().expect("dumpe2fs");
    let header = String::from_utf8_lossy(&header.stdout).into_owned();
    assert!(!header.contains("needs_recovery"), "{header}");
}

fn pulled(seen: &Seen) -> usize {
    seen.lines().filter(|line| line.contains("] pull ") && line.contains(" layers, ")).count()
}

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
    seen.says("all layers are here already");
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
    seen.says("the image of an earlier pull is taken");
    clean(&disk);
}

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

/// Whatever is on the disk when the power goes, the next boot has whole files: a layer that was not synced is
/// fetched again, and one that was is not.
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
    seen.says("all layers are here already");
}
