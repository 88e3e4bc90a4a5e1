//! The child: what happens between clone(2) and exec(2).
//!
//! Everything is planned before the clone, as data. The child is a copy of a process that may have had other threads,
//! so it must not allocate. Each path is opened in-root (`RESOLVE_IN_ROOT`), so that no symlink of the image leads a
//! mount out of it (CVE-2026-41579).

use crate::container::in_root::{expect_kind, is_null, open, DEVPTS};
use crate::container::ops::{Builder, Op};
use crate::container::plan::Plan;
use crate::container::pure::passwd::Identity;
use crate::container::setup_error::{SetupError, Stage};
use crate::container::{own_program, security};
use crate::sys::path::FdPath;
use crate::sys::process::{self, Arguments};
use crate::sys::{
    fs, io, last_words, machine, mount, signal, socket, tty, Error, Result, EINVAL, ELOOP, ENOENT, ENOSYS, ENOTDIR,
    STDERR, STDIN, STDOUT,
};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The child's ends of the pipes that connect it to us.
pub struct ChildFds {
    /// Takes each [`SetupError`]; closed by a successful exec.
    pub report: OwnedFd,
    /// Takes the terminal's master.
    pub terminal: OwnedFd,
    /// None is the container's own `/dev/null`.
    pub stdin: Option<OwnedFd>,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// Sets the child up and executes the container's program: returns only when that fails, with the exit code. `joined`
/// means that clone made it in its control group.
pub fn run(plan: &Plan, joined: bool, arguments: &Arguments, env: &Arguments, fds: &ChildFds) -> i32 {
    last_words::clear_successor();
    // First of all: another process of a shared PID namespace must not reach this one, and the descriptors that it
    // holds, between giving up its rights and exec (CVE-2016-9962).
    if let Err(error) = process::hide() {
        tell(fds, SetupError::at(Stage::Capabilities)(error));
        return 125;
    }
    process::umask(0);
    // A change of user clears it: `security::assume` sets it again. Until then nothing else would end us.
    let _ = process::die_with_parent();
    let failed = match prepare(plan, joined, fds) {
        Ok(()) => execute(&plan.candidates, arguments, env),
        Err(error) => error,
    };
    tell(fds, failed);
    125
}

/// A pipe that is gone changes nothing: we end anyway.
fn tell(fds: &ChildFds, error: SetupError) {
    let _ = io::write(fds.report.as_fd(), &error.emit());
}

fn prepare(plan: &Plan, joined: bool, fds: &ChildFds) -> std::result::Result<(), SetupError> {
    process::setsid().map_err(SetupError::at(Stage::Session))?;
    own_keyring().map_err(SetupError::at(Stage::Keyring))?;
    for namespace in &plan.namespaces.joined {
        process::setns(namespace.as_fd()).map_err(SetupError::at(Stage::Namespace))?;
    }
    if let Some(procs) = &plan.cgroup {
        own_cgroup(plan, procs, joined).map_err(SetupError::at(Stage::Cgroup))?;
    }
    if let Some(hostname) = &plan.hostname {
        machine::sethostname(hostname.to_bytes()).map_err(SetupError::at(Stage::Hostname))?;
    }
    if let Some(score) = &plan.oom_score_adj {
        write_file(c"/proc/self/oom_score_adj", score.to_bytes()).map_err(SetupError::at(Stage::OomScore))?;
    }
    if plan.namespaces.own_network {
        raise_loopback().map_err(SetupError::at(Stage::Loopback))?;
    }
    part_mounts(plan).map_err(SetupError::at(Stage::Propagation))?;
    process::chdir(&plan.root).map_err(SetupError::at(Stage::Root))?;
    let root = open_root().map_err(SetupError::at(Stage::Root))?;
    let mut tree = Builder::new(root.as_fd());
    for (index, op) in plan.ops.iter().enumerate() {
        let skippable = matches!(op, Op::Mount { optional: true, .. });
        if let Err(error) = tree.apply(op) {
            let failed = SetupError { stage: Stage::Op, index: index as u16, errno: error.errno, skipped: skippable };
            if !skippable {
                return Err(failed);
            }
            tell(fds, failed);
        }
    }
    // Before the pivot, by descriptors and the host's /proc: after it /proc and /dev are what the image made of them.
    standard_streams(root.as_fd(), plan, fds).map_err(SetupError::at(Stage::Terminal))?;
    if let Some(error) = pivot(root.as_fd(), plan.shares_mounts).map_err(SetupError::at(Stage::Pivot))? {
        tell(fds, SetupError { skipped: true, ..SetupError::at(Stage::Pivot)(error) });
    }
    drop(root);
    // From here on no directory is open. By /proc/self/fd one would lead the entry point, PATH, a script's interpreter
    // and the working directory out of the container (CVE-2024-21626).
    process::close_all_but(&[fds.report.as_fd()]);
    enter_working_dir(&plan.working_dir).map_err(SetupError::at(Stage::WorkingDir))?;
    set_limits(plan, fds)?;
    process::umask(plan.umask);
    signal::reset();
    check_candidates(plan)?;
    security::assume(&plan.rights, &plan.identity)
}

fn set_limits(plan: &Plan, fds: &ChildFds) -> std::result::Result<(), SetupError> {
    for (index, (limit, skippable)) in plan.limits.iter().enumerate() {
        if let Err(error) = process::set_limit(limit.resource, limit.soft, limit.hard) {
            let failed = SetupError { index: index as u16, skipped: *skippable, ..SetupError::at(Stage::Limit)(error) };
            if !skippable {
                return Err(failed);
            }
            tell(fds, failed);
        }
    }
    Ok(())
}

fn write_file(path: &CStr, bytes: &[u8]) -> Result<()> {
    let file = fs::openat(fs::CWD, path, fs::O_WRONLY, 0)?;
    io::write(file.as_fd(), bytes).map(drop)
}

/// A session keyring of the container's own keeps the keys of our own session out of it. A kernel without keys has none
/// to hide.
fn own_keyring() -> Result<()> {
    match process::new_session_keyring() {
        Err(error) if error.errno == ENOSYS => Ok(()),
        result => result,
    }
}

fn open_root() -> Result<OwnedFd> {
    fs::openat(fs::CWD, c".", fs::O_PATH | fs::O_DIRECTORY, 0)
}

fn raise_loopback() -> Result<()> {
    let socket = socket::datagram()?;
    socket::raise(socket.as_fd(), c"lo")
}

/// Joins its control groups; with a namespace of its own it sees no group above them.
fn own_cgroup(plan: &Plan, procs: &CStr, joined: bool) -> Result<()> {
    if !joined {
        write_file(procs, b"0")?;
    }
    plan.cgroups_v1.iter().try_for_each(|procs| write_file(procs, b"0"))?;
    match plan.namespaces.own_cgroup {
        true => process::unshare(process::CLONE_NEWCGROUP),
        false => Ok(()),
    }
}

/// pivot_root(2), "new_root and put_old may be the same": the old root lies on top of the new one and is taken off.
/// Where the kernel refuses, the answer is its error, and the root is moved or changed instead: the initramfs's own
/// rootfs cannot be pivoted from (Linux, ramfs-rootfs-initramfs.rst), and neither can a chroot's.
pub fn pivot(root: BorrowedFd<'_>, shares_mounts: bool) -> Result<Option<Error>> {
    let old = fs::openat(fs::CWD, c"/", fs::O_PATH | fs::O_DIRECTORY, 0)?;
    process::fchdir(root)?;
    let left_out = match mount::pivot_root(c".", c".") {
        Ok(()) => {
            if shares_mounts {
                // Without that the host would lose them, too.
                process::fchdir(old.as_fd())?;
                mount::propagation(c".", mount::MS_REC | mount::MS_SLAVE)?;
            }
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
    if shares_mounts {
        // As that volume is: mounts that the container makes below its root are shared, too.
        mount::propagation(c"/", mount::MS_SHARED)?;
    }
    Ok(left_out)
}

/// Makes the host's mounts slaves: what the host unmounts is unmounted in the container, too, and no mount of the
/// container reaches the host, unless a volume is shared. In a chroot `/` is not a mount: then only the container's
/// root is made a slave.
fn part_mounts(plan: &Plan) -> Result<()> {
    let root = &plan.root;
    if plan.shares_mounts {
        // The root is bound onto itself, so that its parent mount is private: pivot_root(2) refuses a shared one.
        mount::propagation(root, mount::MS_REC | mount::MS_PRIVATE)?;
        mount::bind(root, root, false)?;
        return mount::propagation(root, mount::MS_PRIVATE);
    }
    match mount::propagation(c"/", mount::MS_REC | mount::MS_SLAVE) {
        Err(error) if error.errno == EINVAL => mount::propagation(root, mount::MS_REC | mount::MS_SLAVE),
        result => result,
    }
}

fn standard_streams(root: BorrowedFd<'_>, plan: &Plan, fds: &ChildFds) -> Result<()> {
    let Some(size) = plan.tty else {
        match &fds.stdin {
            Some(stdin) => process::dup_onto(stdin.as_fd(), 0)?,
            None => process::dup_onto(nothing_to_read(root)?.as_fd(), 0)?,
        }
        process::dup_onto(fds.stdout.as_fd(), 1)?;
        process::dup_onto(fds.stderr.as_fd(), 2)?;
        return own_pipes(&plan.identity);
    };
    let ptmx = open(root, c"dev/pts/ptmx", fs::O_PATH)?;
    expect_kind(&ptmx, DEVPTS)?;
    let master = tty::open_master(FdPath::new(&ptmx).as_cstr())?;
    let peer = tty::open_slave(master.as_fd())?;
    // By its path, so that F_GETFL has the flags of any open(2), and no O_CLOEXEC.
    let slave = fs::openat(fs::CWD, FdPath::new(&peer).as_cstr(), fs::O_RDWR | fs::O_NOCTTY, 0)?;
    tty::set_size(slave.as_fd(), size)?;
    fs::fchown(slave.as_fd(), plan.identity.uid, TTY_GROUP)?;
    io::send_fd(fds.terminal.as_fd(), master.as_fd())?;
    tty::set_controlling(slave.as_fd())?;
    for number in 0..3 {
        process::dup_onto(slave.as_fd(), number)?;
    }
    Ok(())
}

/// Entry points open their standard streams by path (`/dev/stdout`), for which the rights of a pipe count: it is the
/// container's user's, and of use to whom a root gives way, as with conmon. A device stays as it is: that would last.
fn own_pipes(identity: &Identity) -> Result<()> {
    for stream in [STDIN, STDOUT, STDERR] {
        if fs::statat(stream, c"")?.is(fs::S_IFIFO) {
            fs::fchmod(stream, 0o777)?;
            fs::fchown(stream, identity.uid, identity.gid)?;
        }
    }
    Ok(())
}

/// Standard input of a container that is fed nothing: its own `/dev/null`, since by the host's it could change that
/// file's mode and owner. Where a mount of the container line covers it, the end of a pipe.
fn nothing_to_read(root: BorrowedFd<'_>) -> Result<OwnedFd> {
    match open(root, c"dev/null", fs::O_PATH) {
        Ok(null) if is_null(&null)? => {
            let flags = fs::O_RDWR | fs::O_NOCTTY;
            let opened = fs::openat(fs::CWD, FdPath::new(&null).as_cstr(), flags, 0);
            // A mount with nodev refuses it.
            opened.or_else(|_| Ok(io::pipe()?.0))
        }
        _ => Ok(io::pipe()?.0),
    }
}

/// `tty` in every distribution's `/etc/group`, and devpts's `gid=5`.
const TTY_GROUP: u32 = 5;

/// In-root and without magic links: `/proc/self/fd/7` would lead outside.
fn enter_working_dir(path: &CStr) -> Result<()> {
    let root = fs::openat(fs::CWD, c"/", fs::O_PATH | fs::O_DIRECTORY, 0)?;
    let dir = open(root.as_fd(), path, fs::O_PATH | fs::O_DIRECTORY)?;
    process::fchdir(dir.as_fd())
}

/// No candidate may lead to this program itself. Checked before the rights are given up: a script may be executable and
/// not readable for the container's user.
fn check_candidates(plan: &Plan) -> std::result::Result<(), SetupError> {
    match plan.candidates.iter().any(|candidate| own_program::leads_to(candidate, plan.own_program)) {
        true => Err(SetupError::at(Stage::Exec)(Error::new("exec", ELOOP))),
        false => Ok(()),
    }
}

/// Tries the candidates as execvp(3) does: a missing one is passed over, any other error is remembered.
fn execute(candidates: &[CString], arguments: &Arguments, env: &Arguments) -> SetupError {
    let mut worst = Error::new("exec", ENOENT);
    for candidate in candidates {
        let error = process::exec(candidate, arguments, env);
        if !matches!(error.errno, ENOENT | ENOTDIR) {
            worst = error;
        }
    }
    SetupError::at(Stage::Exec)(worst)
}
