//! Everything stopped, unmounted, synced; then the end of the machine.

use crate::boot::pure::options::{Config, OnFail};
use crate::boot::pure::shutdown::{self, Command};
use crate::container::cgroup;
use crate::report::{resume_console, Report};
use crate::sys::machine::{self, Reboot};
use crate::sys::path::PATH_MAX;
use crate::sys::{fs as sysfs, io, mount, process, signal, tty, Error, Result, EINVAL, ENOENT, STDERR};
use std::ffi::CStr;
use std::os::fd::AsFd;
use std::time::Duration;

/// A text of the dialect: harnesses wait for it.
pub const SAFE: &str = "It's now safe to turn off your computer";

/// How long processes that are left over may take after SIGTERM, and after
/// SIGKILL: thousands need their time on a slow machine, and until the last one
/// is gone the file systems they stand on cannot be cleanly unmounted.
const TERM_MS: u64 = 2000;
const KILL_MS: u64 = 30_000;
const LOOK_AGAIN_MS: u64 = 5;

/// How the machine is to end.
pub enum Ending {
    /// By `b2c.shutdown_cmd`, or `b2c.reboot_cmd` where a container asked for
    /// that; with the pipeline's variables.
    Orderly { reboot: bool, env: Vec<String> },
    /// By `b2c.onfail`.
    Failed,
}

/// Stops, unmounts, syncs, and ends the machine. Returns only where the policy
/// is to hang, or where the kernel refuses.
pub fn finish(config: &Config, ending: &Ending, report: &Report) {
    stop_processes();
    unmount_all(&mut |target, error, read_only| {
        let target = target.to_string_lossy();
        match read_only {
            Ok(()) => report.warn("end", format_args!("{target}: {error}: it is read-only now")),
            Err(why) => report.warn("end", format_args!("{target}: {error}; not read-only either: {why}")),
        }
    });
    report.exact(SAFE);
    pause(u64::from(config.poweroff_delay_s) * 1000);
    let (reboot, env) = match ending {
        Ending::Orderly { reboot, env } => (*reboot, env),
        Ending::Failed => return fail(config.on_fail, report),
    };
    let text = if reboot { &config.reboot_cmd } else { &config.shutdown_cmd };
    let variable = |name: &str| env.iter().find_map(|entry| Some(entry.strip_prefix(name)?.strip_prefix('=')?.into()));
    // It was parsed at the start: only its variables have other values now.
    for command in shutdown::parse(text, &variable).unwrap_or_default() {
        match command {
            Command::Echo(text) => report.exact(&text),
            Command::Sleep { seconds } => pause(u64::from(seconds) * 1000),
            Command::PowerOff => end(Reboot::PowerOff, report),
            Command::Reboot => end(Reboot::Restart, report),
            Command::Halt => end(Reboot::Halt, report),
        }
    }
    // A command line that ends nothing.
    end(if reboot { Reboot::Restart } else { Reboot::PowerOff }, report);
}

fn fail(policy: OnFail, report: &Report) {
    match policy {
        OnFail::PowerOff => end(Reboot::PowerOff, report),
        OnFail::Reboot => end(Reboot::Restart, report),
        OnFail::Hang => report.line("end", "b2c.onfail=hang: the machine stays as it is"),
    }
}

fn end(how: Reboot, report: &Report) {
    drain_console();
    let error = machine::reboot(how);
    let wanted = match how {
        Reboot::PowerOff => "poweroff",
        Reboot::Restart => "reboot",
        Reboot::Halt => "halt",
    };
    report.warn("end", format_args!("{wanted}: {error}"));
}

/// How long a console may take to send what it was given.
const DRAIN_MS: u64 = 1000;

