//! A layer in the store: a directory, or a file system in one file (squashfs, erofs) that is kept as it was fetched and
//! mounted where it is needed.
//!
//! No such mount stays: overlayfs keeps what it stacks (it makes a mount of its own of each lower layer), and an open
//! directory keeps its file system. So each is unmounted as soon as its user has it. `LO_FLAGS_AUTOCLEAR` frees the
//! loop device with its last user, even if this process is killed.

use crate::disk::pure::superblock::{self, Packed};
use crate::kernel::coldplug;
use crate::kernel::version::version;
use crate::layer::error::Error;
use crate::layer::opaque_xattrs;
use crate::layer::unpack::Lower;
use crate::report::Report;
use crate::sys::path::c_path;
use crate::sys::{self, fs as sysfs, loopdev, mount, EBUSY, EINVAL, ENODEV};
use std::ffi::{c_ulong, CStr, CString};
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A complete layer of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// An unpacked tar.
    Directory(PathBuf),
    /// A directory, named by the digest of the file system in its file [`BLOB`]. Beside that it has what
    /// [`opaque_marks`] gives, where the file system has opaque directories of a build without root.
    Blob(PathBuf),
}

/// The file system of a [`Layer::Blob`].
pub const BLOB: &str = "blob";
/// Stacked right below it, if it is there.
const OPAQUE_MARKS: &str = "below";

/// An image's layers, lowest first, as they become complete.
#[derive(Default)]
pub struct Stack {
    pub layers: Vec<Layer>,
    /// How many of them have their roots in `roots`.
    opened: usize,
    roots: Vec<Lower>,
}

impl Stack {
    /// The roots of all layers so far, lowest first, open for reading: what [`crate::layer::unpack::LayerQueue`] gives,
    /// in reverse. Each is opened when it is first needed; packed ones are mounted in `scratch` for that.
    pub fn open(&mut self, scratch: &Path, report: &Report) -> Result<&[Lower], Error> {
        for layer in self.layers.get(self.opened..).unwrap_or_default() {
            match layer {
                Layer::Directory(dir) => self.roots.push(open_dir(dir)?.into()),
                Layer::Blob(blob) => {
                    if let Some(marks) = opaque_marks(blob) {
                        self.roots.push(open_dir(&marks)?.into());
                    }
                    let root = while_mounted(blob, scratch, report, &mut |root| Ok(open_dir(root)?));
                    self.roots.push(root.map_err(|error| with_name(blob, error))?.into());
                }
            }
            self.opened += 1;
        }
        Ok(&self.roots)
    }
}

/// The directory to be stacked right below the layer in the directory `blob`, if there is one: it has the layer's
/// opaque directories (see [`opaque_xattrs`]).
pub fn opaque_marks(blob: &Path) -> Option<PathBuf> {
    let is_dir = |marks: &PathBuf| fs::symlink_metadata(marks).is_ok_and(|meta| meta.is_dir());
    Some(blob.join(OPAQUE_MARKS)).filter(is_dir)
}

/// Makes a layer of the directory `made`, whose [`BLOB`] is complete and checked.
pub fn complete(made: &Path, scratch: &Path, report: &Report) -> Result<(), Error> {
    // No process is to write to it.
    fs::set_permissions(made.join(BLOB), Permissions::from_mode(0o444))
        .map_err(|error| sys::Error::from_io("chmod", &error))?;
    while_mounted(made, scratch, report, &mut |root| opaque_xattrs::collect(root, &made.join(OPAQUE_MARKS)))
}

/// Calls `use_root` while the file system of the directory `blob` is mounted somewhere in `scratch`.
fn while_mounted<T>(
    blob: &Path,
    scratch: &Path,
    report: &Report,
    use_root: &mut dyn FnMut(&Path) -> Result<T, Error>,
) -> Result<T, Error> {
    let at = new_dir(scratch).map_err(|error| sys::Error::from_io("mkdir", &error))?;
    let result = mount_packed(blob, &at, report).and_then(|()| {
        let result = use_root(&at);
        unmount(&at)?;
        result
    });
    // What cannot be removed now is removed by the next opening of the store.
    let _ = fs::remove_dir(&at);
    result
}

/// How a packed layer is mounted.
const FLAGS: c_ulong = mount::MS_RDONLY | mount::MS_NOSUID | mount::MS_NODEV;

/// How often another process may take the loop device that was free.
const LOOP_TRIES_MAX: u32 = 100;

fn open_dir(path: &Path) -> sys::Result<OwnedFd> {
    sysfs::openat(sysfs::CWD, &c_path(path)?, sysfs::O_RDONLY | sysfs::O_DIRECTORY | sysfs::O_NOFOLLOW, 0)
}

/// Makes a directory with a free number as its name: several layers may be opened at a time.
fn new_dir(scratch: &Path) -> io::Result<PathBuf> {
    let mut number = 0u32;
    loop {
        let path = scratch.join(number.to_string());
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            result => return result.map(|()| path),
        }
    }
}

