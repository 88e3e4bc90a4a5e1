//! The container's own side: what happens between `clone` and `exec`.
//!
//! Everything is planned before the clone, as data: this side runs in a copy
//! of a process that may have had other threads, so it must not allocate. Each
//! path is opened in-root (`RESOLVE_IN_ROOT`), so that no symlink of the image
//! leads a mount out of it (CVE-2026-41579).

use super::trouble::{Stage, Trouble};
use crate::proto::passwd::Identity;
use crate::sys::process::Arguments;
use crate::sys::{
    fs, io, machine, mount, process, signal, socket, tty, Error, Result, EEXIST, EINVAL, ENAMETOOLONG, ENOENT, ENOSYS,
    ENOTDIR,
};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// One change to the container's tree.
pub enum Op {
    /// A folder, made where it is missing; its parent is there.
    Folder(CString),
    /// An empty file, made where nothing is.
    File(CString),
    Node {
        path: CString,
        mode: u32,
        device: (u32, u32),
    },
    Symlink {
        path: CString,
        target: CString,
    },
    /// A new file system; `optional` ones are left out where the kernel refuses.
    Mount {
        kind: &'static CStr,
        path: CString,
        flags: u64,
        data: &'static CStr,
        optional: bool,
    },
    /// A file or folder of the machine.
    Bind {
        source: CString,
        path: CString,
        read_only: bool,
    },
}

impl Op {
    /// The path that an error names.
    pub fn path(&self) -> &CStr {
        match self {
            Op::Folder(path) | Op::File(path) => path,
            Op::Node { path, .. } | Op::Symlink { path, .. } | Op::Mount { path, .. } | Op::Bind { path, .. } => path,
        }
    }
}

/// All that the child needs.
pub struct Plan {
    /// The mounted root.
    pub root: CString,
    pub ops: Vec<Op>,
    pub hostname: CString,
    /// `cgroup.procs` of the container's own group, where there is one.
    pub cgroup: Option<CString>,
    /// What `oom_score_adj` is to be, where it is not to stay as ours.
    pub oom_score_adj: Option<CString>,
    /// Its network is its own, and holds a loopback that is to be raised.
    pub own_network: bool,
    pub tty: Option<tty::Size>,
    pub identity: Identity,
    pub working_dir: CString,
    pub candidates: Vec<CString>,
    pub arguments: Vec<CString>,
    pub env: Vec<CString>,
    /// What every process of a container may have open; podman's number.
    pub open_files_max: u64,
}

