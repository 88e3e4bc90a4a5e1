//! PID 1 itself: nothing but a reaper, with the work in a child.
//!
//! In the release build a panic is an illegal instruction and runs no hook. So
//! the boot is a child: its crash is an ordinary event here, told with signal
//! and address, and ends like every failure: unmounted, synced, powered off.
//! After the clone nothing here allocates or can panic.

use crate::boot::pure::options::OnFail;
use crate::boot::{early_mounts, shutdown};
use crate::report::{resume_console, write_all, Report};
use crate::sys::process::{self, Pid, Status};
use crate::sys::{crash, machine, signal, STDERR};

const SIGNALS: [i32; 5] = [signal::SIGCHLD, signal::SIGTERM, signal::SIGINT, signal::SIGPWR, signal::SIGUSR2];

/// What the child's exit code says when it could not end the machine itself.
pub const HANG: i32 = 0;

/// Runs `boot` in a child, reaps what is orphaned, and outlives everything.
pub fn run(boot: fn() -> i32) -> ! {
    // Phase 1: before the console. Nothing can be told, so nothing may fail.
    // But for our name: the kernel has opened the console for us where the initramfs has its node.
    if !early_mounts::has_left() {
        Report::at_boot().line("ocinit", env!("CARGO_PKG_VERSION"));
    }
    let stayed = early_mounts::leave_rootfs();
    early_mounts::console();
    if let Err(error) = stayed {
        tell(&[b"WARN the initramfs could not be left: ", error.call.as_bytes(), b"\n"]);
    }
    // Phase 2: setup. Failing here leaves only the last resort below.
    let _ = machine::catch_ctrl_alt_del();
    let _ = crash::share_page();
    signal::block(&SIGNALS);
    let child = process::fork(&mut || {
        crash::catch();
        boot()
    });
    // Phase 3: the boot is running. Nothing may end this loop.
    match child {
        Ok(child) => last_resort(watch(child)),
        Err(_) => tell(&[b"FAIL init  clone: no process can be made\n"]),
    }
    last_resort(false);
}

/// How long the boot may take to hear a request to end: network, clock and pull do not listen.
const HEAR_MS: u64 = 5_000;

/// Reaps, and passes requests to end (Ctrl-Alt-Del, a program) to the boot. One that is not heard in time, and
/// a second one, kill it. Returns where only the last resort is left to do, and whether somebody asked for it.
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
                // It hangs by policy: its number may be another's by now.
                Some(Status::Exited(HANG)) => {
                    hang();
                    return true;
                }
                Some(Status::Killed(signal::SIGKILL)) if asked_at_ms.is_some() => {
                    tell(&[b"FAIL init  killed: it was asked to end, and did not\n"]);
                    return true;
                }
                Some(status) => {
                    ended(status);
                    return asked_at_ms.is_some();
                }
            },
            None => {}
            // It may have ended in the meantime.
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

/// Continues a boot that somebody has stopped, as a container among the machine's processes (`--pid=host`) can.
fn go_on(boot: Pid) {
    tell(&[b"WARN the boot was stopped by a signal, as a container of --pid=host can do; it goes on\n"]);
    let _ = process::kill(boot, signal::SIGCONT);
}

/// The machine stays as it is until somebody asks for its end.
fn hang() {
    while signal::wait(&SIGNALS) == signal::SIGCHLD {
        while let Ok(Some(_)) = process::reap() {}
    }
}

/// The boot ends the machine itself; when it returns otherwise, it crashed.
fn ended(status: Status) {
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

/// How long the killed may take to be gone: their mounts go with them.
const GONE_MS: u64 = 2000;

/// Everything killed, unmounted and synced, without the boot's help; then the
/// policy of `b2c.onfail`, which the child left as a note. Whoever `asked` for
/// the end gets one.
fn last_resort(asked: bool) -> ! {
    let _ = process::kill(-1, signal::SIGKILL);
    let until_ms = machine::uptime_ms() + GONE_MS;
    // To the error: no child is left.
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
    tell(&[shutdown::SAFE.as_bytes(), b"\n"]);
    let note = crash::note();
    if note == OnFail::Hang as usize + 1 && !asked {
        hang();
    }
    shutdown::drain_console();
    let restart = note == OnFail::Reboot as usize + 1;
    machine::reboot(if restart { machine::Reboot::Restart } else { machine::Reboot::PowerOff });
    // A machine that cannot be switched off: the least that can be had.
    machine::reboot(machine::Reboot::Halt);
    loop {
        signal::wait(&SIGNALS);
    }
}

fn tell(parts: &[&[u8]]) {
    resume_console();
    for part in parts {
        write_all(STDERR, part);
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
