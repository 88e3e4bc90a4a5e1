//! Failures of a boot: each has its lines in a golden file, and the machine ends in order.

use crate::lab::{boot, boot_with, disk, lab, Lab, Seen, POWER_DOWN, RESTART};
use crate::support::images;
use ocinit::host::qemu::{Disk, Machine, Network};
use std::fs::OpenOptions;
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// For a machine that waits for something that never happens: under software emulation its clock jumps to the next
/// timer whenever it idles, so that its minute is our seconds. Nothing real may have to answer it in the meantime.
fn waits(machine: &mut Machine) {
    machine.icount = true;
}

/// Such a machine with an image of its own, in the initramfs.
fn waits_with_image(name: &str, words: &str) -> Option<Seen> {
    let lab = lab()?;
    let initramfs = lab.build(name, |spec| spec.added.push((lab.dir.join("payload"), "images/payload".into())));
    Some(lab.boot(name, words, |machine| {
        machine.initrd = initramfs;
        waits(machine);
    }))
}

/// Boots the usual machine with an option that cannot work: its last lines, then power off.
fn fails(name: &str, words: &str) {
    let Some(seen) = boot(name, words) else { return };
    seen.ends(POWER_DOWN);
    seen.golden(name);
}

// The network.

/// Promise: failures-are-told
#[test]
fn no_cable() {
    let Some(seen) = boot_with("no-cable", r#"b2c.run="pull:payload""#, |machine| {
        machine.cable = false;
        waits(machine);
    }) else {
        return;
    };
    seen.ends(POWER_DOWN);
    seen.golden("no-cable");
}

