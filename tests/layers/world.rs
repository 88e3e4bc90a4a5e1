//! A directory to unpack in, with canaries around it, and trees as lines to compare.

use crate::canaries;
use ocinit::layer::unpack::{self, LayerQueue, Lower};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{symlink, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Whether the tests can run here at all.
pub fn ready() -> bool {
    // SAFETY: takes nothing and cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        skip!("unpacking layers takes root");
    }
    true
}

/// A temporary directory. Where std cannot remove it, rm(1) does: std needs a descriptor for every level, and some
/// trees here are 2000 levels deep.
pub struct World {
    pub top: PathBuf,
    canaries: Vec<String>,
    layers: usize,
}

impl World {
    pub fn new() -> World {
        // tmpfs where there is one: quick, and it has trusted attributes.
        let base = Some(PathBuf::from("/dev/shm")).filter(|dir| dir.is_dir()).unwrap_or_else(std::env::temp_dir);
        let top = tempfile::Builder::new().prefix("layers").tempdir_in(base).unwrap().keep();
        let mut world = World { top, canaries: Vec::new(), layers: 0 };
        let outside = world.top.join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("canary"), b"alive").unwrap();
        fs::set_permissions(outside.join("canary"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("canary", outside.join("link")).unwrap();
        for evil in ["0-evil", "x", "etc"] {
            fs::create_dir(world.top.join(evil)).unwrap();
            fs::write(world.top.join(evil).join("canary"), b"alive").unwrap();
        }
        world.canaries = world.outside();
        world
    }

    /// Everything of this world that no layer may touch, and some of the host's.
    fn outside(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for name in ["outside", "0-evil", "x", "etc"] {
            lines.extend(tree(&self.top.join(name)));
        }
        let mut names: Vec<_> = fs::read_dir(&self.top).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.retain(|name| !name.to_string_lossy().chars().all(|c| c.is_ascii_digit()));
        names.sort();
        lines.push(format!("{names:?}"));
        for host in ["/etc/passwd", "/etc", "/"] {
            let meta = fs::symlink_metadata(host).unwrap();
            lines.push(format!(
                "{host} {:o} {} {} {} {}",
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.mtime(),
                meta.nlink()
            ));
        }
        lines
    }

    /// A new, empty layer directory.
    pub fn layer(&mut self) -> PathBuf {
        let dir = self.top.join(self.layers.to_string());
        self.layers += 1;
        fs::create_dir(&dir).unwrap();
        dir
    }

    /// Unpacks `tar` into a new layer over `lowers` (topmost first), in reads
    /// of odd sizes.
    pub fn unpack(&mut self, tar: &[u8], lowers: &[&Path]) -> Result<Layer, String> {
        let dir = self.layer();
        let mut warnings = Vec::new();
        let mut source = Short { rest: tar, seed: self.layers as u32 };
        let result = apply(&mut source, &dir, lowers, &mut |text| warnings.push(text.to_string()));
        canaries::look(&self.canaries, &self.outside(), "while a layer was unpacked");
        result?;
        assert!(source.rest.is_empty(), "the source was not read to its end");
        Ok(Layer { dir, warnings })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if fs::remove_dir_all(&self.top).is_ok() {
            return;
        }
        let _ = Command::new("rm").arg("-rf").arg(&self.top).status();
    }
}

pub struct Layer {
    pub dir: PathBuf,
    pub warnings: Vec<String>,
}

impl Layer {
    pub fn meta(&self, path: &str) -> fs::Metadata {
        fs::symlink_metadata(self.dir.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    pub fn has(&self, path: &str) -> bool {
        fs::symlink_metadata(self.dir.join(path)).is_ok()
    }

    pub fn read(&self, path: &str) -> Vec<u8> {
        assert!(self.meta(path).is_file(), "{path} is no file");
        fs::read(self.dir.join(path)).unwrap()
    }

    pub fn is_whiteout(&self, path: &str) -> bool {
        let meta = self.meta(path);
        meta.file_type().is_char_device() && meta.rdev() == 0
    }

    pub fn is_opaque(&self, path: &str) -> bool {
        xattr(&self.dir.join(path), "trusted.overlay.opaque").as_deref() == Some(b"y")
    }

    /// Every path in the layer.
    pub fn paths(&self) -> Vec<String> {
        walk(&self.dir).into_iter().map(|path| path.to_string_lossy().into_owned()).collect()
    }
}

/// One layer into the directory `layer`, as a pull does it; `lowers` topmost first.
pub fn apply(source: &mut dyn Read, layer: &Path, lowers: &[&Path], warn: &mut dyn FnMut(&str)) -> Result<(), String> {
    let open = |path: &Path| OwnedFd::from(fs::File::open(path).unwrap());
    let mut lowers = Complete(lowers.iter().map(|path| Arc::new(open(path))).collect());
    let mut source = BufReader::with_capacity(128 << 10, source);
    let pending = unpack::read(&mut source, open(layer), &mut lowers, warn);
    pending.and_then(|pending| pending.finalize(open(layer), lowers.0)).map_err(|error| error.to_string())
}

/// The layers below, which are complete.
struct Complete(Vec<Lower>);

impl LayerQueue for Complete {
    fn lowers(&mut self) -> Option<Vec<Lower>> {
        Some(self.0.clone())
    }

    fn reserve(&mut self, _: usize) -> bool {
        true
    }
}

/// Reads of one to 3000 bytes, by a seed.
struct Short<'a> {
    rest: &'a [u8],
    seed: u32,
}

impl Read for Short<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Archives of many megabytes would take too long in crumbs.
        let limit = if self.rest.len() > 1 << 20 { buffer.len() } else { (self.seed >> 16) as usize % 3000 + 1 };
        let n = limit.min(buffer.len());
        self.rest.read(&mut buffer[..n])
    }
}

