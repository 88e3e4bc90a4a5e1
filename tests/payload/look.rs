//! `look`: what a process can see of its surroundings, a fact a line, which begins with its kind. What differs from run
//! to run (numbers of pipes, of mounts, of containers) is left out or replaced by a general word.

use super::{fcntl, signal};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Paths whose whole content is listed: where images and flags put files.
const TREES: [&str; 6] = ["/data", "/home", "/mnt", "/srv", "/vol", "/kept"];
const ENTRIES_MAX: usize = 1000;
/// Paths that are listed without their content.
#[rustfmt::skip]
const PLACES: [&str; 14] = [
    "/", "/dev", "/dev/mqueue", "/dev/shm", "/etc", "/etc/hostname", "/etc/hosts", "/etc/localtime", "/etc/passwd",
    "/etc/resolv.conf", "/run", "/tmp", "/var/tmp", "/new",
];
/// What a runtime may hide, and what it may make read-only (OCI runtime spec, config-linux.md).
#[rustfmt::skip]
const KERNEL_PATHS: [&str; 20] = [
    "/proc/acpi", "/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/sys", "/proc/sysrq-trigger", "/proc/timer_list",
    "/proc/timer_stats", "/proc/kmsg", "/sys", "/sys/dev/block", "/sys/firmware", "/sys/fs/cgroup", "/sys/fs/selinux",
];
#[rustfmt::skip]
const SYSCTLS: [&str; 11] = [
    "fs/mqueue/msg_max", "fs/mqueue/queues_max", "kernel/domainname", "kernel/msgmax", "kernel/sem", "kernel/shmall",
    "kernel/shmmax", "kernel/shmmni", "net/ipv4/ip_forward", "net/ipv4/ip_unprivileged_port_start",
    "net/ipv4/ping_group_range",
];
#[rustfmt::skip]
const LIMITS: [&str; 15] = [
    "cgroup.controllers", "cgroup.subtree_control", "cpu.max", "cpu.weight", "cpuset.cpus", "cpuset.mems", "io.max",
    "io.weight", "memory.high", "memory.low", "memory.max", "memory.oom.group", "memory.swap.max", "pids.max",
    "hugetlb.2MB.max",
];
/// Of `/proc/self/status`.
#[rustfmt::skip]
const STATUS: [&str; 17] = [
    "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp",
    "Seccomp_filters", "SigBlk", "SigIgn", "Cpus_allowed_list", "Mems_allowed_list", "THP_enabled",
    "Speculation_Store_Bypass",
];
/// Devices that an allow-list lets through or not, kernel's documentation devices.txt: null, kmsg, mem, fuse,
/// tun, ttyS0, tty0, loop0, vda.
#[rustfmt::skip]
const DEVICES: [(char, u64, u64); 9] = [
    ('c', 1, 3), ('c', 1, 11), ('c', 1, 1), ('c', 10, 229), ('c', 10, 200), ('c', 4, 64), ('c', 4, 0), ('b', 7, 0),
    ('b', 254, 0),
];

/// System calls that filters and capabilities decide on, by their numbers on x86-64: with arguments that mean
/// nothing they do nothing, and their error says whether the kernel ever got to see them.
#[rustfmt::skip]
const CALLS: [(&str, i64); 56] = [
    ("socket", 41), ("ptrace", 101), ("syslog", 103), ("personality", 135), ("ustat", 136), ("sysfs", 139),
    ("modify_ldt", 154), ("pivot_root", 155), ("chroot", 161), ("acct", 163), ("settimeofday", 164), ("mount", 165),
    ("umount2", 166), ("swapon", 167), ("swapoff", 168), ("reboot", 169), ("sethostname", 170),
    ("setdomainname", 171), ("iopl", 172), ("ioperm", 173), ("init_module", 175), ("delete_module", 176),
    ("quotactl", 179), ("lookup_dcookie", 212), ("clock_settime", 227), ("mbind", 237), ("set_mempolicy", 238),
    ("kexec_load", 246), ("add_key", 248), ("request_key", 249), ("keyctl", 250), ("migrate_pages", 256),
    ("unshare", 272), ("vmsplice", 278), ("move_pages", 279), ("perf_event_open", 298), ("fanotify_init", 300),
    ("name_to_handle_at", 303), ("open_by_handle_at", 304), ("setns", 308), ("process_vm_readv", 310), ("kcmp", 312),
    ("finit_module", 313), ("bpf", 321), ("userfaultfd", 323), ("io_uring_setup", 425), ("open_tree", 428),
    ("move_mount", 429), ("fsopen", 430), ("pidfd_open", 434), ("clone3", 435), ("pidfd_getfd", 438),
    ("process_madvise", 440), ("mount_setattr", 442), ("landlock_create_ruleset", 444), ("memfd_secret", 447),
];

