//! Opaque directories of images that were built without root. Such a build may not set `trusted.*`, so stacker's layers
//! have `user.overlay.opaque`. overlayfs reads that mark only with the mount option `userxattr`, and then does not read
//! `trusted.overlay.opaque`, which the layers that we unpack have.
//!
//! But overlayfs reads a directory from the topmost layer down to the first one that is opaque. So a layer that holds
//! nothing but the same directories, with our mark, stacked right below such a layer, hides the same.

use crate::layer::error::Error;
use crate::sys::path::c_path;
use crate::sys::{self, overlayfs};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What the paths of all directories may take: in a damaged or hostile file system they may have no end.
const PATHS_BYTES_MAX: usize = 64 << 20;

/// Makes in the directory `marks` all directories of the file system at `top` that have the mark; `marks` itself only
/// if there are any. Nothing at `top` changes: what was seen to be a directory stays one, so no path here has a
/// symlink in it.
pub fn collect(top: &Path, marks: &Path) -> Result<(), Error> {
    let mut pending = vec![PathBuf::new()];
    let mut bytes = 0;
    while let Some(path) = pending.pop() {
        let dir = top.join(&path);
        // In a damaged file system the entry may have said otherwise.
        if !fs::symlink_metadata(&dir).is_ok_and(|meta| meta.is_dir()) {
            continue;
        }
        if overlayfs::has_mark(&c_path(&dir)?, overlayfs::USER_OPAQUE) == Ok(true) {
            make_opaque(&marks.join(&path))?;
        }
        let failed = |error| sys::Error::from_io("readdir", &error);
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // The entry itself has the type, so the inode need not be read.
            if entry.file_type().map_err(failed)?.is_dir() {
                let path = path.join(entry.file_name());
                bytes += path.as_os_str().as_bytes().len();
                pending.push(path);
            }
        }
        if bytes > PATHS_BYTES_MAX {
            return Err(Error::new("too many directories"));
        }
    }
    Ok(())
}

fn make_opaque(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(|error| sys::Error::from_io("mkdir", &error))?;
    Ok(overlayfs::set_opaque_at(&c_path(dir)?)?)
}
