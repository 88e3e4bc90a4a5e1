//! Terminals: pseudo-terminal pairs, raw mode, window sizes.

use super::{cvt, Error, Result};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `_IOR('T', 0x32, unsigned int)` of asm-generic/ioctls.h.
const TIOCGDEV: u32 = 0x8004_5432;

/// Sets an entry of the translation tables of all virtual consoles (Linux, uapi/linux/kd.h).
const KDSKBENT: u32 = 0x4b47;

/// `struct kbentry`.
#[repr(C)]
struct KeyEntry {
    table: u8,
    key: u8,
    value: u16,
}

/// Sets what the key of the number `key` gives with the modifiers of `table`. `console` is a virtual one.
pub fn set_key(console: BorrowedFd<'_>, table: u8, key: u8, value: u16) -> Result<()> {
    let entry = KeyEntry { table, key, value };
    // SAFETY: the struct lives through the call, which only reads it.
    cvt("ioctl(KDSKBENT)", unsafe { libc::ioctl(console.as_raw_fd(), KDSKBENT as _, &entry) })?;
    Ok(())
}

/// A terminal's settings, to be put back later.
pub struct Settings(libc::termios);

/// Rows and columns.
#[derive(Clone, Copy)]
pub struct Size(libc::winsize);

impl Default for Size {
    /// Unknown: 0 by 0.
    fn default() -> Size {
        // SAFETY: winsize is plain numbers; zero is a valid value.
        Size(unsafe { std::mem::zeroed() })
    }
}

/// Makes `fd` pass every byte unchanged, both ways; the result restores it. It takes effect at once: to wait until all
/// output is sent (TCSADRAIN) would block for ever where the other side takes nothing.
pub fn set_raw(fd: BorrowedFd<'_>) -> Result<Settings> {
    // SAFETY: changes the struct only.
    change(fd, &mut |settings| unsafe { libc::cfmakeraw(settings) })
}

/// As [`set_raw`], for output only.
pub fn set_raw_output(fd: BorrowedFd<'_>) -> Result<Settings> {
    change(fd, &mut |settings| settings.c_oflag &= !libc::OPOST)
}

/// Sets the speed of a serial line, if it is one of the usual ones.
pub fn set_speed(fd: BorrowedFd<'_>, baud: u32) -> Result<()> {
    let speed = match baud {
        9600 => libc::B9600,
        19_200 => libc::B19200,
        38_400 => libc::B38400,
        57_600 => libc::B57600,
        115_200 => libc::B115200,
        230_400 => libc::B230400,
        460_800 => libc::B460800,
        921_600 => libc::B921600,
        1_500_000 => libc::B1500000,
        _ => return Ok(()),
    };
    let mut set = |settings: &mut libc::termios| {
        // SAFETY: changes the struct only; the speed is one of the library's.
        unsafe { libc::cfsetspeed(settings, speed) };
    };
    change(fd, &mut set)?;
    Ok(())
}

fn change(fd: BorrowedFd<'_>, how: &mut dyn FnMut(&mut libc::termios)) -> Result<Settings> {
    // SAFETY: termios is plain numbers; zero is a valid value.
    let mut settings: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: the struct is ours and lives through the call.
    cvt("tcgetattr", unsafe { libc::tcgetattr(fd.as_raw_fd(), &mut settings) })?;
    let before = Settings(settings);
    how(&mut settings);
    // SAFETY: the struct lives through the call.
    cvt("tcsetattr", unsafe { libc::tcsetattr(fd.as_raw_fd(), libc::TCSANOW, &settings) })?;
    Ok(before)
}

/// Puts settings back.
pub fn restore(fd: BorrowedFd<'_>, settings: &Settings) {
    // SAFETY: the struct lives through the call. Failing leaves a raw terminal, and nothing can be done.
    unsafe { libc::tcsetattr(fd.as_raw_fd(), libc::TCSANOW, &settings.0) };
}

/// Resumes output that was stopped (tcflow(3)), and turns off that input stops it (IXON), which also resumes it.
/// Nothing happens where `fd` is not a terminal.
pub fn resume(fd: BorrowedFd<'_>) {
    // SAFETY: takes numbers only.
    unsafe { libc::tcflow(fd.as_raw_fd(), libc::TCOON) };
    // SAFETY: termios is plain numbers; zero is a valid value.
    let mut settings: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: the struct is ours and lives through both calls.
    unsafe {
        if libc::tcgetattr(fd.as_raw_fd(), &mut settings) == 0 && settings.c_iflag & libc::IXON != 0 {
            settings.c_iflag &= !libc::IXON;
            libc::tcsetattr(fd.as_raw_fd(), libc::TCSANOW, &settings);
        }
    }
}

/// The size of a terminal; a serial line has none (0 by 0).
pub fn size(fd: BorrowedFd<'_>) -> Result<Size> {
    // SAFETY: winsize is plain numbers; zero is a valid value.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the struct is ours and lives through the call.
    cvt("ioctl(TIOCGWINSZ)", unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ as _, &mut size) })?;
    Ok(Size(size))
}

/// The columns of a terminal; 0 if they are unknown. None if `fd` is no terminal.
pub fn columns(fd: BorrowedFd<'_>) -> Option<usize> {
    size(fd).ok().map(|size| size.0.ws_col.into())
}

pub fn set_size(fd: BorrowedFd<'_>, size: Size) -> Result<()> {
    // SAFETY: the struct lives through the call.
    cvt("ioctl(TIOCSWINSZ)", unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ as _, &size.0) })?;
    Ok(())
}

/// The device number of a terminal; of what `/dev/console` stands for, not of that itself.
pub fn device(fd: BorrowedFd<'_>) -> Option<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: the number is ours and lives through the call.
    cvt("ioctl(TIOCGDEV)", unsafe { libc::ioctl(fd.as_raw_fd(), TIOCGDEV as _, &mut number) }).ok()?;
    Some(number)
}

/// The bytes that were written to a terminal and are not sent yet.
pub fn queued(fd: BorrowedFd<'_>) -> Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: the number is ours and lives through the call.
    cvt("ioctl(TIOCOUTQ)", unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ as _, &mut count) })?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Opens the master of a new pseudo-terminal: `ptmx` is the devpts instance's
/// own `/dev/pts/ptmx`. The pair is unlocked.
pub fn open_master(ptmx: &CStr) -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the path is NUL-terminated.
    let fd = cvt("open", unsafe { libc::open(ptmx.as_ptr(), flags) })?;
    // SAFETY: a new descriptor, owned by nobody else.
    let master = unsafe { OwnedFd::from_raw_fd(fd) };
    let unlock: libc::c_int = 0;
    // SAFETY: the number lives through the call.
    cvt("ioctl(TIOCSPTLCK)", unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK as _, &unlock) })?;
    Ok(master)
}

/// Opens the other side of `master`, whatever path it has (Linux 4.13).
pub fn open_slave(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER as _, flags) };
    if fd < 0 {
        return Err(Error::last("ioctl(TIOCGPTPEER)"));
    }
    // SAFETY: a new descriptor, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes `fd` the controlling terminal of this session.
pub fn set_controlling(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: takes numbers only.
    cvt("ioctl(TIOCSCTTY)", unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSCTTY as _, 0) })?;
    Ok(())
}

/// Makes this process's group the foreground group of the terminal on standard input: it may read the terminal, and
/// gets its signals.
pub fn set_foreground() -> Result<()> {
    // SAFETY: takes numbers only; getpgrp cannot fail.
    cvt("tcsetpgrp", unsafe { libc::tcsetpgrp(libc::STDIN_FILENO, libc::getpgrp()) })?;
    Ok(())
}
