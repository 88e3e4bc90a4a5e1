//! Stops all processes, unmounts and syncs file systems, and ends the machine.

use crate::boot::pure::options::{Config, OnFail};
use crate::boot::pure::shutdown::{self, Command};
use crate::container::cgroup;
use crate::files;
use crate::report::{console, Report, Section};
use crate::sys::machine::{self, Reboot};
use crate::sys::path::PATH_MAX;
use crate::sys::{fs as sysfs, io, mount, process, signal, Error, Result, EINVAL, ENOENT};
use std::ffi::CStr;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

/// boot2container's text, which harnesses wait for.
pub const SAFE: &str = "It's now safe to turn off your computer";
/// Its text after a container has asked for a restart.
const REBOOTING: &str = "Rebooting the computer";

/// How long the remaining processes may take to end after SIGTERM, and after SIGKILL. Thousands take a while on a slow
/// machine, and until the last one is gone, the file systems that they use cannot be unmounted.
const TERM_MS: u64 = 2000;
const KILL_MS: u64 = 30_000;
const POLL_MS: u64 = 5;

/// How to end the machine.
pub enum Ending {
    /// By `b2c.shutdown_cmd`, or by `b2c.reboot_cmd` if a container requested a reboot, with the pipeline's variables.
    Orderly { reboot: bool, env: Vec<String> },
    /// By `b2c.onfail`.
    Failed,
}

/// Stops, unmounts and syncs everything, and ends the machine. Returns only with `b2c.onfail=hang`, or if the kernel
/// refuses. Calls `unmounted` when the network is used no more.
pub fn finish(config: &Config, ending: &Ending, report: &Report, unmounted: &dyn Fn()) {
    report.section(Section::Cleanup);
    stop_processes();
    report.section(Section::UnmountCachePartition);
    let is_reboot = matches!(ending, Ending::Orderly { reboot: true, .. });
    unmount(is_reboot, report);
    unmounted();
    if !is_reboot {
        pause(config.poweroff_delay_ms);
    }
    let (reboot, env) = match ending {
        Ending::Orderly { reboot, env } => (*reboot, env),
        Ending::Failed => return fail(config.on_fail, report),
    };
    let text = if reboot { &config.reboot_cmd } else { &config.shutdown_cmd };
    let variable = |name: &str| env.iter().find_map(|entry| Some(entry.strip_prefix(name)?.strip_prefix('=')?.into()));
    // Its syntax was checked when the options were read. Only the variables have other values now.
    for command in shutdown::parse(text, &variable).unwrap_or_default() {
        match command {
            Command::Echo(text) => report.exact(&text),
            Command::Sleep { ms } => pause(ms),
            Command::PowerOff => end_machine(Reboot::PowerOff, report),
            Command::Reboot => end_machine(Reboot::Restart, report),
            Command::Halt => end_machine(Reboot::Halt, report),
        }
    }
    // None of its commands ended the machine.
    end_machine(if reboot { Reboot::Restart } else { Reboot::PowerOff }, report);
}

/// Unmounts and syncs everything, and says so; where the machine is to restart, by the text for that.
pub fn unmount(is_reboot: bool, report: &Report) {
    unmount_all(&mut |target, error, read_only| {
        let target = target.to_string_lossy();
        match read_only {
            Ok(()) => report.warn("shutdown", format_args!("{target}: {error}: it is read-only now")),
            Err(why) => report.warn("shutdown", format_args!("{target}: {error}; not read-only either: {why}")),
        }
    });
    report.told(if is_reboot { REBOOTING } else { SAFE });
}

fn fail(policy: OnFail, report: &Report) {
    match policy {
        OnFail::PowerOff => end_machine(Reboot::PowerOff, report),
        OnFail::Reboot => end_machine(Reboot::Restart, report),
        OnFail::Hang => report.line("shutdown", "b2c.onfail=hang: the machine stays as it is"),
    }
}

