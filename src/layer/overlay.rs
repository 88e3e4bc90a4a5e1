//! Layers into one root by overlayfs.
//!
//! The layers are named by short symlinks in a directory that is the current one during the call: mount(2) takes one
//! page of options, which 500 names of 64 digits do not fit in, and overlayfs reads `:` `,` `\` in a path as its own.
//! With numbers for names, 500 layers take 2 kB on every kernel. `lowerdir+` of fsconfig(2) would be a second way for
//! kernels since 6.8, and could do nothing more.

use crate::layer::error::Error;
use crate::layer::packed::{self, Layer};
use crate::report::Report;
use crate::sys::path::c_path;
use crate::sys::{self, fs as sysfs, machine, mount, overlayfs, process, EBUSY, EINVAL, ENODEV, EPERM};
use std::ffi::CString;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Off, whatever the kernel's defaults are: we apply the layers, and a store may move to a kernel that does not know
/// these features.
const FEATURES: &str = ",redirect_dir=off,index=off,metacopy=off";

/// A directory for what is written, and one for overlayfs itself.
const WRITABLE: &str = ",upperdir=upper,workdir=work";
/// What is written is removed with the container, so no sync(2) needs to wait for it (Linux 5.10).
const VOLATILE: &str = ",upperdir=upper,workdir=work,volatile";

/// Mounts `layers` (lowest first) at `dir/root`, with `dir/upper` for what is
/// written and `dir/work` for overlayfs itself. `flags` are `MS_*`.
pub fn mount_writable(layers: &[Layer], dir: &Path, flags: u64, report: &Report) -> Result<PathBuf, Error> {
    let root = dir.join("root");
    stack(layers, dir, &OverlayMount { target: &root, least: 1, options: VOLATILE, flags }, report)?;
    Ok(root)
}

/// Mounts `layers` (lowest first) at `target`, read-only and without the effect of set-user-ID programs and device
/// nodes: the mount is the host's. `dir` is a container's directory of the store, which may be removed afterwards.
pub fn mount_read_only(layers: &[Layer], dir: &Path, target: &Path, report: &Report) -> Result<(), Error> {
    // Without an upper layer overlayfs needs two lower ones.
    let flags = mount::MS_NOSUID | mount::MS_NODEV;
    stack(layers, dir, &OverlayMount { target, least: 2, options: "", flags }, report)
}

/// Mounts the directory `lower` at `target`, with `parts/upper` for what is written and `parts/work` for overlayfs
/// itself: `lower` does not change.
pub fn mount_over(lower: &Path, parts: &Path, target: &Path, report: &Report) -> Result<(), Error> {
    let mount = OverlayMount { target, least: 1, options: WRITABLE, flags: 0 };
    stack(&[Layer::Directory(lower.into())], parts, &mount, report)
}

/// How an overlay is mounted.
struct OverlayMount<'a> {
    target: &'a Path,
    /// How many lower layers overlayfs needs.
    least: usize,
    /// Follow the names of the lower layers.
    options: &'static str,
    /// `MS_*`
    flags: u64,
}

fn stack(layers: &[Layer], dir: &Path, form: &OverlayMount<'_>, report: &Report) -> Result<(), Error> {
    let mut lowers = Lowers { dir, names: String::from("lowerdir="), count: 0, mounted: Vec::new() };
    let mounted = lowers.add_all(layers, form.least, report).and_then(|()| {
        if !form.options.is_empty() {
            copy_attributes_of_topmost(dir)?;
        }
        let overlay =
            |options: &str| overlay(&[&lowers.names, options, FEATURES].concat(), form.flags, dir, form.target);
        let mounted = match overlay(form.options) {
            Err(error) if error.errno == EINVAL && form.options == VOLATILE => overlay(WRITABLE),
            result => result,
        };
        mounted.map_err(|error| {
            Error::from(error).hint(match error.errno {
                ENODEV => Some("this kernel has no overlayfs: build it in, or add its module"),
                EPERM => Some("mounting takes root"),
                _ => None,
            })
        })
    });
    for at in &lowers.mounted {
        // One that stays is unmounted by the next opening of the store.
        let _ = packed::unmount(at);
    }
    mounted
}

/// The lower layers as overlayfs is told them: `dir/0`, the topmost, and so on.
struct Lowers<'a> {
    dir: &'a Path,
    /// `lowerdir=0:1:…`
    names: String,
    count: usize,
    /// Those that are mounts.
    mounted: Vec<PathBuf>,
}

