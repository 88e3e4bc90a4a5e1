//! Calls about the whole machine: its names, clocks, kernel modules, and reboot(2).

use super::{cvt, cvt_long, Error, Result};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// How the machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reboot {
    PowerOff,
    Restart,
    Halt,
}

/// `reboot(2)`; does not return when it works.
pub fn reboot(how: Reboot) -> Error {
    let command = match how {
        Reboot::PowerOff => libc::RB_POWER_OFF,
        Reboot::Restart => libc::RB_AUTOBOOT,
        Reboot::Halt => libc::RB_HALT_SYSTEM,
    };
    // SAFETY: takes a number only.
    unsafe { libc::reboot(command) };
    Error::last("reboot")
}

/// Ctrl-Alt-Del sends SIGINT to PID 1 in place of an immediate reboot.
pub fn catch_ctrl_alt_del() -> Result<()> {
    // SAFETY: takes a number only.
    cvt("reboot", unsafe { libc::reboot(libc::RB_DISABLE_CAD) })?;
    Ok(())
}

/// Ctrl-Alt-Del restarts the machine at once, as before PID 1 has called [`catch_ctrl_alt_del`].
pub fn default_ctrl_alt_del() -> Result<()> {
    // SAFETY: takes a number only.
    cvt("reboot", unsafe { libc::reboot(libc::RB_ENABLE_CAD) })?;
    Ok(())
}

pub fn sync() {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::sync() }
}

/// Writes the file system that holds `file` to its disk.
pub fn syncfs(file: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: the descriptor is borrowed for the call.
    cvt("syncfs", unsafe { libc::syncfs(file.as_raw_fd()) })?;
    Ok(())
}

/// The kernel's release (`uname -r`), at most 64 bytes.
pub fn kernel_release() -> Result<String> {
    uname().map(|names| text(&names.release))
}

/// The processor's architecture (`uname -m`), at most 64 bytes.
pub fn architecture() -> Result<String> {
    uname().map(|names| text(&names.machine))
}

fn uname() -> Result<libc::utsname> {
    // SAFETY: utsname is plain bytes; zero is a valid value.
    let mut names: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: the struct is ours and lives through the call.
    cvt("uname", unsafe { libc::uname(&mut names) })?;
    Ok(names)
}

fn text(name: &[libc::c_char]) -> String {
    let bytes: Vec<u8> = name.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

pub fn sethostname(name: &[u8]) -> Result<()> {
    // SAFETY: pointer and length are of one slice.
    cvt("sethostname", unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) })?;
    Ok(())
}

fn clock_get(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the struct is ours; the two clocks used below always exist.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time
}

/// Milliseconds since the kernel's start, with those of suspend.
pub fn uptime_ms() -> u64 {
    let time = clock_get(libc::CLOCK_BOOTTIME);
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

/// The wall clock: seconds and nanoseconds since 1970 (UTC).
pub fn realtime() -> (i64, u32) {
    let time = clock_get(libc::CLOCK_REALTIME);
    // time_t has 32 bits on some targets.
    #[allow(clippy::unnecessary_cast)]
    (time.tv_sec as i64, time.tv_nsec as u32)
}

/// Sets the wall clock to seconds and nanoseconds since 1970 (UTC).
pub fn set_realtime(seconds: i64, nanoseconds: u32) -> Result<()> {
    let time = libc::timespec { tv_sec: seconds as _, tv_nsec: nanoseconds as libc::c_long };
    // SAFETY: the struct is ours and lives through the call.
    cvt("clock_settime", unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &time) })?;
    Ok(())
}

/// Lets the wall clock run up to 0.05 percent faster or slower until it has gained `ms`. Replaces what an earlier call
/// has left over.
pub fn slew(ms: i64) -> Result<()> {
    // SAFETY: timex is plain numbers; zero is a valid value.
    let mut change: libc::timex = unsafe { std::mem::zeroed() };
    change.modes = libc::ADJ_OFFSET_SINGLESHOT;
    change.offset = (ms * 1000) as _;
    // SAFETY: the struct is ours and lives through the call.
    cvt("adjtimex", unsafe { libc::adjtimex(&mut change) })?;
    Ok(())
}

/// Linux, uapi/linux/rtc.h: RTC_SET_TIME, `_IOW('p', 0x0a, struct rtc_time)`, where numbers are made as on most
/// architectures.
const RTC_SET_TIME: u32 = 0x4024_700a;

/// Sets a hardware clock to year, month, day, hour, minute and second (UTC, as the kernel reads it when it starts).
pub fn set_rtc(rtc: BorrowedFd<'_>, [year, month, day, hour, minute, second]: [i64; 6]) -> Result<()> {
    // `struct rtc_time`; the kernel ignores the days of week and year and the summer time behind these.
    let fields = [second, minute, hour, day, month - 1, year - 1900, 0, 0, 0].map(|field| field as i32);
    // SAFETY: the array is ours, has the struct's form and lives through the call.
    cvt("ioctl(RTC_SET_TIME)", unsafe { libc::ioctl(rtc.as_raw_fd(), RTC_SET_TIME as _, fields.as_ptr()) })?;
    Ok(())
}

/// The number of processors that this process may use, at least one.
pub fn cores() -> usize {
    // SAFETY: cpu_set_t is plain bytes; zero is a valid value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the struct is ours and lives through the call, which gets its size.
    let found = cvt("sched_getaffinity", unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) });
    // The call fails on a kernel for more processors than the set has room for.
    // SAFETY: reads the set only.
    found.map_or(1, |_| unsafe { libc::CPU_COUNT(&set) }.max(1) as usize)
}

/// Fills `buffer` (256 bytes at most) from the kernel's random source without
/// blocking; early in a boot the pool may not be ready (EAGAIN).
pub fn random(buffer: &mut [u8]) -> Result<()> {
    // SAFETY: pointer and length are of one slice.
    cvt_long("getrandom", unsafe {
        libc::syscall(libc::SYS_getrandom, buffer.as_mut_ptr(), buffer.len(), libc::GRND_NONBLOCK)
    })?;
    Ok(())
}

/// Linux, uapi/linux/module.h: the kernel decompresses the file (since 5.17).
const MODULE_INIT_COMPRESSED_FILE: libc::c_int = 4;

/// Loads the kernel module that `file` holds, which the kernel has to decompress if it is `compressed`, with `params`
/// as its options.
pub fn finit_module(file: BorrowedFd<'_>, params: &CStr, compressed: bool) -> Result<()> {
    let flags = if compressed { MODULE_INIT_COMPRESSED_FILE } else { 0 };
    // SAFETY: the descriptor is borrowed and the string NUL-terminated.
    cvt_long("finit_module", unsafe {
        libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), params.as_ptr(), flags)
    })?;
    Ok(())
}

/// As [`finit_module`], for a module in memory.
pub fn init_module(module: &[u8], params: &CStr) -> Result<()> {
    // SAFETY: pointer and length are of one slice, and the string is NUL-terminated.
    cvt_long("init_module", unsafe {
        libc::syscall(libc::SYS_init_module, module.as_ptr(), module.len(), params.as_ptr())
    })?;
    Ok(())
}
