//! Bounded reading. Of the files that an option, an image or a foreign disk names only regular ones are read, and only
//! up to a limit. Beside it, copying, and listing a directory.

use crate::sys::{fs as sysfs, io_text};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 64 << 10;
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

/// Copies a stream to its end. Unlike `io::copy` it is no code of its own for each type of stream.
pub fn copy(source: &mut dyn Read, target: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => target.write_all(buffer.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Copies a file with its mode.
pub fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let permissions = source.metadata()?.permissions();
    let options = OpenOptions::new().write(true).create(true).truncate(true).mode(permissions.mode()).open(to);
    let mut target = options?;
    target.set_permissions(permissions)?;
    copy(&mut source, &mut target)
}

/// The paths of what is in a directory, in the order of their bytes; none if it cannot be read.
pub fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        paths.push(entry.path());
    }
    paths.sort_unstable_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    paths
}

/// The last name of a path, to compare and to show.
pub fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn append(source: &mut dyn Read, max: u64, mut bytes: Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    source.take(max + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= max))
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn copies_and_entries() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("b"), vec![7; 2 * COPY_BYTES + 1]).unwrap();
        fs::set_permissions(at("b"), fs::Permissions::from_mode(0o6755)).unwrap();
        fs::write(at("a!"), "longer than the file that takes its place").unwrap();
        copy_file(&at("b"), &at("a")).unwrap();
        assert_eq!(fs::read(at("a")).unwrap(), fs::read(at("b")).unwrap());
        assert_eq!(at("a").metadata().unwrap().permissions().mode() & 0o7777, 0o6755);
        fs::write(at("c"), "").unwrap();
        copy_file(&at("c"), &at("a!")).unwrap();
        assert_eq!(at("a!").metadata().unwrap().len(), 0);
        assert_eq!(entries(dir.path()), [at("a"), at("a!"), at("b"), at("c")]);
        assert_eq!((entries(&at("none")), name(&at("a!")), name(Path::new("/"))), (vec![], "a!".into(), "".into()));
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