/// The child's ends of what connects it to us.
pub struct Ends {
    /// Where trouble is told; closed by a successful exec.
    pub report: OwnedFd,
    /// Takes the terminal's master.
    pub terminal: OwnedFd,
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// The child: returns only when it fails, with its exit code. `joined`: it was
/// made in its control group.
pub fn enter(plan: &Plan, joined: bool, arguments: &Arguments, env: &Arguments, ends: &Ends) -> i32 {
    process::umask(0);
    let trouble = match prepare(plan, joined, ends) {
        Ok(()) => execute(&plan.candidates, arguments, env),
        Err(trouble) => trouble,
    };
    tell(ends, trouble);
    125
}

/// Losing the pipe is no reason to do anything else: we end anyway.
fn tell(ends: &Ends, trouble: Trouble) {
    let _ = io::write(ends.report.as_fd(), &trouble.emit());
}

fn prepare(plan: &Plan, joined: bool, ends: &Ends) -> std::result::Result<(), Trouble> {
    process::setsid().map_err(Trouble::at(Stage::Session))?;
    if let Some(score) = &plan.oom_score_adj {
        set_oom_score_adj(score).map_err(Trouble::at(Stage::OomScore))?;
    }
    if let Some(procs) = &plan.cgroup {
        own_cgroup(procs, joined).map_err(Trouble::at(Stage::Cgroup))?;
    }
    machine::sethostname(plan.hostname.to_bytes()).map_err(Trouble::at(Stage::Hostname))?;
    if plan.own_network {
        raise_loopback().map_err(Trouble::at(Stage::Loopback))?;
    }
    part_mounts(&plan.root).map_err(Trouble::at(Stage::Propagation))?;
    process::chdir(&plan.root).map_err(Trouble::at(Stage::Root))?;
    let root = open_root().map_err(Trouble::at(Stage::Root))?;
    for (index, op) in plan.ops.iter().enumerate() {
        let skippable = matches!(op, Op::Mount { optional: true, .. });
        if let Err(error) = apply(root.as_fd(), op) {
            let trouble = Trouble { stage: Stage::Op, index: index as u16, errno: error.errno, skipped: skippable };
            if !skippable {
                return Err(trouble);
            }
            tell(ends, trouble);
        }
    }
    if let Some(error) = pivot(root.as_fd()).map_err(Trouble::at(Stage::Pivot))? {
        tell(ends, Trouble { skipped: true, ..Trouble::at(Stage::Pivot)(error) });
    }
    drop(root);
    standard_streams(plan, ends).map_err(Trouble::at(Stage::Terminal))?;
    enter_working_dir(&plan.working_dir).map_err(Trouble::at(Stage::WorkingDir))?;
    // Before the limit is raised: the one of now bounds what can be open.
    close_on_exec().map_err(Trouble::at(Stage::Descriptors))?;
    if let Err(error) = process::set_open_files_max(plan.open_files_max) {
        tell(ends, Trouble { skipped: true, ..Trouble::at(Stage::OpenFiles)(error) });
    }
    become_user(&plan.identity).map_err(Trouble::at(Stage::Identity))?;
    process::umask(0o022);
    signal::reset();
    Ok(())
}

/// The first descriptor that is not a standard stream.
const FIRST: u32 = 3;
/// Descriptors that are looked at one by one; `fs.nr_open`'s default.
const ONE_BY_ONE_MAX: u64 = 1 << 20;

/// Nothing of ours, and of who started us, is open in the container.
fn close_on_exec() -> Result<()> {
    match process::close_on_exec_from(FIRST) {
        Err(error) if matches!(error.errno, EINVAL | ENOSYS) => mark_each(),
        result => result,
    }
}

/// As close_range(2) does it, for Linux before 5.11.
fn mark_each() -> Result<()> {
    let end = process::open_files_max()?.min(ONE_BY_ONE_MAX) as i32;
    for number in FIRST as i32..end {
        // Most of them are not there.
        let _ = process::close_on_exec(number);
    }
    Ok(())
}

fn open_root() -> Result<OwnedFd> {
    fs::openat(fs::CWD, c".", fs::O_PATH | fs::O_DIRECTORY, 0)
}

fn raise_loopback() -> Result<()> {
    let socket = socket::datagram()?;
    socket::raise(socket.as_fd(), c"lo")
}

/// While `/proc` is still the machine's.
fn set_oom_score_adj(score: &CStr) -> Result<()> {
    let file = fs::openat(fs::CWD, c"/proc/self/oom_score_adj", fs::O_WRONLY, 0)?;
    io::write(file.as_fd(), score.to_bytes()).map(drop)
}

/// What it sees of control groups begins with its own.
fn own_cgroup(procs: &CStr, joined: bool) -> Result<()> {
    if !joined {
        let file = fs::openat(fs::CWD, procs, fs::O_WRONLY, 0)?;
        io::write(file.as_fd(), b"0")?;
    }
    process::unshare(process::CLONE_NEWCGROUP)
}

/// Opens `path` below `root`, wherever the image's own symlinks lead in it.
fn open(root: BorrowedFd<'_>, path: &CStr, flags: i32) -> Result<OwnedFd> {
    fs::openat2(root, path, flags, 0, fs::RESOLVE_IN_ROOT | fs::RESOLVE_NO_MAGICLINKS)
}

fn apply(root: BorrowedFd<'_>, op: &Op) -> Result<()> {
    match op {
        Op::Folder(path) => {
            let (parent, name) = parent(root, path)?;
            exists_already(fs::mkdirat(parent.as_fd(), name, 0o755))
        }
        Op::File(path) => {
            let (parent, name) = parent(root, path)?;
            exists_already(fs::mknodat(parent.as_fd(), name, fs::S_IFREG | 0o644, (0, 0)))
        }
        Op::Node { path, mode, device } => {
            let (parent, name) = parent(root, path)?;
            exists_already(fs::mknodat(parent.as_fd(), name, *mode, *device))
        }
        Op::Symlink { path, target } => {
            let (parent, name) = parent(root, path)?;
            exists_already(fs::symlinkat(target, parent.as_fd(), name))
        }
        Op::Mount { kind, path, flags, data, .. } => {
            let target = open(root, path, fs::O_PATH | fs::O_DIRECTORY)?;
            mount::mount(kind, FdPath::new(&target).as_cstr(), kind, *flags as _, data)
        }
        Op::Bind { source, path, read_only } => {
            let target = open(root, path, fs::O_PATH)?;
            mount::bind(source, FdPath::new(&target).as_cstr(), true)?;
            if *read_only {
                // Opened again: now it is the mount, not what it covers.
                let target = open(root, path, fs::O_PATH)?;
                mount::remount(FdPath::new(&target).as_cstr(), mount::MS_RDONLY)?;
            }
            Ok(())
        }
    }
}

fn exists_already(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.errno == EEXIST => Ok(()),
        result => result,
    }
}

