//! The image as the machine's root: Debian with systemd, busybox's init, and what must not become a root.

use crate::cache::{clean, with_disk};
use crate::lab::{boot, disk, lab, Lab, Seen, OVER, POWER_DOWN, RESTART, SAFE};
use crate::support::images;
use ocinit::host::image::{tar, Entry, Image};
use ocinit::host::modules::{self, Profile};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

/// Where Debian's files are kept between runs, and what they are.
const TREE: &str = "target/debian-root/tree";
const PACKAGES: &str = "systemd,systemd-sysv,udev,kmod,busybox-static";

/// A Debian system, made once by debootstrap from the server that apt uses. Without these the test is skipped.
fn debian() -> Option<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock();
    let tree = PathBuf::from(TREE);
    if tree.is_dir() {
        return Some(tree);
    }
    let format = "$(CODENAME) $(COMPONENT) $(REPO_URI)";
    let targets = Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]).output();
    let targets = targets.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let main = targets.lines().find_map(|line| line.split_once(" main ").filter(|(suite, _)| !suite.contains('-')));
    let Some((suite, server)) = main else { skip!("apt knows no server of Debian here") };
    let part = tree.with_extension("part");
    let _ = std::fs::remove_dir_all(&part);
    std::fs::create_dir_all(&part).unwrap();
    let unpacked = Path::new("target/tools/usr/share/debootstrap").canonicalize();
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin:target/tools/usr/sbin";
    let mut command = Command::new("debootstrap");
    command.env("PATH", path).envs(unpacked.ok().map(|scripts| ("DEBOOTSTRAP_DIR", scripts)));
    command.args(["--variant=minbase", &format!("--include={PACKAGES}"), suite]).arg(&part).arg(server);
    let made = match command.stdin(Stdio::null()).output() {
        Ok(made) => made,
        Err(error) => skip!("debootstrap: {error} (./dev setup brings it)"),
    };
    if !made.status.success() {
        let text = String::from_utf8_lossy(&made.stdout).into_owned();
        skip!("debootstrap: {}", text.lines().last().unwrap_or("failed"));
    }
    std::fs::rename(&part, &tree).unwrap();
    Some(tree)
}

/// Debian without its documentation, as a squashfs.
fn squashfs(tree: &Path) -> Option<Vec<u8>> {
    let file = tree.with_file_name("tree.squashfs");
    if !file.is_file() {
        let words =
            ["-quiet", "-no-progress", "-comp", "zstd", "-Xcompression-level", "3", "-noappend", "-wildcards", "-e"];
        let left_out =
            ["usr/share/doc/*", "usr/share/man/*", "usr/share/locale/*", "var/cache/apt/*", "var/lib/apt/lists/*"];
        let status =
            Command::new("mksquashfs").arg(tree).arg(&file).args(words).args(left_out).stdout(Stdio::null()).status();
        match status {
            Ok(status) => assert!(status.success()),
            Err(error) => skip!("mksquashfs: {error} (./dev setup brings it)"),
        }
    }
    Some(std::fs::read(file).unwrap())
}

/// What both machines tell of themselves, by programs that both have.
const REPORT: &str = r#"
echo "process 1 is $(readlink /proc/1/exe)"
tr '\0' '\n' </proc/1/environ | sed 's/^/variable /'
tr '\0' ' ' </proc/1/cmdline | sed 's/^/arguments /;s/$/\n/'
echo "name $(cat /proc/sys/kernel/hostname) $(cat /etc/hostname)"
sed 's/^/resolver /' /etc/resolv.conf
modprobe dummy && echo "module $(grep -c '^dummy ' /proc/modules)"
sed 's/^/mount /' /proc/self/mounts
sed -n 's/^Shmem: *\([0-9]*\) kB$/shared memory \1/p' /proc/meminfo
cat /data/note
echo written >/data/note && echo "note kept"
"#;

