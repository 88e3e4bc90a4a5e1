//! Services, volumes, and what is pulled while something else runs.

use crate::cache::{clean, with_disk};
use crate::lab::{boot, boot_with, disk, lab, OVER, POWER_DOWN, REBOOTING, RESTART};
use crate::support::images;
use ocinit::host::qemu::Machine;
use std::time::Duration;

/// Promise: services
#[test]
fn services() {
    let Some(lab) = lab() else { return };
    let mut image = images::payload(&lab.payload);
    image.config["StopSignal"] = "USR1".into();
    images::push(&lab.registry, &lab.dir, "asked-by-usr1", image);
    let words = r#"b2c.run_service="pull:asked-by-usr1 trap 10" b2c.service="pull:payload exit 3"
        b2c.run_service="pull:payload halves 200" b2c.run="pull:payload echo the pipeline runs" b2c.pipefail
        b2c.run="pull:payload env B2C_PIPELINE_STATUS" b2c.run_post="pull:payload echo the post container runs""#;
    let seen = lab.boot("services", words, |_| ());
    // A service that ends is told, and is no failure of the pipeline.
    seen.over(0, POWER_DOWN);
    assert!(seen.says("WARN ").ends_with("/payload:latest: has ended, exit code 3"));
    let started: Vec<&str> = seen.lines().filter(|line| line.ends_with(": started")).collect();
    assert_eq!(started.len(), 3, "{started:?}");
    seen.in_order(&["the pipeline runs", "0", "the post container runs"]);
    assert!(seen.lines().position(|line| line.ends_with(": started")) < Some(seen.at("the pipeline runs")));
    // Asked to end by the image's own signal, when all else has run.
    let stopped = |line: &str| line.ends_with("/asked-by-usr1:latest: stopped, exit code 10");
    assert!(seen.lines().position(stopped) > Some(seen.at("the post container runs")));
    seen.says("/payload:latest: stopped, exit code 15");
    for n in 0..200 {
        seen.at(&format!("half {n:03} and half"));
    }
}

/// Promise: services
#[test]
fn services_that_cannot_be_had_and_that_do_not_end() {
    let words = r#"b2c.run_service="pull:payload sleep 1000" b2c.run_service="pull:nothing"
        b2c.run="pull:payload exit 4""#;
    let Some(seen) = boot("service_missing", words) else { return };
    seen.over(125, POWER_DOWN);
    seen.says("FAIL pull");
    seen.says("exit code 4");
    // Process 1 of a namespace does not hear a signal that it does not catch.
    seen.says(": stopped, exit code 137");
}

/// Promise: services
#[test]
fn service_that_reboots() {
    let words = r#"b2c.run_service="pull:payload reboot" b2c.run="pull:payload sleep 2"
        b2c.run="pull:payload echo not reached""#;
    let Some(seen) = boot("service_reboots", words) else { return };
    seen.over(0, RESTART);
    seen.at(REBOOTING);
    seen.never("not reached");
}

