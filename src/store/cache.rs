//! The store on the cache disk: the disk's directory `ocinit` becomes the place of the store.

use crate::disk::cache_device::{self, CacheDisk, MOUNTED_AT};
use crate::disk::remove_tree;
use crate::report::Report;
use crate::store::layers::STORE;
use crate::store::{dir, marker};
use crate::sys::path::c_path;
use crate::sys::{self, fs as sysfs, io_text, mount, overlayfs};
use std::ffi::CStr;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// What else is on a disk is somebody else's.
const OURS: &CStr = c"ocinit";

/// Binds the directory `ocinit` of the mounted disk to [`STORE`], if images can be kept in it; true where it did. The
/// disk stays mounted in either case: a lab may have its files on it.
pub fn bind(disk: &CacheDisk, report: &Report) -> bool {
    // Where it cannot be made, the store's own opening says so.
    let _ = fs::create_dir_all(STORE);
    let mut test = |ours: &Path| match &disk.unknown {
        None => Ok(()),
        Some(kind) => try_out(ours).map_err(|error| [kind, " cannot hold images: ", &error.to_string()].concat()),
    };
    match bind_if(&mut test) {
        Ok(()) => {
            if let Some(description) = &disk.description {
                report.line("cache", [description, ", its directory 'ocinit' at ", STORE].concat());
            }
            true
        }
        Err(why) => {
            cache_device::warn(&[&disk.name, ": ", &why].concat(), report);
            false
        }
    }
}

fn bind_if(test: &mut dyn FnMut(&Path) -> Result<(), String>) -> Result<(), String> {
    let disk = dir::at(Path::new(MOUNTED_AT)).map_err(|error| error.to_string())?;
    let made = sysfs::mkdirat(disk.as_fd(), OURS, 0o700).is_ok();
    let bound = bind_in(disk.as_fd(), test);
    if made && bound.is_err() {
        // It holds the marker, if anything.
        let _ = remove_tree::beneath(disk.as_fd(), OURS);
    }
    bound
}

fn bind_in(disk: BorrowedFd<'_>, test: &mut dyn FnMut(&Path) -> Result<(), String>) -> Result<(), String> {
    let ours = dir::make(disk, OURS).map_err(|error| io_text(&error))?;
    marker::own(ours.as_fd()).map_err(|error| ["its directory 'ocinit' ", &io_text(&error)].concat())?;
    let path = Path::new(MOUNTED_AT).join("ocinit");
    test(&path)?;
    let bound = (|| mount::bind(&c_path(&path)?, &c_path(Path::new(STORE))?, false))();
    bound.map_err(|error| error.to_string())
}

/// Whether images and containers can be there: what a layer deletes is a device, what it hides an attribute, and a
/// container writes to an overlay's upper directory. Shares of a network and formats of other systems lack one of them.
fn try_out(ours: &Path) -> sys::Result<()> {
    let dir = ours.join(".tried");
    // That of a boot without power at its end.
    let _ = remove_tree::tree(&dir);
    let tried = (|| {
        for name in ["lower", "upper", "work", "merged"] {
            fs::create_dir_all(dir.join(name)).map_err(|error| sys::Error::from_io("mkdir", &error))?;
        }
        let (upper, merged) = (c_path(&dir.join("upper"))?, c_path(&dir.join("merged"))?);
        sysfs::mknodat(sysfs::CWD, &c_path(&dir.join("upper/gone"))?, sysfs::S_IFCHR, (0, 0))?;
        overlayfs::set_opaque_at(&upper)?;
        let path = dir.to_string_lossy();
        let options = ["lowerdir=", &path, "/lower,upperdir=", &path, "/upper,workdir=", &path, "/work"].concat();
        mount::mount(c"overlay", &merged, c"overlay", 0, &c_path(Path::new(&options))?)?;
        mount::umount(&merged, 0)
    })();
    let _ = remove_tree::tree(&dir);
    tried
}
