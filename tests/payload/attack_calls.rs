//! Attacks by system calls: by number, so that the filter and the kernel are asked, and no library.

use super::attack::{close, errno, escaped, held, none, opens, syscall, try_open, EACCES, EPERM, O_RDONLY, O_WRONLY};
use std::ffi::CString;
use std::fs;
use std::io;

extern "C" {
    fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn _exit(code: i32) -> !;
}

/// Linux, sched.h.
const NEW_MOUNTS: i64 = 0x0002_0000;
const NEW_CGROUPS: i64 = 0x0200_0000;
const NEW_USERS: i64 = 0x1000_0000;
const NEW_PROCESSES: i64 = 0x2000_0000;
const NEW_NETWORK: i64 = 0x4000_0000;

/// podman's default capabilities, as bits.
const DEFAULT: u64 = 0x8004_05fb;
const ENOSYS: i32 = 38;
const EAFNOSUPPORT: i32 = 97;
const EINVAL: i32 = 22;
const EPROTONOSUPPORT: i32 = 93;

/// A system call's answer, or its errno; every argument is a number or the address of one.
fn call(number: i64, arguments: [i64; 5]) -> Result<i64, i32> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: addresses among the arguments are of values that live through the call.
    match unsafe { syscall(number, a, b, c, d, e) } {
        -1 => Err(errno()),
        answer => Ok(answer),
    }
}

fn text(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

fn address(text: &CString) -> i64 {
    text.as_ptr() as i64
}

/// Numbers are x86-64's. Where a call is let through, the kernel must refuse it for want of a right, and for no
/// other reason: an argument that is merely wrong would prove nothing.
pub fn denied() {
    let (none, tmp, tmpfs) = (text("none"), text("/tmp"), text("tmpfs"));
    let (parameters, node) = (text("/proc/sys"), text("/tmp/node"));
    let mounts = fs::File::open("/proc/self/ns/mnt");
    let mounts = mounts.as_ref().map_or(-1, |file| i64::from(std::os::fd::AsRawFd::as_raw_fd(file)));
    // A handle of the file system's root, as CVE-2014-3519's class guesses it: 8 bytes, type 1, inode 2.
    let handle: [u32; 4] = [8, 1, 2, 0];
    let program: [u64; 16] = [2; 16];
    let none = address(&none);
    let rows: [(&str, i64, [i64; 5]); 19] = [
        ("mount", 165, [none, address(&tmp), address(&tmpfs), 0, 0]),
        ("umount", 166, [address(&parameters), 2, 0, 0, 0]),
        ("pivot_root", 155, [address(&tmp), address(&tmp), 0, 0, 0]),
        ("setns", 308, [mounts, 0, 0, 0, 0]),
        ("unshare(mounts)", 272, [NEW_MOUNTS, 0, 0, 0, 0]),
        ("unshare(network)", 272, [NEW_NETWORK, 0, 0, 0, 0]),
        ("fsopen", 430, [address(&tmpfs), 0, 0, 0, 0]),
        ("open_tree(clone)", 428, [-100, address(&tmp), 1, 0, 0]),
        ("open_by_handle_at", 304, [-100, handle.as_ptr() as i64, 0, 0, 0]),
        ("bpf", 321, [5, program.as_ptr() as i64, 128, 0, 0]),
        ("perf_event_open", 298, [program.as_ptr() as i64, -1, 0, -1, 0]),
        ("init_module", 175, [none, 1, none, 0, 0]),
        ("kexec_load", 246, [0, 0, 0, 0, 0]),
        ("swapon", 167, [address(&tmp), 0, 0, 0, 0]),
        ("acct", 163, [address(&tmp), 0, 0, 0, 0]),
        ("sethostname", 170, [none, 4, 0, 0, 0]),
        ("iopl", 172, [3, 0, 0, 0, 0]),
        ("ioperm", 173, [0x80, 1, 1, 0, 0]),
        ("mknod(block)", 133, [address(&node), 0o60_666, 0x701, 0, 0]),
    ];
    for (name, number, arguments) in rows {
        match call(number, arguments) {
            Err(error @ (EPERM | EACCES | ENOSYS)) => held(name, &format!("error {error}")),
            answer => escaped(name, &format!("{answer:?}")),
        }
    }
    // Lets a page fault of the kernel's wait: what races are won with. Its own faults alone are no danger.
    const USER_MODE_ONLY: i64 = 1;
    match (call(323, [0; 5]), call(323, [USER_MODE_ONLY, 0, 0, 0, 0])) {
        (Err(error), _) => held("userfaultfd", &format!("error {error}")),
        answer => escaped("userfaultfd", &format!("{answer:?}")),
    }
    trace_first();
}

/// With CAP_MKNOD, which the line may give: a block device of our own making is no way to a disk.
pub fn make_node(path: &str, major: &str, minor: &str) -> io::Result<()> {
    const BLOCK: i64 = 0o60_666;
    let number = |word: &str| word.parse::<i64>().map_err(io::Error::other);
    let device = number(major)? << 8 | number(minor)?;
    let place = text(path);
    match call(133, [address(&place), BLOCK, device, 0, 0]) {
        Err(error) => held(path, &format!("cannot be made: error {error}")),
        Ok(_) => match try_open(path, O_RDONLY) {
            Err(error) => held(path, &format!("was made, and cannot be opened: error {error}")),
            Ok(_) => escaped(path, "was made and can be read"),
        },
    }
    Ok(())
}

/// A console that was stopped (Ctrl-S) takes no more lines: all that is written to it waits.
pub fn stop_console(path: &str) {
    const TCXONC: i64 = 0x540a;
    const TCOOFF: i64 = 0;
    match try_open(path, O_WRONLY) {
        Err(error) => held(path, &format!("cannot be opened: error {error}")),
        Ok(fd) => match call(16, [i64::from(fd), TCXONC, TCOOFF, 0, 0]) {
            Err(error) => held(path, &format!("cannot be stopped: error {error}")),
            Ok(_) => escaped(path, "was stopped"),
        },
    }
}

/// Process 1, where that is not us, cannot be traced or written.
fn trace_first() {
    const ATTACH: i64 = 16;
    if std::process::id() == 1 {
        return held("ptrace(1)", "it is ourselves");
    }
    match call(101, [ATTACH, 1, 0, 0, 0]) {
        Err(error) => held("ptrace(1)", &format!("error {error}")),
        Ok(_) => escaped("ptrace(1)", "attached"),
    }
}

/// Each set of capabilities, and the groups.
pub fn rights() -> io::Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    let set = |name: &str| u64::from_str_radix(field(name), 16).unwrap_or(u64::MAX);
    for name in ["CapInh:", "CapAmb:"] {
        // CVE-2022-24769 and its five siblings.
        match set(name) {
            0 => held(name, "empty"),
            bits => escaped(name, &format!("{bits:x}")),
        }
    }
    for name in ["CapPrm:", "CapEff:", "CapBnd:"] {
        match set(name) & !DEFAULT {
            0 => held(name, field(name)),
            bits => escaped(name, &format!("{bits:x} more than podman's")),
        }
    }
    match field("Seccomp:") {
        "2" => held("the filter of system calls", "there"),
        other => escaped("the filter of system calls", other),
    }
    let groups: Vec<&str> = field("Groups:").split_whitespace().collect();
    let group = field("Gid:").split_whitespace().next().unwrap_or_default();
    // CVE-2022-36109's class: a group that is not in the list can be put off by a set-group-id program.
    match groups.contains(&group) || group == "0" {
        true => held("the primary group", "is among the others"),
        false => escaped("the primary group", &format!("{group} is not among {groups:?}")),
    }
    // Of the caller's, told by the test: 4 and 27 are in no image of ours.
    let foreign: Vec<String> =
        groups.iter().filter(|group| ["4", "27"].contains(group)).map(|g| g.to_string()).collect();
    none("a group of the caller's", &foreign);
    Ok(())
}

