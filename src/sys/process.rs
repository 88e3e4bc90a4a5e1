//! Processes: clone, exec, wait, signals, identities, namespaces.

use super::{cvt, cvt_long, cvt_size, Error, Result};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::null;

pub use libc::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUTS, SIGABRT, SIGBUS, SIGCHLD,
    SIGFPE, SIGHUP, SIGILL, SIGINT, SIGKILL, SIGPWR, SIGQUIT, SIGSEGV, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};

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

/// `clone(2)` in the way of `fork(2)`: `child` runs in a new process, in the
/// new namespaces of `flags`, and its result is that process's exit code.
/// Where other threads exist, `child` must not allocate: one of them may have
/// held the allocator's lock.
pub fn clone(flags: libc::c_int, child: &mut dyn FnMut() -> i32) -> Result<Pid> {
    let flags = libc::c_long::from(flags | libc::SIGCHLD);
    // SAFETY: without a stack and without CLONE_VM the child gets a copy of everything, as from fork(2).
    match cvt_long("clone", unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })? {
        0 => exit(child()),
        pid => Ok(pid as Pid),
    }
}

/// Ends this process at once: no destructor, no buffer.
pub fn exit(code: i32) -> ! {
    // SAFETY: takes a number only.
    unsafe { libc::_exit(code) }
}

/// A null-terminated array of pointers, made before `clone` so that the child
/// need not allocate.
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

/// `execve(2)`; does not return when it works.
pub fn exec(path: &CStr, arguments: &Arguments, environment: &Arguments) -> Error {
    // SAFETY: the path and both arrays are null-terminated and live through the call.
    unsafe { libc::execve(path.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
    Error::last("exec")
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

/// Collects one child that has ended; `None` where none has.
pub fn reap() -> Option<(Pid, Status)> {
    let mut raw = 0;
    // SAFETY: the number is ours.
    let pid = unsafe { libc::waitpid(-1, &mut raw, libc::WNOHANG) };
    (pid > 0).then(|| (pid, status(raw)))
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

pub fn setsid() -> Result<()> {
    // SAFETY: takes nothing.
    cvt("setsid", unsafe { libc::setsid() })?;
    Ok(())
}

pub fn setgroups(groups: &[u32]) -> Result<()> {
    // SAFETY: pointer and length are of one slice.
    cvt("setgroups", unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) as i32 })?;
    Ok(())
}

/// All four group numbers of this process; raw, since libc's would ask every thread.
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

/// Sets the soft and the hard limit of open files.
pub fn set_open_files_max(limit: u64) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: limit as libc::rlim_t, rlim_max: limit as libc::rlim_t };
    // SAFETY: the struct is ours and lives through the call.
    cvt("setrlimit", unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    Ok(())
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

/// Makes `number` (0, 1 or 2) a copy of `fd`, kept over exec.
pub fn dup_onto(fd: BorrowedFd<'_>, number: i32) -> Result<()> {
    // SAFETY: 0, 1 and 2 are owned by no OwnedFd; the other is borrowed for the call.
    cvt("dup2", unsafe { libc::dup2(fd.as_raw_fd(), number) })?;
    Ok(())
}

/// Marks every descriptor from `first` on to be closed by exec.
pub fn close_on_exec_from(first: u32) -> Result<()> {
    // SAFETY: takes numbers only; nothing is closed yet.
    cvt_long("close_range", unsafe {
        libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
    })?;
    Ok(())
}

/// A pipe: its read and its write end.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: the array is ours.
    cvt("pipe2", unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: two new descriptors, owned by nobody else.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

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
pub fn block_signals(signals: &[i32]) {
    // SAFETY: the set lives through the call.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &signal_set(signals), std::ptr::null_mut()) };
}

/// What a new program expects: no signal blocked, the default action for each.
pub fn reset_signals() {
    for signal in 1..65 {
        // SAFETY: the default action is always valid; the kernel refuses the two that cannot change.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: the set lives through the call.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &signal_set(&[]), std::ptr::null_mut()) };
}

/// A non-blocking descriptor from which blocked `signals` are read.
pub fn signal_fd(signals: &[i32]) -> Result<OwnedFd> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the set lives through the call.
    let fd = cvt("signalfd", unsafe { libc::signalfd(-1, &signal_set(signals), flags) })?;
    // SAFETY: a new descriptor, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The next signal of a [`signal_fd`]; `None` where none is pending.
pub fn next_signal(fd: BorrowedFd<'_>) -> Option<i32> {
    // SAFETY: the struct is plain numbers; zero is a valid value.
    let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    let size = std::mem::size_of_val(&info);
    // SAFETY: pointer and length are of one struct of ours.
    let read = unsafe { libc::read(fd.as_raw_fd(), (&raw mut info).cast(), size) };
    (read == size as isize).then_some(info.ssi_signo as i32)
}

/// Waits for one of the blocked `signals`, and takes it.
pub fn wait_signal(signals: &[i32]) -> i32 {
    let set = signal_set(signals);
    loop {
        // SAFETY: the set lives through the call; a null info is allowed.
        let signal = unsafe { libc::sigwaitinfo(&set, std::ptr::null_mut()) };
        if signal > 0 {
            return signal;
        }
    }
}

/// What to wait for in [`poll`].
pub struct Poll<'a> {
    pub fd: BorrowedFd<'a>,
    /// Wait for room to write rather than for something to read.
    pub write: bool,
}

/// Waits until one of `wanted` (at most 8) is ready, or for `timeout_ms`
/// (-1: for ever). Bit N of the answer: number N is ready, or at its end.
pub fn poll(wanted: &[Poll], timeout_ms: i32) -> Result<u32> {
    let mut fds = [libc::pollfd { fd: -1, events: 0, revents: 0 }; 8];
    for (slot, poll) in fds.iter_mut().zip(wanted) {
        slot.fd = poll.fd.as_raw_fd();
        slot.events = if poll.write { libc::POLLOUT } else { libc::POLLIN };
    }
    // SAFETY: the array is ours and has 8 places.
    let result = cvt("poll", unsafe { libc::poll(fds.as_mut_ptr(), 8, timeout_ms) });
    match result {
        Err(error) if error.errno != libc::EINTR => Err(error),
        Err(_) => Ok(0),
        Ok(_) => Ok(fds.iter().enumerate().filter(|(_, fd)| fd.revents != 0).map(|(n, _)| 1 << n).sum()),
    }
}

/// Sets whether reads and writes of `fd` wait.
pub fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
    // SAFETY: the descriptor is borrowed for the call.
    let flags = cvt("fcntl", unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    let flags = if on { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
    // SAFETY: as above; the flags are the file's own.
    cvt("fcntl", unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags) })?;
    Ok(())
}

/// Reads what is there; 0 is the end.
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: pointer and length are of one slice.
    cvt_size("read", unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// Writes as much as goes.
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize> {
    // SAFETY: pointer and length are of one slice.
    cvt_size("write", unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) })
}

/// A pair of connected sockets, for [`send_fd`] and [`receive_fd`].
pub fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: the array is ours.
    cvt("socketpair", unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
    // SAFETY: two new descriptors, owned by nobody else.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// Room for one descriptor in a control message, aligned as `cmsghdr` wants it.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Sends a copy of `fd`, with one byte, over a socket.
pub fn send_fd(socket: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> Result<()> {
    let mut byte = [0u8];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = Control([0; 64]);
    // SAFETY: all pointers are to locals that live through the call; the control buffer has room for one descriptor.
    cvt_size("sendmsg", unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as _;
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as _;
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(fd.as_raw_fd());
        libc::sendmsg(socket.as_raw_fd(), &message, libc::MSG_NOSIGNAL)
    })?;
    Ok(())
}

/// Receives a descriptor; `None` where the other side ended without one.
pub fn receive_fd(socket: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    let mut byte = [0u8];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = Control([0; 64]);
    // SAFETY: all pointers are to locals that live through the call; the header is read only where the kernel wrote one.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len() as _;
        cvt_size("recvmsg", libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_CMSG_CLOEXEC))?;
        let header = libc::CMSG_FIRSTHDR(&message);
        if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
            return Ok(None);
        }
        let fd = libc::CMSG_DATA(header).cast::<i32>().read_unaligned();
        Ok(Some(OwnedFd::from_raw_fd(fd)))
    }
}

