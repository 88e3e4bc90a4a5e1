//! The dialect's real command lines, as labs have them: only addresses, ports and times are the tests' own. What
//! belongs to options that are not there yet is left out (`b2c.swap`, `b2c.extra_args_url`, whose words are on the
//! line) or only told (`b2c.cache_device=reset`).

use crate::cache::{clean, with_disk};
use crate::lab::{disk, lab, Lab, POWER_DOWN, SAFE};
use crate::support::images;
use ocinit::host::cpio::Archive;
use ocinit::host::image::Entry;
use ocinit::host::peer;
use ocinit::host::qemu::Network;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Debian's static busybox: a shell for images, and what carries connections out of a closed network.
fn busybox() -> Option<&'static Path> {
    static BUSYBOX: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let fetch = || {
        let cache = Path::new("target/guest-lines");
        peer::programs(cache, &["busybox-static"], &["bin/busybox"], &[])?;
        Ok(cache.join("root/bin/busybox").canonicalize().unwrap())
    };
    match BUSYBOX.get_or_init(fetch) {
        Ok(path) => Some(path),
        Err(why) => skip!("no busybox: {why}"),
    }
}

/// Puts an image into the registry: a shell, the payload, and these files, with its own entry point and command.
fn push(lab: &Lab, name: &str, program: [&str; 2], files: &[(&str, &str)]) -> Option<()> {
    let shell = std::fs::read(busybox()?).unwrap();
    let mut entries = vec![Entry::directory("bin", 0o755), Entry::file("bin/busybox", 0o755, shell)];
    entries.extend(["sh", "cat"].map(|applet| Entry::symlink(&format!("bin/{applet}"), "busybox")));
    entries.extend(files.iter().map(|(path, text)| Entry::file(path, 0o755, *text)));
    let mut image = images::odd(&lab.payload, &entries, "", "/");
    image.config["Entrypoint"] = program[..1].into();
    image.config["Cmd"] = program[1..].into();
    // A layout's path takes no colon.
    let (layout, _) = images::write(&lab.dir, &name.replace(['/', ':'], "-"), image);
    lab.registry.push(&layout, "latest", name).unwrap();
    Some(())
}

/// The options that a lab serves to its machines, on a machine that it registers and gives a job; the job's variables
/// are in a second archive that the boot loader appends.
/// Promise: lab-lines
#[test]
fn registration_and_a_job() {
    let Some(lab) = lab() else { return };
    let registered = "#!/bin/sh\necho \"$1 of $(cat /proc/sys/kernel/hostname)\"\n";
    let make = "#!/bin/sh\necho \"$1 $JOB in $PWD: $MATRIX\"\n";
    let registration = [("bin/register", registered)];
    let Some(()) = push(&lab, "infra/machine-registration:latest", ["/bin/register", "help"], &registration) else {
        return;
    };
    push(&lab, "tests/mesa:12345", ["/payload", "hello"], &[("bin/make", make)]).unwrap();
    let Some(disk) = disk("lines.img", 256, "B2C_CACHE") else { return };
    let mut appended = Archive::new();
    appended.file("user/job.env", 0o644, "# of the coordinator\nJOB=4711\nMATRIX=\"one\ntwo\"\n");
    let mut bytes = std::fs::read(lab.build("with-job", |_| ())).unwrap();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend_from_slice(&appended.to_bytes(0));
    let initramfs = lab.dir.join("with-job-env");
    std::fs::write(&initramfs, bytes).unwrap();
    let words = r#"loglevel=6 b2c.cache_device=auto
        b2c.pipefail b2c.poweroff_delay=1 b2c.hostname=dut-7
        b2c.run="-ti --tls-verify=false docker://REGISTRY/infra/machine-registration:latest check"
        b2c.run="-v job-results:/w -w /w --tls-verify=false --env-file /user/job.env --entrypoint sh REGISTRY/tests/mesa:12345 -euc 'make check > out.txt'"
        b2c.run="-v job-results:/w pull:payload cat /w/out.txt""#;
    let seen = lab.boot("registration_and_a_job", words, |machine| {
        machine.initrd = initramfs;
        with_disk(&disk)(machine);
    });
    seen.over(0, POWER_DOWN);
    seen.in_order(&["check of dut-7", "check 4711 in /w: one", "two", SAFE]);
    clean(&disk);
}

