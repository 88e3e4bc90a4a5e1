//! Bounded reading. Of the files that an option, an image or a foreign disk names only regular ones are read, and only
//! up to a limit.

use crate::sys::{fs as sysfs, io_text};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const OTHER: &str = "is not a regular file";

/// Opens a regular file for reading, and no other: a FIFO would block until it is written to, and some devices act when
/// they are opened (a watchdog, a tape).
pub fn open(path: &Path) -> Result<File, String> {
    if path.metadata().is_ok_and(|meta| !meta.is_file()) {
        return Err(OTHER.into());
    }
    // Another file may have replaced it since.
    let file = OpenOptions::new().read(true).custom_flags(sysfs::O_NONBLOCK | sysfs::O_NOCTTY).open(path);
    let file = file.map_err(|error| io_text(&error))?;
    match file.metadata() {
        Ok(meta) if meta.is_file() => Ok(file),
        Ok(_) => Err(OTHER.into()),
        Err(error) => Err(io_text(&error)),
    }
}

/// The whole of a regular file of at most `max` bytes.
pub fn read(path: &Path, max: u64) -> Result<Vec<u8>, String> {
    let bytes = read_all(&open(path)?, max).map_err(|error| io_text(&error))?;
    bytes.ok_or_else(|| too_large(max))
}

/// The rest of an open file of at most `max` bytes; none if it has more.
pub fn read_all(file: &File, max: u64) -> io::Result<Option<Vec<u8>>> {
    // Room for the size that the file has: growing the buffer takes more system calls than reading. A file of procfs
    // has no size.
    append(&mut &*file, max, Vec::with_capacity(file.metadata()?.len().min(max) as usize + 1))
}

/// The rest of a stream of at most `max` bytes; none if it has more.
pub fn read_stream(source: &mut dyn Read, max: u64) -> io::Result<Option<Vec<u8>>> {
    append(source, max, Vec::new())
}

/// `larger than 4 MiB`
pub fn too_large(max: u64) -> String {
    let (size, unit) = if max < 1 << 20 { (max >> 10, " KiB") } else { (max >> 20, " MiB") };
    ["larger than ", &size.to_string(), unit].concat()
}

fn append(source: &mut dyn Read, max: u64, mut bytes: Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    source.take(max + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::net::UnixListener;

    /// Promise: regular-files-only
    #[test]
    fn only_regular_files_are_read_and_so_much_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), vec![b'x'; 2 << 10]).unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        assert_eq!(read(&at("file"), 2 << 10).unwrap().len(), 2 << 10);
        assert_eq!(read(&at("link"), 2 << 10).unwrap().len(), 2 << 10);
        assert_eq!(read(&at("file"), 1 << 10), Err("larger than 1 KiB".into()));
        assert_eq!(read(&at("none"), 1), Err("no such file or directory".into()));
        // A file of procfs says that it has no bytes.
        assert!(!read(Path::new("/proc/self/status"), 1 << 20).unwrap().is_empty());
        let fifo = std::process::Command::new("mkfifo").arg(at("fifo")).status().unwrap();
        assert!(fifo.success());
        let _socket = UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink("fifo", at("to-fifo")).unwrap();
        for other in [at("fifo"), at("to-fifo"), at("socket"), dir.path().into(), "/dev/zero".into()] {
            assert_eq!(read(&other, 1 << 20), Err(OTHER.into()), "{}", other.display());
        }
    }

    /// The open file is checked again: a FIFO that has replaced it does not block.
    /// Promise: regular-files-only
    #[test]
    fn a_file_that_becomes_a_fifo_is_not_waited_for() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let dir = tempfile::tempdir().unwrap();
        let (file, fifo, path) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
        fs::write(&file, "x").unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        std::os::unix::fs::symlink(&file, &path).unwrap();
        let done = AtomicBool::new(false);
        let mut wrong = None;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    for target in [&file, &fifo] {
                        let made = dir.path().join("new");
                        std::os::unix::fs::symlink(target, &made).unwrap();
                        fs::rename(&made, &path).unwrap();
                    }
                }
            });
            wrong = (0..2000).map(|_| read(&path, 8)).find(|is| *is != Ok(b"x".to_vec()) && *is != Err(OTHER.into()));
            // The other thread goes on until then: nothing may panic before.
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(wrong, None);
    }
}