/// What the reaper knows of its child after a crash: a page that both share.
#[repr(C)]
struct CrashPage {
    address: std::sync::atomic::AtomicUsize,
    note: std::sync::atomic::AtomicUsize,
}

static CRASH: std::sync::atomic::AtomicPtr<CrashPage> = std::sync::atomic::AtomicPtr::new(std::ptr::null_mut());

/// Makes the page that survives a child's crash. Call before `clone`.
pub fn share_crash_page() -> Result<()> {
    let (kind, access) = (libc::MAP_SHARED | libc::MAP_ANONYMOUS, libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: a new mapping at a place that the kernel chooses; it is never unmapped.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, access, kind, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(Error::last("mmap"));
    }
    CRASH.store(page.cast(), std::sync::atomic::Ordering::Relaxed);
    Ok(())
}

/// The instruction at which the child crashed; 0 where it did not.
pub fn crash_address() -> usize {
    let page = CRASH.load(std::sync::atomic::Ordering::Relaxed);
    // SAFETY: null, or the page of `share_crash_page`, which is never unmapped.
    unsafe { page.as_ref() }.map_or(0, |page| page.address.load(std::sync::atomic::Ordering::Relaxed))
}

/// A number that the child leaves for the reaper; 0 where it left none.
pub fn crash_note() -> usize {
    let page = CRASH.load(std::sync::atomic::Ordering::Relaxed);
    // SAFETY: null, or the page of `share_crash_page`, which is never unmapped.
    unsafe { page.as_ref() }.map_or(0, |page| page.note.load(std::sync::atomic::Ordering::Relaxed))
}

pub fn set_crash_note(note: usize) {
    let page = CRASH.load(std::sync::atomic::Ordering::Relaxed);
    // SAFETY: null, or the page of `share_crash_page`, which is never unmapped.
    if let Some(page) = unsafe { page.as_ref() } {
        page.note.store(note, std::sync::atomic::Ordering::Relaxed);
    }
}

/// In the child: from now on a crash leaves its address in the shared page.
/// The signal then has its default effect.
pub fn catch_crashes() {
    for signal in [SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGABRT] {
        // SAFETY: the handler is async-signal-safe: it stores a number. SA_RESETHAND lets the signal kill when the
        // faulting instruction runs again; SA_ONSTACK survives a stack overflow where std made such a stack.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_crash as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND | libc::SA_ONSTACK;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

extern "C" fn on_crash(_signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let page = CRASH.load(std::sync::atomic::Ordering::Relaxed);
    // SAFETY: the kernel gives valid pointers; the page is null or never unmapped.
    unsafe {
        if let Some(page) = page.as_ref() {
            page.address.store(instruction(info, context), std::sync::atomic::Ordering::Relaxed);
        }
    }
}

/// The instruction pointer at the fault.
///
/// # Safety
/// Both pointers must be those that the kernel gave to a signal handler.
#[allow(unused_variables)]
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