extern "C" {
    fn syscall(number: i64, ...) -> i64;
    fn access(path: *const u8, mode: i32) -> i32;
    fn ioctl(fd: i32, request: u64, ...) -> i32;
    fn mknod(path: *const u8, mode: u32, device: u64) -> i32;
    fn open(path: *const u8, flags: i32, ...) -> i32;
    fn close(fd: i32) -> i32;
    fn umask(mask: u32) -> u32;
    fn getpriority(which: i32, who: u32) -> i32;
}

/// Whether SIGPIPE was ignored before std, which ignores it, had its turn.
static PIPE_IGNORED: AtomicBool = AtomicBool::new(false);

#[used]
#[link_section = ".init_array"]
static AT_FIRST: extern "C" fn() = at_first;

extern "C" fn at_first() {
    const SIGPIPE: i32 = 13;
    const SIG_IGN: usize = 1;
    // SAFETY: C's own prototype; asks by setting the default, and std sets its own later anyway.
    PIPE_IGNORED.store(unsafe { signal(SIGPIPE, 0) } == SIG_IGN, Relaxed);
}

/// Prints every fact.
pub fn all() {
    for (kind, facts) in [
        ("env", env as fn() -> Vec<String>),
        ("process", process),
        ("status", status),
        ("rlimit", rlimits),
        ("ns", namespaces),
        ("mount", mounts),
        ("kernel-path", || KERNEL_PATHS.iter().map(|path| kernel_path(path)).collect()),
        ("place", || PLACES.iter().map(|path| place(path)).collect()),
        ("tree", trees),
        ("dev", devices),
        ("device-rule", device_rules),
        ("call", calls),
        ("passwd", || lines("/etc/passwd")),
        ("group", || lines("/etc/group")),
        ("resolv.conf", || lines("/etc/resolv.conf")),
        ("hosts", || lines("/etc/hosts")),
        ("sysctl", || SYSCTLS.iter().map(|name| format!("{name} {}", word("/proc/sys/", name))).collect()),
        ("cgroup", control_group),
        ("fd", descriptors),
        ("tty", terminal),
        ("net", network),
    ] {
        facts().iter().for_each(|fact| println!("{kind} {fact}"));
    }
}

fn c_path(path: &str) -> Vec<u8> {
    [path.as_bytes(), b"\0"].concat()
}

/// A file of the kernel's in one line; why not, where it cannot be read.
fn word(dir: &str, name: &str) -> String {
    match fs::read_to_string(format!("{dir}{name}")) {
        Ok(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        Err(error) => why(&error),
    }
}

pub fn why(error: &std::io::Error) -> String {
    format!("error {}", error.raw_os_error().unwrap_or(0))
}

fn lines(path: &str) -> Vec<String> {
    match fs::read_to_string(path) {
        Ok(text) => text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect(),
        Err(error) => vec![why(&error)],
    }
}

fn env() -> Vec<String> {
    std::env::vars_os().map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy())).collect()
}