/// Waits until the console has sent the last line: a serial line is slow, and
/// the end of the machine cuts what is queued. tcdrain(3) would wait for ever
/// where the other side holds it back. Allocates nothing.
pub fn drain_console() {
    resume_console();
    let start_ms = machine::uptime_ms();
    while tty::queued(STDERR).is_ok_and(|bytes| bytes > 0) && machine::uptime_ms() < start_ms + DRAIN_MS {
        pause(LOOK_AGAIN_MS);
    }
}

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// SIGTERM, a while, SIGKILL, for all but us and PID 1, which reaps them. What
/// forks without end is ended all the same: by its control group at once, or
/// by the kernel's own list of processes, which nobody forks into meanwhile.
fn stop_processes() {
    if !others_run() {
        return;
    }
    // Before thousands that all want to run; where it is refused it takes longer.
    let _ = process::set_realtime();
    // It counts kernel threads as reached, so its answer says nothing.
    let _ = process::kill(-1, signal::SIGTERM);
    wait_for_others(TERM_MS, &mut || {});
    cgroup::kill_all();
    // Their mounts go with them, and not before.
    wait_for_others(KILL_MS, &mut || {
        let _ = process::kill(-1, signal::SIGKILL);
    });
}

fn wait_for_others(patience_ms: u64, each_time: &mut dyn FnMut()) {
    let start_ms = machine::uptime_ms();
    while others_run() && machine::uptime_ms() < start_ms + patience_ms {
        each_time();
        pause(LOOK_AGAIN_MS);
    }
}

/// Whether there is a program beside us and PID 1. Kernel threads and those
/// that have ended have no command line.
fn others_run() -> bool {
    let own = std::process::id();
    std::fs::read_dir("/proc").into_iter().flatten().flatten().any(|entry| {
        let number = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let other = number.is_some_and(|number| number != 1 && number != own);
        other && std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| !line.is_empty())
    })
}

/// The list of mounts is read up to here; a container's own are gone by now.
const MOUNTS_MAX: usize = 1 << 16;

/// Unmounts every file system that holds somebody's data, last first, and
/// syncs. What stays is made read-only where it can be; `left` is told why it
/// stays, and whether that worked. Allocates nothing: PID 1 calls it when all
/// else has failed.
pub fn unmount_all(left: &mut dyn FnMut(&CStr, Error, Result<()>)) {
    machine::sync();
    let mut buffer = [0; MOUNTS_MAX];
    let length = read_mounts(&mut buffer);
    for line in buffer.get(..length).unwrap_or_default().split(|b| *b == b'\n').rev() {
        let mut fields = line.split(|b| *b == b' ').skip(1);
        let (Some(target), Some(kind)) = (fields.next(), fields.next()) else { continue };
        if is_kernels_own(kind) {
            continue;
        }
        let mut path = [0; PATH_MAX];
        let Some(target) = unescape(target, &mut path).filter(|target| target.to_bytes() != b"/") else { continue };
        match mount::umount(target, 0) {
            // Gone already, with another.
            Err(Error { errno: EINVAL | ENOENT, .. }) | Ok(()) => {}
            Err(error) => left(target, error, mount::remount_read_only(target)),
        }
    }
    machine::sync();
}

fn read_mounts(buffer: &mut [u8]) -> usize {
    let Ok(file) = sysfs::openat(sysfs::CWD, c"/proc/self/mounts", sysfs::O_RDONLY, 0) else { return 0 };
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match io::read(file.as_fd(), rest) {
            Ok(count) if count > 0 => length += count,
            _ => break,
        }
    }
    length
}

/// File systems without a disk, a server or an upper folder behind them.
fn is_kernels_own(kind: &[u8]) -> bool {
    const KINDS: [&[u8]; 10] = [
        b"proc",
        b"sysfs",
        b"devtmpfs",
        b"devpts",
        b"tmpfs",
        b"mqueue",
        b"cgroup2",
        b"cgroup",
        b"securityfs",
        b"rootfs",
    ];
    KINDS.contains(&kind)
}

/// `\040` and its kin in /proc/self/mounts (proc(5)).
fn unescape<'a>(text: &[u8], path: &'a mut [u8; PATH_MAX]) -> Option<&'a CStr> {
    let mut rest = text;
    for place in path.iter_mut() {
        match rest {
            [] => break,
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                *place = (a - b'0') << 6 | (b - b'0') << 3 | (c - b'0');
                rest = after;
            }
            [byte, after @ ..] => {
                *place = *byte;
                rest = after;
            }
        }
    }
    CStr::from_bytes_until_nul(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_spaces() {
        let mut path = [0; PATH_MAX];
        assert_eq!(unescape(br"/a\040b\134c", &mut path).unwrap(), c"/a b\\c");
        let long = [b'x'; PATH_MAX];
        assert_eq!(unescape(&long, &mut [0; PATH_MAX]), None);
    }
}