/// A device under test whose image is a whole system, with its own init and name servers.
/// Promise: lab-lines
#[test]
fn a_system_under_test() {
    let Some(lab) = lab() else { return };
    let init =
        "#!/bin/sh\necho \"$$ $(cat /etc/resolv.conf)\"\necho a >> /mnt/tmp/file\necho b >> /mnt/permanent/file\n\
                cat /mnt/tmp/file /mnt/permanent/file\nexit 7\n";
    let files = [("bin/init", init), ("etc/resolv.conf", "nameserver 192.0.2.53")];
    let Some(()) = push(&lab, "x", ["/payload", "hello"], &files) else { return };
    let line = r#"-ti --dns=none -v tmp:/mnt/tmp -v perm:/mnt/permanent --tls-verify=false --entrypoint=/bin/init docker://REGISTRY/x"#;
    let words = format!(
        "b2c.container=\"{line}\" b2c.container=\"{line}\" b2c.volume=\"tmp\" b2c.volume=\"perm\" \
         b2c.cache_device=reset b2c.poweroff_delay=1 loglevel=6 \
         b2c.shutdown_cmd=\"echo JOB_RESULT=$B2C_PIPELINE_PREV_CONTAINER_EXIT_CODE; poweroff -f\""
    );
    let seen = lab.boot("system_under_test", &words, |_| ());
    seen.over(7, POWER_DOWN);
    // What the first one has left in its volumes is there for the second.
    seen.in_order(&["1 nameserver 192.0.2.53", "a", "b", "1 nameserver 192.0.2.53", "a", "a", "b", "b"]);
    seen.in_order(&[SAFE, "JOB_RESULT=7"]);
}

/// Names of registries that are far away, through the lab's mirror: neither they nor the time servers can be reached.
/// Promise: lab-lines
#[test]
fn names_of_the_world_by_a_mirror() {
    let Some(lab) = lab() else { return };
    let Some(()) = push(&lab, "library/alpine:latest", ["/payload", "tty"], &[]) else { return };
    push(&lab, "lab/runner:aarch64", ["/payload", "hostname"], &[]).unwrap();
    let Some(disk) = disk("far.img", 256, "rootfs") else { return };
    let words = r#"b2c.run="-ti docker.io/library/alpine:latest" b2c.ntp_peer=auto
        b2c.run="-ti registry.example.org/lab/runner:aarch64" b2c.cache_device=/dev/vda
        b2c.registry_mirror=docker.io=http://10.0.2.100:5000
        b2c.registry_mirror=registry.example.org=http://10.0.2.100:5000"#;
    // QEMU's network passes nothing out of it but this, by a program for each connection.
    let carrier = format!("{} nc {}", busybox().unwrap().display(), lab.registry.here().replace(':', " "));
    let closed = vec!["restrict=on".into(), format!("guestfwd=tcp:10.0.2.100:5000-cmd:{carrier}")];
    let seen = lab.boot("names_of_the_world", words, |machine| {
        machine.network = Network::User(closed);
        with_disk(&disk)(machine);
    });
    seen.over(0, POWER_DOWN);
    seen.in_order(&["true true true", "boot2container"]);
    assert!(seen.says("clock      WARN ").contains("pool.ntp.org"));
    assert!(seen.says("cache      /dev/vda ").contains("'rootfs'"));
    assert_eq!(lab.registry.requests("GET /v2/library/alpine/manifests/latest?ns=docker.io"), 1);
    assert_eq!(lab.registry.requests("GET /v2/lab/runner/manifests/aarch64?ns=registry.example.org"), 1);
    clean(&disk);
}