/// Runs `attack` in a child. C's own fork: the child prints, and ends.
fn in_child(what: &str, attack: fn()) {
    // SAFETY: C's own prototypes; no other thread is there, and the child only makes system calls and prints.
    unsafe {
        let child = fork();
        if child == 0 {
            attack();
            _exit(0);
        }
        let mut status = 0;
        if child < 0 || waitpid(child, &mut status, 0) != child || status != 0 {
            escaped(what, &format!("the test itself is wrong: status {status}"));
        }
    }
}

/// In a user namespace of its own a process has every capability: what is mounted stays as it is even so, and no
/// hierarchy of control groups takes a release agent (CVE-2022-0492).
pub fn user_namespace() {
    in_child("a user namespace", || {
        let all = NEW_USERS | NEW_MOUNTS | NEW_CGROUPS | NEW_PROCESSES | NEW_NETWORK;
        match call(272, [all, 0, 0, 0, 0]) {
            Err(error) => held("a user namespace", &format!("error {error}")),
            // Of processes, the namespace is the next child's.
            Ok(_) => in_child("a user namespace", || {
                what_is_mounted_stays();
                kernels_file_systems();
            }),
        }
    });
}

fn what_is_mounted_stays() {
    const REMOUNT_BIND: i64 = 0x20 | 0x1000;
    let none = text("none");
    for path in ["/proc/sys", "/proc/sysrq-trigger", "/proc/timer_list", "/sys"] {
        let place = text(path);
        match call(165, [address(&none), address(&place), 0, REMOUNT_BIND, 0]) {
            Err(error) => held(&format!("{path} writable again"), &format!("error {error}")),
            Ok(_) => escaped(path, "was made writable again"),
        }
        match call(166, [address(&place), 2, 0, 0, 0]) {
            Err(error) => held(&format!("{path} uncovered"), &format!("error {error}")),
            Ok(_) => escaped(path, "was uncovered"),
        }
    }
}

