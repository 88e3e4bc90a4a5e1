//! Signals: held back and read, or left as a crash's last word.

use super::{cvt, last_words, Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

pub use libc::{
    SIGABRT, SIGBUS, SIGCHLD, SIGCONT, SIGFPE, SIGHUP, SIGILL, SIGINT, SIGKILL, SIGPWR, SIGQUIT, SIGSEGV, SIGSTOP,
    SIGSYS, SIGTERM, SIGTRAP, SIGUSR1, SIGUSR2, SIGWINCH,
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

/// Holds `signals` back from this thread, and from threads and children made later.
pub fn block(signals: &[i32]) {
    // SAFETY: the set lives through the call.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &signal_set(signals), null_mut()) };
}

/// What a new program expects: no signal blocked, the default action for each. By the kernel's own calls: those of a C
/// library leave out the signals that it uses itself, and glibc's posix_spawn(3) starts programs that ignore these.
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

/// The end of a child is told to who waits for it, though whoever started us ignored it (sigaction(2), SIGCHLD).
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

/// Waits for one of the blocked `signals`, and takes it.
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

/// What the reaper knows of its child after a crash: a page that both share.
#[repr(C)]
struct CrashPage {
    address: AtomicUsize,
    note: AtomicUsize,
    heard: AtomicUsize,
}

static CRASH: AtomicPtr<CrashPage> = AtomicPtr::new(null_mut());

/// Makes the page that survives a child's crash. Call before `clone`.
pub fn share_crash_page() -> Result<()> {
    let (kind, access) = (libc::MAP_SHARED | libc::MAP_ANONYMOUS, libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: a new mapping at a place that the kernel chooses; it is never unmapped.
    let page = unsafe { libc::mmap(null_mut(), 4096, access, kind, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(Error::last("mmap"));
    }
    CRASH.store(page.cast(), Ordering::Relaxed);
    Ok(())
}

/// The instruction at which the child crashed; 0 where it did not.
pub fn crash_address() -> usize {
    let page = CRASH.load(Ordering::Relaxed);
    // SAFETY: null, or the page of `share_crash_page`, which is never unmapped.
    unsafe { page.as_ref() }.map_or(0, |page| page.address.load(Ordering::Relaxed))
}

/// A number that the child leaves for the reaper; 0 where it left none.
pub fn crash_note() -> usize {
    let page = CRASH.load(Ordering::Relaxed);
    // SAFETY: null, or the page of `share_crash_page`, which is never unmapped.
    unsafe { page.as_ref() }.map_or(0, |page| page.note.load(Ordering::Relaxed))
}

pub fn set_crash_note(note: usize) {
    let page = CRASH.load(Ordering::Relaxed);
    // SAFETY: null, or the page of `share_crash_page`, which is never unmapped.
    if let Some(page) = unsafe { page.as_ref() } {
        page.note.store(note, Ordering::Relaxed);
    }
}

/// Whether the child has heard the request to end.
pub fn was_heard() -> bool {
    let page = CRASH.load(Ordering::Relaxed);
    // SAFETY: null, or the page of `share_crash_page`, which is never unmapped.
    unsafe { page.as_ref() }.is_some_and(|page| page.heard.load(Ordering::Relaxed) != 0)
}

/// In the child: it has heard the request to end, and is about it.
pub fn set_heard() {
    let page = CRASH.load(Ordering::Relaxed);
    // SAFETY: null, or the page of `share_crash_page`, which is never unmapped.
    if let Some(page) = unsafe { page.as_ref() } {
        page.heard.store(1, Ordering::Relaxed);
    }
}

/// From now on a crash leaves its address in the shared page, and the signal then has its default effect; where there
/// is none it is the end by [`last_words`].
pub fn catch_crashes() {
    for signal in [SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGABRT] {
        // SAFETY: the handler is async-signal-safe: it stores a number. SA_RESETHAND lets the signal kill when the
        // faulting instruction runs again; SA_ONSTACK survives a stack overflow where std made such a stack.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_crash as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND | libc::SA_ONSTACK;
            libc::sigaction(signal, &action, null_mut());
        }
    }
}

extern "C" fn on_crash(_signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let page = CRASH.load(Ordering::Relaxed);
    // SAFETY: the kernel gives valid pointers; the page is null or never unmapped.
    unsafe {
        if let Some(page) = page.as_ref() {
            page.address.store(instruction(info, context), Ordering::Relaxed);
            return;
        }
        last_words::crashed(instruction(info, context))
    }
}

/// The instruction pointer at the fault.
///
/// # Safety
/// Both pointers must be those that the kernel gave to a signal handler.
#[allow(unused_variables)]
// SAFETY: the contract above is the caller's.
unsafe fn instruction(info: *mut libc::siginfo_t, context: *mut libc::c_void) -> usize {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: by contract a ucontext of this architecture.
    return unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] as usize };
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    return unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.pc as usize };
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    // SAFETY: for an illegal instruction, what a panic is in the release, this is its address.
    return unsafe { (*info).si_addr() as usize };
}