fn process() -> Vec<String> {
    // SAFETY: C's own prototypes; they take numbers only.
    let (mask, nice) = unsafe { (umask(0), getpriority(0, 0)) };
    let mut facts: Vec<String> =
        std::env::args_os().enumerate().map(|(at, word)| format!("argv {at} {}", word.to_string_lossy())).collect();
    facts.push(format!(
        "cwd {}",
        std::env::current_dir().map_or_else(|error| why(&error), |dir| dir.display().to_string())
    ));
    facts.push(format!("umask {mask:04o}"));
    facts.push(format!("nice {nice}"));
    facts.push(format!("pid {}", general(&std::process::id().to_string())));
    facts.push(format!("pid1 {}", word("/proc/1/", "comm")));
    for name in ["oom_score_adj", "personality", "uid_map", "gid_map", "setgroups", "coredump_filter"] {
        facts.push(format!("{name} {}", word("/proc/self/", name)));
    }
    facts.push(format!("hostname {}", word("/proc/sys/kernel/", "hostname")));
    // pid (comm) state ppid pgrp session tty: ours is the first of its session, or not.
    let stat = word("/proc/self/", "stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let own = std::process::id().to_string();
    let at = |index: usize| fields.get(index).copied().unwrap_or_default();
    facts.push(format!("parent {} leads-group {} leads-session {}", general(at(1)), at(2) == own, at(3) == own));
    facts
}

/// Of the numbers of processes, those that mean something.
fn general(pid: &str) -> &str {
    if ["0", "1", "2"].contains(&pid) {
        pid
    } else {
        "another"
    }
}

/// Ids, capabilities, filters and signals as the kernel counts them.
fn status() -> Vec<String> {
    let mut facts = Vec::new();
    for line in lines("/proc/self/status") {
        let Some((name, value)) = line.split_once(':') else { continue };
        if STATUS.contains(&name) {
            let value = if name == "SigIgn" { signals_ignored(value.trim()) } else { value.trim().to_string() };
            facts.push(format!("{name} {value}"));
        }
    }
    facts
}

/// The mask without what std itself does to SIGPIPE (signal 13).
fn signals_ignored(mask: &str) -> String {
    let bit = 1 << 12;
    let mask = u64::from_str_radix(mask, 16).unwrap_or(0) & !bit;
    format!("{:016x}", if PIPE_IGNORED.load(Relaxed) { mask | bit } else { mask })
}

fn rlimits() -> Vec<String> {
    let fact = |line: &String| line.trim_start_matches("Max ").to_string();
    lines("/proc/self/limits").iter().skip(1).map(fact).collect()
}

/// Numbers of namespaces, to be compared with those of the host.
fn namespaces() -> Vec<String> {
    let mut facts = Vec::new();
    for name in super::sorted("/proc/self/ns").unwrap_or_default() {
        let target = fs::read_link(format!("/proc/self/ns/{name}"));
        facts
            .push(target.map_or_else(|error| format!("{name} {}", why(&error)), |target| target.display().to_string()));
    }
    facts
}

/// `PLACE TYPE ROOT OPTIONS PROPAGATION OPTIONS-OF-THE-FILE-SYSTEM`, proc(5), mountinfo.
fn mounts() -> Vec<String> {
    let sorted = |options: &str, keep: &dyn Fn(&str) -> bool| {
        let set: BTreeSet<&str> = options.split(',').filter(|option| keep(option)).collect();
        set.into_iter().collect::<Vec<_>>().join(",")
    };
    let mut facts = Vec::new();
    for line in lines("/proc/self/mountinfo") {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let (left, right): (Vec<&str>, Vec<&str>) = (left.split(' ').collect(), right.split(' ').collect());
        let (&[_, _, _, root, place, options, ref tags @ ..], &[kind, _, ref rest @ ..]) = (&left[..], &right[..])
        else {
            continue;
        };
        // Whose peer it is has a number that no two runs share.
        let tags: Vec<&str> = tags.iter().filter_map(|tag| tag.split(':').next()).collect();
        let tags = if tags.is_empty() { "private".to_string() } else { tags.join("+") };
        let own = |option: &str| !option.contains("dir=") && !option.starts_with("redirect_dir");
        let root = if kind == "overlay" || root.len() > 24 { "-" } else { root };
        let options = sorted(options, &|_| true);
        facts.push(format!("{place} {kind} {root} {options} {tags} {}", sorted(rest.last().unwrap_or(&""), &own)));
    }
    facts
}

/// Whether we could write there, or the number of why not (30: the mount is read-only).
fn writable(path: &str) -> String {
    const W_OK: i32 = 2;
    // SAFETY: C's own prototype; the path ends with a NUL.
    match unsafe { access(c_path(path).as_ptr(), W_OK) } {
        0 => "writable".into(),
        _ => why(&std::io::Error::last_os_error()),
    }
}

/// `PATH absent`, or what is there: a device in a file's place hides it, and so does an empty directory.
fn kernel_path(path: &str) -> String {
    let Ok(meta) = fs::metadata(path) else { return format!("{path} absent") };
    let what = match fs::read_dir(path) {
        Ok(entries) => format!("directory {}", if entries.count() == 0 { "empty" } else { "filled" }),
        Err(_) if meta.is_dir() => "directory closed".into(),
        Err(_) => node(&meta),
    };
    format!("{path} {what} {:04o} {}", meta.mode() & 0o7777, writable(path))
}

/// `device 1:3`, `link`, `file` …
pub fn node(meta: &fs::Metadata) -> String {
    let kind = meta.file_type();
    let (major, minor) = super::device_numbers(meta.rdev());
    match () {
        () if kind.is_char_device() => format!("character {major}:{minor}"),
        () if kind.is_block_device() => format!("block {major}:{minor}"),
        () if kind.is_dir() => "directory".into(),
        () if kind.is_symlink() => "link".into(),
        () if kind.is_fifo() => "fifo".into(),
        () if kind.is_socket() => "socket".into(),
        () => "file".into(),
    }
}

/// `PATH KIND MODE UID:GID WRITABLE`, with the size of a file and the target of a link.
pub fn place(path: &str) -> String {
    let Ok(meta) = fs::symlink_metadata(path) else { return format!("{path} absent") };
    if let Ok(target) = fs::read_link(path) {
        return format!("{path} link {}:{} {}", meta.uid(), meta.gid(), target.display());
    }
    let size = if meta.is_file() { format!(" {} bytes", meta.len()) } else { String::new() };
    let mode = meta.mode() & 0o7777;
    format!("{path} {} {mode:04o} {}:{} {}{size}", node(&meta), meta.uid(), meta.gid(), writable(path))
}

/// Every place below `dir`, links not followed.
pub fn walk(dir: &str, facts: &mut Vec<String>) {
    for name in super::sorted(dir).unwrap_or_default() {
        let path = format!("{dir}/{name}");
        if facts.len() < ENTRIES_MAX {
            facts.push(place(&path));
        }
        // What is mounted in /dev has its own lines, and its entries come and go.
        let enters = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir());
        if enters && !["/dev/pts", "/dev/shm", "/dev/mqueue"].contains(&path.as_str()) {
            walk(&path, facts);
        }
    }
}

