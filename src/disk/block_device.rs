//! Finds disks and partitions by name and by label.

use crate::disk::pure::cache_device::CacheDevice;
use crate::disk::pure::superblock;
use crate::sys::machine;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long to wait for a device: the kernel may still be looking for it.
const WAIT_MS: u64 = 10_000;
const POLL_MS: u64 = 50;

/// Waits for the disk or partition. None if it does not appear in time.
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
        std::thread::sleep(Duration::from_millis(POLL_MS));
    }
}

/// All disks and partitions, sorted by name.
fn devices() -> Vec<PathBuf> {
    let entries = fs::read_dir("/sys/class/block").into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| Path::new("/dev").join(entry.file_name())).collect();
    paths.sort();
    paths
}

/// The label of an ext4 filesystem; None if the device holds something else.
pub fn ext4_label(device: &Path) -> Option<String> {
    let mut start = Vec::new();
    File::open(device).ok()?.take(superblock::LENGTH as u64).read_to_end(&mut start).ok()?;
    superblock::ext4_label(&start)
}
