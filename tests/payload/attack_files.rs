//! Attacks on what a container finds open, mounted and readable.

use super::attack::{close, escaped, held, none, opens, syscall, try_open, O_RDONLY, O_RDWR, O_WRONLY};
use std::fs::{self, File, Metadata};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

extern "C" {
    fn statfs(path: *const u8, buffer: *mut [i64; 64]) -> i32;
    fn fchmod(fd: i32, mode: u32) -> i32;
    fn fchown(fd: i32, owner: u32, group: u32) -> i32;
}

/// Linux, magic.h.
const PROC: i64 = 0x9fa0;
const SYSFS: i64 = 0x6265_6572;
const TMPFS: i64 = 0x0102_1994;
const DEVPTS: i64 = 0x1cd1;
const MQUEUE: i64 = 0x1980_0202;
/// The major numbers of pseudo terminals (Linux, devices.txt).
const TERMINALS: std::ops::RangeInclusive<u64> = 136..=143;
/// Descriptors that are looked at.
const DESCRIPTORS_MAX: i32 = 1024;
/// Files of the kernel's that are tried at most.
const FILES_MAX: usize = 60_000;
const MODE: u32 = 0o7777;

/// No descriptor but the standard ones is open (CVE-2016-9962, CVE-2024-21626).
pub fn descriptors() {
    let link = |number: i32| fs::read_link(format!("/proc/self/fd/{number}")).ok();
    let found = (3..DESCRIPTORS_MAX).filter_map(|number| Some(format!("{number} {}", link(number)?.display())));
    none("a descriptor beyond the standard ones", &found.collect::<Vec<_>>());
}

/// What is behind a descriptor that stays open.
fn stat(fd: RawFd) -> io::Result<Metadata> {
    // SAFETY: the descriptor is only borrowed: it is never closed by this File.
    ManuallyDrop::new(unsafe { File::from_raw_fd(fd) }).metadata()
}

/// The standard streams are the container's own: nothing of the host's can be changed through them.
pub fn streams(change: bool) -> io::Result<()> {
    let (null, terminals) = (fs::metadata("/dev/null")?, fs::metadata("/dev/pts")?);
    for fd in 0..3 {
        let what = format!("descriptor {fd}");
        let Ok(meta) = stat(fd) else {
            held(&what, "closed");
            continue;
        };
        let is_terminal = TERMINALS.contains(&major(meta.rdev())) && meta.dev() == terminals.dev();
        let is_null = (meta.dev(), meta.ino()) == (null.dev(), null.ino());
        match meta.file_type() {
            kind if kind.is_fifo() => held(&what, "a pipe"),
            kind if kind.is_char_device() && is_null => held(&what, "the container's own /dev/null"),
            kind if kind.is_char_device() && is_terminal => held(&what, "a terminal of the container's own"),
            _ => escaped(&what, &format!("device {:#x} on {:#x}, not of the container", meta.rdev(), meta.dev())),
        }
        if change {
            // SAFETY: C's own prototypes; numbers only. The test looks at the host's node afterwards.
            unsafe { (fchmod(fd, 0o600), fchown(fd, 1, 1)) };
        }
    }
    // A mask is a bind of a node, which a change of mode would reach.
    for path in ["/proc/timer_list", "/proc/keys", "/proc/kcore"].iter().filter(|_| change) {
        let changed = fs::set_permissions(path, fs::Permissions::from_mode(0o000));
        match changed {
            Ok(()) if fs::metadata(path)?.file_type().is_char_device() => escaped(path, "the mask's mode was changed"),
            _ => held(path, "its mode cannot be changed"),
        }
    }
    Ok(())
}

fn major(device: u64) -> u64 {
    super::device_numbers(device).0
}

/// The working directory is inside the container's root (CVE-2024-21626).
pub fn working_directory() {
    let what = "the working directory";
    let link = fs::read_link("/proc/self/cwd").map(|path| path.display().to_string()).unwrap_or_default();
    // The kernel's words for a directory that no path of this root leads to (path_resolution(7), getcwd(2)).
    match std::env::current_dir() {
        Ok(path) if path.starts_with("/") && !link.starts_with("(unreachable)") => held(what, &link),
        answer => escaped(what, &format!("{link} {answer:?}")),
    }
}