/// Unmounts what [`mount_at`] mounted. A process that has it open, or an overlay of it, keeps it.
pub fn unmount(at: &Path) -> sys::Result<()> {
    mount::umount(&c_path(at)?, mount::MNT_DETACH | mount::UMOUNT_NOFOLLOW)
}

/// Mounts the file system of the directory `blob` read-only at the directory `at`, without the effect of set-user-ID
/// programs and device nodes: the container's own mount decides about those.
pub fn mount_at(blob: &Path, at: &Path, report: &Report) -> Result<(), Error> {
    mount_packed(blob, at, report).map_err(|error| with_name(blob, error))
}

/// Says which layer the error is about.
fn with_name(blob: &Path, error: Error) -> Error {
    let name = blob.file_name().unwrap_or_default().to_string_lossy();
    error.context(&["layer sha256:", name.get(..12).unwrap_or(&name)].concat())
}

fn mount_packed(blob: &Path, at: &Path, report: &Report) -> Result<(), Error> {
    let blob = blob.join(BLOB);
    // The store may have come from another machine: no symlink is followed, and no FIFO waited for.
    let flags = sysfs::O_RDONLY | sysfs::O_NOFOLLOW | sysfs::O_NONBLOCK;
    let file = File::from(sysfs::openat(sysfs::CWD, &c_path(&blob)?, flags, 0)?);
    if !sysfs::statat(file.as_fd(), c"")?.is(sysfs::S_IFREG) {
        return Err(Error::new("is not a regular file"));
    }
    let start = start_of(&mut &file).map_err(|error| sys::Error::from_io("read", &error))?;
    let Some(packed) = superblock::packed(&start) else {
        return Err(Error::new("is not a squashfs or erofs any more"));
    };
    let at = c_path(at)?;
    let mount_once = |source: &CStr| mount::mount(source, &at, packed.kind(), FLAGS, c"");
    let mount = |source: &CStr| match mount_once(source) {
        Err(error) if error.errno == ENODEV => {
            load(packed.name(), report);
            mount_once(source)
        }
        result => result,
    };
    if packed == Packed::Erofs && erofs_takes_files() && mount(&c_path(&blob)?).is_ok() {
        return Ok(());
    }
    // The device lives as long as this descriptor or the mount.
    let (_device, name) = attach(&file, report)?;
    mount(&name).map_err(|error| match error.errno {
        ENODEV => not_in_kernel(packed),
        errno => Error::from(error).context(packed.name()).hint(
            (errno == EINVAL)
                .then_some("packed in a way that this kernel cannot read, or damaged: the kernel's log says which"),
        ),
    })
}

/// Whether erofs mounts a file without a loop device: since Linux 6.12. The version decides, since a try by an older
/// kernel leaves an error on the console.
fn erofs_takes_files() -> bool {
    version() >= (6, 12)
}

fn not_in_kernel(packed: Packed) -> Error {
    let hint = match packed {
        Packed::Squashfs => "it needs CONFIG_SQUASHFS, or the module squashfs (at boot in the initramfs)",
        Packed::Erofs => "it needs CONFIG_EROFS_FS, or the module erofs (at boot in the initramfs)",
    };
    Error::new(&["the kernel has no ", packed.name()].concat()).hint(Some(hint))
}

/// Loads a module of the initramfs. Where the kernel has a helper program for that, it has run already, and its answer
/// stands: the administrator may have forbidden the module.
fn load(module: &str, report: &Report) {
    let helper = fs::read_to_string("/proc/sys/kernel/modprobe").unwrap_or_default();
    if !Path::new(helper.trim_end()).is_file() {
        coldplug::ensure(module, report);
    }
}

/// A free loop device for `file`, and its name.
fn attach(file: &File, report: &Report) -> Result<(OwnedFd, CString), Error> {
    let open = |path: &CStr| sysfs::openat(sysfs::CWD, path, sysfs::O_RDONLY, 0);
    let control = open(c"/dev/loop-control").or_else(|_| {
        load("loop", report);
        open(c"/dev/loop-control")
    });
    let control = control.map_err(|error| {
        let error = Error::from(error).context("the kernel has no loop devices");
        error.hint(Some("it needs CONFIG_BLK_DEV_LOOP, or the module loop (at boot in the initramfs)"))
    })?;
    let mut tries = 1;
    loop {
        let number = loopdev::get_free(control.as_fd())?;
        let name = CString::new(["/dev/loop", &number.to_string()].concat()).unwrap_or_default();
        let device = open(&name)?;
        let configured = match loopdev::configure(device.as_fd(), file.as_fd()) {
            Err(error) if error.errno == EINVAL => {
                loopdev::set_file(device.as_fd(), file.as_fd()).and_then(|()| loopdev::set_autoclear(device.as_fd()))
            }
            result => result,
        };
        match configured {
            Err(error) if error.errno == EBUSY && tries < LOOP_TRIES_MAX => tries += 1,
            result => return Ok(result.map(|()| (device, name))?),
        }
    }
}

/// The first bytes of a blob, as [`superblock::layer_form`] takes them.
pub fn start_of(source: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    source.take(superblock::LENGTH as u64).read_to_end(&mut start)?;
    Ok(start)
}