/// Debian and systemd to multi-user.target, from one packed layer and one of a unit that reports.
/// Promise: machine-root
#[test]
fn debian_with_systemd() {
    let Some(lab) = lab() else { return };
    let Some(tree) = debian() else { return };
    let Some(layer) = squashfs(&tree) else { return };
    let Some(disk) = disk("debian.img", 256, "B2C_CACHE") else { return };
    let unit = "[Service]\nType=simple\nExecStart=/bin/sh /report\nStandardOutput=tty\nStandardError=tty\n\
        TTYPath=/dev/console\n";
    let script = format!(
        "state=$(systemctl is-system-running --wait)\necho\necho \"system is $state\"\n\
         systemctl --failed --no-legend --plain\necho \"target is $(systemctl is-active multi-user.target)\"\n\
         echo \"container: $(systemd-detect-virt --container)\"\n{REPORT}systemctl poweroff\n"
    );
    let system = "etc/systemd/system";
    let top = tar(&[
        Entry::file("report", 0o644, script),
        Entry::file(&format!("{system}/report.service"), 0o644, unit),
        Entry::symlink(&format!("{system}/multi-user.target.wants/report.service"), "../report.service"),
        Entry::file("etc/resolv.conf", 0o644, ""),
        Entry::file(".dockerenv", 0o644, ""),
    ]);
    // What images for systemd in a container say of themselves.
    let config = json!({"Cmd": ["bash"], "Env": ["container=oci", "FROM=image"], "User": "nobody"});
    images::push(&lab.registry, &lab.dir, "debian", Image::new(vec![layer, top], config));
    let words = r#"b2c.hostname=dut-7 b2c.cache_device=auto b2c.run="pull:payload echo registered"
        b2c.root="-ti -v data:/data -e GIVEN=yes pull:debian""#;
    let seen = lab.boot("root_debian", words, |machine| {
        machine.initrd = with_modules(&lab);
        machine.memory_mb = 1024;
        with_disk(&disk)(machine);
        machine.timeout = Duration::from_secs(300);
    });
    off(&seen);
    seen.in_order(&["registered", &over(&seen, 0)]);
    seen.says("debian:latest: handing over to /sbin/init");
    seen.says("system is running");
    seen.says("target is active");
    seen.says("container: none");
    told(&seen, "process 1 is /usr/lib/systemd/systemd");
    seen.says("arguments /sbin/init ");
    seen.says("variable GIVEN=yes");
    seen.never("variable container");
    // debootstrap has left the name of its host in the image.
    seen.says("name dut-7 dut-7");
    seen.says("resolver nameserver 10.0.2.3");
    seen.says("module 1");
    seen.says("mount overlay / overlay rw,");
    seen.says("note kept");
    // systemd's last step is ours: then the disk that the root was on is clean.
    assert_eq!(seen.count(SAFE), 1);
    assert!(
        seen.lines().position(|line| line.contains("note kept")) < seen.lines().position(|line| line.contains(SAFE))
    );
    clean(&disk);
}

/// The usual initramfs with squashfs, and with a module that no device asks for.
fn with_modules(lab: &Lab) -> PathBuf {
    let names = ["squashfs", "dummy"].map(String::from);
    lab.build("for-a-root", |spec| {
        spec.modules = Some(modules::select(&lab.modules, Profile::Vm, &names).unwrap());
    })
}

/// The machine has switched itself off, by its own init.
fn off(seen: &Seen) {
    assert!(!seen.boot.timed_out, "the guest hung");
    assert!(seen.boot.status.is_some_and(|status| status.success()), "QEMU: {}", seen.boot.complaint);
    let last = seen.lines().filter(|line| !line.is_empty()).last().unwrap_or_default();
    assert!(last.ends_with(POWER_DOWN), "the last line is '{last}'");
}

/// The line that says how the pipeline ended.
fn over(seen: &Seen, status: i32) -> String {
    let text = format!("]: {OVER}{status}");
    seen.lines().find(|line| line.ends_with(&text)).unwrap_or_else(|| panic!("no line '{text}'")).into()
}

/// A line ends with it: a login prompt may stand before it.
fn told(seen: &Seen, end: &str) {
    assert!(seen.lines().any(|line| line.ends_with(end)), "no line ends with '{end}'");
}

