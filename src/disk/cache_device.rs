//! The cache disk: found by label or name, mounted, cleanly unmounted.

use crate::boot::pure::options::{CacheDevice, Config};
use crate::disk::pure::superblock;
use crate::disk::{filesystems, remove_tree};
use crate::kernel::coldplug;
use crate::net::dns::Resolver;
use crate::report::Report;
use crate::store::layers::STORE;
use crate::store::{dir, mark};
use crate::sys::path::c_path;
use crate::sys::{self, fs as sysfs, io_text, machine, mount, overlayfs};
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A device that is not there yet is waited for.
const WAIT_MS: u64 = 10_000;
const LOOK_AGAIN_MS: u64 = 50;

/// Where the disk itself is mounted until its directory of ours is at [`STORE`].
const DISK: &str = "/run/cache";
/// That directory: what else is on a disk is somebody else's.
const OURS: &CStr = c"ocinit";

/// Mounts the directory `ocinit` of what `b2c.cache_device` names at [`STORE`]; true where it did. A
/// machine without its disk still boots: then the store is in memory.
pub fn open(config: &Config, resolver: &Resolver, report: &Report) -> bool {
    let wanted = &config.cache_device;
    // Where it cannot be made, the store's own opening says so.
    let _ = fs::create_dir_all(STORE);
    let name = match wanted {
        CacheDevice::None => return false,
        CacheDevice::FileSystem(name) => return open_named(config, name, resolver, report),
        CacheDevice::Label(label) => ["label ", label].concat(),
        CacheDevice::Path(path) => path.clone(),
    };
    let no_cache = |why: &str| {
        report.warn("cache", format_args!("{name}: {why}; images are kept in memory"));
        false
    };
    let Some(device) = wait_for(wanted) else { return no_cache("not there after 10 s") };
    let label = ext4_label(&device);
    let Some(label) = label else {
        return no_cache("no ext4 file system: making one is not there yet");
    };
    coldplug::ensure("ext4", report);
    // Where it cannot be made, the mount says why.
    let _ = fs::create_dir_all(DISK);
    if let Err(error) = mount_disk(&device) {
        return no_cache(&error.to_string());
    }
    match settle(&mut |_| Ok(())) {
        Ok(()) => {
            report.line(
                "cache",
                format_args!("{} label «{label}», ext4, its directory 'ocinit' at {STORE}", device.display()),
            );
            true
        }
        Err(why) => no_cache(&why),
    }
}

/// A `b2c.filesystem` as the cache.
fn open_named(config: &Config, name: &str, resolver: &Resolver, report: &Report) -> bool {
    let Some(wanted) = config.filesystems.iter().rev().find(|filesystem| filesystem.name == name) else { return false };
    let no_cache = |why: &str| {
        report.warn("cache", [why, "; images are kept in memory"].concat());
        false
    };
    if let Err(failure) = filesystems::mount_at(wanted, Path::new(DISK), resolver, report) {
        return no_cache(&failure.what);
    }
    let mut try_out = |ours: &Path| {
        let tried = try_out(ours);
        tried.map_err(|error| [&wanted.kind, " cannot hold images: ", &error.to_string()].concat())
    };
    match settle(&mut try_out) {
        Ok(()) => true,
        Err(why) => no_cache(&[name, ": ", &why].concat()),
    }
}

/// Mounts our directory of the disk at [`STORE`], if it passes `test`; the disk's own mount goes.
fn settle(test: &mut dyn FnMut(&Path) -> Result<(), String>) -> Result<(), String> {
    let settled = (|| {
        let disk = dir::at(Path::new(DISK)).map_err(|error| error.to_string())?;
        let made = sysfs::mkdirat(disk.as_fd(), OURS, 0o700).is_ok();
        let settled = settle_in(disk.as_fd(), test);
        if made && settled.is_err() {
            // It holds the mark, if anything.
            let _ = remove_tree::beneath(disk.as_fd(), OURS);
        }
        settled
    })();
    let _ = c_path(Path::new(DISK)).and_then(|disk| mount::umount(&disk, 0));
    settled
}

fn settle_in(disk: BorrowedFd<'_>, test: &mut dyn FnMut(&Path) -> Result<(), String>) -> Result<(), String> {
    let ours = dir::make(disk, OURS).map_err(|error| io_text(&error))?;
    mark::own(ours.as_fd()).map_err(|error| ["its directory 'ocinit' ", &io_text(&error)].concat())?;
    let path = Path::new(DISK).join("ocinit");
    test(&path)?;
    let bound = (|| mount::bind(&c_path(&path)?, &c_path(Path::new(STORE))?, false))();
    bound.map_err(|error| error.to_string())
}

/// Whether images and containers can be there: what a layer deletes is a device, what it hides an attribute, and a
/// container writes to an overlay's upper folder. Shares of a network and formats of other systems lack one of them.
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
        let folders = ["lowerdir=", &path, "/lower,upperdir=", &path, "/upper,workdir=", &path, "/work"].concat();
        mount::mount(c"overlay", &merged, c"overlay", 0, &c_path(Path::new(&folders))?)?;
        mount::umount(&merged, 0)
    })();
    let _ = remove_tree::tree(&dir);
    tried
}

fn mount_disk(device: &Path) -> crate::sys::Result<()> {
    // Neither nosuid nor nodev: volumes hold set-user-ID programs, and whiteouts are devices.
    mount::mount(&c_path(device)?, &c_path(Path::new(DISK))?, c"ext4", mount::MS_RELATIME, c"")
}

/// The disk or partition, once it is there.
pub fn wait_for(wanted: &CacheDevice) -> Option<PathBuf> {
    let start_ms = machine::uptime_ms();
    loop {
        let found = match wanted {
            CacheDevice::None | CacheDevice::FileSystem(_) => None,
            CacheDevice::Path(path) => Some(PathBuf::from(path)).filter(|path| path.exists()),
            CacheDevice::Label(label) => devices().into_iter().find(|path| ext4_label(path).as_deref() == Some(label)),
        };
        if found.is_some() || machine::uptime_ms() > start_ms + WAIT_MS {
            return found;
        }
        std::thread::sleep(Duration::from_millis(LOOK_AGAIN_MS));
    }
}

/// Every disk and partition, by name.
fn devices() -> Vec<PathBuf> {
    let entries = fs::read_dir("/sys/class/block").into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| Path::new("/dev").join(entry.file_name())).collect();
    paths.sort();
    paths
}

fn ext4_label(device: &Path) -> Option<String> {
    let mut start = Vec::new();
    File::open(device).ok()?.take(superblock::LENGTH as u64).read_to_end(&mut start).ok()?;
    superblock::ext4_label(&start)
}
