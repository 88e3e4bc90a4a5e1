//! Processes: clone, exec, wait, signals, identities, namespaces.

use super::{cvt, cvt_long, Error, Result};
use std::ffi::{CStr, OsString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr::null;

pub use libc::{CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUTS};

/// A process's number.
pub type Pid = libc::pid_t;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Exited(i32),
    Killed(i32),
}

fn status(raw: libc::c_int) -> Status {
    if libc::WIFSIGNALED(raw) {
        Status::Killed(libc::WTERMSIG(raw))
    } else {
        Status::Exited(libc::WEXITSTATUS(raw))
    }
}

/// `fork(2)`: `child` runs in a new process, and its result is that process's exit code. By the C library's own
/// function, since `child` may go on for long: after a raw clone(2) the library still has the parent's thread id, and
/// raise(3) and abort(3) would signal the parent.
pub fn fork(child: &mut dyn FnMut() -> i32) -> Result<Pid> {
    // SAFETY: takes nothing; the child goes on with a copy of everything.
    match cvt("fork", unsafe { libc::fork() })? {
        0 => exit(child()),
        pid => Ok(pid),
    }
}

/// `clone(2)` in the way of `fork(2)`: `child` runs in a new process, in the new namespaces of `flags`, and its result
/// is that process's exit code. `child` may only make system calls, and then exec: it must not allocate, since another
/// thread may have held the allocator's lock, and the C library has the parent's thread id.
pub fn clone(flags: libc::c_int, child: &mut dyn FnMut() -> i32) -> Result<Pid> {
    let flags = libc::c_long::from(flags | libc::SIGCHLD);
    // SAFETY: without a stack and without CLONE_VM the child gets a copy of everything, as from fork(2).
    match cvt_long("clone", unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })? {
        0 => exit(child()),
        pid => Ok(pid as Pid),
    }
}

/// Linux, sched.h; libc's constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// As [`clone`], with the child in the control group of the directory `cgroup` from
/// its start (Linux 5.7). To move a process into a group afterwards takes an RCU
/// grace period.
pub fn clone_into(flags: libc::c_int, cgroup: BorrowedFd<'_>, child: &mut dyn FnMut() -> i32) -> Result<Pid> {
    // SAFETY: clone_args is plain numbers; zero is a valid value.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = flags as u64 | CLONE_INTO_CGROUP;
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.cgroup = cgroup.as_raw_fd() as u64;
    let size = std::mem::size_of::<libc::clone_args>();
    // SAFETY: the struct lives through the call and has that size; the rest is as in `clone`.
    match cvt_long("clone3", unsafe { libc::syscall(libc::SYS_clone3, &arguments, size) })? {
        0 => exit(child()),
        pid => Ok(pid as Pid),
    }
}

/// Ends this process at once: no destructor, no buffer.
pub fn exit(code: i32) -> ! {
    // SAFETY: takes a number only.
    unsafe { libc::_exit(code) }
}

/// A null-terminated array of pointers to strings, made before `clone` since the
/// child must not allocate.
pub struct Arguments<'a> {
    pointers: Vec<*const libc::c_char>,
    strings: std::marker::PhantomData<&'a CStr>,
}