/// A file system of the kernel's, mounted anew, would be without masks.
fn kernels_file_systems() {
    let (none, place) = (text("none"), text("/tmp"));
    for (kind, option, file) in [
        ("proc", "", "sys/kernel/core_pattern"),
        ("sysfs", "", "kernel/uevent_helper"),
        ("cgroup2", "", "cgroup.procs"),
        ("cgroup", "memory", "release_agent"),
        ("cgroup", "freezer", "release_agent"),
        ("cgroup", "devices", "release_agent"),
    ] {
        let (name, option) = (text(kind), text(option));
        let what = format!("a {kind} of its own");
        if let Err(error) = call(165, [address(&none), address(&place), address(&name), 0, address(&option)]) {
            held(&what, &format!("error {error}"));
            continue;
        }
        if kind.starts_with("cgroup") {
            groups_of_the_host("/tmp", &what);
        }
        match takes_a_write(&format!("/tmp/{file}"), kind == "cgroup") {
            // Its own processes are its own.
            Ok(()) if kind != "cgroup2" => escaped(&what, &format!("{file} can be written")),
            answer => held(&what, &format!("is there, {file}: {answer:?}")),
        }
        let _ = call(166, [address(&place), 2, 0, 0, 0]);
    }
}

/// What a hierarchy of control groups shows begins with the container's own: no group is in it that others made.
fn groups_of_the_host(top: &str, what: &str) {
    let groups = fs::read_dir(top).into_iter().flatten().flatten().map(|entry| entry.path());
    let writable = |path: &std::path::PathBuf| opens(&path.join("cgroup.procs").to_string_lossy(), O_WRONLY).is_ok();
    let found = groups.filter(writable).map(|path| path.display().to_string());
    none(&format!("a group of the host's by {what}"), &found.collect::<Vec<_>>());
}

/// Whether a file can be opened for writing. The kernel asks about a release agent when it is written: nothing is
/// written over the nothing that is there.
fn takes_a_write(path: &str, write: bool) -> Result<(), i32> {
    let fd = try_open(path, O_WRONLY)?;
    let is_empty = fs::read_to_string(path).is_ok_and(|text| text.trim().is_empty());
    let nothing = text("\n");
    let answer = match (write, is_empty) {
        (false, _) => Ok(0),
        (true, true) => call(1, [i64::from(fd), address(&nothing), 1, 0, 0]),
        (true, false) => Err(0),
    };
    // SAFETY: the descriptor was just opened, and nobody else has it.
    unsafe { close(fd) };
    answer.map(drop)
}

/// Sockets that reach beyond what a container is for, whatever network it shares.
pub fn sockets() -> io::Result<()> {
    const RAW: i64 = 3;
    // The kernel takes the low half of an argument.
    const HIGH: i64 = 1 << 32;
    for (name, family, kind, protocol) in [
        ("packet", 17, RAW, 0x0300),
        ("raw IP", 2, RAW, 1),
        ("audit", 16, RAW, 9),
        ("audit (high bits)", 16 | HIGH, RAW, 9),
        ("vsock", 40, 1, 0),
        ("vsock (high bits)", 40 | HIGH, 1, 0),
    ] {
        match call(41, [family, kind, protocol, 0, 0]) {
            Err(error @ (EPERM | EACCES | EAFNOSUPPORT | EPROTONOSUPPORT | EINVAL)) => {
                held(&format!("a {name} socket"), &format!("error {error}"));
            }
            Ok(fd) => {
                escaped(&format!("a {name} socket"), "opened");
                // SAFETY: the descriptor was just opened, and nobody else has it.
                unsafe { close(fd as i32) };
            }
            Err(error) => escaped(&format!("a {name} socket"), &format!("error {error}")),
        }
    }
    Ok(())
}

/// A key of the caller's session is not to be found.
pub fn keyring(name: &str) {
    const SEARCH: i64 = 10;
    const SESSION: i64 = -3;
    let (kind, description) = (text("user"), text(name));
    match call(250, [SEARCH, SESSION, address(&kind), address(&description), 0]) {
        Ok(key) => escaped("the session's keyring", &format!("key {key}")),
        Err(error) => held("the session's keyring", &format!("error {error}")),
    }
    match call(249, [address(&kind), address(&description), 0, 0, 0]) {
        Ok(key) => escaped("request_key", &format!("key {key}")),
        Err(error) => held("request_key", &format!("error {error}")),
    }
    let keys = fs::read_to_string("/proc/keys").unwrap_or_default();
    none("/proc/keys", &keys.lines().filter(|line| line.contains(name)).map(String::from).collect::<Vec<_>>());
}

/// TIOCSTI types for the user of a terminal. The test looks whether anything came to the caller's.
pub fn push_into_terminal() {
    const TIOCSTI: i64 = 0x5412;
    let tty = fs::OpenOptions::new().read(true).write(true).open("/dev/tty");
    let tty = tty.as_ref().map_or(-1, |file| i64::from(std::os::fd::AsRawFd::as_raw_fd(file)));
    for byte in b"pushed\n" {
        for fd in [0, 1, 2, tty] {
            let _ = call(16, [fd, TIOCSTI, std::ptr::from_ref(byte) as i64, 0, 0]);
        }
    }
    held("TIOCSTI", "tried: the caller's terminal tells");
}
