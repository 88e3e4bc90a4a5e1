//! Finds the cache device by its label or name, and mounts it.

use crate::disk::pure::cache_device::CacheDevice;
use crate::disk::pure::filesystem::FileSystem;
use crate::disk::{block_device, filesystems};
use crate::kernel::coldplug;
use crate::net::dns::Resolver;
use crate::report::Report;
use crate::sys::path::c_path;
use crate::sys::{io_text, mount};
use std::fs;
use std::path::Path;

/// Where the disk is mounted, as boot2container does it. Its directory `ocinit` is then bind-mounted to the place of
/// the store; what else is on it belongs to the lab, whose containers have it by this path (`-v /storage/x:/y`).
pub const MOUNTED_AT: &str = "/storage";
/// Boot2container's older name of [`MOUNTED_AT`].
pub const OLDER_NAME: &str = "/container";

/// A mounted disk.
pub struct CacheDisk {
    /// The name that messages use.
    pub name: String,
    /// What to print when it is used as the cache; None if it was printed already.
    pub description: Option<String>,
    /// The type of a `b2c.filesystem`, for which it has to be tested whether it can hold images.
    pub unknown: Option<String>,
}

/// Mounts what `b2c.cache_device` names at [`MOUNTED_AT`]. Without it the machine still boots, with the
/// store in memory.
pub fn mount(
    wanted: &CacheDevice,
    filesystems: &[FileSystem],
    resolver: &Resolver,
    report: &Report,
) -> Option<CacheDisk> {
    match wanted {
        CacheDevice::None => None,
        CacheDevice::FileSystem(name) => mount_named(filesystems, name, resolver, report),
        CacheDevice::Label(label) => mount_device(wanted, &["label ", label].concat(), report),
        CacheDevice::Path(path) => mount_device(wanted, path, report),
    }
}

/// Warns that the disk is not used, with the reason.
pub fn warn(why: &str, report: &Report) {
    report.warn("cache", [why, "; images are kept in memory"].concat());
}

fn mount_device(wanted: &CacheDevice, name: &str, report: &Report) -> Option<CacheDisk> {
    let no_cache = |why: &str| {
        warn(&[name, ": ", why].concat(), report);
        None
    };
    let Some(device) = block_device::wait_for(wanted, "cache", report) else { return no_cache("not there after 10 s") };
    let label = match block_device::ext4_label(&device) {
        Ok(Some(label)) => label,
        Ok(None) => return no_cache("no ext4 file system, and making one is not supported yet"),
        Err(error) => return no_cache(&io_text(&error)),
    };
    coldplug::ensure("ext4", report);
    // If this fails, the mount below fails, too, and says why.
    let _ = fs::create_dir_all(MOUNTED_AT);
    // Neither nosuid nor nodev: volumes hold set-user-ID programs, and whiteouts are devices.
    let mounted = c_path(&device)
        .and_then(|from| mount::mount(&from, &c_path(Path::new(MOUNTED_AT))?, c"ext4", mount::MS_RELATIME, c""));
    if let Err(error) = mounted {
        return no_cache(&error.to_string());
    }
    let description = [&device.to_string_lossy(), " label '", &label, "', ext4"].concat();
    Some(CacheDisk { name: name.into(), description: Some(description), unknown: None })
}

fn mount_named(filesystems: &[FileSystem], name: &str, resolver: &Resolver, report: &Report) -> Option<CacheDisk> {
    let wanted = filesystems.iter().rev().find(|filesystem| filesystem.name == name)?;
    match filesystems::mount_at(wanted, Path::new(MOUNTED_AT), resolver, report) {
        Ok(()) => Some(CacheDisk { name: name.into(), description: None, unknown: Some(wanted.kind.clone()) }),
        Err(failure) => {
            warn(&failure.what, report);
            None
        }
    }
}