fn trees() -> Vec<String> {
    let mut facts = Vec::new();
    for tree in TREES {
        facts.push(place(tree));
        walk(tree, &mut facts);
    }
    facts
}

fn devices() -> Vec<String> {
    let mut facts = Vec::new();
    walk("/dev", &mut facts);
    facts
}

/// What becomes of making a device and opening it: by capabilities, and by the control group's list.
fn device_rules() -> Vec<String> {
    // O_NONBLOCK and O_NOCTTY: a terminal must neither wait nor become ours.
    const READING: i32 = 0o4400;
    const WRITING: i32 = 0o4401;
    // In the root, or, where that is a mount without devices, in a place that is none.
    const PATHS: [&str; 2] = ["/look.device", "/dev/look.device"];
    const NO_DEVICES: &str = "error 13";
    let mut facts = Vec::new();
    for (kind, major, minor) in DEVICES {
        let mode = 0o600 | if kind == 'c' { 0o020_000 } else { 0o060_000 };
        let done = |result: i32| if result < 0 { why(&std::io::Error::last_os_error()) } else { "ok".into() };
        // SAFETY: C's own prototypes; the path ends with a NUL, and what is opened is closed.
        let try_at = |path: &str| unsafe {
            let try_open = |flags| {
                let fd = open(c_path(path).as_ptr(), flags);
                let answer = done(fd);
                close(fd);
                answer
            };
            let made = done(mknod(c_path(path).as_ptr(), mode, major << 8 | minor));
            let answers = (made, try_open(READING), try_open(WRITING));
            let _ = fs::remove_file(path);
            answers
        };
        let mut answers = try_at(PATHS[0]);
        if answers.0 == "ok" && answers.1 == NO_DEVICES {
            answers = try_at(PATHS[1]);
        }
        let (made, read, write) = answers;
        facts.push(format!("{kind} {major}:{minor} make {made} read {read} write {write}"));
    }
    facts
}

