//! Limits by control groups, and namespaces, on a kernel that has all of them:
//! what is asked for is read back inside.

use crate::lab::{boot, boot_with, disk, POWER_DOWN};
use ocinit::host::qemu::Disk;

/// Promise: limits
#[test]
fn limits_are_kept() {
    let Some(path) = disk("limits.img", 16, "OTHER") else { return };
    let read = |flags: &str, files: &str| {
        let files: Vec<String> = files.split(' ').map(|file| format!("/sys/fs/cgroup/{file}")).collect();
        format!(r#"b2c.run="{flags} pull:payload cat {}" "#, files.join(" "))
    };
    let words = [
        read("-m 64m --memory-reservation 32m", "memory.max memory.swap.max memory.low pids.max"),
        read("--memory=64m --memory-swap=80m --pids-limit=-1", "memory.swap.max pids.max"),
        read("--memory=64m --memory-swap=-1 --pids-limit 77", "memory.swap.max pids.max"),
        read(
            "--cpus=0.5 --cpu-shares=1024 --cpuset-cpus=0 --cpuset-mems=0",
            "cpu.max cpu.weight cpuset.cpus cpuset.mems",
        ),
        read("--cpu-quota=20000 --cpu-period=50000", "cpu.max"),
        read("--device-read-bps=/dev/vda:1mb --device-write-iops /dev/vda:9", "io.max"),
        read("--blkio-weight=500", "io.weight"),
        read("--cgroup-conf=memory.high=48M", "memory.high"),
        r#"b2c.run="--cgroup-conf=memory.none=1 pull:payload""#.into(),
        r#" b2c.run="--device-read-bps=/dev/null:1 pull:payload""#.into(),
    ];
    let add = |machine: &mut ocinit::host::qemu::Machine| {
        machine.disks.push(Disk { path, serial: String::new(), read_only: false, snapshot: false });
    };
    let Some(seen) = boot_with("limits", &words.concat(), add) else { return };
    seen.in_order(&["67108864", "67108864", "33554432", "2048", "16777216", "max", "max", "77"]);
    seen.in_order(&["50000 100000", "100", "0", "0", "20000 50000"]);
    let io = seen.says("254:0 ");
    assert!(io.contains("rbps=1048576") && io.contains("wiops=9") && io.contains("wbps=max"), "{io}");
    seen.in_order(&["default 4950", "50331648"]);
    seen.says("FAIL container  --cgroup-conf: memory.none=1: ");
    seen.says("FAIL container  --device-read-bps: /dev/null: is no block device");
    seen.ends(POWER_DOWN);
}

/// A kernel without a controller says which, and does not run what it could not keep in bounds.
/// Promise: limits
#[test]
fn a_controller_that_the_kernel_lacks() {
    let words = r#"b2c.run="--memory=64m pull:payload echo unlimited"
        b2c.run="pull:payload echo runs" b2c.run="--cpu-shares=2 pull:payload echo shared""#;
    let Some(seen) = boot_with("no_memory_controller", words, |machine| {
        machine.append.push_str(" cgroup_disable=memory");
    }) else {
        return;
    };
    seen.over(125, POWER_DOWN);
    seen.says("FAIL container  --memory: needs the controller 'memory': ");
    seen.never("unlimited");
    seen.in_order(&["runs", "shared"]);
}

/// Promise: namespaces
#[test]
fn namespaces_of_the_machine_and_of_its_own() {
    let words = r#"b2c.run="--pid=host pull:payload pid1" b2c.run="--cgroupns=host pull:payload cat /proc/self/cgroup"
        b2c.run="--net=none --sysctl=net.ipv4.ip_forward=1 pull:payload cat /proc/sys/net/ipv4/ip_forward"
        b2c.run="--sysctl=net.ipv4.ip_forward=1 pull:payload" b2c.run="pull:payload cat /proc/sys/net/ipv4/ip_forward"
        b2c.run="--read-only --tmpfs=/data pull:payload write /data/x yes" b2c.run="-v one:/w pull:payload write /w/x kept"
        b2c.run="-v one:/w:ro pull:payload cat /w/x""#;
    let Some(seen) = boot("shared_namespaces", words) else { return };
    seen.over(125, POWER_DOWN);
    assert!(seen.lines().any(|line| line.starts_with("0::/ocinit.")), "its group, from the root");
    seen.in_order(&["1", "0", "kept"]);
    seen.says("FAIL container  --sysctl net.ipv4.ip_forward: the network is the host's");
    seen.never("1 /payload pid1");
}
