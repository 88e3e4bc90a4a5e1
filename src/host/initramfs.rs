//! Builds the initramfs: the init, the files that the user adds, and kernel modules, compressed.

use super::compress::{compress, Compression};
use super::cpio::Archive;
use super::modules::Set;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// How deep `--add` descends; a deeper tree is a mistake or a loop.
const DEPTH_MAX: u32 = 64;

/// The contents of an initramfs.
pub struct Spec {
    /// PID 1: a static binary.
    pub init: Vec<u8>,
    /// Further options for the init (`/etc/ocinit/cmdline`).
    pub cmdline: Option<Vec<u8>>,
    /// Certificates of authorities for registries (`/etc/ocinit/ca.pem`).
    pub ca: Option<Vec<u8>>,
    /// Files or directories of the host, each with its path in the initramfs.
    pub added: Vec<(PathBuf, String)>,
    pub modules: Option<Set>,
    pub compression: Compression,
    /// The modification time of every entry, in seconds since 1970.
    pub mtime: u32,
}

/// A finished initramfs.
pub struct Initramfs {
    pub bytes: Vec<u8>,
    /// How many of `bytes` are the part without kernel modules.
    pub base_len: usize,
    /// The unpacked size of all parts.
    pub raw_len: usize,
    /// The compressor's settings as text, one for each segment.
    pub how: Vec<String>,
}

impl Spec {
    pub fn new(init: Vec<u8>, compression: Compression) -> Spec {
        Spec {
            init,
            cmdline: None,
            ca: None,
            added: Vec::new(),
            modules: None,
            compression,
            mtime: source_date_epoch(),
        }
    }
}

/// The modification time for a reproducible build: `SOURCE_DATE_EPOCH`, or 0 if it is not set.
pub fn source_date_epoch() -> u32 {
    std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Packs `spec`. Kernel modules are a segment of their own: the kernel unpacks one
/// segment after the other, and each compresses best with other settings.
pub fn build(spec: &Spec) -> Result<Initramfs, String> {
    let base = base(spec)?.to_bytes(spec.mtime);
    let (mut bytes, words) = compress(&base, spec.compression)?;
    let (base_len, mut raw_len, mut how) = (bytes.len(), base.len(), vec![words]);
    if let Some(set) = &spec.modules {
        let mut archive = Archive::new();
        set.add_to(&mut archive);
        let raw = archive.to_bytes(spec.mtime);
        let (packed, words) = compress(&raw, spec.compression)?;
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(&packed);
        raw_len += raw.len();
        how.push(words);
    }
    Ok(Initramfs { bytes, base_len, raw_len, how })
}

fn base(spec: &Spec) -> Result<Archive, String> {
    let mut archive = Archive::new();
    archive.directory("dev", 0o755);
    // The kernel opens /dev/console for PID 1 before anything is mounted.
    archive.character_device("dev/console", 0o600, 5, 1);
    archive.character_device("dev/null", 0o666, 1, 3);
    archive.file("init", 0o755, spec.init.clone());
    if let Some(text) = &spec.cmdline {
        archive.file("etc/ocinit/cmdline", 0o644, text.clone());
    }
    if let Some(pem) = &spec.ca {
        archive.file("etc/ocinit/ca.pem", 0o644, pem.clone());
    }
    for (source, target) in &spec.added {
        add(&mut archive, source, target, DEPTH_MAX)?;
    }
    Ok(archive)
}

fn add(archive: &mut Archive, source: &Path, target: &str, depth: u32) -> Result<(), String> {
    let context = |error: std::io::Error| format!("{}: {error}", source.display());
    let meta = std::fs::symlink_metadata(source).map_err(context)?;
    let mode = meta.permissions().mode() & 0o7777;
    if meta.is_symlink() {
        let to = std::fs::read_link(source).map_err(context)?;
        archive.symlink(target, &to.to_string_lossy());
    } else if meta.is_dir() {
        if depth == 0 {
            return Err(format!("{}: more than {DEPTH_MAX} directories deep", source.display()));
        }
        archive.directory(target, mode);
        for entry in std::fs::read_dir(source).map_err(context)? {
            let entry = entry.map_err(context)?;
            let inside = format!("{target}/{}", entry.file_name().to_string_lossy());
            add(archive, &entry.path(), &inside, depth - 1)?;
        }
    } else if meta.is_file() {
        archive.file(target, mode, std::fs::read(source).map_err(context)?);
    } else {
        return Err(format!("{}: not a file, a directory or a symbolic link", source.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::compress::{expand, Effort};
    use super::*;

    /// Promise: reproducible-initramfs
    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let mut spec = Spec::new(b"binary".to_vec(), Compression::Xz(Effort::Quick));
        spec.cmdline = Some(b"b2c.run=alpine".to_vec());
        spec.mtime = 0;
        let (one, two) = (build(&spec).unwrap(), build(&spec).unwrap());
        assert_eq!(one.bytes, two.bytes);
        assert_eq!(one.base_len, one.bytes.len());
        let raw = expand(one.bytes).unwrap();
        assert_eq!(raw.len(), one.raw_len);
        let text = String::from_utf8_lossy(&raw).into_owned();
        let places: Vec<_> =
            ["dev\0", "dev/console\0", "dev/null\0", "etc/ocinit/cmdline\0", "b2c.run=alpine", "binary", "TRAILER!!!"]
                .iter()
                .map(|name| text.find(name).expect(name))
                .collect();
        assert!(places.is_sorted(), "{places:?}");
    }

    #[test]
    fn what_is_added_keeps_its_mode_and_links() {
        let dir = std::env::temp_dir().join(format!("ocinit-add-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        std::fs::write(dir.join("sub/tool"), "x").unwrap();
        std::fs::set_permissions(dir.join("sub/tool"), std::fs::Permissions::from_mode(0o4750)).unwrap();
        std::os::unix::fs::symlink("sub/tool", dir.join("link")).unwrap();
        let mut archive = Archive::new();
        add(&mut archive, &dir, "opt", DEPTH_MAX).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        let mut expected = Archive::new();
        let mode = if archive.is_empty() { 0 } else { 0o755 };
        expected.directory("opt", mode);
        expected.symlink("opt/link", "sub/tool");
        expected.directory("opt/sub", mode);
        expected.file("opt/sub/tool", 0o4750, "x");
        assert_eq!(archive.to_bytes(0), expected.to_bytes(0));
        assert!(add(&mut archive, &dir, "opt", DEPTH_MAX).unwrap_err().contains("No such file"));
    }
}
