//! The dialect's real command lines, as labs have them: only addresses, ports and times are the tests' own. What
//! belongs to options that are not there yet is refused (`b2c.minio`, `b2c.nbd`, mirrors) or only told (`b2c.swap`,
//! `b2c.cache_device=reset`).

use crate::cache::{clean, with_disk};
use crate::extra_args::Gateway;
use crate::lab::{disk, lab, Lab, Seen, OVER, POWER_DOWN, SAFE};
use crate::machine::Chrony;
use crate::support::{self, images};
use ocinit::host::cpio::Archive;
use ocinit::host::image::Entry;
use ocinit::host::peer;
use ocinit::host::qemu::Network;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Debian's static busybox: a shell for images, and what carries connections out of a closed network.
fn busybox() -> Option<&'static Path> {
    static BUSYBOX: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let fetch = || {
        let cache = Path::new("target/guest-lines");
        let (packages, programs) = (&["busybox-static"], &["bin/busybox"]);
        peer::programs(&peer::Selection { cache, suite: None, packages, programs, data: &[] })?;
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
    entries.extend(["sh", "cat", "chmod"].map(|applet| Entry::symlink(&format!("bin/{applet}"), "busybox")));
    entries.extend(files.iter().map(|(path, text)| Entry::file(path, 0o755, *text)));
    let mut image = images::odd(&lab.payload, &entries, "", "/");
    image.config["Entrypoint"] = program[..1].into();
    image.config["Cmd"] = program[1..].into();
    // A layout's path takes no colon.
    let (layout, _) = images::write(&lab.dir, &name.replace(['/', ':'], "-"), image);
    lab.registry.push(&layout, "latest", name).unwrap();
    Some(())
}

/// What a boot loader appends to the initramfs: the variables of a job, and the gateway's name.
fn with_job_env(lab: &Lab, name: &str) -> PathBuf {
    let mut bytes = std::fs::read(&lab.initramfs).unwrap();
    let mut appended = Archive::new();
    appended.file("etc/hosts", 0o644, "10.0.2.2 ci-gateway\n");
    appended.file("user/job.env", 0o644, "# of the coordinator\nJOB=4711\nMATRIX=\"one\ntwo\"\n");
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend_from_slice(&appended.to_bytes(0));
    let initramfs = lab.dir.join(format!("{name}-env"));
    std::fs::write(&initramfs, bytes).unwrap();
    initramfs
}

/// The image of a registration.
fn push_registration(lab: &Lab) -> Option<()> {
    let registered = "#!/bin/sh\necho \"$1 of $(cat /proc/sys/kernel/hostname)\"\necho 'MaRS: Registration complete'\n";
    let files = [("bin/register", registered)];
    push(lab, "infra/machine-registration:latest", ["/bin/register", "help"], &files)
}

/// A real clock for machines, on a port of its own.
fn clock(name: &str) -> Option<(Chrony, u16)> {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    match Chrony::start(&support::scratch(name), port) {
        Ok(chrony) => Some((chrony, port)),
        Err(_) => skip!("there is no chronyd here (./dev setup brings it)"),
    }
}

/// The options that a lab has on the kernel's line, and those that it serves, on a machine that it registers and gives
/// a job, whose variables are in a second archive that the boot loader appends.
/// Promise: lab-lines, extra-arguments
#[test]
fn registration_and_a_job() {
    let Some(lab) = lab() else { return };
    let make = "#!/bin/sh\necho \"$1 $JOB in $PWD: $MATRIX\"\n";
    let Some(()) = push_registration(&lab) else { return };
    push(&lab, "tests/mesa:12345", ["/payload", "hello"], &[("bin/make", make)]).unwrap();
    let Some(disk) = disk("lines.img", 256, "B2C_CACHE") else { return };
    let Some((_chrony, port)) = clock("lines-clock") else { return };
    let options = r#"b2c.pipefail b2c.poweroff_delay=1 b2c.hostname=dut-7
b2c.run="-ti --tls-verify=false docker://REGISTRY/infra/machine-registration:latest check"
b2c.run="-v job-results:/w -w /w --tls-verify=false --env-file /user/job.env --entrypoint sh REGISTRY/tests/mesa:12345 -euc 'make check > out.txt'"
b2c.run="-v job-results:/w --tls-verify=false docker://REGISTRY/payload cat /w/out.txt"
"#;
    let gateway = Gateway::of(&options.replace("REGISTRY", &lab.registry.for_guest()));
    let initramfs = with_job_env(&lab, "with-job");
    let url = gateway.url("/job/extra-args");
    let words = format!(
        "console=ttyS0,115200 loglevel=6 b2c.ntp_peer=10.0.2.2:{port} b2c.cache_device=auto b2c.swap=8G,swappiness=60 \
         b2c.extra_args_url={url}"
    );
    let seen = lab.boot("registration_and_a_job", &words, |machine| {
        machine.initrd = initramfs;
        with_disk(&disk)(machine);
    });
    seen.over(0, POWER_DOWN);
    // With `b2c.log=plain`, which the tests add.
    seen.says("options    5 from the kernel's line");
    seen.says(&format!("options    6 from {url}"));
    seen.says("options    WARN b2c.swap is not supported yet: ignored");
    seen.says(" UTC by 10.0.2.2, was off by");
    seen.in_order(&["check of dut-7", "MaRS: Registration complete", "check 4711 in /w: one", "two", SAFE]);
    clean(&disk);
}