/// Containers of the pipeline in the namespaces of a service, and with its volumes, by its name.
/// Promise: services-by-name
#[test]
fn services_are_shared_by_name() {
    let words = r#"b2c.run_service="--name db --net=none -v rows:/rows -v /proc/version:/v:ro pull:payload trap 15"
        b2c.run_service="--name listener -v rows:/rows pull:payload await /rows/note"
        b2c.run="--pid=container:db pull:payload pid1" b2c.run="--pid=container:db pull:payload ls /proc"
        b2c.run="--network=container:db pull:payload ls /sys/class/net"
        b2c.run="--ipc=container:db pull:payload write /dev/shm/there kept"
        b2c.run="--ipc=container:db pull:payload cat /dev/shm/there"
        b2c.run="--volumes-from=db:ro pull:payload write /rows/no text"
        b2c.run="--volumes-from db pull:payload write /rows/note 'from the pipeline'"
        b2c.run="--volumes-from db pull:payload cat /rows/note /v"
        b2c.run="--name=db pull:payload echo not reached" b2c.run="--pid=container:nobody pull:payload""#;
    let Some(seen) = boot("services_by_name", words) else { return };
    // The read-only volume could not be written to.
    seen.over(1, POWER_DOWN);
    let first = seen.lines().find(|line| line.ends_with(" /payload trap 15")).expect("the service's process 1");
    let own: u32 = first.split(' ').next().unwrap().parse().unwrap();
    assert!(own > 1, "it is not the first in the service's processes: {first}");
    // And no process of the machine is there: the service's, its own.
    let numbers = seen.lines().filter_map(|line| line.parse::<u32>().ok()).collect::<Vec<_>>();
    assert_eq!((numbers.len(), numbers[0]), (2, 1), "{numbers:?}");
    seen.in_order(&["lo", "kept", "write: Read-only file system (os error 30)", "from the pipeline"]);
    seen.says("Linux version ");
    assert!(seen.lines().all(|line| line != "eth0"), "the network of the machine");
    // What the pipeline has written is seen by another service.
    seen.at("/rows/note is there");
    seen.says("FAIL container  --name: 'db' is the name of a running container");
    seen.says("FAIL container  --pid: no running container is named 'nobody'");
    seen.never("not reached");
    seen.says("/payload:latest: stopped, exit code 15");
}

/// The images of the next containers come while the first one runs, once each.
/// Promise: next-images
#[test]
fn next_images_are_pulled_meanwhile() {
    let Some(lab) = lab() else { return };
    let names = ["next-one", "next-post"];
    for name in names {
        let image = images::marked(&lab.payload, name);
        images::push(&lab.registry, &lab.dir, name, image);
    }
    let host = lab.registry.for_guest();
    let words = format!(
        r#"b2c.run="-v /var/lib/ocinit/images:/i pull:payload await /i/{host}%2Fnext-post:latest+amd64+v1"
        b2c.run="pull:next-one echo one" b2c.run="pull:nothing" b2c.run_post="pull:next-post echo post""#
    );
    let seen = lab.boot("ahead", &words, |machine| machine.memory_mb = 512);
    seen.over(125, POWER_DOWN);
    seen.in_order(&["one", "post"]);
    assert_eq!(seen.count("all layers are stored already"), 2);
    for name in names {
        // Its configuration, and the layer that the first image does not have.
        assert_eq!(lab.registry.requests(&format!("GET /v2/{name}/blobs/")), 2, "{name}");
    }
    // It says nothing: what cannot be pulled is told once, by the real pull.
    assert_eq!(seen.count("FAIL pull"), 1);
    seen.never("WARN");
}

/// Promise: named-volumes, filesystem-as-cache
#[test]
fn volumes_are_filled_kept_and_removed() {
    let Some(cache) = disk("volumes.img", 64, "B2C_CACHE") else { return };
    let Some(data) = disk("data.img", 32, "DATA") else { return };
    let words = r#"b2c.cache_device=LABEL=B2C_CACHE b2c.filesystem=data,type=ext4,src=LABEL=DATA,opts=noatime
        b2c.volume=perm,filesystem=data b2c.volume=tmp,expiration=pipeline_end"#;
    let first = [
        words,
        r#" b2c.run="-v home:/home/guest pull:guest stat /home/guest" b2c.run="-v home:/h pull:payload write /h/a kept"
        b2c.run="-v tmp:/etc pull:payload cat /etc/group" b2c.run="-v tmp:/t pull:payload stat /t/group"
        b2c.run="-v perm:/p -v home:/h:ro pull:payload write /p/b on a disk of its own""#,
    ];
    let disks = |machine: &mut _| {
        with_disk(&cache)(machine);
        with_disk(&data)(machine);
    };
    let Some(seen) = boot_with("volumes_first", &first.concat(), disks) else { return };
    seen.over(0, POWER_DOWN);
    assert_eq!(seen.count("/home/guest directory 0700 1000:100 "), 1);
    seen.at("users:x:100:");
    seen.says("/t/group file 0644");
    [&cache, &data].iter().for_each(|disk| clean(disk));
    let second = [
        words,
        r#" b2c.run="-v home:/h -v perm:/p pull:payload cat /h/a /p/b"
        b2c.run="-v /var/lib/ocinit/volumes:/v pull:payload ls /v""#,
    ];
    let Some(seen) = boot_with("volumes_second", &second.concat(), disks) else { return };
    seen.over(0, POWER_DOWN);
    seen.in_order(&["kept", "on a disk of its own", "home"]);
    assert!(seen.lines().all(|line| line != "tmp"), "it has expired");
    [&cache, &data].iter().for_each(|disk| clean(disk));
}