/// What must not be shown of the kernel: absent, empty, or the null device.
pub fn masks() {
    const FILES: [&str; 8] = [
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/interrupts",
        "/proc/sysrq-trigger",
    ];
    const DIRECTORIES: [&str; 5] =
        ["/proc/acpi", "/proc/scsi", "/sys/firmware", "/sys/fs/selinux", "/sys/devices/virtual/powercap"];
    let processors = fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
    let throttle = processors.map(|entry| format!("{}/thermal_throttle", entry.path().display()));
    let throttle = throttle.filter(|path| fs::symlink_metadata(path).is_ok());
    for path in DIRECTORIES.iter().map(|path| (*path).to_string()).chain(throttle) {
        let shown = fs::read_dir(&path).map_or(0, Iterator::count);
        match shown {
            0 => held(&path, "nothing is shown"),
            count => escaped(&path, &format!("{count} entries")),
        }
    }
    for path in FILES {
        // The trigger is never opened for reading: it has nothing to be read, and the write is tried by `writes`.
        let is_null = fs::metadata(path).is_ok_and(|meta| meta.rdev() == 0x103);
        match opens(path, O_RDONLY) {
            Ok(()) if !is_null && path != "/proc/sysrq-trigger" => escaped(path, "can be read"),
            _ => held(path, "cannot be read, or is the null device"),
        }
    }
}

/// A process's own, which podman leaves to it too; pressure's triggers are everybody's.
fn is_own(path: &str) -> bool {
    let first = path.strip_prefix("/proc/").and_then(|rest| rest.split('/').next()).unwrap_or("none");
    first.chars().all(|c| c.is_ascii_digit()) || ["self", "thread-self", "pressure"].contains(&first)
}

/// No file of the kernel's can be opened for writing: core_pattern, modprobe, uevent_helper, release_agent, sysrq and
/// whatever else there is. Nothing is written.
pub fn writes() {
    let mut pending: Vec<String> = ["/proc", "/sys"].map(String::from).to_vec();
    let (mut tried, mut found) = (0, Vec::new());
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = format!("{dir}/{}", entry.file_name().to_string_lossy());
            let Ok(kind) = entry.file_type() else { continue };
            if is_own(&path) || kind.is_symlink() || tried >= FILES_MAX {
                continue;
            }
            if kind.is_dir() {
                pending.push(path);
                continue;
            }
            // A mode without it has no write behind it: root opens the file all the same.
            if entry.metadata().is_ok_and(|meta| meta.mode() & 0o222 == 0) {
                continue;
            }
            tried += 1;
            let is_null = || fs::metadata(&path).is_ok_and(|meta| meta.rdev() == 0x103);
            if opens(&path, O_WRONLY).is_ok() && !is_null() {
                found.push(path);
            }
        }
    }
    none(&format!("a file of the kernel's that can be written, of {tried}"), &found);
}

/// Devices of an image's own layer: none can be opened.
pub fn nodes(paths: &[&str]) {
    for path in paths {
        let kind = fs::symlink_metadata(path).map(|meta| meta.file_type());
        let is_node = kind.is_ok_and(|kind| kind.is_block_device() || kind.is_char_device());
        if !is_node {
            escaped(path, "the test itself is wrong: no device is there");
        }
        for (flags, how) in [(O_RDONLY, "read"), (O_RDWR, "written")] {
            match opens(path, flags) {
                Ok(()) => escaped(path, &format!("can be {how}")),
                Err(error) => held(path, &format!("cannot be {how}: error {error}")),
            }
        }
    }
}

/// statfs(2)'s numbers; the first is the type, the eleventh are the mount's flags.
fn statistics(path: &str) -> [i64; 64] {
    let path = std::ffi::CString::new(path).unwrap_or_default();
    let mut buffer = [0; 64];
    // SAFETY: C's own prototype; the path is NUL-terminated, and the buffer is larger than the structure.
    match unsafe { statfs(path.as_ptr().cast(), &mut buffer) } {
        0 => buffer,
        _ => [0; 64],
    }
}

fn kind_of(path: &str) -> i64 {
    statistics(path)[0]
}

/// What stands at the places of the kernel's file systems is the kernel's (CVE-2019-16884, CVE-2025-52881).
pub fn file_systems() {
    for (path, wanted) in [
        ("/proc", PROC),
        ("/proc/sys", PROC),
        ("/proc/self/attr", PROC),
        ("/sys", SYSFS),
        ("/dev", TMPFS),
        ("/dev/pts", DEVPTS),
        ("/dev/mqueue", MQUEUE),
    ] {
        match kind_of(path) {
            0 => held(path, "not there"),
            kind if kind == wanted => held(path, "the kernel's"),
            kind => escaped(path, &format!("a file system of type {kind:#x}")),
        }
    }
}

