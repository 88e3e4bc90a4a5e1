//! Keeps our own program out of reach of containers: until exec is done, `/proc/self/exe` of a container's process is
//! our program on the host (CVE-2019-5736).

use crate::container::pure::process::interpreter;
use crate::report::{Failure, Outcome};
use crate::sys::{fs, io_text, process, Result, ELOOP};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

const OWN: &CStr = c"/proc/self/exe";

/// A file by its device and inode number; `None` where it cannot be told.
pub type FileId = Option<(u64, u64)>;

/// This program's file.
pub fn id() -> FileId {
    file_id(OWN).ok()
}

fn file_id(path: &CStr) -> Result<(u64, u64)> {
    let file = fs::openat(fs::CWD, path, fs::O_PATH, 0)?;
    let stat = fs::statat(file.as_fd(), c"")?;
    Ok((stat.dev, stat.ino))
}

/// How many interpreters of interpreters the kernel follows, and how much of a script's first line it reads (Linux,
/// fs/exec.c and binfmts.h).
const INTERPRETERS_MAX: usize = 5;
const FIRST_LINE: usize = 256;

/// What is known of a program.
enum Kind {
    /// It is `own`, by a link of `/proc`.
    Own,
    /// A script; the buffer has its interpreter's path.
    Script,
    Other,
}

/// Whether `path`, or an interpreter that its first line names, is the program `own` by a link of `/proc`. By its own
/// path it may be run: a container line can mount it. Allocates nothing.
pub fn leads_to(path: &CStr, own: FileId) -> bool {
    let Some(own) = own else { return false };
    let mut line = [0; FIRST_LINE + 1];
    let mut kind = kind_of(path, own, &mut line);
    for _ in 0..INTERPRETERS_MAX {
        match kind {
            Kind::Own => return true,
            Kind::Other => return false,
            Kind::Script => {
                let path = line;
                kind = kind_of(CStr::from_bytes_until_nul(&path).unwrap_or_default(), own, &mut line);
            }
        }
    }
    matches!(kind, Kind::Own)
}

fn is_by_link(path: &CStr, own: (u64, u64)) -> bool {
    let opened = fs::openat2(fs::CWD, path, fs::O_PATH, 0, fs::RESOLVE_NO_MAGICLINKS);
    opened.is_err_and(|error| error.errno == ELOOP) && file_id(path) == Ok(own)
}

fn kind_of(path: &CStr, own: (u64, u64), line: &mut [u8; FIRST_LINE + 1]) -> Kind {
    if is_by_link(path, own) {
        return Kind::Own;
    }
    let mut head = [0; FIRST_LINE];
    let length = fs::openat(fs::CWD, path, fs::O_PATH, 0)
        // A FIFO or a device is not opened: that could block.
        .and_then(|file| fs::statat(file.as_fd(), c""))
        .and_then(|stat| if stat.is(fs::S_IFREG) { read(path, &mut head) } else { Ok(0) });
    let head = head.get(..length.unwrap_or(0)).unwrap_or_default();
    match (interpreter(head), line.get_mut(..FIRST_LINE)) {
        (Some(name), Some(line)) => {
            line.fill(0);
            line.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
            Kind::Script
        }
        _ => Kind::Other,
    }
}

fn read(path: &CStr, buffer: &mut [u8]) -> Result<usize> {
    let file = fs::openat(fs::CWD, path, fs::O_RDONLY | fs::O_NONBLOCK, 0)?;
    fs::pread(file.as_fd(), buffer, 0)
}

/// Where this program's file is.
pub fn path() -> std::io::Result<PathBuf> {
    match is_sealed() {
        // `seal` passes it as the program's name.
        true => Ok(std::env::args_os().next().unwrap_or_default().into()),
        false => std::fs::canonicalize("/proc/self/exe"),
    }
}

/// Whether a container has started us after all: the name that we were called by leads to our own file by a link of
/// `/proc`. Another process of the container can replace a program by such a link after it was checked.
pub fn is_stray() -> bool {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = CString::new(name.into_vec()).unwrap_or_default();
    let opened = fs::openat2(fs::CWD, &name, fs::O_PATH, 0, fs::RESOLVE_NO_MAGICLINKS);
    opened.is_err() && id().is_some_and(|own| is_by_link(&name, own))
}

fn is_sealed() -> bool {
    fs::openat(fs::CWD, OWN, fs::O_RDONLY, 0).and_then(|own| fs::is_sealed(own.as_fd())) == Ok(true)
}

/// On a host, before an unprivileged container: starts this program again from a copy in memory that nobody can write
/// to. Its processes may open our `/proc/PID/exe` all the same, and write to it after we have ended (CVE-2019-5736).
pub fn seal() -> Outcome<()> {
    if is_sealed() {
        return Ok(());
    }
    let fail = |why: &str| Failure::new("container", ["a copy of this program: ", why].concat());
    let path = path().map_err(|error| fail(&io_text(&error)))?;
    let mut bytes = Vec::new();
    File::open("/proc/self/exe")
        .and_then(|mut own| own.read_to_end(&mut bytes))
        .map_err(|error| fail(&io_text(&error)))?;
    let copy = fs::sealed(c"ocinit", &bytes).map_err(|error| fail(&error.to_string()))?;
    let arguments = std::env::args_os().skip(1).map(OsStringExt::into_vec);
    let arguments = [path.into_os_string().into_vec()].into_iter().chain(arguments);
    let arguments: Vec<CString> = arguments.filter_map(|word| CString::new(word).ok()).collect();
    let env = process::environment();
    let (arguments, env) = (process::Arguments::new(&arguments), process::Arguments::new(&env));
    let error = process::exec(crate::sys::path::FdPath::new(&copy).as_cstr(), &arguments, &env);
    Err(fail(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn found_by_links_and_interpreters_and_not_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| CString::new(dir.path().join(name).to_str().unwrap()).unwrap();
        let script = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        symlink("/proc/self/exe", dir.path().join("link")).unwrap();
        script("exe", "#!/proc/self/exe\n");
        script("blanks", "#! \t/proc/thread-self/exe -x\n");
        script("linked", &format!("#!{}\n", dir.path().join("link").display()));
        script("nested", &format!("#!{}", dir.path().join("linked").display()));
        script("shell", "#!/bin/sh\n");
        script("no-line", "/proc/self/exe");
        script("self", &format!("#!{}\n", dir.path().join("self").display()));
        symlink(std::env::current_exe().unwrap(), dir.path().join("named")).unwrap();
        let found = |path: &CStr| leads_to(path, id());
        assert!(found(OWN));
        for name in ["link", "exe", "blanks", "linked", "nested"] {
            assert!(found(&path(name)), "{name}");
        }
        for name in ["shell", "no-line", "self", "named", "none"] {
            assert!(!found(&path(name)), "{name}");
        }
        assert!(!found(c"/") && !found(c"/dev/null") && !leads_to(OWN, None));
    }
}
