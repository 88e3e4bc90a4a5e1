//! What containers get, and what ocinit gets back from them.

use crate::lab::{boot, lab, POWER_DOWN};
use std::process::Command;

/// Promise: console-texts
#[test]
fn hello() {
    let Some(seen) = boot("hello", r#"b2c.run="pull:payload""#) else { return };
    seen.over(0, POWER_DOWN);
    seen.at("Hello from a container");
    seen.says("host name boot2container, process 1");
    // Between the container and the end there are only the three texts that boot2container prints.
    let after = seen.lines().skip(seen.at("Execution is over, pipeline status: 0"));
    let after: Vec<&str> = after.filter(|line| !line.is_empty()).collect();
    assert_eq!(after.len(), 3, "{after:?}");
    seen.never("WARN");
    seen.never("FAIL");
}

#[test]
fn command_line() {
    let words = r#"b2c.run="-w /data pull:payload cwd" b2c.run="pull:payload args 'a b' c=d"
        b2c.run="-e A=1 --env B=2 --env=C=3 -e FROM=line pull:payload env"
        "b2c.run=--entrypoint /payload pull:payload echo whole word quoted"
        b2c.run="--entrypoint=payload pull:payload echo found in PATH"
        b2c.container="pull:payload echo the older spelling" b2c.run="--hostname other pull:payload hostname"
        b2c.run="-dq --label a=b pull:payload echo ignored""#;
    let Some(seen) = boot("command_line", words) else { return };
    seen.over(0, POWER_DOWN);
    seen.in_order(&["/data", "[a b]", "[c=d]"]);
    seen.in_order(&["PATH=/bin:/", "FROM=line", "A=1", "B=2", "C=3"].map(|line| line));
    seen.in_order(&["whole word quoted", "found in PATH", "the older spelling", "other", "ignored"]);
    seen.at("HOME=/root");
    seen.at("container=podman");
    seen.says("WARN --detach has no effect here");
}

/// Promise: pipeline-variables
#[test]
fn variables_and_pipefail() {
    let words = r#"b2c.run="pull:payload exit 7"
        b2c.run="pull:payload echo before=$B2C_PIPELINE_PREV_CONTAINER_EXIT_CODE"
        b2c.run="pull:payload env" b2c.run="pull:payload exit 9"
        b2c.run_post="pull:payload echo after=${B2C_PIPELINE_STATUS}""#;
    let Some(seen) = boot("variables", words) else { return };
    // The first failing code, not the last.
    seen.over(7, POWER_DOWN);
    seen.in_order(&["before=7", "B2C_PIPELINE_STATUS=7", "B2C_PIPELINE_PREV_CONTAINER_EXIT_CODE=0", "after=7"]);
    assert!(seen.says("B2C_PIPELINE_FAILED_BY=").ends_with("/payload exit 7"));
    seen.at("B2C_PIPELINE_SHUTDOWN_MODE=default");

    let words = r#"b2c.pipefail b2c.run="pull:payload exit 3" b2c.run="pull:payload echo not reached"
        b2c.post_container="pull:payload exit 5" b2c.post_container="pull:payload echo post""#;
    let Some(seen) = boot("pipefail", words) else { return };
    seen.over(3, POWER_DOWN);
    seen.at("post");
    seen.never("not reached");

    // What post containers end with is no result of the pipeline.
    let words = r#"b2c.run="pull:payload echo good" b2c.run_post="pull:payload exit 5" b2c.run_post="pull:nothing"
        b2c.run_post="pull:payload env""#;
    let Some(seen) = boot("post_fails", words) else { return };
    seen.over(0, POWER_DOWN);
    seen.says("FAIL pull");
    seen.in_order(&["B2C_PIPELINE_STATUS=0", "B2C_PIPELINE_FAILED_BY=", "B2C_PIPELINE_PREV_CONTAINER_EXIT_CODE=125"]);
}

#[test]
fn identities() {
    let words = r#"b2c.run="pull:payload id" b2c.run="pull:guest id" b2c.run="pull:guest cwd"
        b2c.run="pull:guest env HOME"
        b2c.run="--user 5:6 pull:payload id" b2c.run="--user guest:users pull:payload env HOME"
        b2c.run="pull:payload caps""#;
    let Some(seen) = boot("identities", words) else { return };
    seen.over(0, POWER_DOWN);
    seen.in_order(&["Uid: 0 0 0 0", "Gid: 0 0 0 0"]);
    seen.in_order(&["Uid: 1000 1000 1000 1000", "Gid: 100 100 100 100", "Groups: 77 100"]);
    seen.in_order(&["/home/guest", "/home/guest", "Uid: 5 5 5 5", "Gid: 6 6 6 6", "/home/guest"]);
    // --privileged: everything, no filter.
    seen.in_order(&["CapEff: 000001ffffffffff", "CapBnd: 000001ffffffffff", "NoNewPrivs: 0", "Seccomp: 0"]);
}

/// Promise: own-namespaces
#[test]
fn terminals() {
    let words = r#"b2c.run="pull:payload tty" b2c.run="-t pull:payload tty" b2c.run="-ti pull:payload fds"
        b2c.run="-t pull:payload stat /dev/console /dev/pts/0" b2c.run="-t pull:payload env TERM" b2c.run="pull:payload fds"
        b2c.run="pull:payload echo -n no end of line""#;
    let Some(seen) = boot("terminals", words) else { return };
    seen.over(0, POWER_DOWN);
    seen.in_order(&["false false false", "true true true", "0 /dev/pts/0", "1 /dev/pts/0", "2 /dev/pts/0"]);
    assert!(seen.says("/dev/pts/0 character").contains(" 136:0 "), "the first terminal of its own");
    assert!(seen.says("/dev/console symlink").contains("/dev/pts/0"), "and a link to it, as crun has it");
    seen.at("xterm");
    // Without a terminal a container has /dev/null and two pipes, and no other descriptor.
    let start = seen.at("0 /dev/null");
    let rest: Vec<&str> = seen.lines().skip(start + 1).take(3).collect();
    assert!(
        rest[0].starts_with("1 pipe:") && rest[1].starts_with("2 pipe:") && rest[2].contains("exit code 0"),
        "{rest:?}"
    );
    assert!(!seen.lines().any(|line| line.starts_with("3 ")), "no other one is open");
    // A log section that the container leaves open is closed before ocinit's next line.
    seen.at("no end of line");
}

/// Promise: own-namespaces
#[test]
fn namespaces_and_mounts() {
    let words = r#"b2c.run="pull:payload pid1" b2c.run="pull:payload mounts"
        b2c.run="pull:payload cat /sys/fs/cgroup/cgroup.controllers /proc/self/cgroup"
        b2c.run="pull:payload write /sys/fs/cgroup/cgroup.subtree_control +pids" b2c.run="pull:payload ls /dev"
        b2c.run="pull:payload orphan""#;
    let Some(seen) = boot("namespaces", words) else { return };
    seen.at("1 /payload pid1");
    for start in [
        "overlay / overlay rw",
        "proc /proc proc rw",
        "sysfs /sys sysfs rw",
        "tmpfs /dev tmpfs rw",
        "devpts /dev/pts devpts rw",
        "mqueue /dev/mqueue mqueue rw",
        "shm /dev/shm tmpfs rw",
        "cgroup2 /sys/fs/cgroup cgroup2 rw",
    ] {
        assert!(seen.lines().any(|line| line.starts_with(start)), "mounts: {start}");
    }
    // Eight file systems, four files, and none of ours.
    assert_eq!(seen.lines().filter(|line| line.ends_with(" 0 0")).count(), 12);
    let controllers = seen.says("memory");
    for controller in ["cpuset", "cpu", "io", "pids"] {
        assert!(controllers.split(' ').any(|word| word == controller), "{controllers}");
    }
    // A namespace of its own: its group is the root it sees.
    seen.at("0::/");
    for device in ["fd", "full", "null", "ptmx", "pts", "random", "shm", "tty", "urandom", "zero"] {
        seen.at(device);
    }
    // As with podman: process 1 of a container is the image's own, and so is the reaping of its orphans.
    seen.says("orphaned parent=0 ");
}

#[test]
fn networks() {
    let words = r#"b2c.run="--net=none pull:payload ls /sys/class/net"
        b2c.run="--net=none pull:payload cat /sys/class/net/lo/flags"
        b2c.run="pull:payload cat /etc/resolv.conf /etc/hosts"
        b2c.run="--network host pull:payload ls /sys/class/net"
        b2c.run="--dns=none pull:payload stat /etc/resolv.conf""#;
    let Some(seen) = boot("networks", words) else { return };
    seen.over(0, POWER_DOWN);
    // 0x9: a loopback (8) that is up (1), as podman has it.
    seen.in_order(&["lo", "0x9", "nameserver 10.0.2.3", "eth0", "lo"]);
    assert_eq!(seen.lines().filter(|line| *line == "lo").count(), 2);
    seen.at("127.0.0.1\tlocalhost");
    seen.at("10.0.2.15\thost.containers.internal");
    seen.says("/etc/resolv.conf No such file");
}

#[test]
fn volumes() {
    let words = r#"b2c.run="-v /tmp:/w:rw pull:payload write /w/a kept"
        b2c.run="-v /tmp:/r:ro pull:payload write /r/b no"
        b2c.run="-v /tmp:/deep/er/r:ro -w /deep/er/r pull:payload cat a"
        b2c.run="-v /proc/version:/v pull:payload cat /v" b2c.run="-v /none:/w pull:payload""#;
    let Some(seen) = boot("volumes", words) else { return };
    seen.over(1, POWER_DOWN);
    seen.says("write: Read-only file system");
    seen.at("kept");
    seen.says("Linux version");
    seen.says("FAIL container  volume /none: ");
}

#[test]
fn every_kind_of_image() {
    let words = r#"b2c.run="pull:layers stat /data/gone /data/kept /data/twin
        /opaque /opaque/hidden /opaque/shown /turned /turned/inside /link"
        b2c.run="pull:index ls /" b2c.run="pull:layers cat /link" b2c.run="pull:guest hello""#;
    let Some(seen) = boot("images", words) else { return };
    seen.over(0, POWER_DOWN);
    for start in [
        "/data/gone No such file",
        "/data/kept file 0640 7:8 5 2 ",
        "/data/twin file 0640 7:8 5 2 ",
        "/opaque directory 0750 0:0 ",
        "/opaque/hidden No such file",
        "/opaque/shown file ",
        "/turned directory 0755 ",
        "/turned/inside file ",
        "/link symlink 0777 ",
    ] {
        assert!(seen.lines().any(|line| line.starts_with(start)), "{start}");
    }
    seen.at("own");
    assert!(seen.lines().all(|line| line != "other"), "the other platform's image");
    // The same image and the same layer again: nothing is fetched.
    assert_eq!(seen.count("all layers are stored already"), 2);
}

/// Promise: archives
#[test]
fn image_in_the_initramfs_without_a_network() {
    let Some(lab) = lab() else { return };
    let archive = lab.dir.join("payload.tar.gz");
    let tar = Command::new("tar").arg("-C").arg(lab.dir.join("payload")).arg("-czf").arg(&archive).arg(".").status();
    assert!(tar.expect("tar").success());
    let initramfs = lab.build("with-image", |spec| {
        let images = [(lab.dir.join("payload"), "images/payload".into()), (archive, "images/payload.tar.gz".into())];
        spec.added.extend(images);
    });
    let words = [
        r#"b2c.run="oci:/images/payload:latest echo from a directory""#,
        r#"b2c.run="oci-archive:/images/payload.tar.gz echo from a file""#,
    ];
    let seen = lab.boot("no_network_card", &words.join(" "), |machine| {
        machine.network = ocinit::host::qemu::Network::None;
        machine.initrd = initramfs;
        machine.icount = true;
    });
    seen.over(0, POWER_DOWN);
    seen.at("from a directory");
    seen.at("from a file");
    seen.says("WARN");
}

/// Promise: device-list
#[test]
fn devices_that_are_allowed() {
    let line = |flags: &str, path: &str| {
        let flags = format!("--privileged=false {flags} pull:payload write {path} text");
        format!("b2c.run=\"{flags}\" b2c.run=\"pull:payload echo code=$B2C_PIPELINE_PREV_CONTAINER_EXIT_CODE\" ")
    };
    // The kernel's log, 1:11, is none of the default devices.
    let words = [
        line("-v /dev:/machine:dev", "/machine/null"),
        line("-v /dev:/machine:dev", "/machine/kmsg"),
        line("--device-cgroup-rule 'c 1:11 w' -v /dev:/machine:dev", "/machine/kmsg"),
        line("--device /dev/kmsg:r", "/dev/kmsg"),
        line("--device /dev/kmsg:w", "/dev/kmsg"),
        line("--privileged -v /dev:/machine:dev", "/machine/kmsg"),
    ];
    let Some(seen) = boot("devices", &words.concat()) else { return };
    seen.over(1, POWER_DOWN);
    seen.in_order(&["code=0", "code=1", "code=0", "code=1", "code=0", "code=0"]);
    assert_eq!(seen.lines().filter(|line| *line == "write: Operation not permitted (os error 1)").count(), 2);
    seen.never("left out");
}
