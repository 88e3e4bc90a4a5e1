//! A layer in the store: a folder, or a file system in one file (squashfs,
//! erofs) that stays as it came and is mounted where it is needed.
//!
//! No such mount stays: overlayfs keeps what it stacks (a mount of its own of
//! each lower), and an open folder keeps the file system that it is of. So each
//! is unmounted as soon as its user has it, and the loop device goes with the
//! last user, by `LO_FLAGS_AUTOCLEAR`, whatever becomes of us.

use crate::disk::pure::superblock::{self, Packed};
use crate::kernel::coldplug;
use crate::kernel::version::version;
use crate::layer::opaque_xattrs;
use crate::layer::unpack::Lower;
use crate::report::Report;
use crate::store::layers::Store;
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
    Folder(PathBuf),
    /// A folder, named by the digest of the file system in its file [`BLOB`],
    /// and with [`BELOW`] where that has opaque folders of a build without root.
    Blob(PathBuf),
}

/// The file system of a [`Layer::Blob`].
pub const BLOB: &str = "blob";
/// What is stacked right below it, if it is there.
const BELOW: &str = "below";

/// Why a layer, or a root made of several, cannot be had.
pub struct Error {
    pub text: String,
    pub hint: Option<&'static str>,
}

impl From<sys::Error> for Error {
    fn from(error: sys::Error) -> Error {
        Error { text: error.to_string(), hint: None }
    }
}

/// An image's layers, lowest first, as they become complete.
#[derive(Default)]
pub struct Stack {
    pub layers: Vec<Layer>,
    /// The roots of so many of them.
    opened: usize,
    roots: Vec<Lower>,
}

impl Stack {
    /// What is to be stacked of all layers so far, lowest first, open for reading: what
    /// [`crate::layer::unpack::Below`] gives, in reverse. Each is opened when that is first needed.
    pub fn open(&mut self, store: &Store, report: &Report) -> Result<&[Lower], Error> {
        for layer in self.layers.get(self.opened..).unwrap_or_default() {
            match layer {
                Layer::Folder(folder) => self.roots.push(open_folder(&c_path(folder)?)?.into()),
                Layer::Blob(blob) => {
                    if let Some(below) = below(blob) {
                        self.roots.push(open_folder(&c_path(&below)?)?.into());
                    }
                    let open = &mut |root: &Path| Ok(open_folder(&c_path(root)?)?);
                    let root = while_mounted(blob, store.scratch(), report, open);
                    self.roots.push(root.map_err(|error| named(blob, error))?.into());
                }
            }
            self.opened += 1;
        }
        Ok(&self.roots)
    }
}

/// What is stacked right below the layer in the folder `blob`.
pub fn below(blob: &Path) -> Option<PathBuf> {
    let is_folder = |below: &PathBuf| fs::symlink_metadata(below).is_ok_and(|meta| meta.is_dir());
    Some(blob.join(BELOW)).filter(is_folder)
}

/// Makes a layer of the folder `made`, whose [`BLOB`] has come and was checked.
pub fn complete(made: &Path, scratch: &Path, report: &Report) -> Result<(), Error> {
    // Nobody is to write to it.
    fs::set_permissions(made.join(BLOB), Permissions::from_mode(0o444))
        .map_err(|error| sys::Error::from_io("chmod", &error))?;
    while_mounted(made, scratch, report, &mut |root| opaque_xattrs::collect(root, &made.join(BELOW)))
}

/// Mounts the file system of the folder `blob` somewhere in `scratch` while `look` is at it.
fn while_mounted<T>(
    blob: &Path,
    scratch: &Path,
    report: &Report,
    look: &mut dyn FnMut(&Path) -> Result<T, Error>,
) -> Result<T, Error> {
    let at = new_folder(scratch).map_err(|error| sys::Error::from_io("mkdir", &error))?;
    let seen = mount_packed(blob, &at, report).and_then(|()| {
        let seen = look(&at);
        unmount(&at)?;
        seen
    });
    // One that cannot be removed is when a store is opened next.
    let _ = fs::remove_dir(&at);
    seen
}

