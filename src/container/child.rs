//! The container's own side: what happens between `clone` and `exec`.
//!
//! Everything is planned before the clone, as data: this side runs in a copy
//! of a process that may have had other threads, so it must not allocate. Each
//! path is opened in-root (`RESOLVE_IN_ROOT`), so that no symlink of the image
//! leads a mount out of it (CVE-2026-41579).

use crate::container::in_root::{expect_kind, is_null, open, open_plain, DEVPTS};
use crate::container::ops::{Builder, Op};
use crate::container::plan::Plan;
use crate::container::setup_error::{SetupError, Stage};
use crate::container::{own_program, security};
use crate::sys::path::FdPath;
use crate::sys::process::{self, Arguments};
use crate::sys::{
    fs, io, last_words, machine, mount, signal, socket, tty, Error, Result, EINVAL, ELOOP, ENOENT, ENOSYS, ENOTDIR,
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

/// The child: returns only when it fails, with its exit code. `joined`: it was
/// made in its control group.
pub fn run(plan: &Plan, joined: bool, arguments: &Arguments, env: &Arguments, fds: &ChildFds) -> i32 {
    last_words::clear_successor();
    // First of all: who shares the processes must not find this one between giving up its rights and exec, with what
    // it holds (CVE-2016-9962).
    if let Err(error) = process::hide() {
        tell(fds, SetupError::at(Stage::Capabilities)(error));
        return 125;
    }
    process::umask(0);
    // Said again at the end: a change of user forgets it. Until then nobody else would end us.
    let _ = process::die_with_parent();
    let failed = match prepare(plan, joined, fds) {
        Ok(()) => execute(&plan.candidates, arguments, env),
        Err(error) => error,
    };
    tell(fds, failed);
    125
}

/// Losing the pipe is no reason to do anything else: we end anyway.
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
    // By descriptors, and by the machine's /proc: after the pivot both /proc and /dev are what the image made of them.
    standard_streams(root.as_fd(), plan, fds).map_err(SetupError::at(Stage::Terminal))?;
    if let Some(error) = pivot(root.as_fd(), plan.shares_mounts).map_err(SetupError::at(Stage::Pivot))? {
        tell(fds, SetupError { skipped: true, ..SetupError::at(Stage::Pivot)(error) });
    }
    drop(root);
    // From here on no directory is open: by /proc/self/fd it would be a way out for the entry point, for PATH, for a
    // script's interpreter and for the working directory (CVE-2024-21626).
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

/// A session keyring of its own: keys of whoever started us stay there. A kernel without keys has nothing to hide.
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

/// What it sees of control groups begins with its own.
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

/// pivot_root(2), «new_root and put_old may be the same»: the old root lies on
/// top of the new one and is taken off. Where that cannot be had the answer
/// says why, and the root is changed in the next best way: the initramfs's own
/// rootfs cannot be pivoted from (Linux, ramfs-rootfs-initramfs.rst), and
/// neither can a chroot's.
fn pivot(root: BorrowedFd<'_>, shares_mounts: bool) -> Result<Option<Error>> {
    let old = fs::openat(fs::CWD, c"/", fs::O_PATH | fs::O_DIRECTORY, 0)?;
    process::fchdir(root)?;
    let left_out = match mount::pivot_root(c".", c".") {
        Ok(()) => {
            if shares_mounts {
                // The machine would lose them, too.
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
        // As that volume is: what the container hands on below its root is shared with it.
        mount::propagation(c"/", mount::MS_SHARED)?;
    }
    Ok(left_out)
}

/// What the machine unmounts goes in the container, too; nothing of the
/// container's reaches the machine, unless its line asks for that. In a chroot `/` is no mount: then the
/// container's own root begins it.
fn part_mounts(plan: &Plan) -> Result<()> {
    let root = &plan.root;
    if plan.shares_mounts {
        // All but the root's, whose parent is then the root that it covers (pivot_root(2) takes no shared one).
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
        return process::dup_onto(fds.stderr.as_fd(), 2);
    };
    let ptmx = open(root, c"dev/pts/ptmx", fs::O_PATH)?;
    expect_kind(&ptmx, DEVPTS)?;
    let master = tty::open_master(FdPath::new(&ptmx).as_cstr())?;
    let slave = tty::open_slave(master.as_fd())?;
    tty::set_size(slave.as_fd(), size)?;
    fs::fchown(slave.as_fd(), plan.identity.uid, TTY_GROUP)?;
    io::send_fd(fds.terminal.as_fd(), master.as_fd())?;
    if plan.own_dev {
        let console = open_plain(root, c"dev/console", fs::O_PATH)?;
        mount::bind(FdPath::new(&slave).as_cstr(), FdPath::new(&console).as_cstr(), false)?;
        // crun's has none of the flags of where it comes from.
        let mounted = open_plain(root, c"dev/console", fs::O_PATH)?;
        expect_kind(&mounted, DEVPTS)?;
        mount::remount(FdPath::new(&mounted).as_cstr(), 0)?;
    }
    tty::set_controlling(slave.as_fd())?;
    for number in 0..3 {
        process::dup_onto(slave.as_fd(), number)?;
    }
    Ok(())
}

/// What a container reads that is fed nothing: its own `/dev/null`, since by the machine's own it could change that
/// file's mode and owner. Where the line has put something else there, the end of a pipe.
fn nothing_to_read(root: BorrowedFd<'_>) -> Result<OwnedFd> {
    match open(root, c"dev/null", fs::O_PATH) {
        Ok(null) if is_null(&null)? => {
            let flags = fs::O_RDWR | fs::O_NOCTTY;
            let opened = fs::openat(fs::CWD, FdPath::new(&null).as_cstr(), flags, 0);
            // On a mount without devices it cannot be opened.
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

/// No candidate is this program itself; checked with the rights that are still there, since a script can be executed
/// where it cannot be read.
fn check_candidates(plan: &Plan) -> std::result::Result<(), SetupError> {
    match plan.candidates.iter().any(|candidate| own_program::leads_to(candidate, plan.own_program)) {
        true => Err(SetupError::at(Stage::Exec)(Error::new("exec", ELOOP))),
        false => Ok(()),
    }
}

/// Tries the candidates as execvp(3) does: one that may not be executed is
/// remembered, one that is not there is passed over.
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