/// `/dev/console` is a terminal of the container's own or nothing, `/dev/null` is the null device (CVE-2025-31133,
/// CVE-2025-52565, CVE-2026-88264).
pub fn console(terminal: bool) {
    let own = fs::metadata("/dev/pts").map(|meta| meta.dev()).unwrap_or_default();
    match fs::metadata("/dev/console") {
        Ok(meta) if TERMINALS.contains(&major(meta.rdev())) && meta.dev() == own => {
            held("/dev/console", "a terminal of the container's own");
        }
        Err(_) if !terminal => held("/dev/console", "not there"),
        Ok(meta) => {
            let writable = opens("/dev/console", O_WRONLY).is_ok();
            let what = format!("mode {:o}, device {:#x}, writable {writable}", meta.mode(), meta.rdev());
            escaped("/dev/console", &format!("{what}, changed {}", change("/dev/console")));
        }
        Err(error) => held("/dev/console", &error.to_string()),
    }
    match fs::metadata("/dev/null") {
        Ok(meta) if meta.rdev() == 0x103 => held("/dev/null", "the null device"),
        Ok(_) if change("/dev/null") => escaped("/dev/null", "a file, and it was written"),
        answer => held("/dev/null", &format!("not a file that can be written: {:?}", answer.map(|meta| meta.mode()))),
    }
}

/// Writes to what should be no file, unless it is one of the kernel's: it is a canary then.
fn change(path: &str) -> bool {
    let is_kernels = [PROC, SYSFS].contains(&kind_of(path));
    !is_kernels && fs::metadata(path).is_ok_and(|meta| meta.is_file()) && fs::write(path, "broken out\n").is_ok()
}

/// No way that is known leads to a file of the host's.
pub fn read(path: &str, text: &str) {
    let up = "../".repeat(24);
    let mut ways = vec![path.to_string(), format!("/proc/self/cwd/{up}{path}"), format!("/proc/self/root/{path}")];
    ways.extend((0..64).map(|fd| format!("/proc/self/fd/{fd}/{up}{path}")));
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if pid.chars().all(|c| c.is_ascii_digit()) {
            ways.extend(["root", "cwd"].map(|link| format!("/proc/{pid}/{link}/{up}{path}")));
            ways.extend((3..24).map(|fd| format!("/proc/{pid}/fd/{fd}/{up}{path}")));
        }
    }
    let reached = |way: &String| fs::read_to_string(way).is_ok_and(|content| content.contains(text));
    let found: Vec<String> = ways.iter().filter(|way| reached(way)).cloned().collect();
    none(&format!("a way to the host's file, of {}", ways.len()), &found);
}

/// With `--init`: our own program, by which process 1 runs, lies on a read-only mount (CVE-2019-5736). While it runs
/// the kernel says nothing but that it does.
pub fn init_program(path: &str) {
    const READ_ONLY: i64 = 1;
    for path in ["/proc/1/exe", path] {
        match (opens(path, O_WRONLY), statistics(path)[10] & READ_ONLY) {
            (Err(error), READ_ONLY) => held(path, &format!("error {error}, on a read-only mount")),
            (answer, _) => escaped(path, &format!("{answer:?}, and its mount can be written")),
        }
    }
}

/// Nothing of the caller's environment is ours (CVE-2026-57231).
pub fn environment(text: &str) {
    let has = |(_, value): &(std::ffi::OsString, std::ffi::OsString)| value.to_string_lossy().contains(text);
    let found = std::env::vars_os().filter(has).map(|(name, _)| name.to_string_lossy().into_owned());
    none("a variable of the caller's", &found.collect::<Vec<_>>());
}

/// Not root, and no line of the image's own making in the database of users (CVE-2022-4318, CVE-2024-40635).
pub fn user(forged: &str) -> io::Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let ids = status.lines().find(|line| line.starts_with("Uid:")).unwrap_or_default().to_string();
    match ids.split_whitespace().any(|id| id == "0") {
        true => escaped("the user", "root"),
        false => held("the user", &ids.replace('\t', " ")),
    }
    if !forged.is_empty() {
        let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
        none(
            "a forged user",
            &text.lines().filter(|line| line.starts_with(forged)).map(String::from).collect::<Vec<_>>(),
        );
    }
    Ok(())
}

/// Whether a file can be opened and read.
pub fn is_readable(path: &str) -> bool {
    let Ok(fd) = try_open(path, O_RDONLY) else { return false };
    let mut byte = [0u8];
    // SAFETY: read(2) on a descriptor of ours and one byte of ours; then it is closed, which nobody else does.
    unsafe { syscall(0, i64::from(fd), byte.as_mut_ptr(), 1i64) > 0 && close(fd) == 0 }
}

/// The mode bits that a program can have beyond reading, writing and running.
pub fn is_setuid(meta: &Metadata) -> bool {
    meta.is_file() && meta.mode() & MODE & 0o6000 != 0 && meta.uid() == 0
}
