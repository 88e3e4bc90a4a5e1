//! Layers into one root by overlayfs.
//!
//! The layers are named by short symlinks in a folder that becomes the current
//! one for the call: mount(2) takes one page of options, which 500 names of 64
//! digits do not fit in, and overlayfs reads `:` `,` `\` in a path as its own.
//! With numbers for names, 500 layers take 2 kB on every kernel; `lowerdir+` of
//! fsconfig(2) would be a second way beside this one, for kernels since 6.8,
//! and could do nothing more.

use crate::layer::packed::{self, Error, Layer};
use crate::report::Report;
use crate::sys::path::c_path;
use crate::sys::{self, fs as sysfs, machine, mount, overlayfs, process, EBUSY, EINVAL, ENODEV, EPERM};
use std::ffi::CString;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Off, whatever the kernel's defaults: layers are applied by us, and a store
/// may move to a kernel that does not know them.
const FEATURES: &str = ",redirect_dir=off,index=off,metacopy=off";

/// A place for what is written, and one for overlayfs itself.
const WRITABLE: &str = ",upperdir=upper,workdir=work";
/// What is written goes with the container, so that no sync(2) need wait for
/// it (Linux 5.10).
const FLEETING: &str = ",upperdir=upper,workdir=work,volatile";

/// Mounts `layers` (lowest first) at `dir/root`, with `dir/upper` for what is
/// written and `dir/work` for overlayfs itself. `flags` are `MS_…`.
pub fn mount_writable(layers: &[Layer], dir: &Path, flags: u64, report: &Report) -> Result<PathBuf, Error> {
    let root = dir.join("root");
    stack(layers, 1, dir, &Form { options: FLEETING, flags }, &root, report)?;
    Ok(root)
}

/// Mounts `layers` (lowest first) at `target`; nothing can be written there, and nobody of the host gains rights by
/// what is there.
/// `dir` is a container's folder of the store, which may go afterwards.
pub fn mount_read_only(layers: &[Layer], dir: &Path, target: &Path, report: &Report) -> Result<(), Error> {
    // Without an upper, overlayfs wants two lowers.
    let flags = mount::MS_NOSUID | mount::MS_NODEV;
    stack(layers, 2, dir, &Form { options: "", flags }, target, report)
}

/// Mounts `folder` at `target`, with `parts/upper` for what is written and
/// `parts/work` for overlayfs itself: the folder stays as it is.
pub fn mount_over(folder: &Path, parts: &Path, target: &Path, report: &Report) -> Result<(), Error> {
    stack(&[Layer::Folder(folder.into())], 1, parts, &Form { options: WRITABLE, flags: 0 }, target, report)
}

/// How an overlay is mounted.
struct Form {
    /// What is put behind the lowers.
    options: &'static str,
    /// `MS_…`
    flags: u64,
}

/// Mounts at least so many lowers at `target`.
fn stack(layers: &[Layer], least: usize, dir: &Path, form: &Form, target: &Path, report: &Report) -> Result<(), Error> {
    let mut lowers = Lowers { dir, names: String::from("lowerdir="), count: 0, mounted: Vec::new() };
    let mounted = lowers.place(layers, least, report).and_then(|()| {
        if !form.options.is_empty() {
            as_the_topmost(dir)?;
        }
        let overlay = |options: &str| overlay(&[&lowers.names, options, FEATURES].concat(), form.flags, dir, target);
        let mounted = match overlay(form.options) {
            Err(error) if error.errno == EINVAL && form.options == FLEETING => overlay(WRITABLE),
            result => result,
        };
        mounted.map_err(|error| Error {
            text: error.to_string(),
            hint: match error.errno {
                ENODEV => Some("this kernel has no overlayfs: build it in, or add its module"),
                EPERM => Some("mounting takes root"),
                _ => None,
            },
        })
    });
    for at in &lowers.mounted {
        // One that stays is unmounted when a store is opened next.
        let _ = packed::unmount(at);
    }
    mounted
}

/// What is stacked: `dir/0`, the topmost, and so on.
struct Lowers<'a> {
    dir: &'a Path,
    /// `lowerdir=0:1:…`
    names: String,
    count: usize,
    /// Those that are mounts.
    mounted: Vec<PathBuf>,
}

