//! Finds disks and partitions by name and by label.

use crate::disk::pure::cache_device::CacheDevice;
use crate::disk::pure::superblock;
use crate::files;
use crate::report::Report;
use crate::sys::{machine, ENOENT, ENOMEDIUM, ENXIO};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long to wait for a device: the kernel may still be looking for it.
const WAIT_MS: u64 = 10_000;
/// After this time the console says what is waited for.
const TELL_MS: u64 = 1_000;
const POLL_MS: u64 = 50;

/// Waits for the disk or partition, and says so as the step `step`. None if it does not appear in time. Its driver is
/// loaded meanwhile ([`crate::kernel::coldplug`]).
pub fn wait_for(wanted: &CacheDevice, step: &str, report: &Report) -> Option<PathBuf> {
    let start_ms = machine::uptime_ms();
    let mut tell_ms = start_ms + TELL_MS;
    loop {
        let found = match wanted {
            CacheDevice::None | CacheDevice::FileSystem(_) => None,
            CacheDevice::Path(path) => Some(PathBuf::from(path)).filter(|path| is_there(path)),
            CacheDevice::Label(label) => {
                devices().into_iter().find(|path| matches!(ext4_label(path), Ok(Some(found)) if found == *label))
            }
        };
        let now_ms = machine::uptime_ms();
        if found.is_some() || now_ms > start_ms + WAIT_MS {
            return found;
        }
        if now_ms >= tell_ms {
            report.line(step, ["waiting for ", wanted.name(), ", 10 s at most"].concat());
            tell_ms = u64::MAX;
        }
        std::thread::sleep(Duration::from_millis(POLL_MS));
    }
}

/// All disks and partitions, sorted by name.
fn devices() -> Vec<PathBuf> {
    let mut paths = files::entries(Path::new("/sys/class/block"));
    for path in &mut paths {
        *path = Path::new("/dev").join(path.file_name().unwrap_or_default());
    }
    paths
}

/// Whether a device can be opened, or fails for a reason of its own. The kernel makes a disk's node before the disk
/// (device_add_disk() in block/genhd.c), and a reader of cards has a node without a card.
fn is_there(device: &Path) -> bool {
    let error = File::open(device).err().and_then(|error| error.raw_os_error());
    !matches!(error, Some(ENOENT | ENXIO | ENOMEDIUM))
}

/// The label of an ext4 filesystem; None if the device holds something else.
pub fn ext4_label(device: &Path) -> io::Result<Option<String>> {
    let mut start = Vec::new();
    File::open(device)?.take(superblock::LENGTH as u64).read_to_end(&mut start)?;
    Ok(superblock::ext4_label(&start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Promise: late-devices
    #[test]
    fn a_node_without_a_device_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let (file, socket) = (dir.path().join("file"), dir.path().join("socket"));
        assert!(!is_there(&file));
        fs::write(&file, "").unwrap();
        assert!(is_there(&file));
        // Such a node fails like that of a disk that is not there yet: ENXIO.
        let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(socket.exists() && !is_there(&socket));
    }
}