impl<'a> Arguments<'a> {
    pub fn new(strings: &'a [std::ffi::CString]) -> Arguments<'a> {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([null()]).collect();
        Arguments { pointers, strings: std::marker::PhantomData }
    }
}

/// `execve(2)`; returns only an error.
pub fn exec(path: &CStr, arguments: &Arguments, environment: &Arguments) -> Error {
    // SAFETY: the path and both arrays are null-terminated and live through the call.
    unsafe { libc::execve(path.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
    Error::last("exec")
}

/// This process's environment, as [`exec`] takes it.
pub fn environment() -> Vec<std::ffi::CString> {
    let join = |(name, value): (OsString, OsString)| [name.into_vec(), b"=".to_vec(), value.into_vec()].concat();
    std::env::vars_os().filter_map(|pair| std::ffi::CString::new(join(pair)).ok()).collect()
}

/// Waits for the child `pid`.
pub fn wait(pid: Pid) -> Result<Status> {
    loop {
        let mut raw = 0;
        // SAFETY: the number is ours.
        match cvt("wait", unsafe { libc::waitpid(pid, &mut raw, 0) }) {
            Ok(_) => return Ok(status(raw)),
            Err(error) if error.errno == libc::EINTR => {}
            Err(error) => return Err(error),
        }
    }
}

/// Collects one child that has ended. A child that a signal has stopped is returned without a status. `None` where
/// there is neither; ECHILD where there is no child.
pub fn reap() -> Result<Option<(Pid, Option<Status>)>> {
    let mut raw = 0;
    // SAFETY: the number is ours.
    let pid = cvt("wait", unsafe { libc::waitpid(-1, &mut raw, libc::WNOHANG | libc::WUNTRACED) })?;
    Ok((pid > 0).then(|| (pid, (!libc::WIFSTOPPED(raw)).then(|| status(raw)))))
}

/// Collects every child that has ended; the end of `child` is the answer. `stopped` is called where a signal has
/// stopped `child`: it was not waited for, so the number is still its own.
pub fn reap_all(child: Pid, stopped: &dyn Fn()) -> Option<Status> {
    let mut end = None;
    while let Ok(Some((pid, status))) = reap() {
        match status {
            _ if pid != child => {}
            Some(status) => end = Some(status),
            None => stopped(),
        }
    }
    end
}

/// Sends `signal`; `pid` -1 is every process but this one and PID 1.
pub fn kill(pid: Pid, signal: i32) -> Result<()> {
    // SAFETY: takes numbers only.
    cvt("kill", unsafe { libc::kill(pid, signal) })?;
    Ok(())
}

/// A descriptor that becomes readable when the process ends.
pub fn pidfd_open(pid: Pid) -> Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let fd = cvt_long("pidfd_open", unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: a new descriptor, owned by nobody else; the kernel sets close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

pub fn unshare(flags: libc::c_int) -> Result<()> {
    // SAFETY: takes a number only.
    cvt("unshare", unsafe { libc::unshare(flags) })?;
    Ok(())
}

/// Joins the namespace of a descriptor; a PID namespace is then that of new children.
pub fn setns(namespace: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: the descriptor is borrowed for the call; 0 is any kind.
    cvt("setns", unsafe { libc::setns(namespace.as_raw_fd(), 0) })?;
    Ok(())
}

pub fn setsid() -> Result<()> {
    // SAFETY: takes nothing.
    cvt("setsid", unsafe { libc::setsid() })?;
    Ok(())
}

/// Makes this process the leader of a new process group.
pub fn own_group() -> Result<()> {
    // SAFETY: takes numbers only.
    cvt("setpgid", unsafe { libc::setpgid(0, 0) })?;
    Ok(())
}

pub fn setgroups(groups: &[u32]) -> Result<()> {
    // SAFETY: pointer and length are of one slice.
    cvt("setgroups", unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) as i32 })?;
    Ok(())
}

/// Sets all group IDs of this thread; by the raw call, since libc's sets those of every thread.
pub fn setgid(gid: u32) -> Result<()> {
    // SAFETY: takes numbers only.
    cvt_long("setresgid", unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    Ok(())
}

/// As [`setgid`], for the user.
pub fn setuid(uid: u32) -> Result<()> {
    // SAFETY: takes numbers only.
    cvt_long("setresuid", unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })?;
    Ok(())
}

/// Sets the soft and the hard limit of a resource, by Linux's number; `u64::MAX` is none.
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limits = [soft, hard];
    let old = null::<u64>();
    // SAFETY: two numbers of 64 bits are the kernel's rlimit64; the old ones are not asked for.
    cvt_long("prlimit", unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, limits.as_ptr(), old) })?;
    Ok(())
}

/// This process is killed when its parent ends. A change of user resets that.
pub fn die_with_parent() -> Result<()> {
    // SAFETY: takes numbers only.
    cvt("prctl", unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })?;
    Ok(())
}

/// Without CAP_SYS_PTRACE no process can inspect this one or take its descriptors, whatever privileges it has dropped
/// (prctl(2), PR_SET_DUMPABLE); exec resets that.
pub fn hide() -> Result<()> {
    // SAFETY: takes numbers only.
    cvt("prctl", unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) })?;
    Ok(())
}

/// An empty session keyring in place of the caller's (keyctl(2)); ENOSYS where the kernel has none.
pub fn new_session_keyring() -> Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    let no_name = null::<libc::c_char>();
    // SAFETY: without a name there is no memory to read.
    cvt_long("keyctl", unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, no_name) })?;
    Ok(())
}

/// Linux, sched.h.
const SCHED_RR: libc::c_int = 2;
const SCHED_IDLE: libc::c_int = 5;
/// Linux, ioprio.h: of one thread.
const IOPRIO_WHO_PROCESS: libc::c_int = 1;
const IOPRIO_CLASS_IDLE: libc::c_int = 3 << 13;

