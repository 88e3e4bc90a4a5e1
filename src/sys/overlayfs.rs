//! Marks that overlayfs reads from the layers it stacks (Linux, Documentation/filesystems/overlayfs.rst). A whiteout,
//! the other mark, is [`super::fs::Stat::is_whiteout`].

use super::{fs, Result, ENODATA, EOPNOTSUPP, ERANGE};
use std::ffi::CStr;
use std::os::fd::BorrowedFd;

/// A directory with this attribute (value `y`) hides what the layers below have in it.
pub const OPAQUE: &CStr = c"trusted.overlay.opaque";
/// The same mark as overlayfs reads it with the mount option `userxattr`.
pub const USER_OPAQUE: &CStr = c"user.overlay.opaque";

const YES: u8 = b'y';

/// Whether overlayfs takes the directory `dir` for opaque.
pub fn is_opaque(dir: BorrowedFd<'_>) -> Result<bool> {
    let mut value = [0];
    is_yes(fs::fgetxattr(dir, OPAQUE, &mut value), value)
}

/// Whether the directory at `path` has the opaque mark of the name `mark`.
pub fn has_mark(path: &CStr, mark: &CStr) -> Result<bool> {
    let mut value = [0];
    is_yes(fs::lgetxattr(path, mark, &mut value), value)
}

fn is_yes(length: Result<usize>, value: [u8; 1]) -> Result<bool> {
    match length {
        Ok(length) => Ok(length == 1 && value == [YES]),
        Err(error) if [ENODATA, EOPNOTSUPP, ERANGE].contains(&error.errno) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a directory opaque.
pub fn set_opaque(dir: BorrowedFd<'_>) -> Result<()> {
    fs::fsetxattr(dir, OPAQUE, &[YES])
}

/// As [`set_opaque`], for the directory at `path`.
pub fn set_opaque_at(path: &CStr) -> Result<()> {
    fs::lsetxattr(path, OPAQUE, &[YES])
}

/// Whether overlayfs would read an attribute of this name as its own.
pub fn is_mark(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}
