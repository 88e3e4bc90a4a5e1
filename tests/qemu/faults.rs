//! Boots whose system calls fail: a service in the host's PID namespace makes the kernel fail calls of the boot and its
//! children while containers start and end.

use crate::lab::{lab, POWER_DOWN};

/// The number of containers in the pipeline and of faults: so few faults that the last containers meet none.
const STARTS: usize = 24;
const FAULTS: usize = 16;
/// A start makes about 700 calls, those of the child included.
const GAP: usize = 700;
/// The exit code of containers that start.
const CODE: &str = "7";

/// The seeds of this run: `FAULTS=all` takes more, `SEED=…` one.
fn seeds() -> Vec<u64> {
    if let Ok(seed) = std::env::var("SEED") {
        return vec![seed.parse().unwrap()];
    }
    let all = std::env::var_os("FAULTS").is_some_and(|value| value == "all");
    (1..=if all { 8 } else { 1 }).collect()
}

/// Promise: failing-boot
#[test]
fn starts_of_a_boot_whose_calls_fail() {
    let Some(lab) = lab() else { return };
    for seed in seeds() {
        let image = format!("--tls-verify=false docker://{}/payload", lab.registry.for_guest());
        let mut text = format!("b2c.run_service=\"--pid=host {image} inject-boot {seed} {FAULTS} {GAP}\"\n");
        for _ in 0..STARTS {
            text += &format!("b2c.run=\"-v named:/data {image} exit {CODE}\"\n");
        }
        for command in ["cat /proc/1/mounts", "ls /sys/fs/cgroup"] {
            text += &format!("b2c.run=\"--pid=host --cgroupns=host {image} {command}\"\n");
        }
        // More than the kernel takes on its line.
        let initramfs = lab.build("with-faults", |spec| spec.cmdline = Some(text.into_bytes()));
        let seen = lab.boot(&format!("faults_{seed}"), "", |machine| machine.initrd = initramfs);
        seen.ends(POWER_DOWN);
        seen.at("no more faults");
        let met = seen.count("fault: process ");
        let failed = seen.lines().filter(|line| line.contains("] FAIL ")).count();
        let codes: Vec<&str> = seen.lines().filter_map(|line| line.split("exit code ").nth(1)).collect();
        let ran = codes.iter().filter(|code| **code == CODE).count();
        println!("faults: a boot, seed {seed}: {met} met, {ran} of {STARTS} containers ran, {failed} FAIL");
        assert_eq!(met, FAULTS);
        assert!(failed >= STARTS - ran, "a container failed without a word");
        // The last two saw their own, and what the service may not have unmounted yet.
        assert_eq!(codes[codes.len() - 2..], ["0", "0"]);
        let roots = seen.lines().filter(|line| line.starts_with("overlay /var/lib/ocinit/containers/")).count();
        let groups = seen.lines().filter(|line| line.starts_with("ocinit.")).count();
        assert!((1..=2).contains(&roots) && (1..=2).contains(&groups), "{roots} roots, {groups} groups");
    }
}

/// Many calls in a row, since malloc asks by mmap(2) where brk(2) has failed. Which process of the boot they meet is a
/// matter of moments: a machine on which that is a container's start is booted again.
/// Promise: failing-boot
#[test]
fn a_boot_without_memory_ends_in_order() {
    let words = r#"b2c.run_service="--pid=host pull:payload inject-boot 1 50 1 memory" b2c.run="pull:payload exit 7"
        b2c.run="pull:payload exit 7" b2c.run="pull:payload exit 7" b2c.run="pull:payload exit 7""#;
    let Some(lab) = lab() else { return };
    let ended_the_boot = (0..5).any(|number| {
        let seen = lab.boot(&format!("faults_memory_{number}"), words, |_| ());
        seen.ends(POWER_DOWN);
        let told = seen.count("FAIL memory  the system has no more memory for this program");
        told > 0 && seen.count("FAIL init  the boot ended without ending the machine") == 1
    });
    assert!(ended_the_boot, "no lack of memory has ended a boot");
}