/// Pushes busybox's init, with its programs and an inittab that runs `REPORT` and `more`.
fn busybox(lab: &Lab, name: &str, is_packed: bool, more: &str) -> Option<()> {
    let busybox = std::fs::read(debian()?.join("bin/busybox")).unwrap();
    let inittab = "::sysinit:/bin/sh /report\n::shutdown:/bin/umount -a -r\n";
    let mut entries = vec![
        Entry::directory("bin", 0o755),
        Entry::file("bin/busybox", 0o755, busybox),
        Entry::directory("etc", 0o755),
        Entry::file("etc/inittab", 0o644, inittab),
        Entry::file("etc/resolv.conf", 0o644, "nameserver 192.0.2.1\n"),
        Entry::symlink("init", "/bin/busybox"),
        Entry::symlink("sbin", "bin"),
        Entry::symlink("lib", "usr/lib"),
        Entry::directory("usr", 0o755),
        Entry::directory("usr/lib", 0o755),
        Entry::file("report", 0o644, format!("{REPORT}{more}\n")),
    ];
    let programs = "sh init cat echo sed tr readlink grep modprobe umount poweroff sync ls mount dmesg sleep";
    entries.extend(programs.split(' ').map(|name| Entry::symlink(&format!("bin/{name}"), "busybox")));
    let layer = match is_packed {
        true => {
            let file = lab.dir.join("busybox.squashfs");
            let words = ["-quiet", "-no-progress", "-comp", "gzip", &file.to_string_lossy()];
            images::packed(&file, "sqfstar", &words, &tar(&entries))?
        }
        false => tar(&entries),
    };
    images::push(&lab.registry, &lab.dir, name, Image::new(vec![layer], json!({"Cmd": ["/init"]})));
    Some(())
}

/// In memory, from a packed layer, after containers; its own files stay, and the old root's memory is free.
/// Promise: machine-root
#[test]
fn busybox_in_memory() {
    let Some(lab) = lab() else { return };
    let more = "ls -l /proc/1/fd | sed 's/.* -> /opened /'\nls /sys/fs/cgroup | sed 's/^/group /'\n\
        echo x >/new || echo \"root is read-only\"\npoweroff";
    let Some(()) = busybox(&lab, "busybox", true, more) else { return };
    let words = r#"b2c.run="pull:big stat /large" b2c.run_post="pull:payload echo post"
        b2c.root="--read-only --hostname given --tmpfs /data pull:busybox""#;
    let seen = lab.boot("root_busybox", words, |machine| {
        machine.initrd = with_modules(&lab);
        machine.memory_mb = 512;
    });
    off(&seen);
    seen.in_order(&["post", &over(&seen, 0)]);
    seen.says("busybox:latest: handing over to /init");
    seen.at("process 1 is /bin/busybox");
    let variables: Vec<&str> = seen.lines().filter_map(|line| line.strip_prefix("variable ")).collect();
    let names: Vec<&str> = variables.iter().filter_map(|line| line.split('=').next()).collect();
    assert_eq!(names[..3], ["PATH", "HOME", "TERM"], "{variables:?}");
    assert!(variables.contains(&"TERM=linux") && variables.contains(&"B2C_PIPELINE_STATUS=0"), "{variables:?}");
    assert!(names[3..].iter().all(|name| name.starts_with("B2C_")), "{variables:?}");
    seen.at("name given given");
    seen.at("resolver nameserver 192.0.2.1");
    seen.at("module 1");
    seen.at("root is read-only");
    seen.at("note kept");
    // The console, as the kernel opens it, and nothing else.
    assert_eq!((seen.count("opened /dev/console"), seen.count("opened ")), (3, 3));
    seen.never("group ");
    assert_eq!(seen.count("mount tmpfs /run "), 1);
    seen.never("mount cgroup");
    // 160 MB of it were an image that has run before.
    let shared = seen.says("shared memory ").rsplit(' ').next().unwrap().parse::<u64>().unwrap();
    assert!(shared < 40_000, "{shared} kB of files in memory");
    seen.never(SAFE);
}

