//! Signals: blocked, waited for, and read from a descriptor.

use super::{cvt, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;

pub use libc::{
    SIGABRT, SIGBUS, SIGCHLD, SIGCONT, SIGFPE, SIGHUP, SIGILL, SIGINT, SIGKILL, SIGPWR, SIGQUIT, SIGSEGV, SIGSTOP,
    SIGSYS, SIGTERM, SIGTRAP, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH,
};

fn signal_set(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: sigset_t is plain bits; sigemptyset makes it a valid, empty set.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in signals {
            libc::sigaddset(&mut set, *signal);
        }
        set
    }
}

/// Blocks `signals` for this thread, and for threads and children that are made later.
pub fn block(signals: &[i32]) {
    // SAFETY: the set lives through the call.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &signal_set(signals), null_mut()) };
}

/// Undoes [`block`].
pub fn unblock(signals: &[i32]) {
    // SAFETY: the set lives through the call.
    unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &signal_set(signals), null_mut()) };
}

/// Whether this process ignores `signal`, as a shell starts what is in the background.
pub fn is_ignored(signal: i32) -> bool {
    // SAFETY: the struct is plain numbers, a null action changes nothing, and the struct lives through the call.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut now) == 0 && now.sa_sigaction == libc::SIG_IGN
    }
}

/// Gives each signal the default action and blocks none, as a new program expects. By raw calls: a C library's leave
/// out the signals that it uses itself, and glibc's posix_spawn(3) starts programs that ignore these.
pub fn reset() {
    // To the kernel the default action without flags, and the empty set, are zeros.
    let (zeros, set_len) = ([0u64; 4], 8usize);
    let no_old = null_mut::<u64>();
    for signal in 1..65 {
        // SAFETY: the zeros are no shorter than the kernel's struct; it refuses the two signals that cannot change.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, zeros.as_ptr(), no_old, set_len) };
    }
    // SAFETY: the zeros are longer than the set.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, zeros.as_ptr(), no_old, set_len) };
}

/// Gives SIGCHLD its default action: where the parent process ignored it, children could not be waited for
/// (sigaction(2)).
pub fn expect_children() {
    // SAFETY: the default action is always valid.
    unsafe { libc::signal(SIGCHLD, libc::SIG_DFL) };
}

/// Writing to a pipe that nobody reads ends the process by SIGPIPE, as usual; Rust's runtime has it ignored.
#[cfg(feature = "host")]
pub fn end_on_broken_pipe() {
    // SAFETY: the default action is always valid.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// A non-blocking descriptor from which blocked `signals` are read.
pub fn descriptor(signals: &[i32]) -> Result<OwnedFd> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the set lives through the call.
    let fd = cvt("signalfd", unsafe { libc::signalfd(-1, &signal_set(signals), flags) })?;
    // SAFETY: a new descriptor, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The next signal of a [`descriptor`]; `None` where none is pending.
pub fn next(fd: BorrowedFd<'_>) -> Option<i32> {
    // SAFETY: the struct is plain numbers; zero is a valid value.
    let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    let size = std::mem::size_of_val(&info);
    // SAFETY: pointer and length are of one struct of ours.
    let read = unsafe { libc::read(fd.as_raw_fd(), (&raw mut info).cast(), size) };
    (read == size as isize).then_some(info.ssi_signo as i32)
}

/// Waits for one of the blocked `signals` and returns it.
pub fn wait(signals: &[i32]) -> i32 {
    let set = signal_set(signals);
    loop {
        // SAFETY: the set lives through the call; a null info is allowed.
        let signal = unsafe { libc::sigwaitinfo(&set, null_mut()) };
        if signal > 0 {
            return signal;
        }
    }
}

/// As [`wait`], for `timeout_ms` at most.
pub fn wait_for(signals: &[i32], timeout_ms: u64) -> Option<i32> {
    let (tv_sec, tv_nsec) = (timeout_ms / 1000, timeout_ms % 1000 * 1_000_000);
    let time = libc::timespec { tv_sec: tv_sec as _, tv_nsec: tv_nsec as libc::c_long };
    // SAFETY: set and time live through the call; a null info is allowed.
    let signal = unsafe { libc::sigtimedwait(&signal_set(signals), null_mut(), &time) };
    (signal > 0).then_some(signal)
}