fn ended_before_the_pipeline(seen: &Seen, why: &str) {
    seen.ends(POWER_DOWN);
    seen.says(&format!("FAIL options  {why}"));
    seen.never(OVER);
    seen.never("SECRET");
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

/// A machine on a network that passes nothing out of it but the lab's mirror: neither the far registries nor the time
/// servers can be reached.
fn far(lab: &Lab, name: &str, words: &str, disk: Option<&Path>) -> Option<Seen> {
    let carrier = format!("{} nc {}", busybox()?.display(), lab.registry.here().replace(':', " "));
    let closed = vec!["restrict=on".into(), format!("guestfwd=tcp:10.0.2.100:5000-cmd:{carrier}")];
    let seen = lab.boot(name, words, |machine| {
        machine.network = Network::User(closed);
        if let Some(disk) = disk {
            with_disk(disk)(machine);
        }
    });
    seen.over(0, POWER_DOWN);
    assert!(seen.says("clock      WARN ").contains("pool.ntp.org"));
    Some(seen)
}

/// Promise: lab-lines
#[test]
fn an_image_of_the_world_by_a_mirror() {
    let Some(lab) = lab() else { return };
    let Some(()) = push(&lab, "library/alpine:latest", ["/payload", "tty"], &[]) else { return };
    let words = r#"b2c.run="-ti docker.io/library/alpine:latest" b2c.ntp_peer=auto
        b2c.registry_mirror=docker.io=http://10.0.2.100:5000"#;
    let Some(seen) = far(&lab, "an_image_of_the_world", words, None) else { return };
    seen.at("true true true");
    assert_eq!(lab.registry.requests("GET /v2/library/alpine/manifests/latest?ns=docker.io"), 1);
}

/// The second partition of a disk, with a label of the lab's own: used as it is.
/// Promise: lab-lines
#[test]
fn a_runner_on_a_partition() {
    let Some(lab) = lab() else { return };
    let Some(()) = push(&lab, "lab/runner:aarch64", ["/payload", "hostname"], &[]) else { return };
    let disk = lab.dir.join("partitions.img");
    let script = "truncate -s 160M \"$1\"\n\
        printf 'label: gpt\\nstart=2048,size=16MiB\\nstart=36864,size=128MiB\\n' | sfdisk -q \"$1\"\n\
        mkfs.ext4 -q -F -L rootfs -E offset=$((36864 * 512)) \"$1\" 128M";
    let made = Command::new("sh").args(["-euc", script, "sh"]).arg(&disk).status().unwrap();
    assert!(made.success());
    let words = r#"b2c.run="-ti registry.example.org/lab/runner:aarch64" b2c.ntp_peer=auto b2c.cache_device=/dev/vda2
        b2c.registry_mirror=registry.example.org=http://10.0.2.100:5000"#;
    let Some(seen) = far(&lab, "a_runner_on_a_partition", words, Some(&disk)) else { return };
    seen.at("boot2container");
    assert!(seen.says("cache      /dev/vda2 ").contains("'rootfs'"));
    assert_eq!(lab.registry.requests("GET /v2/lab/runner/manifests/aarch64?ns=registry.example.org"), 1);
    clean(Path::new(&format!("{}?offset={}", disk.display(), 36864 * 512)));
}

/// What of CI-tron's default job needs no S3: the volume is as there, but for its mirror.
/// Promise: lab-lines, extra-arguments
#[test]
fn the_default_job_of_a_gateway() {
    let Some(lab) = lab() else { return };
    let Some(()) = push_registration(&lab) else { return };
    let telegraf = "#!/bin/sh\necho telegraf runs\nexec /payload sleep 600\n";
    push(&lab, "infra/telegraf:latest", ["/bin/telegraf", "all"], &[("bin/telegraf", telegraf)]).unwrap();
    let files = [
        // Busybox's own tar, which its shell prefers, knows no zstd.
        (
            "bin/bash",
            "#!/bin/sh\n[ \"$1 $2 $3\" = '-euc -o pipefail' ]\ntar() { cat > run; chmod +x run; }\n\
             set -eu -o pipefail\neval \"$4\"\n",
        ),
        ("bin/curl", "#!/bin/sh\necho '#!/bin/sh'\necho 'echo job $JOB in $PWD of $3; exit 3'\n"),
    ];
    push(&lab, "tests/job", ["/payload", "hello"], &files).unwrap();
    let options = r#"b2c.pipefail b2c.hostname=dut-7
b2c.volume="B-results,pull_on=pipeline_start,push_on=changes,overwrite,exclude=*.tmp,remove,expiration=pipeline_end,preserve"
b2c.run_service="--privileged --tls-verify=false --pid=host ci-gateway:8002/infra/telegraf:latest" 
b2c.run="-ti --tls-verify=false docker://ci-gateway:8002/infra/machine-registration:latest check"
b2c.run="-t --tls-verify=false -v B-results:/results -w /results --env-file /user/job.env --entrypoint bash ci-gateway:8002/tests/job -euc -o pipefail 'curl -s URL | tar --zstd -x && ./run'"
b2c.shutdown_cmd="echo JOB_RESULT=$B2C_PIPELINE_PREV_CONTAINER_EXIT_CODE; poweroff -f"
"#;
    let gateway = Gateway::of(options);
    let initramfs = with_job_env(&lab, "default-job");
    let Some(disk) = disk("default-job.img", 256, "B2C_CACHE") else { return };
    let Some((_chrony, port)) = clock("default-clock") else { return };
    let words = format!(
        "console=ttyS0,115200 b2c.ntp_peer=10.0.2.2:{port} b2c.cache_device=auto b2c.swap=8G,swappiness=60 \
         b2c.poweroff_delay=1 b2c.extra_args_url=http://ci-gateway:{}/job/ID/extra \
         b2c.registry_mirror=ci-gateway:8002=http://REGISTRY",
        gateway.port
    );
    let seen = lab.boot("the_default_job", &words, |machine| {
        machine.initrd = initramfs;
        with_disk(&disk)(machine);
    });
    seen.over(3, POWER_DOWN);
    seen.in_order(&["check of dut-7", "MaRS: Registration complete", "job 4711 in /results of", SAFE, "JOB_RESULT=3"]);
    seen.at("telegraf runs");
    seen.says("WARN b2c.volume=B-results: push_on is not supported yet: ignored");
    clean(&disk);
}

/// The rest of that job, and its diskless form: what it delivers would go nowhere, so nothing runs.
/// Promise: lab-lines, protecting-options
#[test]
fn what_a_gateway_stores_and_serves() {
    let Some(lab) = lab() else { return };
    let run = r#"b2c.run="-t pull:payload""#;
    for (name, words, why) in [
        ("minio", r#"b2c.minio="job,http://ci-gateway:9000,ACCESS,SECRET""#, "b2c.minio is not supported yet"),
        (
            "mirror",
            "b2c.volume=\"B-results,mirror=job/B,pull_on=pipeline_start,push_on=changes,overwrite,exclude=*.tmp,remove,\
             expiration=pipeline_end,preserve\"",
            "b2c.volume: B-results: mirror is not supported yet, and cannot be ignored",
        ),
        (
            "nbd",
            "b2c.nbd=/dev/nbd0,host=ci-gateway,port=1,connections=5 b2c.cache_device=/dev/nbd0 b2c.swap=/dev/nbd1",
            "b2c.nbd is not supported yet, and cannot be ignored",
        ),
        (
            "storage",
            "b2c.filesystem=publicimgstore,type=nfs,src=ci-gateway:/images,opts=ro|nolock \
             b2c.storage=\"additionalimagestores=publicimgstore\"",
            "b2c.storage is not supported yet, and cannot be ignored",
        ),
    ] {
        let seen = lab.boot(&format!("gateway_{name}"), &format!("{words} {run}"), |_| ());
        ended_before_the_pipeline(&seen, why);
        seen.says(" of the kernel's line");
        seen.says(": take it out, and ");
    }
}
