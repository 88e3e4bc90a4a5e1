//! Layers into one root by overlayfs.
//!
//! The layers are named by short symlinks in a folder that becomes the current
//! one for the call: mount(2) takes one page of options, which 500 names of 64
//! digits do not fit in, and overlayfs reads `:` `,` `\` in a path as its own.

use crate::sys::{fs as sysfs, machine, mount, process, Error, Result};
use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Off, whatever the kernel's defaults: layers are applied by us, and a store
/// may move to a kernel that does not know them.
const FEATURES: &str = ",redirect_dir=off,index=off,metacopy=off";

/// Mounts `layers` (lowest first) at `dir/root`, with `dir/upper` for what is
/// written and `dir/work` for overlayfs itself.
pub fn mount_writable(layers: &[PathBuf], dir: &Path) -> Result<PathBuf> {
    let root = dir.join("root");
    let options = [&lower_names(layers, 1, dir)?, ",upperdir=upper,workdir=work", FEATURES].concat();
    overlay(&options, dir, &root)?;
    Ok(root)
}

/// Mounts `layers` (lowest first) at `target`; nothing can be written there.
/// `dir` is a container's folder of the store, which may go afterwards.
pub fn mount_read_only(layers: &[PathBuf], dir: &Path, target: &Path) -> Result<()> {
    // Without an upper, overlayfs wants two lowers.
    overlay(&[&lower_names(layers, 2, dir)?, FEATURES].concat(), dir, target)
}

/// Whether a layer's own root is opaque: overlayfs heeds the mark in folders
/// below the root only, so the layers below such a one are left out.
pub fn hides_all_below(layer: &Path) -> bool {
    let mut value = [0; 1];
    let length = c_path(layer).and_then(|path| sysfs::lgetxattr(&path, c"trusted.overlay.opaque", &mut value));
    length == Ok(1) && value == *b"y"
}

/// `lowerdir=N:…:1:0`, topmost first, each a symlink in `dir`. Where the image
/// has less than `least` layers, the store's empty folders are the lowest ones:
/// no more than are needed, since overlayfs stacks as many as an image may have.
fn lower_names(layers: &[PathBuf], least: usize, dir: &Path) -> Result<String> {
    let lowest = layers.iter().rposition(|layer| hides_all_below(layer)).unwrap_or(0);
    let layers = layers.get(lowest..).unwrap_or_default();
    // Two of them, since overlayfs refuses the same one twice.
    let padding = ["empty/0", "empty/1"].map(|name| dir.join(name));
    let padding = padding.get(..least.saturating_sub(layers.len())).unwrap_or_default();
    let mut names = String::from("lowerdir=");
    for (index, layer) in padding.iter().chain(layers).enumerate().collect::<Vec<_>>().into_iter().rev() {
        let name = index.to_string();
        symlink(layer, dir.join(&name)).map_err(|error| Error::from_io("symlink", &error))?;
        names.push_str(&name);
        if index > 0 {
            names.push(':');
        }
    }
    Ok(names)
}

/// Mounts from within `dir`; relative paths of the command line still mean
/// what they meant, so the way back is kept.
fn overlay(options: &str, dir: &Path, target: &Path) -> Result<()> {
    let options = CString::new(options).map_err(|_| Error::new("mount(overlay)", crate::sys::EINVAL))?;
    let target = c_path(target)?;
    let back = sysfs::openat(sysfs::CWD, c".", sysfs::O_PATH | sysfs::O_DIRECTORY, 0)?;
    process::chdir(&c_path(dir)?)?;
    let mounted = mount::mount(c"overlay", &target, c"overlay", 0, &options);
    process::fchdir(back.as_fd())?;
    mounted
}

/// Unmounts a root, waiting a little for whoever still holds it.
pub fn unmount(root: &Path) -> Result<()> {
    const PATIENCE_MS: u64 = 2000;
    let root = c_path(root)?;
    let start_ms = machine::uptime_ms();
    loop {
        match mount::umount(&root, 0) {
            Err(error) if error.errno == crate::sys::EBUSY && machine::uptime_ms() < start_ms + PATIENCE_MS => {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            Err(error) if error.errno == crate::sys::EBUSY => return mount::umount(&root, mount::MNT_DETACH),
            result => return result,
        }
    }
}

/// A path as the kernel takes it.
pub fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::new("open", crate::sys::EINVAL))
}
