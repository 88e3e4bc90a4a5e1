//! PID 1: starts the boot in a child process, reaps orphans, and ends the machine if the boot crashes.
//!
//! In the release build a panic is an illegal instruction and runs no hook. As the boot is a child, PID 1 survives its
//! crash, prints signal and address, and ends the machine as after every failure: file systems are unmounted and
//! synced, and the power is switched off. After the clone nothing in PID 1 allocates or can panic.

use crate::boot::pure::options::OnFail;
use crate::boot::{early_mounts, shutdown};
use crate::container::child;
use crate::report::{console, take_section, uptime_text, Report, END_OF_MARKER, END_OF_SECTION, UPTIME_MAX};
use crate::sys::process::{self, Pid, Status};
use crate::sys::{crash, fs as sysfs, handover, machine, signal, Error};
use std::ffi::CStr;
use std::os::fd::AsFd;

const SIGNALS: [i32; 5] = [signal::SIGCHLD, signal::SIGTERM, signal::SIGINT, signal::SIGPWR, signal::SIGUSR2];

/// The child's exit code if the machine is to stay on.
pub const HANG: i32 = 0;

/// The child's exit code if PID 1 is to go over to the root at [`NEW_ROOT`] and execute what the child has left.
pub const HAND_OVER: i32 = 3;
/// A mount with the parts of the new root, and the root itself.
pub const PARTS: &str = "/.root";
pub const NEW_ROOT: &str = "/.root/root";
const TO_NEW_ROOT: &CStr = c"/.root/root";

/// Runs `boot` in a child, and never returns, since the kernel panics when PID 1 ends.
pub fn run(boot: fn() -> i32) -> ! {
    // Phase 1: before the console, so no error can be printed, and none ends the boot. The name is printed all the
    // same: the kernel has opened the console for us if the initramfs has its node.
    let (report, version) = (Report::at_boot(), env!("CARGO_PKG_VERSION"));
    if early_mounts::has_left() {
        report.printed("ocinit", version);
    } else {
        report.line("ocinit", version);
    }
    let stayed = early_mounts::leave_rootfs();
    early_mounts::dev_and_console();
    if let Err(error) = stayed {
        tell(&[b"WARN cannot move from the initramfs to a tmpfs: ", error.call.as_bytes(), b"\n"]);
    }
    // Phase 2: setup. Without a child, only the last resort is left.
    let _ = machine::catch_ctrl_alt_del();
    let _ = crash::share_page();
    // Without it only a new root is refused.
    let _ = handover::share();
    signal::block(&SIGNALS);
    let child = process::fork(&mut || {
        crash::catch();
        console::own();
        boot()
    });
    // Phase 3: the boot runs.
    match child {
        Ok(child) => last_resort(watch(child)),
        Err(_) => tell(&[b"FAIL init  clone: cannot make a process for the boot\n"]),
    }
    last_resort(false);
}

/// How long the boot may take to notice a request to end. It does not check for one during network setup, clock setup
/// and pulls.
const HEAR_MS: u64 = 5_000;

/// Reaps orphans, and passes requests to end (Ctrl-Alt-Del, a signal) to the boot. It is killed if it does not notice a
/// request in time, or at a second request. Returns when the boot has ended: true if the end was requested.
fn watch(child: Pid) -> bool {
    let mut asked_at_ms = None;
    loop {
        let signal = match asked_at_ms {
            None => Some(signal::wait(&SIGNALS)),
            Some(_) => signal::wait_for(&SIGNALS, HEAR_MS),
        };
        let late = asked_at_ms.is_some_and(|at| machine::uptime_ms() >= at + HEAR_MS) && !crash::was_heard();
        match signal {
            Some(signal::SIGCHLD) => match process::reap_all(child, &|| go_on(child)) {
                None => {}
                // The machine stays on, by b2c.onfail=hang. The boot's PID may be reused now, so it gets no signal.
                Some(Status::Exited(HANG)) => {
                    hang();
                    return true;
                }
                Some(Status::Exited(HAND_OVER)) if asked_at_ms.is_none() => {
                    let error = hand_over();
                    failed_to_hand_over(error);
                    return false;
                }
                Some(Status::Killed(signal::SIGKILL)) if asked_at_ms.is_some() => {
                    end_section();
                    tell(&[b"FAIL init  killed: it was asked to end, and did not\n"]);
                    return true;
                }
                Some(status) => {
                    ended(status);
                    return asked_at_ms.is_some();
                }
            },
            None => {}
            // The boot may have ended in the meantime, so an error does not matter.
            Some(_) if asked_at_ms.is_some() => drop(process::kill(child, signal::SIGKILL)),
            Some(_) => {
                asked_at_ms = Some(machine::uptime_ms());
                let _ = process::kill(child, signal::SIGTERM);
            }
        }
        if late {
            let _ = process::kill(child, signal::SIGKILL);
        }
    }
}

/// Goes over to the new root, and executes its init with all that the kernel gives one. Returns only an error.
fn hand_over() -> Error {
    let root = sysfs::openat(sysfs::CWD, TO_NEW_ROOT, sysfs::O_PATH | sysfs::O_DIRECTORY, 0);
    if let Err(error) = root.and_then(|root| child::pivot(root.as_fd(), false)) {
        return error;
    }
    // From here on nothing but exec can fail.
    // As the kernel opens it: so that writing waits.
    if let Ok(console) = sysfs::openat(sysfs::CWD, c"/dev/console", sysfs::O_RDWR | sysfs::O_NOCTTY, 0) {
        console::onto_all(console);
    }
    let _ = machine::default_ctrl_alt_del();
    signal::reset();
    let error = handover::exec();
    signal::block(&SIGNALS);
    let _ = machine::catch_ctrl_alt_del();
    error
}