/// Promise: filesystem-as-cache
#[test]
fn a_filesystem_as_the_cache() {
    let Some(data) = disk("named.img", 64, "ANY") else { return };
    let words = r#"b2c.filesystem=data,type=ext4,src=/dev/vda b2c.cache_device=data
        b2c.run="pull:layers echo cached""#;
    let Some(seen) = boot_with("named_cache", words, with_disk(&data)) else { return };
    seen.over(0, POWER_DOWN);
    seen.at("cached");
    clean(&data);
    let Some(seen) = boot_with("named_cache_again", words, with_disk(&data)) else { return };
    assert_eq!(seen.count(" layers, "), 0, "the cache was kept");
}

/// Among the machine's processes, with the console for its output.
/// Promise: left-behind
#[test]
fn what_is_left_behind_and_writes_holds_nobody() {
    let words = r#"b2c.run="--pid=host pull:payload leave-flood 7" b2c.run="pull:payload echo next""#;
    let Some(seen) = boot_with("left_behind", words, |_| {}) else { return };
    seen.over(7, POWER_DOWN);
    seen.at("next");
}

/// A program of the machine's own, which the kernel starts for a core dump: its orphans are PID 1's.
fn by_core_dump(what: &str) -> String {
    format!(
        r#"b2c.run="-v /tmp:/t pull:payload copy /payload /t/payload"
        b2c.run="pull:payload write /proc/sys/kernel/core_pattern '|/tmp/payload {what}'" b2c.run="pull:payload crash""#
    )
}

/// Promise: orphans
#[test]
fn a_hundred_thousand_orphans_are_reaped() {
    let words = by_core_dump("orphans 100000 /tmp/done")
        + r#" b2c.run="-v /tmp:/t pull:payload await /t/done" b2c.run="-v /tmp:/t pull:payload cat /t/done""#;
    let Some(seen) = boot_with("orphans", &words, |machine| machine.timeout = Duration::from_secs(240)) else { return };
    seen.at("100000 orphans, 0 of them unreaped");
    seen.ends(POWER_DOWN);
}

/// Promise: orphans
#[test]
fn a_fork_bomb_does_not_keep_the_machine_on() {
    let Some(disk) = disk("bombed.img", 64, "B2C_CACHE") else { return };
    // One in a service, and one that no control group of ours holds, whose processes are never the same.
    let service = r#"b2c.cache_device=auto b2c.run_service="pull:payload bomb" b2c.run="pull:payload echo beside it""#;
    let outside = by_core_dump("bomb 50") + r#" b2c.cache_device=auto b2c.run="pull:payload echo beside it""#;
    for (name, words) in [("bomb_service", service), ("bomb_outside", outside.as_str())] {
        let bombed = |machine: &mut Machine| {
            machine.timeout = Duration::from_secs(240);
            with_disk(&disk)(machine);
        };
        let Some(seen) = boot_with(name, words, bombed) else { return };
        seen.at("beside it");
        seen.says(OVER);
        seen.never("FAIL");
        seen.ends(POWER_DOWN);
        clean(&disk);
    }
}