/// Ends the machine; returns only if the kernel refuses.
pub fn end_machine(how: Reboot, report: &Report) {
    drain_console();
    let error = machine::reboot(how);
    let name = match how {
        Reboot::PowerOff => "poweroff",
        Reboot::Restart => "reboot",
        Reboot::Halt => "halt",
    };
    report.warn("shutdown", format_args!("{name}: {error}"));
}

/// How long the consoles may take to send what is queued.
const DRAIN_MS: u64 = 1000;

/// Waits until the consoles have sent the last line. A serial line is slow, and what is queued is lost when the machine
/// ends. tcdrain(3) would wait for ever if the other side has stopped the flow. Allocates nothing.
pub fn drain_console() {
    console::resume();
    let start_ms = machine::uptime_ms();
    while console::queued() > 0 && machine::uptime_ms() < start_ms + DRAIN_MS {
        pause(POLL_MS);
    }
}

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Ends all processes but this one and PID 1, which reaps them: by SIGTERM, and after a while by SIGKILL. Processes
/// that fork without end are killed by their control group, or by `kill(-1)`, during which no process can fork.
pub fn stop_processes() {
    if !others_run() {
        return;
    }
    // So that thousands of running processes do not slow this one down. An error does not matter.
    let _ = process::set_realtime();
    // It counts kernel threads, too, so its result does not say whether a process is left.
    let _ = process::kill(-1, signal::SIGTERM);
    wait_for_others(TERM_MS, &mut || {});
    cgroup::kill_all();
    // Their mounts are gone only when they are.
    wait_for_others(KILL_MS, &mut || {
        let _ = process::kill(-1, signal::SIGKILL);
    });
}

fn wait_for_others(limit_ms: u64, each_time: &mut dyn FnMut()) {
    let start_ms = machine::uptime_ms();
    while others_run() && machine::uptime_ms() < start_ms + limit_ms {
        each_time();
        pause(POLL_MS);
    }
}

/// Whether another process than this one and PID 1 runs. Kernel threads and zombies have no command line.
fn others_run() -> bool {
    let own = std::process::id();
    files::entries(Path::new("/proc")).iter().any(|process| {
        let number = files::name(process).parse::<u32>();
        let other = number.is_ok_and(|number| number != 1 && number != own);
        other && std::fs::read(process.join("cmdline")).is_ok_and(|line| !line.is_empty())
    })
}

/// How much of the list of mounts is read. The containers' mounts are gone by now, so it is short.
const MOUNTS_MAX: usize = 1 << 16;

/// Unmounts every file system that may hold data, the last one first, and syncs. One that cannot be unmounted is made
/// read-only if possible; `left` is called with the reason and with the result of that. Allocates nothing, since PID 1
/// calls it after a crash of the boot.
pub fn unmount_all(left: &mut dyn FnMut(&CStr, Error, Result<()>)) {
    machine::sync();
    let mut buffer = [0; MOUNTS_MAX];
    let length = read_mounts(&mut buffer);
    for line in buffer.get(..length).unwrap_or_default().split(|b| *b == b'\n').rev() {
        let mut fields = line.split(|b| *b == b' ').skip(1);
        let (Some(target), Some(kind)) = (fields.next(), fields.next()) else { continue };
        if is_virtual(kind) {
            continue;
        }
        let mut path = [0; PATH_MAX];
        let Some(target) = unescape(target, &mut path).filter(|target| target.to_bytes() != b"/") else { continue };
        match mount::umount(target, 0) {
            // It was unmounted together with another one.
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

/// Whether a file system has no disk, server or upper directory behind it.
fn is_virtual(kind: &[u8]) -> bool {
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

/// Resolves the octal escapes of /proc/self/mounts, such as `\040` for a space (proc(5)).
fn unescape<'a>(text: &[u8], path: &'a mut [u8; PATH_MAX]) -> Option<&'a CStr> {
    let mut rest = text;
    for slot in path.iter_mut() {
        match rest {
            [] => break,
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                *slot = (a - b'0') << 6 | (b - b'0') << 3 | (c - b'0');
                rest = after;
            }
            [byte, after @ ..] => {
                *slot = *byte;
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