/// How a packed layer is mounted.
const FLAGS: c_ulong = mount::MS_RDONLY | mount::MS_NOSUID | mount::MS_NODEV;

/// How often somebody else may take the loop device that was free.
const LOOP_TRIES: u32 = 100;

fn open_folder(path: &CStr) -> sys::Result<OwnedFd> {
    sysfs::openat(sysfs::CWD, path, sysfs::O_RDONLY | sysfs::O_DIRECTORY | sysfs::O_NOFOLLOW, 0)
}

/// A folder of a number that is free: several layers may be opened at a time.
fn new_folder(scratch: &Path) -> io::Result<PathBuf> {
    let mut number = 0u32;
    loop {
        let path = scratch.join(number.to_string());
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            result => return result.map(|()| path),
        }
    }
}

/// Unmounts what [`mount_at`] mounted; who has it open, or stacked it, keeps it.
pub fn unmount(at: &Path) -> sys::Result<()> {
    mount::umount(&c_path(at)?, mount::MNT_DETACH | mount::UMOUNT_NOFOLLOW)
}

/// Mounts the file system of the folder `blob` read-only on the folder `at`, without set-user-ID
/// programs and devices: those are the affair of the container's own mount.
pub fn mount_at(blob: &Path, at: &Path, report: &Report) -> Result<(), Error> {
    mount_packed(blob, at, report).map_err(|error| named(blob, error))
}

/// Says which layer it is about.
fn named(blob: &Path, error: Error) -> Error {
    let name = blob.file_name().unwrap_or_default().to_string_lossy();
    Error { text: ["layer sha256:", name.get(..12).unwrap_or(&name), ": ", &error.text].concat(), ..error }
}

fn mount_packed(blob: &Path, at: &Path, report: &Report) -> Result<(), Error> {
    let blob = blob.join(BLOB);
    // The store may be another machine's: no link is followed, and no FIFO waited for.
    let flags = sysfs::O_RDONLY | sysfs::O_NOFOLLOW | sysfs::O_NONBLOCK;
    let file = File::from(sysfs::openat(sysfs::CWD, &c_path(&blob)?, flags, 0)?);
    if !sysfs::statat(file.as_fd(), c"")?.is(sysfs::S_IFREG) {
        return Err(Error { text: "is not a regular file".into(), hint: None });
    }
    let start = start_of(&mut &file).map_err(|error| sys::Error::from_io("read", &error))?;
    let Some(packed) = superblock::packed(&start) else {
        return Err(Error { text: "is no squashfs and no erofs any more".into(), hint: None });
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
    if packed == Packed::Erofs && takes_files() && mount(&c_path(&blob)?).is_ok() {
        return Ok(());
    }
    // The device lives as long as this descriptor or the mount.
    let (_device, name) = attach(&file, report)?;
    mount(&name).map_err(|error| match error.errno {
        ENODEV => not_in_kernel(packed),
        errno => Error {
            text: [packed.name(), ": ", &error.to_string()].concat(),
            hint: (errno == EINVAL)
                .then_some("packed in a way that this kernel cannot read, or damaged: the kernel's log says which"),
        },
    })
}

/// Since Linux 6.12 erofs needs no loop device for a file. Before, a try leaves
/// an error on the console, so it is the number that decides.
fn takes_files() -> bool {
    version() >= (6, 12)
}

fn not_in_kernel(packed: Packed) -> Error {
    let hint = match packed {
        Packed::Squashfs => "it needs CONFIG_SQUASHFS, or the module squashfs in the initramfs",
        Packed::Erofs => "it needs CONFIG_EROFS_FS, or the module erofs in the initramfs",
    };
    Error { text: ["the kernel has no ", packed.name()].concat(), hint: Some(hint) }
}

/// Loads a module of the initramfs. Where the kernel has a helper for that, it
/// was asked already, and its answer, perhaps a ban by the administrator, stands.
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
    let control = control.map_err(|error| Error {
        text: ["the kernel has no loop devices: ", &error.to_string()].concat(),
        hint: Some("it needs CONFIG_BLK_DEV_LOOP, or the module loop in the initramfs"),
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
            Err(error) if error.errno == EBUSY && tries < LOOP_TRIES => tries += 1,
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