/// The folder that `path` (`a/b/c`, no slash at either end) lies in, and its
/// last name.
fn parent<'a>(root: BorrowedFd<'_>, path: &'a CStr) -> Result<(OwnedFd, &'a CStr)> {
    let bytes = path.to_bytes_with_nul();
    let Some(slash) = bytes.iter().rposition(|b| *b == b'/') else {
        return Ok((open(root, c".", fs::O_PATH | fs::O_DIRECTORY)?, path));
    };
    let name = bytes.get(slash + 1..).and_then(|name| CStr::from_bytes_with_nul(name).ok()).unwrap_or(c"");
    // The parent's path, ended by hand in a buffer of our own.
    let mut buffer = [0; PATH_MAX];
    let Some(place) = buffer.get_mut(..slash) else { return Err(Error::new("open", ENAMETOOLONG)) };
    place.copy_from_slice(bytes.get(..slash).unwrap_or_default());
    let parent = CStr::from_bytes_until_nul(&buffer).unwrap_or(c"");
    Ok((open(root, parent, fs::O_PATH | fs::O_DIRECTORY)?, name))
}

/// Linux, `PATH_MAX`.
const PATH_MAX: usize = 4096;

/// `/proc/self/fd/N` without an allocation: how `mount(2)` is told a place by
/// its descriptor.
struct FdPath([u8; 32]);

impl FdPath {
    fn new(fd: &OwnedFd) -> FdPath {
        let mut path = [0; 32];
        let prefix = b"/proc/self/fd/";
        let (start, rest) = path.split_at_mut(prefix.len());
        start.copy_from_slice(prefix);
        let mut number = fd.as_raw_fd();
        let mut digits = [0; 10];
        let mut count = 0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            count += 1;
            if number == 0 {
                break;
            }
        }
        for (to, from) in rest.iter_mut().zip(digits.iter().skip(10 - count)) {
            *to = *from;
        }
        FdPath(path)
    }

    fn as_cstr(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}

/// pivot_root(2), «new_root and put_old may be the same»: the old root lies on
/// top of the new one and is taken off. Where that cannot be had the answer
/// says why, and the root is changed in the next best way: the initramfs's own
/// rootfs cannot be pivoted from (Linux, ramfs-rootfs-initramfs.rst), and
/// neither can a chroot's.
fn pivot(root: BorrowedFd<'_>) -> Result<Option<Error>> {
    process::fchdir(root)?;
    let left_out = match mount::pivot_root(c".", c".") {
        Ok(()) => {
            mount::umount(c".", mount::MNT_DETACH)?;
            None
        }
        Err(error) if error.errno == EINVAL => {
            let moved = mount::move_(c".", c"/");
            process::chroot(c".")?;
            // A mount whose parent is shared cannot be moved: then there is only the chroot.
            moved.err().map(|_| error)
        }
        Err(error) => return Err(error),
    };
    process::chdir(c"/")?;
    Ok(left_out)
}