fn calls() -> Vec<String> {
    let answer = |(name, number): &(&str, i64)| {
        // SAFETY: no pointer, descriptor or flag is valid at -1, so nothing is read, written or changed.
        let result = unsafe { syscall(*number, -1i64, -1i64, -1i64, -1i64, -1i64, -1i64) };
        let error = std::io::Error::last_os_error();
        format!("{name} {}", if result < 0 { why(&error) } else { "ok".into() })
    };
    if cfg!(target_arch = "x86_64") {
        CALLS.iter().map(answer).collect()
    } else {
        Vec::new()
    }
}

/// Limits as this group sees them: at the mount, or below it where the host's groups are seen.
fn control_group() -> Vec<String> {
    let own = word("/proc/self/", "cgroup");
    let path = own.trim_start_matches("0::");
    let dir = format!("/sys/fs/cgroup{}", if path == "/" { "" } else { path });
    let mut facts = vec![format!("path {}", if path == "/" { "/" } else { "below the host's" })];
    facts.push(format!("directory {}", writable(&dir)));
    facts.extend(LIMITS.iter().map(|name| format!("{name} {}", word(&format!("{dir}/"), name))));
    facts
}

/// `NUMBER TARGET FLAGS`; all but the one that lists them.
fn descriptors() -> Vec<String> {
    const F_GETFD: i32 = 1;
    const F_GETFL: i32 = 3;
    let mut facts = Vec::new();
    for name in super::sorted("/proc/self/fd").unwrap_or_default() {
        let (Ok(target), Ok(fd)) = (fs::read_link(format!("/proc/self/fd/{name}")), name.parse::<i32>()) else {
            continue;
        };
        let target = target.display().to_string();
        if target.ends_with("/fd") {
            continue;
        }
        let target = target.split(":[").next().unwrap_or_default();
        // SAFETY: C's own prototype; asks about a descriptor that may be closed by now.
        let (close, flags) = unsafe { (fcntl(fd, F_GETFD), fcntl(fd, F_GETFL)) };
        facts.push(format!("{name} {target} {flags:o} close-on-exec {close}"));
    }
    facts
}

/// For each of the three: a terminal or not, and the size; and whether one controls us.
pub fn terminal() -> Vec<String> {
    const TIOCGWINSZ: u64 = 0x5413;
    let mut facts = Vec::new();
    for fd in 0..3 {
        let mut size = [0u16; 4];
        // SAFETY: fills in four numbers (tty_ioctl(4)), or fails.
        let is_terminal = unsafe { ioctl(fd, TIOCGWINSZ, &mut size) } == 0;
        facts.push(if is_terminal {
            format!("{fd} {} rows {} columns", size[0], size[1])
        } else {
            format!("{fd} none")
        });
    }
    facts
        .push(format!("controlling {}", fs::File::open("/dev/tty").map_or_else(|error| why(&error), |_| "yes".into())));
    facts
}

/// The names of the network's cards, without numbers of bytes.
fn network() -> Vec<String> {
    let name = |line: &String| line.split(':').next().unwrap_or_default().trim().to_string();
    lines("/proc/self/net/dev").iter().skip(2).map(name).collect()
}