#[test]
fn no_network_card() {
    let none = |machine: &mut Machine| {
        machine.network = Network::None;
        waits(machine);
    };
    let Some(seen) = boot_with("no-network-card", r#"b2c.run="pull:payload""#, none) else { return };
    seen.ends(POWER_DOWN);
    seen.golden("no-network-card");
}

/// Promise: failures-are-told
#[test]
fn no_dhcp_server() {
    // A hub without another member: there is a carrier, and nobody answers.
    let words = r#"b2c.lease_timeout=20 b2c.run="pull:payload""#;
    let Some(seen) = boot_with("no-dhcp-server", words, |machine| {
        machine.network = Network::Raw("hubport,hubid=1".into());
        waits(machine);
    }) else {
        return;
    };
    seen.ends(POWER_DOWN);
    seen.golden("no-dhcp-server");
}

#[test]
fn no_name_server() {
    let words = r#"b2c.run="docker://registry.example/payload""#;
    let quiet = |machine: &mut Machine| machine.network = Network::User(vec!["restrict=on".into()]);
    let Some(seen) = boot_with("no-name-server", words, quiet) else { return };
    seen.over(125, POWER_DOWN);
    seen.golden("no-name-server");
}

/// There is no golden file, as the answer of the name server behind QEMU's network depends on the host.
#[test]
fn unknown_host() {
    let Some(seen) = boot("unknown-host", r#"b2c.run="--retry=1 docker://no-such-host.invalid/payload""#) else {
        return;
    };
    seen.over(125, POWER_DOWN);
    let request = "GET https://no-such-host.invalid/v2/payload/manifests/latest";
    seen.says(&format!("FAIL pull  no-such-host.invalid/payload:latest: {request}: no-such-host.invalid: "));
}

#[test]
fn silent_time_server() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let words = format!(r#"b2c.ntp_peer=10.0.2.2:{port} b2c.run="oci:/images/payload:latest echo goes on""#);
    let Some(seen) = waits_with_image("silent-time-server", &words) else { return };
    seen.over(0, POWER_DOWN);
    seen.says("WARN 10.0.2.2: no answer in 15 s; the clock says 20");
    seen.at("goes on");
}

// The registry.

/// Promise: failures-are-told
#[test]
fn unknown_image() {
    fails("unknown-image", r#"b2c.run="pull:nothing""#);
}

#[test]
fn unknown_tag() {
    fails("unknown-tag", r#"b2c.run="pull:payload:v9""#);
}

/// Promise: failures-are-told
#[test]
fn registry_down() {
    fails("registry-down", r#"b2c.run="--retry=2 --tls-verify=false docker://10.0.2.2:9/payload""#);
}

/// Two minutes of the machine, a few seconds of ours.
/// Promise: absent-registry
#[test]
fn registry_that_never_comes() {
    let Some(seen) = boot_with("absent-registry", r#"b2c.run="docker://10.0.2.2:9/payload""#, |machine| {
        machine.network = Network::User(vec!["restrict=on".into()]);
        waits(machine);
    }) else {
        return;
    };
    seen.over(125, POWER_DOWN);
    let time = |line: &str| line.trim_start_matches('[').split(']').next().unwrap().trim().parse::<f64>().unwrap();
    let waited = time(seen.says("FAIL pull")) - time(seen.says("; retry in "));
    assert!((119.0..170.0).contains(&waited) && seen.count("; retry in ") > 5, "{waited} s");
}

/// The lab powers on as a whole: nobody listens at the registry's port until the machine was refused three times.
/// Promise: absent-registry
#[test]
fn registry_that_comes_later() {
    let Some(lab) = lab() else { return };
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let words = format!(r#"b2c.run="--tls-verify=false docker://10.0.2.2:{}/payload echo came""#, address.port());
    let mut tries = 0;
    let seen = lab.boot_watched("late-registry", &words, |_| (), &mut |line| {
        if line.contains(": connection refused; retry in ") {
            tries += 1;
            if tries == 3 {
                pass_on(TcpListener::bind(address).unwrap(), lab.registry.here());
            }
        }
        false
    });
    assert!(tries >= 3);
    seen.over(0, POWER_DOWN);
    seen.at("came");
    seen.never("FAIL");
}

/// Passes what comes to `listener` on to `to`.
fn pass_on(listener: TcpListener, to: String) {
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let far = TcpStream::connect(&to).unwrap();
            for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
}

/// Promise: no-fallback-to-http
#[test]
fn https_is_not_given_up() {
    fails("plain-http-server", r#"b2c.run="docker://REGISTRY/payload""#);
}

/// An image whose last layer is spoiled in the registry's own store.
fn spoiled(lab: &Lab, name: &str, spoil: impl FnOnce(&std::fs::File)) {
    let digest = images::push(&lab.registry, &lab.dir, name, images::marked(&lab.payload, name));
    let file: PathBuf = images::layer_file(&lab.registry, &lab.dir.join(name), &digest);
    spoil(&OpenOptions::new().read(true).write(true).open(file).unwrap());
}

/// Promise: failures-are-told
#[test]
fn wrong_byte_in_a_layer() {
    let Some(lab) = lab() else { return };
    spoiled(&lab, "changed", |file| file.write_all_at(b"X", 700).unwrap());
    fails("wrong-digest", r#"b2c.run="pull:changed""#);
}

#[test]
fn truncated_layer() {
    let Some(lab) = lab() else { return };
    spoiled(&lab, "cut", |file| file.set_len(file.metadata().unwrap().len() - 1500).unwrap());
    fails("truncated-layer", r#"b2c.run="pull:cut""#);
}

#[test]
fn another_digest_than_asked_for() {
    let words = format!(r#"b2c.run="pull:payload@sha256:{}""#, "0".repeat(64));
    fails("unknown-digest", &words);
}

// The disk.

/// Promise: full-memory-or-disk
#[test]
fn memory_is_too_small_for_the_image() {
    // Processes cannot have the memory that a tmpfs holds, so its limit must leave the kernel enough.
    for memory_mb in [80, 96, 128, 176] {
        let name = format!("tmpfs-full {memory_mb} MB");
        let Some(seen) = boot_with(&name, r#"b2c.run="pull:big""#, |machine| machine.memory_mb = memory_mb) else {
            return;
        };
        seen.over(125, POWER_DOWN);
        seen.golden("tmpfs-full");
    }
}

/// Promise: full-memory-or-disk
#[test]
fn disk_is_too_small_for_the_image() {
    let Some(path) = disk("small.img", 24, "B2C_CACHE") else { return };
    let words = r#"b2c.cache_device=auto b2c.run="pull:big" b2c.run="pull:payload echo the rest runs""#;
    let Some(seen) = boot_with("disk-full", words, |machine| {
        machine.disks.push(Disk { path: path.clone(), serial: String::new(), read_only: false, snapshot: false });
    }) else {
        return;
    };
    seen.over(125, POWER_DOWN);
    seen.golden("disk-full");
    crate::cache::clean(&path);
}

/// Promise: no-cache-disk
#[test]
fn no_cache_device() {
    let words = r#"b2c.cache_device=/dev/vdz b2c.run="oci:/images/payload:latest echo goes on""#;
    let Some(seen) = waits_with_image("no-cache-device", words) else { return };
    seen.ends(POWER_DOWN);
    seen.golden("no-cache-device");
}

// The container.

/// Promise: failures-are-told
#[test]
fn entry_point_missing() {
    fails("entry-point-missing", r#"b2c.run="--entrypoint /missing pull:payload""#);
}

#[test]
fn entry_point_is_no_program() {
    fails("entry-point-not-executable", r#"b2c.run="--entrypoint /data/plain pull:payload""#);
}

#[test]
fn entry_point_is_a_directory() {
    fails("entry-point-directory", r#"b2c.run="--entrypoint /data pull:payload""#);
}

#[test]
fn unknown_user() {
    fails("unknown-user", r#"b2c.run="--user nobody-here pull:payload""#);
}

#[test]
fn volume_missing() {
    fails("volume-missing", r#"b2c.run="-v /none:/data pull:payload""#);
}

// The command line.

/// Promise: failures-are-told
#[test]
fn unmatched_quote() {
    fails("unmatched-quote", r#"b2c.onfail=poweroff b2c.run="pull:payload echo"#);
}

#[test]
fn unmatched_quote_inside() {
    fails("unmatched-quote-inside", r#"b2c.run="pull:payload echo 'a b""#);
}

#[test]
fn unknown_flag() {
    fails("unknown-flag", r#"b2c.run="--no-such-flag pull:payload""#);
}

#[test]
fn url_in_place_of_an_image() {
    fails("image-with-http", r#"b2c.run="docker://http://REGISTRY/payload""#);
}

#[test]
fn unknown_options_are_warnings() {
    fails(
        "unknown-option",
        r#"b2c.rum=x b2c.nothing_like_it b2c.swap=1G other.option=1 b2c.run="pull:payload echo goes on""#,
    );
}

#[test]
fn wrong_value() {
    fails("wrong-value", r#"b2c.poweroff_delay=soon b2c.run="pull:payload""#);
}

// What follows a failure.

/// Promise: failures-are-told
#[test]
fn on_fail_reboot() {
    let Some(seen) = boot("on-fail-reboot", r#"b2c.onfail=reboot b2c.run="pull:nothing""#) else { return };
    seen.over(125, RESTART);
    seen.golden("on-fail-reboot");
}

/// Promise: failures-are-told
#[test]
fn on_fail_hang() {
    let Some(lab) = lab() else { return };
    let words = r#"b2c.onfail=hang b2c.run="pull:nothing""#;
    let stays = "the machine stays as it is";
    let seen = lab.boot_until("on-fail-hang", words, |_| (), stays);
    assert!(!seen.boot.timed_out);
    assert!(seen.at(crate::lab::SAFE) < seen.lines().position(|line| line.contains(stays)).unwrap());
    seen.golden("on-fail-hang");
}

/// Promise: no-kernel-panic
#[test]
fn the_init_itself_crashes() {
    let words = r#"b2c.run="-v /proc:/machine pull:payload break-init /machine""#;
    let Some(seen) = boot("crash", words) else { return };
    seen.ends(POWER_DOWN);
    seen.golden("crash");
}

/// A container that fills whatever it can write to gets errors, or is killed; the machine ends in order.
/// Promise: memory-kills
#[test]
fn container_fills_all_memory() {
    let words = r#"b2c.run="pull:payload fill /full" b2c.run="-v /tmp:/t pull:payload fill /t/full"
        b2c.run="pull:payload fill /full" b2c.run="pull:payload echo the rest runs""#;
    let Some(seen) = boot_with("fill", words, |machine| machine.memory_mb = 128) else { return };
    seen.ends(POWER_DOWN);
    let line = seen.says("WARN killed: out of memory, limit ");
    assert!(line.contains(" MB, peak ") && line.ends_with(" MB"), "{line}");
    seen.says("exit code 137");
    seen.at("the rest runs");
}