/// On a cache disk, which the root only reads: it is clean even if the plug is pulled. With a volume on it, what is
/// written is there afterwards.
/// Promise: root-cache-disk
#[test]
fn busybox_on_a_cache_disk() {
    let Some(lab) = lab() else { return };
    let Some(disk) = disk("root.img", 64, "B2C_CACHE") else { return };
    let more = "mount | grep ' / '\necho x >/new && echo \"root is writable\"\necho \"all told\"\nsleep 2\npoweroff";
    let Some(()) = busybox(&lab, "busybox-disk", false, more) else { return };
    let words = r#"b2c.cache_device=auto b2c.root="pull:busybox-disk""#;
    let seen = lab.boot_until("root_unplugged", words, with_disk(&disk), "all told");
    seen.at("root is writable");
    // No container was asked for, so no pipeline is over.
    seen.never(OVER);
    clean(&disk);
    let words = r#"b2c.cache_device=auto b2c.root="-v data:/data pull:busybox-disk""#;
    let seen = lab.boot("root_volume", words, with_disk(&disk));
    off(&seen);
    seen.says("all layers are stored already");
    seen.at("note kept");
    seen.says("mount /dev/vda /data ext4 rw,");
    let words = r#"b2c.cache_device=auto b2c.run="-v data:/data pull:busybox-disk cat /data/note""#;
    let seen = lab.boot("root_volume_again", words, with_disk(&disk));
    seen.over(0, POWER_DOWN);
    seen.says("all layers are stored already");
    seen.at("written");
    clean(&disk);
}

/// An error as for any container: told, counted, and `b2c.onfail` decides.
/// Promise: root-refused
#[test]
fn images_without_an_init() {
    let Some(lab) = lab() else { return };
    let mut foreign = vec![0; 64];
    foreign[..6].copy_from_slice(b"\x7fELF\x02\x01");
    foreign[18] = 183;
    let Some(disk) = disk("no-init.img", 64, "B2C_CACHE") else { return };
    let entries = [Entry::directory("sbin", 0o755), Entry::file("sbin/init", 0o755, foreign)];
    images::push(&lab.registry, &lab.dir, "foreign-init", images::odd(&lab.payload, &entries, "", "/"));
    for (name, root, why) in [
        (
            "payload",
            "pull:payload",
            "the image has no init: none of /sbin/init, /etc/init, /bin/init, /lib/systemd/systemd",
        ),
        ("named", "pull:payload /missing", "init /missing: the image has no such file"),
        ("foreign", "pull:foreign-init", "init /sbin/init: a program for another processor (ELF machine 183)"),
        ("loader", "pull:payload /data/plain", "init /data/plain: a directory, or a file without the x bit"),
    ] {
        let words =
            format!(r#"b2c.cache_device=auto b2c.onfail=reboot b2c.run="pull:payload echo before" b2c.root="{root}""#);
        let seen = lab.boot(&format!("root_none_{name}"), &words, with_disk(&disk));
        seen.at("before");
        seen.says(&format!("FAIL root  {why}"));
        seen.over(125, RESTART);
        seen.never("handing over");
    }
    clean(&disk);
}

/// What comes before the root decides whether it is entered.
/// Promise: root-refused
#[test]
fn pipelines_that_do_not_lead_to_a_root() {
    let boot = |name: &str, words: &str| {
        let seen = boot(name, words)?;
        seen.never("handing over");
        seen.never("FAIL root");
        Some(seen)
    };
    let words = r#"b2c.pipefail b2c.run="pull:payload exit 3" b2c.root="pull:payload /payload""#;
    let Some(seen) = boot("root_pipefail", words) else { return };
    seen.over(3, POWER_DOWN);
    let words = r#"b2c.run="pull:payload reboot" b2c.root="pull:payload /payload""#;
    let Some(seen) = boot("root_reboot", words) else { return };
    seen.over(129, RESTART);
    let words = r#"b2c.run="pull:payload" b2c.root="--memory=1g pull:payload""#;
    let Some(seen) = boot("root_flag", words) else { return };
    seen.says("FAIL options  b2c.root: --memory: for a container, and not for the root of the machine (b2c.root)");
    seen.ends(POWER_DOWN);
}