impl Lowers<'_> {
    /// Adds each layer, topmost first. A layer that is there twice counts where it is higher: overlayfs refuses the
    /// same directory twice, and the lower one shows nowhere. Where there are fewer than `least`, the store's empty
    /// directories are the lowest ones: no more than are needed, since an image may have as many layers as overlayfs
    /// stacks.
    fn add_all(&mut self, layers: &[Layer], least: usize, report: &Report) -> Result<(), Error> {
        for (index, layer) in layers.iter().enumerate().rev() {
            if layers.get(index + 1..).is_some_and(|above| above.contains(layer)) {
                continue;
            }
            let at = match layer {
                Layer::Directory(dir) => self.link(dir)?,
                Layer::Blob(blob) => self.mount(blob, report)?,
            };
            if hides_all_below(&at) {
                break;
            }
            let Layer::Blob(blob) = layer else { continue };
            let Some(marks) = packed::opaque_marks(blob) else { continue };
            if hides_all_below(&self.link(&marks)?) {
                break;
            }
        }
        // There are two, since overlayfs refuses the same directory twice.
        for empty in ["empty/0", "empty/1"] {
            if self.count < least {
                self.link(&self.dir.join(empty))?;
            }
        }
        Ok(())
    }

    fn link(&mut self, dir: &Path) -> Result<PathBuf, Error> {
        let at = self.next();
        symlink(dir, &at).map_err(|error| sys::Error::from_io("symlink", &error))?;
        Ok(at)
    }

    fn mount(&mut self, blob: &Path, report: &Report) -> Result<PathBuf, Error> {
        let at = self.next();
        fs::create_dir(&at).map_err(|error| sys::Error::from_io("mkdir", &error))?;
        packed::mount_at(blob, &at, report)?;
        self.mounted.push(at.clone());
        Ok(at)
    }

    /// The path of the next lower layer.
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

/// Gives `dir/upper` the mode and the owner of the topmost lower layer: the mount's root has those of the upper layer.
fn copy_attributes_of_topmost(dir: &Path) -> Result<(), Error> {
    let stat = sysfs::statat(sysfs::CWD, &c_path(&dir.join("0/."))?)?;
    let upper = c_path(&dir.join("upper"))?;
    sysfs::fchownat(sysfs::CWD, &upper, stat.uid, stat.gid)?;
    Ok(sysfs::fchmodat(sysfs::CWD, &upper, stat.mode & 0o7777)?)
}

/// Whether a layer's own root is opaque. overlayfs reads the mark only in directories below the root, so the layers
/// below such a one are left out.
fn hides_all_below(layer: &Path) -> bool {
    // With a dot, so that a symlink to a directory is followed.
    c_path(&layer.join(".")).and_then(|path| overlayfs::has_mark(&path, overlayfs::OPAQUE)) == Ok(true)
}

/// Mounts with `dir` as the current directory, and then returns to the one before: relative paths of the command line
/// start there.
fn overlay(options: &str, flags: u64, dir: &Path, target: &Path) -> sys::Result<()> {
    let options = CString::new(options).map_err(|_| sys::Error::new("mount(overlay)", EINVAL))?;
    let target = c_path(target)?;
    let back = sysfs::openat(sysfs::CWD, c".", sysfs::O_PATH | sysfs::O_DIRECTORY, 0)?;
    process::chdir(&c_path(dir)?)?;
    let mounted = mount::mount(c"overlay", &target, c"overlay", flags as _, &options);
    let went_back = process::fchdir(back.as_fd());
    match (&mounted, went_back) {
        (Ok(()), Err(error)) => {
            // The caller of a call that failed has nothing to unmount.
            let _ = mount::umount(&target, mount::MNT_DETACH);
            Err(error)
        }
        _ => mounted,
    }
}

/// Unmounts a root. Waits a little while a process still uses it.
pub fn unmount(root: &Path) -> sys::Result<()> {
    const WAIT_MAX_MS: u64 = 2000;
    let root = c_path(root)?;
    let start_ms = machine::uptime_ms();
    loop {
        match mount::umount(&root, 0) {
            Err(error) if error.errno == EBUSY && machine::uptime_ms() < start_ms + WAIT_MAX_MS => {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            Err(_) => return mount::umount(&root, mount::MNT_DETACH),
            Ok(()) => return Ok(()),
        }
    }
}
