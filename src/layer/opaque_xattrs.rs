//! Opaque folders of builds without root. There nobody may set `trusted.*`, so
//! stacker's layers say `user.overlay.opaque`, which overlayfs heeds only where
//! it is told to (`userxattr`), and then in place of the marks that our own
//! folders have. But it reads a folder from the topmost layer down to the first
//! one that is marked: a layer of nothing but the same folders, marked as ours
//! are and stacked right below, hides the same.

use crate::layer::packed::Error;
use crate::sys::path::c_path;
use crate::sys::{self, overlayfs};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What the paths of all folders may take: in a damaged or hostile file system
/// they may well go on for ever.
const PATHS_BYTES_MAX: usize = 64 << 20;

/// Makes, in the folder `below`, all folders of the file system at `top` that
/// have the mark; without any, not even that. Nothing at `top` changes: what was
/// seen to be a folder is one, so no path here has a symlink in it.
pub fn collect(top: &Path, below: &Path) -> Result<(), Error> {
    let mut pending = vec![PathBuf::new()];
    let mut bytes = 0;
    while let Some(path) = pending.pop() {
        let folder = top.join(&path);
        // What the entry said may be a lie.
        if !fs::symlink_metadata(&folder).is_ok_and(|meta| meta.is_dir()) {
            continue;
        }
        if overlayfs::has_mark(&c_path(&folder)?, overlayfs::USER_OPAQUE) == Ok(true) {
            mark(&below.join(&path))?;
        }
        let failed = |error| sys::Error::from_io("readdir", &error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // By the entry itself: that takes no look at the file.
            if entry.file_type().map_err(failed)?.is_dir() {
                let path = path.join(entry.file_name());
                bytes += path.as_os_str().as_bytes().len();
                pending.push(path);
            }
        }
        if bytes > PATHS_BYTES_MAX {
            return Err(Error { text: "too many folders".into(), hint: None });
        }
    }
    Ok(())
}

fn mark(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|error| sys::Error::from_io("mkdir", &error))?;
    Ok(overlayfs::set_opaque_at(&c_path(folder)?)?)
}
