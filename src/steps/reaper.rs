//! PID 1 itself: nothing but a reaper, with the work in a child.
//!
//! In the release build a panic is an illegal instruction and runs no hook. So
//! the boot is a child: its crash is an ordinary event here, told with signal
//! and address, and ends like every failure: unmounted, synced, powered off.
//! After the clone nothing here allocates or can panic.

use super::{early, end};
use crate::proto::options::OnFail;
use crate::report::Report;
use crate::sys::process::{self, Pid, Status};
use crate::sys::{io, machine, signal, STDERR};

const SIGNALS: [i32; 5] = [signal::SIGCHLD, signal::SIGTERM, signal::SIGINT, signal::SIGPWR, signal::SIGUSR2];

/// What the child's exit code says when it could not end the machine itself.
pub const HANG: i32 = 0;

/// Runs `boot` in a child, reaps what is orphaned, and outlives everything.
pub fn run(boot: fn() -> i32) -> ! {
    // Phase 1: before the console. Nothing can be told, so nothing may fail.
    // But for our name: the kernel has opened the console for us where the initramfs has its node.
    if !early::has_left() {
        Report::at_boot().line("ocinit", env!("CARGO_PKG_VERSION"));
    }
    let stayed = early::leave_rootfs();
    early::console();
    if let Err(error) = stayed {
        tell(&[b"WARN the initramfs could not be left: ", error.call.as_bytes(), b"\n"]);
    }
    // Phase 2: setup. Failing here leaves only the last resort below.
    let _ = machine::catch_ctrl_alt_del();
    let _ = signal::share_crash_page();
    signal::block(&SIGNALS);
    let child = process::clone(0, &mut || {
        signal::catch_crashes();
        boot()
    });
    // Phase 3: the boot is running. Nothing may end this loop.
    if let Ok(child) = child {
        loop {
            match signal::wait(&SIGNALS) {
                signal::SIGCHLD => {
                    if let Some(status) = reap(child) {
                        ended(status);
                    }
                }
                // A request to end, from Ctrl-Alt-Del or a program.
                _ => drop(process::kill(child, signal::SIGTERM)),
            }
        }
    }
    tell(&[b"FAIL init  clone: no process can be made\n"]);
    last_resort();
}

/// Collects whatever has ended; the boot's own end is the answer.
fn reap(child: Pid) -> Option<Status> {
    let mut end = None;
    while let Some((pid, status)) = process::reap() {
        if pid == child {
            end = Some(status);
        }
    }
    end
}

/// The boot ends the machine itself; when it returns, it hangs by policy, or crashed.
fn ended(status: Status) {
    match status {
        Status::Exited(HANG) => return,
        Status::Exited(_) => tell(&[b"FAIL init  the boot ended without ending the machine\n"]),
        Status::Killed(signal::SIGKILL) => tell(&[b"FAIL init  killed: out of memory, most likely\n"]),
        Status::Killed(signal) => {
            let (mut number, mut address) = ([0; 20], [0; 20]);
            let address = hexadecimal(signal::crash_address(), &mut address);
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
    last_resort();
}

/// Everything killed, unmounted and synced, without the boot's help; then the
/// policy of `b2c.onfail`, which the child left as a note.
fn last_resort() -> ! {
    let _ = process::kill(-1, signal::SIGKILL);
    while process::reap().is_some() {}
    end::unmount_all(&mut |target, _| tell(&[b"WARN busy: ", target.to_bytes(), b"\n"]));
    tell(&[end::SAFE.as_bytes(), b"\n"]);
    match signal::crash_note() {
        note if note == OnFail::Hang as usize + 1 => loop {
            signal::wait(&SIGNALS);
            while process::reap().is_some() {}
        },
        note if note == OnFail::Reboot as usize + 1 => drop(machine::reboot(machine::Reboot::Restart)),
        _ => drop(machine::reboot(machine::Reboot::PowerOff)),
    }
    // A machine that cannot be switched off: the least that can be had.
    machine::reboot(machine::Reboot::Halt);
    loop {
        signal::wait(&SIGNALS);
    }
}

fn tell(parts: &[&[u8]]) {
    for part in parts {
        // Losing the console is no reason to stop.
        let _ = io::write(STDERR, part);
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