pub fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    let name = std::ffi::CString::new(name).unwrap();
    let mut value = vec![0; 65536];
    let n = ocinit::sys::fs::lgetxattr(&path, &name, &mut value).ok()?;
    value.truncate(n);
    Some(value)
}

fn xattrs(path: &Path) -> Vec<String> {
    let c_path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut names = vec![0u8; 65536];
    // SAFETY: path is NUL-terminated, pointer and length are of one buffer.
    let n = unsafe { libc::llistxattr(c_path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(n.max(0) as usize);
    let names = names.split(|b| *b == 0).filter(|name| !name.is_empty());
    let mut lines: Vec<_> = names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .filter(|name| !name.starts_with("trusted.overlay.") && !name.starts_with("user.umoci"))
        .map(|name| format!("{name}={:?}", xattr(path, &name)))
        .collect();
    lines.sort();
    lines
}

/// Every path below `top`, without it, sorted; without recursion.
fn walk(top: &Path) -> Vec<PathBuf> {
    let mut todo = vec![PathBuf::new()];
    let mut found = Vec::new();
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(top.join(&dir)).unwrap() {
            let entry = entry.unwrap();
            let path = dir.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                todo.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What a path holds, as far as two tools that unpack must agree on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Type and permissions.
    pub mode: u32,
    pub owner: (u32, u32),
    /// Seconds and nanoseconds; none for the time of the making, which
    /// directories have that no archive describes.
    pub time: Option<(i64, i64)>,
    /// Device, target, or size and checksum.
    pub content: String,
    /// The first path of the same file, where it has several.
    pub group: Option<String>,
    pub xattrs: Vec<String>,
}

impl Node {
    pub fn is_dir(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }

    /// In how many respects they differ.
    pub fn unlike(&self, other: &Node) -> usize {
        let same = [
            self.mode == other.mode,
            self.owner == other.owner,
            self.time == other.time,
            self.content == other.content,
            self.group == other.group,
            self.xattrs == other.xattrs,
        ];
        same.iter().filter(|same| !**same).count()
    }

    fn new(path: &Path, recently: i64) -> Node {
        let meta = fs::symlink_metadata(path).unwrap();
        let kind = meta.file_type();
        let now = (recently..=recently + 7200).contains(&meta.mtime());
        let content = match () {
            () if kind.is_char_device() || kind.is_block_device() => format!("dev {:x}", meta.rdev()),
            () if kind.is_symlink() => format!("-> {}", shown(&fs::read_link(path).unwrap())),
            () if kind.is_file() => format!("size {} sum {:x}", meta.len(), sum(path, meta.len())),
            () => String::new(),
        };
        Node {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            time: (!now).then(|| (meta.mtime(), meta.mtime_nsec())),
            content,
            group: None,
            xattrs: xattrs(path),
        }
    }
}

/// A path's bytes in ASCII.
fn shown(path: &Path) -> String {
    path.as_os_str().as_bytes().escape_ascii().to_string()
}

/// All of a tree by path; its top is the empty one.
pub fn nodes(top: &Path) -> BTreeMap<String, Node> {
    let mut groups: Vec<(u64, String)> = Vec::new();
    let recently = ocinit::sys::machine::realtime().0 - 3600;
    let mut nodes = BTreeMap::from([(String::new(), Node::new(top, recently))]);
    for path in walk(top) {
        let (full, path) = (top.join(&path), shown(&path));
        let mut node = Node::new(&full, recently);
        let meta = fs::symlink_metadata(&full).unwrap();
        if !meta.is_dir() && meta.nlink() > 1 {
            match groups.iter().find(|(ino, _)| *ino == meta.ino()) {
                Some((_, first)) => node.group = Some(first.clone()),
                None => groups.push((meta.ino(), path.clone())),
            }
        }
        nodes.insert(path, node);
    }
    nodes
}

/// A tree as lines, without its top.
pub fn tree(top: &Path) -> Vec<String> {
    let lines = nodes(top).into_iter().skip(1);
    lines.map(|(path, node)| format!("{path} {:o} {node:?}", node.mode)).collect()
}

/// FNV-1a of a file's content; of a huge one (holes) its first megabyte.
fn sum(path: &Path, size: u64) -> u64 {
    let mut content = Vec::new();
    let limit = if size > 1 << 24 { 1 << 20 } else { size };
    fs::File::open(path).unwrap().take(limit).read_to_end(&mut content).unwrap();
    content.iter().fold(0xcbf2_9ce4_8422_2325, |sum, b| (sum ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}

/// Shows `layers` (topmost first) through overlayfs to `look`, in a mount
/// namespace of this thread's own.
pub fn overlay<T>(world: &World, layers: &[&Path], look: impl FnOnce(&Path) -> T) -> T {
    let merged = world.top.join(format!("{}", 1_000_000 + layers.len()));
    let empty = world.top.join("999999");
    for dir in [&merged, &empty] {
        let _ = fs::create_dir(dir);
    }
    let mut lower: Vec<_> = layers.iter().map(|path| path.to_str().unwrap()).collect();
    if lower.len() == 1 {
        lower.push(empty.to_str().unwrap());
    }
    let options = std::ffi::CString::new(format!("lowerdir={}", lower.join(":"))).unwrap();
    let target = std::ffi::CString::new(merged.to_str().unwrap()).unwrap();
    // SAFETY: the flag is a number; only this thread gets the new namespace.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0, "{}", io::Error::last_os_error());
    ocinit::sys::mount::propagation(c"/", ocinit::sys::mount::MS_REC | ocinit::sys::mount::MS_PRIVATE).unwrap();
    ocinit::sys::mount::mount(c"overlay", &target, c"overlay", 0, &options).unwrap();
    let seen = look(&merged);
    // Other tests' children may hold copies of our descriptors for a moment.
    ocinit::sys::mount::umount(&target, ocinit::sys::mount::MNT_DETACH).unwrap();
    seen
}