/// What the machine unmounts goes in the container, too; nothing of the
/// container's reaches the machine. In a chroot `/` is no mount: then the
/// container's own root begins it.
fn part_mounts(root: &CStr) -> Result<()> {
    match mount::propagation(c"/", mount::MS_REC | mount::MS_SLAVE) {
        Err(error) if error.errno == EINVAL => mount::propagation(root, mount::MS_REC | mount::MS_SLAVE),
        result => result,
    }
}

fn standard_streams(plan: &Plan, ends: &Ends) -> Result<()> {
    let Some(size) = plan.tty else {
        process::dup_onto(ends.stdin.as_fd(), 0)?;
        process::dup_onto(ends.stdout.as_fd(), 1)?;
        return process::dup_onto(ends.stderr.as_fd(), 2);
    };
    let master = tty::open_master(c"/dev/pts/ptmx")?;
    let slave = tty::open_slave(master.as_fd())?;
    tty::set_size(slave.as_fd(), size)?;
    fs::fchown(slave.as_fd(), plan.identity.uid, TTY_GROUP)?;
    io::send_fd(ends.terminal.as_fd(), master.as_fd())?;
    // The first terminal of an instance that is the container's own.
    mount::bind(c"/dev/pts/0", c"/dev/console", false)?;
    tty::set_controlling(slave.as_fd())?;
    for number in 0..3 {
        process::dup_onto(slave.as_fd(), number)?;
    }
    Ok(())
}

/// `tty` in every distribution's `/etc/group`, and devpts's `gid=5`.
const TTY_GROUP: u32 = 5;

/// In-root and without magic links: `/proc/self/fd/7` would lead outside.
fn enter_working_dir(path: &CStr) -> Result<()> {
    let root = fs::openat(fs::CWD, c"/", fs::O_PATH | fs::O_DIRECTORY, 0)?;
    let dir = open(root.as_fd(), path, fs::O_PATH | fs::O_DIRECTORY)?;
    process::fchdir(dir.as_fd())
}

fn become_user(identity: &Identity) -> Result<()> {
    process::setgroups(&identity.groups)?;
    process::setgid(identity.gid)?;
    process::setuid(identity.uid)?;
    // Should we be killed, nobody would collect it, nor what it stands on.
    process::die_with_parent()
}

/// Tries the candidates as execvp(3) does: one that may not be executed is
/// remembered, one that is not there is passed over.
fn execute(candidates: &[CString], arguments: &Arguments, env: &Arguments) -> Trouble {
    let mut worst = Error::new("exec", ENOENT);
    for candidate in candidates {
        let error = process::exec(candidate, arguments, env);
        if !matches!(error.errno, ENOENT | ENOTDIR) {
            worst = error;
        }
    }
    Trouble::at(Stage::Exec)(worst)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_one_by_one() {
        const NUMBER: i32 = 211;
        const O_CLOEXEC: u32 = 0o2_000_000;
        let flags = || {
            let info = std::fs::read_to_string(["/proc/self/fdinfo/", &NUMBER.to_string()].concat()).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            u32::from_str_radix(flags.trim(), 8).unwrap()
        };
        let file = fs::openat(fs::CWD, c"/", fs::O_PATH, 0).unwrap();
        // Kept over exec, and owned by nobody else.
        process::dup_onto(file.as_fd(), NUMBER).unwrap();
        assert_eq!(flags() & O_CLOEXEC, 0);
        mark_each().unwrap();
        assert_eq!(flags() & O_CLOEXEC, O_CLOEXEC);
    }
}
