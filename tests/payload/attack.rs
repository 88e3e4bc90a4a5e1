//! `attack NAME …`: what a hostile program tries from inside a container. Each try is one line, `held: …` or
//! `escaped: …`, and `done: NAME` comes last: an attack that ended early has proven nothing.
//!
//! An attack that reaches the host does no harm there: files of the kernel are opened for writing
//! and not written, and only a canary is ever changed.

use super::{attack_calls as calls, attack_files as files, attack_neighbours as neighbours};
use std::ffi::CString;
use std::io;

extern "C" {
    pub fn syscall(number: i64, ...) -> i64;
    pub fn open(path: *const u8, flags: i32, ...) -> i32;
    pub fn close(fd: i32) -> i32;
}

pub const O_RDONLY: i32 = 0;
pub const O_WRONLY: i32 = 1;
pub const O_RDWR: i32 = 2;
/// Never a terminal of ours, never a wait, and gone at exec.
const O_QUIET: i32 = 0o400 | 0o4000 | 0o2_000_000;

pub const EPERM: i32 = 1;
pub const EACCES: i32 = 13;

/// Tells that an attack came to nothing.
pub fn held(what: &str, why: &str) {
    println!("held: {what}: {why}");
}

/// Tells that one reached what it must not.
pub fn escaped(what: &str, how: &str) {
    println!("escaped: {what}: {how}");
}

/// `held` where nothing was found, else `escaped` for each.
pub fn none(what: &str, found: &[String]) {
    found.iter().for_each(|how| escaped(what, how));
    if found.is_empty() {
        held(what, "none");
    }
}

/// Runs one attack.
pub fn run(rest: &[String]) -> io::Result<u8> {
    let name = rest.first().map_or("", String::as_str);
    let words: Vec<&str> = rest.iter().skip(1).map(String::as_str).collect();
    let at = |index: usize| words.get(index).copied().unwrap_or_default();
    match name {
        "descriptors" => files::descriptors(),
        "streams" => files::streams(at(0) == "change")?,
        "working-directory" => files::working_directory(),
        "masks" => files::masks(),
        "writes" => files::writes(),
        "nodes" => files::nodes(&words),
        "make-node" => calls::make_node(at(0), at(1), at(2))?,
        "file-systems" => files::file_systems(),
        "console" => files::console(at(0) == "terminal"),
        "read" => files::read(at(0), at(1)),
        "init-program" => files::init_program(at(0)),
        "environment" => files::environment(at(0)),
        "user" => files::user(at(0))?,
        "rights" => calls::rights()?,
        "calls" => calls::denied(),
        "stop-console" => calls::stop_console(at(0)),
        "user-namespace" => calls::user_namespace(),
        "sockets" => calls::sockets()?,
        "keyring" => calls::keyring(at(0)),
        "terminal" => calls::push_into_terminal(),
        "watch" => neighbours::watch(at(0), at(1))?,
        "swap" => neighbours::swap(at(0), at(1), at(2))?,
        "walk" => neighbours::walk(at(0)),
        _ => return Err(io::Error::other(format!("no such attack: {name}"))),
    }
    println!("done: {name}");
    Ok(0)
}

/// `open(2)` by its errno.
pub fn try_open(path: &str, flags: i32) -> Result<i32, i32> {
    let path = CString::new(path).unwrap_or_default();
    // SAFETY: C's own prototype; the path is NUL-terminated, and no mode is needed without O_CREAT.
    let fd = unsafe { open(path.as_ptr().cast(), flags | O_QUIET) };
    if fd < 0 {
        return Err(errno());
    }
    Ok(fd)
}

/// Whether a path can be opened; closed again.
pub fn opens(path: &str, flags: i32) -> Result<(), i32> {
    let fd = try_open(path, flags)?;
    // SAFETY: the descriptor was just opened, and nobody else has it.
    unsafe { close(fd) };
    Ok(())
}

/// What the last system call failed of.
pub fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}
