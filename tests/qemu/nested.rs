//! Podman inside a container of ours: what a laboratory's runner does that starts containers itself.

use crate::cache::{clean, with_disk};
use crate::lab::{disk, lab, Lab, POWER_DOWN};
use crate::support::images;
use crate::support::podman::{add_directory, PODMANS};
use ocinit::host::image::{self, tar, Entry, Image};
use serde_json::json;

/// What the runner does: one container that nobody waits for, one with a terminal, rights and the other runtime, one
/// with limits; its own exit code is the last one's.
const SCRIPT: &str = r"set -eu
small=$(podman pull -q oci:/images:small)
podman run -d --network=host $small sh -c 'sleep 1000' >/run/id
podman run --rm -t --privileged --runtime=/usr/sbin/runc --network=host -v kept:/kept $small sh -c \
    'tty; echo kept by the first >/kept/text'
exec podman run --rm --network=host --memory=64m --pids-limit=50 -v kept:/kept $small sh -c \
    'cat /kept/text /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max; exit 42'
";

/// Puts `podman` into the registry: Debian's, and `oci:/images:small` for it to run, which has a shell.
fn push(lab: &Lab) -> Result<(), String> {
    let mut archive = PODMANS.gather(&["sh"])?.archive;
    let busybox = std::fs::read(format!("{}/root/bin/busybox", PODMANS.cache)).map_err(|error| error.to_string())?;
    let small = [Entry::directory("bin", 0o755), Entry::file("bin/sh", 0o755, busybox)];
    let small = Image { tag: "small".into(), ..Image::new(vec![tar(&small)], json!({"Env": ["PATH=/bin"]})) };
    let layout = lab.dir.join("small");
    image::write(&layout, &[small]).and_then(|_| add_directory(&mut archive, &layout, "images")).unwrap();
    archive.file("runner", 0o755, ["#!/bin/sh\n", SCRIPT].concat());
    // As in podman's own image: its store is no overlay, on which none could be mounted.
    let volumes = json!({"/var/lib/containers": {}});
    let config = json!({"Entrypoint": ["/runner"], "Env": ["PATH=/bin:/usr/bin"], "Volumes": volumes});
    let image = Image { compressed: false, ..Image::new(vec![tar(&archive.to_layer())], config) };
    images::push(&lab.registry, &lab.dir, "podman", image);
    Ok(())
}

/// Promise: nested-control-groups, podman-inside
#[test]
fn podman_in_a_container() {
    let Some(lab) = lab() else { return };
    if let Err(why) = push(&lab) {
        skip!("no podman to put into an image: {why}");
    }
    let Some(disk) = disk("nested.img", 512, "B2C_CACHE") else { return };
    let words = r#"b2c.cache_device=auto b2c.run="pull:podman" b2c.run="pull:payload echo after it""#;
    let seen = lab.boot("nested", words, |machine| {
        machine.memory_mb = 768;
        with_disk(&disk)(machine);
    });
    seen.over(42, POWER_DOWN);
    // And what was left running there is in nobody's way.
    seen.in_order(&["/dev/pts/0", "kept by the first", "67108864", "50", "after it"]);
    assert_eq!(seen.count("container  exit code 0"), 1);
    seen.never("WARN");
    clean(&disk);
}
