//! newc archives (the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`),
//! written reproducibly: sorted entries, owner root, inodes numbered in order, one time for all.

use super::image::{self, Kind};
use std::collections::BTreeMap;

/// The file type bits of a mode.
const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

struct Entry {
    mode: u32,
    device: (u32, u32),
    data: Vec<u8>,
}

/// A tree in memory. Paths are relative (a leading `/` is dropped); missing parents
/// are added as directories of mode 0755; a later entry replaces an earlier one.
#[derive(Default)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    pub fn new() -> Archive {
        Archive::default()
    }

    pub fn directory(&mut self, path: &str, mode: u32) {
        self.insert(path, S_IFDIR | mode, (0, 0), Vec::new());
    }

    pub fn file(&mut self, path: &str, mode: u32, data: impl Into<Vec<u8>>) {
        self.insert(path, S_IFREG | mode, (0, 0), data.into());
    }

    pub fn symlink(&mut self, path: &str, target: &str) {
        self.insert(path, S_IFLNK | 0o777, (0, 0), target.as_bytes().to_vec());
    }

    pub fn character_device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.insert(path, S_IFCHR | mode, (major, minor), Vec::new());
    }

    /// Whether there is a directory at `path`; none where there is nothing.
    pub fn is_directory(&self, path: &str) -> Option<bool> {
        self.entries.get(&clean(path)).map(|entry| entry.mode & S_IFMT == S_IFDIR)
    }

    /// The paths of all entries.
    pub fn paths(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The sum of all files' bytes.
    pub fn data_len(&self) -> usize {
        self.entries.values().map(|entry| entry.data.len()).sum()
    }

    fn insert(&mut self, path: &str, mode: u32, device: (u32, u32), data: Vec<u8>) {
        let path = clean(path);
        for (at, _) in path.match_indices('/') {
            let parent = Entry { mode: S_IFDIR | 0o755, device: (0, 0), data: Vec::new() };
            self.entries.entry(path[..at].to_string()).or_insert(parent);
        }
        if !path.is_empty() {
            self.entries.insert(path, Entry { mode, device, data });
        }
    }

    /// The same tree as the entries of an image's layer.
    pub fn to_layer(&self) -> Vec<image::Entry> {
        let entry = |(path, entry): (&String, &Entry)| {
            let kind = match entry.mode & S_IFMT {
                S_IFDIR => Kind::Directory,
                S_IFCHR => Kind::CharacterDevice(entry.device.0, entry.device.1),
                S_IFLNK => Kind::Symlink(String::from_utf8_lossy(&entry.data).into_owned()),
                _ => Kind::File(entry.data.clone()),
            };
            image::Entry { path: path.clone(), mode: entry.mode & !S_IFMT, uid: 0, gid: 0, mtime: 0, kind }
        };
        self.entries.iter().map(entry).collect()
    }

    /// The archive's bytes, each entry with the modification time `mtime` (seconds
    /// since 1970). Their number is a multiple of four: the kernel expects the next
    /// segment of an initramfs at one.
    pub fn to_bytes(&self, mtime: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.data_len() + 256 * (self.entries.len() + 1));
        for (index, (path, entry)) in self.entries.iter().enumerate() {
            emit(&mut out, index as u32 + 1, path, entry, mtime);
        }
        let end = Entry { mode: 0, device: (0, 0), data: Vec::new() };
        emit(&mut out, 0, "TRAILER!!!", &end, 0);
        out
    }
}

/// `/a//b/./c/` gives `a/b/c`.
pub fn clean(path: &str) -> String {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}

fn emit(out: &mut Vec<u8>, inode: u32, path: &str, entry: &Entry, mtime: u32) {
    let links = if entry.mode & S_IFDIR == S_IFDIR && entry.mode & S_IFREG == 0 { 2 } else { 1 };
    let (major, minor) = entry.device;
    let size = entry.data.len() as u32;
    let name_size = path.len() as u32 + 1;
    out.extend_from_slice(b"070701");
    // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
    for field in [inode, entry.mode, 0, 0, links, mtime, size, 0, 0, major, minor, name_size, 0] {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(&entry.data);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn sample() -> Archive {
        let mut archive = Archive::new();
        archive.file("/z/deep/file", 0o644, "text\n");
        archive.directory("dev", 0o755);
        archive.character_device("dev/console", 0o600, 5, 1);
        archive.symlink("bin", "usr/bin");
        archive.file("init", 0o755, b"\x7fELF".to_vec());
        archive
    }

    /// Promise: reproducible-initramfs
    #[test]
    fn the_same_tree_gives_the_same_bytes() {
        let mut other = Archive::new();
        other.file("init", 0o755, b"\x7fELF".to_vec());
        other.symlink("./bin", "usr/bin");
        other.character_device("/dev//console", 0o600, 5, 1);
        other.directory("dev", 0o755);
        other.file("z/deep/file", 0o644, "text\n");
        assert_eq!(sample().to_bytes(0), other.to_bytes(0));
        assert_ne!(sample().to_bytes(0), other.to_bytes(1));
        assert_eq!(sample().to_bytes(7).len() % 4, 0);
    }

    #[test]
    fn a_layer_has_the_same_tree() {
        let layer = sample().to_layer();
        let text: Vec<String> = layer.iter().map(|it| format!("{} {:o} {:?}", it.path, it.mode, it.kind)).collect();
        assert_eq!(
            text,
            [
                r#"bin 777 Symlink("usr/bin")"#,
                "dev 755 Directory",
                "dev/console 600 CharacterDevice(5, 1)",
                "init 755 File([127, 69, 76, 70])",
                "z 755 Directory",
                "z/deep 755 Directory",
                "z/deep/file 644 File([116, 101, 120, 116, 10])",
            ]
        );
    }

    #[test]
    fn the_first_header_is_this_to_the_byte() {
        let bytes = sample().to_bytes(0x5F00_0000);
        let text = String::from_utf8_lossy(&bytes[..116]).into_owned();
        assert_eq!(
            text,
            "0707010000000100 00A1FF00000000000000000000000 15F00000000000007000000000000000000000000000000000000000\
             400000000bin\0\0\0"
                .replace(' ', "")
        );
        assert_eq!(&bytes[116..123], b"usr/bin");
    }

    /// A second reader checks the archive.
    #[test]
    fn cpio_reads_it() {
        let child = Command::new("cpio").args(["-itv", "--quiet"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = child else {
            skip!("there is no cpio here (./dev setup brings it)");
        };
        child.stdin.take().unwrap().write_all(&sample().to_bytes(0)).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let names: Vec<&str> = text.lines().map(|l| l.split_whitespace().last().unwrap()).collect();
        assert_eq!(names, ["usr/bin", "dev", "dev/console", "init", "z", "z/deep", "z/deep/file"]);
        assert!(text.lines().nth(2).unwrap().starts_with("crw-------   1 root     root       5,   1"), "{text}");
    }
}