fn failed_to_hand_over(error: Error) {
    let mut number = [0; 20];
    let errno = decimal(error.errno as usize, &mut number);
    tell(&[b"FAIL root  handing over to the new root: ", error.call.as_bytes(), b": errno ", errno, b"\n"]);
}

/// Continues a boot that was stopped by a signal, which a container in the host's PID namespace (`--pid=host`) can
/// send.
fn go_on(boot: Pid) {
    tell(&[b"WARN the boot was stopped by a signal, which a container of --pid=host can send; it is continued\n"]);
    let _ = process::kill(boot, signal::SIGCONT);
}

/// Leaves the machine as it is, and returns when its end is requested.
fn hang() {
    while signal::wait(&SIGNALS) == signal::SIGCHLD {
        while let Ok(Some(_)) = process::reap() {}
    }
}

/// Prints how the boot ended. It ends the machine itself, so if its process ends otherwise, it crashed.
fn ended(status: Status) {
    end_section();
    match status {
        Status::Exited(_) => tell(&[b"FAIL init  the boot ended without ending the machine\n"]),
        Status::Killed(signal::SIGKILL) => tell(&[b"FAIL init  killed: out of memory, most likely\n"]),
        Status::Killed(signal) => {
            let (mut number, mut address) = ([0; 20], [0; 20]);
            let address = hexadecimal(crash::address(), &mut address);
            tell(&[
                b"FAIL init  crashed: signal ",
                decimal(signal as usize, &mut number),
                b" at 0x",
                address,
                b"\n           hint     a bug of ocinit: ./dev where 0x",
                address,
                b" names its line\n",
            ]);
        }
    }
}

/// How long killed processes may take to be gone. Their mounts are gone only then.
const GONE_MS: u64 = 2000;

/// Kills all processes, unmounts, syncs and ends the machine, without the boot. How it ends is `b2c.onfail`, which the
/// child has left as a note; but the machine does not hang if its end was `asked` for.
fn last_resort(asked: bool) -> ! {
    let _ = process::kill(-1, signal::SIGKILL);
    let until_ms = machine::uptime_ms() + GONE_MS;
    // The error says that no child is left.
    while let Ok(one) = process::reap() {
        let left_ms = until_ms.saturating_sub(machine::uptime_ms());
        if left_ms == 0 {
            break;
        }
        if one.is_none() {
            signal::wait_for(&[signal::SIGCHLD], left_ms);
        }
    }
    shutdown::unmount_all(&mut |target, _, read_only| {
        let state: &[u8] = if read_only.is_ok() { b" stays mounted, read-only\n" } else { b" stays mounted\n" };
        tell(&[b"WARN ", target.to_bytes(), state]);
    });
    end_section();
    tell(&[b"\n[", uptime_text(&mut [0; UPTIME_MAX]).as_bytes(), b"]: ", shutdown::SAFE.as_bytes(), b"\n\n"]);
    let note = crash::note();
    if note == OnFail::Hang as usize + 1 && !asked {
        hang();
    }
    shutdown::drain_console();
    let restart = note == OnFail::Reboot as usize + 1;
    machine::reboot(if restart { machine::Reboot::Restart } else { machine::Reboot::PowerOff });
    // The machine cannot be switched off or restarted: halt it.
    machine::reboot(machine::Reboot::Halt);
    loop {
        signal::wait(&SIGNALS);
    }
}

/// Ends the log section that the boot has left open.
fn end_section() {
    if let Some(name) = take_section() {
        let time = machine::realtime().0 as usize;
        let (start, end) = (END_OF_SECTION.as_bytes(), END_OF_MARKER.as_bytes());
        tell(&[start, decimal(time, &mut [0; 20]), b":", name.as_bytes(), end, b"\n"]);
    }
}

fn tell(parts: &[&[u8]]) {
    // The boot may have loaded a console's driver.
    console::open();
    for part in parts {
        console::write_to_each(part);
    }
}

fn decimal(number: usize, buffer: &mut [u8; 20]) -> &[u8] {
    digits(number, 10, buffer)
}

fn hexadecimal(number: usize, buffer: &mut [u8; 20]) -> &[u8] {
    digits(number, 16, buffer)
}

fn digits(mut number: usize, base: usize, buffer: &mut [u8; 20]) -> &[u8] {
    let mut start = buffer.len();
    for (at, place) in buffer.iter_mut().enumerate().rev() {
        let digit = (number % base) as u8;
        *place = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
        number /= base;
        start = at;
        if number == 0 {
            break;
        }
    }
    buffer.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_without_an_allocation() {
        let mut buffer = [0; 20];
        assert_eq!(decimal(0, &mut buffer), b"0");
        assert_eq!(decimal(usize::MAX, &mut buffer), usize::MAX.to_string().as_bytes());
        assert_eq!(hexadecimal(0x20a7b3, &mut buffer), b"20a7b3");
    }
}