impl Lowers<'_> {
    /// Puts each layer into place, topmost first. A layer that is there twice
    /// counts where it is higher: overlayfs refuses the same folder twice, and
    /// the lower one shows nowhere. Where there are less than `least`, the
    /// store's empty folders are the lowest ones: no more than are needed,
    /// since overlayfs stacks as many as an image may have.
    fn place(&mut self, layers: &[Layer], least: usize, report: &Report) -> Result<(), Error> {
        for (index, layer) in layers.iter().enumerate().rev() {
            if layers.get(index + 1..).is_some_and(|above| above.contains(layer)) {
                continue;
            }
            let at = match layer {
                Layer::Folder(folder) => self.link(folder)?,
                Layer::Blob(blob) => self.mount(blob, report)?,
            };
            if hides_all_below(&at) {
                break;
            }
            let Layer::Blob(blob) = layer else { continue };
            let Some(below) = packed::below(blob) else { continue };
            if hides_all_below(&self.link(&below)?) {
                break;
            }
        }
        // Two of them, since overlayfs refuses the same one twice.
        for empty in ["empty/0", "empty/1"] {
            if self.count < least {
                self.link(&self.dir.join(empty))?;
            }
        }
        Ok(())
    }

    fn link(&mut self, folder: &Path) -> Result<PathBuf, Error> {
        let at = self.next();
        symlink(folder, &at).map_err(|error| sys::Error::from_io("symlink", &error))?;
        Ok(at)
    }

    fn mount(&mut self, blob: &Path, report: &Report) -> Result<PathBuf, Error> {
        let at = self.next();
        fs::create_dir(&at).map_err(|error| sys::Error::from_io("mkdir", &error))?;
        packed::mount_at(blob, &at, report)?;
        self.mounted.push(at.clone());
        Ok(at)
    }

    /// The place of the next lower.
    fn next(&mut self) -> PathBuf {
        let name = self.count.to_string();
        if self.count > 0 {
            self.names.push(':');
        }
        self.names.push_str(&name);
        self.count += 1;
        self.dir.join(name)
    }
}

/// What is written lies in `dir/upper`, which gives the mount's root its mode
/// and its owner: those of the topmost of the lowers.
fn as_the_topmost(dir: &Path) -> Result<(), Error> {
    let stat = sysfs::statat(sysfs::CWD, &c_path(&dir.join("0/."))?)?;
    let upper = c_path(&dir.join("upper"))?;
    sysfs::fchownat(sysfs::CWD, &upper, stat.uid, stat.gid)?;
    Ok(sysfs::fchmodat(sysfs::CWD, &upper, stat.mode & 0o7777)?)
}

/// Whether a layer's own root is opaque: overlayfs heeds the mark in folders
/// below the root only, so the layers below such a one are left out.
fn hides_all_below(layer: &Path) -> bool {
    // With a dot, so that a link to a folder is followed.
    c_path(&layer.join(".")).and_then(|path| overlayfs::has_mark(&path, overlayfs::OPAQUE)) == Ok(true)
}

/// Mounts from within `dir`; relative paths of the command line still mean
/// what they meant, so the way back is kept.
fn overlay(options: &str, flags: u64, dir: &Path, target: &Path) -> sys::Result<()> {
    let options = CString::new(options).map_err(|_| sys::Error::new("mount(overlay)", EINVAL))?;
    let target = c_path(target)?;
    let back = sysfs::openat(sysfs::CWD, c".", sysfs::O_PATH | sysfs::O_DIRECTORY, 0)?;
    process::chdir(&c_path(dir)?)?;
    let mounted = mount::mount(c"overlay", &target, c"overlay", flags as _, &options);
    let went_back = process::fchdir(back.as_fd());
    match (&mounted, went_back) {
        (Ok(()), Err(error)) => {
            // Who is told of a failure has nothing to unmount.
            let _ = mount::umount(&target, mount::MNT_DETACH);
            Err(error)
        }
        _ => mounted,
    }
}

/// Unmounts a root, waiting a little for whoever still holds it.
pub fn unmount(root: &Path) -> sys::Result<()> {
    const PATIENCE_MS: u64 = 2000;
    let root = c_path(root)?;
    let start_ms = machine::uptime_ms();
    loop {
        match mount::umount(&root, 0) {
            Err(error) if error.errno == EBUSY && machine::uptime_ms() < start_ms + PATIENCE_MS => {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            Err(_) => return mount::umount(&root, mount::MNT_DETACH),
            Ok(()) => return Ok(()),
        }
    }
}
