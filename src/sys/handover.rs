//! What PID 1 is to execute in the place of this program. Its child, the boot, writes it to memory that both share, so
//! that PID 1 needs no allocation for it.

use super::{Error, Result, E2BIG, ENOENT, ENOMEM};
use std::ffi::{c_char, CStr, CString};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

/// For the path, the arguments and the environment, with a pointer for each: less than what exec(2) takes in all.
const BYTES: usize = 1 << 20;
/// Linux, binfmts.h, MAX_ARG_STRLEN: the longest argument on machines with pages of 4 KiB, with its NUL.
const STRING_MAX: usize = 128 << 10;
const WORD: usize = size_of::<usize>();

/// Both have it at the same address. First the words: the path's address (0 where there is nothing to execute), the
/// number of the environment's first word, the addresses of the arguments and a 0, those of the environment and a 0;
/// then the strings.
static SPACE: AtomicPtr<usize> = AtomicPtr::new(null_mut());

/// Makes the shared memory. Call before the child is made.
pub fn share() -> Result<()> {
    let (kind, access) = (libc::MAP_SHARED | libc::MAP_ANONYMOUS, libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: a new mapping at a place that the kernel chooses; it is never unmapped.
    let space = unsafe { libc::mmap(null_mut(), BYTES, access, kind, -1, 0) };
    if space == libc::MAP_FAILED {
        return Err(Error::last("mmap"));
    }
    SPACE.store(space.cast(), Ordering::Relaxed);
    Ok(())
}

/// In the child: leaves what PID 1 is to execute.
pub fn leave(path: &CStr, arguments: &[CString], environment: &[CString]) -> Result<()> {
    let space = SPACE.load(Ordering::Relaxed).cast::<u8>();
    if space.is_null() {
        return Err(Error::new("mmap", ENOMEM));
    }
    let start = space as usize;
    // SAFETY: the mapping of `share`, of that size. PID 1 reads it only after this process has ended.
    let space = unsafe { std::slice::from_raw_parts_mut(space, BYTES) };
    let mut words = Words { space, start, next: 0, string: (arguments.len() + environment.len() + 4) * WORD };
    words.add_string(path)?;
    words.add(arguments.len() + 3)?;
    for list in [arguments, environment] {
        list.iter().try_for_each(|text| words.add_string(text))?;
        words.add(0)?;
    }
    Ok(())
}

struct Words<'a> {
    space: &'a mut [u8],
    /// Its address.
    start: usize,
    /// Where the next word comes, and the next string.
    next: usize,
    string: usize,
}

impl Words<'_> {
    fn add(&mut self, word: usize) -> Result<()> {
        self.next += WORD;
        self.put(self.next - WORD, &word.to_ne_bytes())
    }

    fn add_string(&mut self, text: &CStr) -> Result<()> {
        let (bytes, at) = (text.to_bytes_with_nul(), self.string);
        if bytes.len() > STRING_MAX {
            return Err(Error::new("exec", E2BIG));
        }
        self.string += bytes.len();
        self.put(at, bytes)?;
        self.add(self.start + at)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> Result<()> {
        let place = self.space.get_mut(at..at + bytes.len()).ok_or(Error::new("exec", E2BIG))?;
        place.copy_from_slice(bytes);
        Ok(())
    }
}

/// In PID 1, after its child has ended: executes what that has left. Returns only an error.
pub fn exec() -> Error {
    let words = SPACE.load(Ordering::Relaxed);
    // SAFETY: null, or the mapping of `share`; the kernel has filled it with zeros.
    match unsafe { words.as_ref() } {
        None | Some(0) => return Error::new("exec", ENOENT),
        Some(_) => {}
    }
    // SAFETY: the words of `leave`: each is an address in the mapping, or the number of a word in it.
    let list = |word: usize| unsafe { words.add(word) }.cast::<*const c_char>();
    // SAFETY: path, arguments and environment are null-terminated, and live for ever.
    unsafe { libc::execve(*list(0), list(2), list(*words.add(1))) };
    Error::last("exec")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::{self, Status};

    /// The test's process has one such space, so all is in one test.
    #[test]
    fn the_parent_executes_what_a_child_has_left() {
        let text = |text: &str| CString::new(text).unwrap();
        let exits = |code: i32| Ok(Status::Exited(code));
        // Nothing can be left before there is a space, and there is nothing to execute before something is.
        assert_eq!(leave(c"/bin/true", &[], &[]), Err(Error::new("mmap", ENOMEM)));
        assert_eq!(exec(), Error::new("exec", ENOENT));
        share().unwrap();
        assert_eq!(exec(), Error::new("exec", ENOENT));
        let arguments =
            [text("sh"), text("-c"), text("test \"$A$B\" = '1 2' && test $# = 1 || exit 3; exit $1"), text("x")];
        let left = [arguments.as_slice(), &[text("7")]].concat();
        let child = process::fork(&mut || leave(c"/bin/sh", &left, &[text("A=1 "), text("B=2")]).map_or(1, |()| 0));
        assert_eq!(process::wait(child.unwrap()), exits(0));
        let execs = process::fork(&mut || exec().errno).unwrap();
        assert_eq!(process::wait(execs), exits(7));
        // What exec(2) would refuse is refused here, while there is still somebody to tell.
        assert!(leave(c"/bin/true", &[text(&"x".repeat(STRING_MAX - 1))], &[]).is_ok());
        assert_eq!(leave(c"/bin/true", &[text(&"x".repeat(STRING_MAX))], &[]), Err(Error::new("exec", E2BIG)));
        assert_eq!(leave(c"/bin/true", &vec![text(&"x".repeat(1000)); 1040], &[]), Err(Error::new("exec", E2BIG)));
        assert_eq!(leave(c"/bin/true", &vec![text(""); BYTES / WORD], &[]), Err(Error::new("exec", E2BIG)));
    }
}