/// By the raw call: musl's function always fails. `priority` is the only field of sched_param.
fn set_scheduler(policy: libc::c_int, priority: libc::c_int) -> Result<()> {
    // SAFETY: the number lives through the call.
    cvt_long("sched_setscheduler", unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &priority) })?;
    Ok(())
}

/// From now on this thread, and those that it starts, run only while the processor
/// and the disk are idle.
pub fn set_idle() -> Result<()> {
    set_scheduler(SCHED_IDLE, 0)?;
    // SAFETY: takes numbers only.
    cvt_long("ioprio_set", unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_CLASS_IDLE) })?;
    Ok(())
}

/// From now on this thread runs before all that are not real-time.
pub fn set_realtime() -> Result<()> {
    set_scheduler(SCHED_RR, 1)
}

pub fn umask(mask: u32) {
    // SAFETY: takes a number and cannot fail.
    unsafe { libc::umask(mask as libc::mode_t) };
}

pub fn chroot(path: &CStr) -> Result<()> {
    // SAFETY: the path is NUL-terminated.
    cvt("chroot", unsafe { libc::chroot(path.as_ptr()) })?;
    Ok(())
}

pub fn chdir(path: &CStr) -> Result<()> {
    // SAFETY: the path is NUL-terminated.
    cvt("chdir", unsafe { libc::chdir(path.as_ptr()) })?;
    Ok(())
}

pub fn fchdir(dir: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: the descriptor is borrowed for the call.
    cvt("fchdir", unsafe { libc::fchdir(dir.as_raw_fd()) })?;
    Ok(())
}

/// The effective user ID.
pub fn effective_user() -> u32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::geteuid() }
}

/// Makes `number` (0, 1 or 2) a copy of `fd`, kept over exec.
pub fn dup_onto(fd: BorrowedFd<'_>, number: i32) -> Result<()> {
    // SAFETY: 0, 1 and 2 are owned by no OwnedFd; the other is borrowed for the call.
    cvt("dup2", unsafe { libc::dup2(fd.as_raw_fd(), number) })?;
    Ok(())
}

/// Closes every descriptor but the standard streams and `kept`; allocates nothing. For a child before exec: a
/// descriptor that exec closes is still open while the kernel looks up the program and its interpreter. And for a child
/// that never execs: as long as it has a pipe's descriptor, others do not see the pipe's end.
pub fn close_all_but(kept: &[BorrowedFd<'_>]) {
    let mut first = 3;
    loop {
        let numbers = kept.iter().filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok());
        let next = numbers.filter(|number| *number >= first).min().unwrap_or(u32::MAX);
        if next > first {
            close_range(first, next - 1);
        }
        if next == u32::MAX {
            return;
        }
        first = next + 1;
    }
}

fn close_range(first: u32, last: u32) {
    // SAFETY: takes numbers only; whose descriptors they are does not run in this process.
    if cvt_long("close_range", unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).is_ok() {
        return;
    }
    // Linux before 5.9. Descriptors above a lowered soft limit stay open: the hard limit bounds them.
    let end = open_files_max().unwrap_or(ONE_BY_ONE_MAX).min(ONE_BY_ONE_MAX).min(u64::from(last)) as u32;
    for number in first..=end {
        // SAFETY: as above; most of them are not there.
        unsafe { libc::close(number as i32) };
    }
}

/// Descriptors that are closed one by one; `fs.nr_open`'s default.
const ONE_BY_ONE_MAX: u64 = 1 << 20;

/// The hard limit of open files.
fn open_files_max() -> Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct is ours and lives through the call.
    cvt("getrlimit", unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    #[allow(clippy::unnecessary_cast)]
    Ok(limit.rlim_max as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::io;
    use std::os::fd::AsFd;

    /// A child that lives keeps nobody from seeing a pipe's end.
    /// Promise: left-behind
    #[test]
    fn a_child_holds_what_it_needs() {
        let (end, to) = io::pipe().unwrap();
        let (life, until) = io::pipe().unwrap();
        let mut child = || {
            close_all_but(&[life.as_fd()]);
            // Until the parent's end is closed.
            io::read(life.as_fd(), &mut [0]).map_or(1, |count| count as i32)
        };
        let pid = fork(&mut child).unwrap();
        drop(to);
        assert_eq!(io::read(end.as_fd(), &mut [0]), Ok(0));
        drop(until);
        assert_eq!(wait(pid), Ok(Status::Exited(0)));
    }
}
