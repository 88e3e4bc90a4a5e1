//! `--init`: process 1 of a container, which passes signals on and reaps. It is this program, mounted in the container
//! and called by podman's name for its init.

use crate::container::own_program;
use crate::container::pure::process::candidates;
use crate::report::{Failure, Report};
use crate::sys::process::{self, Arguments, Status};
use crate::sys::{signal, tty, Error, ELOOP, ENOENT};
use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;

/// Where it is in the container (podman's place).
pub const PATH: &str = "/run/podman-init";

/// Signals that are not passed on: those that cannot be blocked, and those that a fault of our own raises.
const KEPT: [i32; 9] = [
    signal::SIGKILL,
    signal::SIGSTOP,
    signal::SIGILL,
    signal::SIGTRAP,
    signal::SIGABRT,
    signal::SIGBUS,
    signal::SIGFPE,
    signal::SIGSEGV,
    signal::SIGSYS,
];

/// What is blocked in the command, as catatonit leaves it.
const TERMINAL: [i32; 3] = [signal::SIGTSTP, signal::SIGTTIN, signal::SIGTTOU];

/// What a command that cannot be started ends with, whatever the reason: catatonit's code.
const NOT_STARTED: i32 = 1;

/// Whether we are it.
pub fn is_called() -> bool {
    std::env::args_os().next().is_some_and(|name| name == PATH)
}

/// Runs the words behind `--`; the answer is the exit code.
pub fn main() -> i32 {
    let signals: Vec<i32> = (1..=64).filter(|number| !KEPT.contains(number)).collect();
    signal::block(&signals);
    let words: Vec<CString> =
        std::env::args_os().skip(2).filter_map(|word| CString::new(word.into_vec()).ok()).collect();
    let child = match process::fork(&mut || start(&words)) {
        Ok(child) => child,
        Err(error) => return failed(&words, error),
    };
    loop {
        match signal::wait(&signals) {
            signal::SIGCHLD => match process::reap_all(child, &|| {}) {
                Some(Status::Exited(code)) => return code,
                Some(Status::Killed(signal)) => return 128 + signal,
                None => {}
            },
            // It may have ended in the meantime.
            signal => drop(process::kill(child, signal)),
        }
    }
}

/// The child, in a process group of its own: the terminal's signals reach it once, and not from us as well.
fn start(words: &[CString]) -> i32 {
    // Without a terminal this fails, and need not work.
    let _ = process::own_group().and_then(|()| tty::set_foreground());
    signal::reset();
    signal::block(&TERMINAL);
    let command = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    let path = std::env::var("PATH").ok();
    let env = process::environment();
    let own = own_program::id();
    let (arguments, env) = (Arguments::new(words), Arguments::new(&env));
    let mut worst = Error::new("exec", ENOENT);
    for candidate in candidates(&command, path.as_deref()) {
        let candidate = CString::new(candidate).unwrap_or_default();
        let error = match own_program::leads_to(&candidate, own) {
            true => Error::new("exec", ELOOP),
            false => process::exec(&candidate, &arguments, &env),
        };
        if error.errno != ENOENT {
            worst = error;
        }
    }
    failed(words, worst)
}

fn failed(words: &[CString], error: Error) -> i32 {
    let command = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    Report::on_host().fail(&Failure::new("container", ["entry point ", &command, ": ", &error.to_string()].concat()));
    NOT_STARTED
}
