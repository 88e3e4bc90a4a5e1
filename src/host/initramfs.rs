//! Builds the initramfs: the init, the files that the user adds, and kernel modules, compressed.

use super::check;
use super::compress::{compress_telling, Compression};
use super::cpio::{clean, Archive};
use super::modules::Set;
use std::collections::BTreeSet;
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
    build_telling(spec, &mut |_, _, _| {})
}

/// As [`build`]. `tell` is called before a segment is compressed, with its name, 0 and its bytes, and meanwhile with
/// the numbers of [`compress_telling`].
pub fn build_telling(spec: &Spec, tell: &mut dyn FnMut(&str, usize, usize)) -> Result<Initramfs, String> {
    let base = base(spec)?.to_bytes(spec.mtime);
    let mut compress = |segment: &str, raw: &[u8]| {
        if spec.compression != Compression::None {
            tell(segment, 0, raw.len());
        }
        compress_telling(raw, spec.compression, &mut |done, least| tell(segment, done, least))
    };
    let (mut bytes, words) = compress("init and files", &base)?;
    let (base_len, mut raw_len, mut how) = (bytes.len(), base.len(), vec![words]);
    if let Some(set) = &spec.modules {
        let mut archive = Archive::new();
        set.add_to(&mut archive);
        let raw = archive.to_bytes(spec.mtime);
        let (packed, words) = compress("kernel modules", &raw)?;
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(&packed);
        raw_len += raw.len();
        how.push(words);
    }
    Ok(Initramfs { bytes, base_len, raw_len, how })
}

/// Directories for files of boot loaders: our settings, what containers get, kernel modules. The kernel leaves out a
/// file of a cpio whose directory is not there, and iPXE and GRUB make none.
const FOR_BOOT_LOADERS: [&str; 3] = ["etc/ocinit", "user", "usr_mods"];
/// The init's own files, which are checked however they come.
const CMDLINE: &str = "etc/ocinit/cmdline";
const CA: &str = "etc/ocinit/ca.pem";
/// Where the boot mounts, or makes directories.
const MOUNT_POINTS: [&str; 8] = ["proc", "sys", "dev", "run", "tmp", "storage", "container", "var/lib/ocinit"];

fn base(spec: &Spec) -> Result<Archive, String> {
    let mut archive = Archive::new();
    archive.directory("dev", 0o755);
    // The kernel opens /dev/console for PID 1 before anything is mounted.
    archive.character_device("dev/console", 0o600, 5, 1);
    archive.character_device("dev/null", 0o666, 1, 3);
    archive.file("init", 0o755, spec.init.clone());
    for directory in FOR_BOOT_LOADERS {
        archive.directory(directory, 0o755);
    }
    if let Some(text) = &spec.cmdline {
        archive.file(CMDLINE, 0o644, text.clone());
    }
    if let Some(pem) = &spec.ca {
        archive.file(CA, 0o644, pem.clone());
    }
    let modules = spec.modules.as_ref().map(|set| ["lib/modules/", &set.release].concat());
    let own = archive.paths().into_iter().chain(modules).collect();
    for (source, target) in &spec.added {
        // What is named is meant, not a link to it; links in a directory stay links.
        let source =
            &std::fs::canonicalize(source).map_err(|error| format!("--add {}:{target}: {error}", source.display()))?;
        let added = add(&mut archive, &own, source, target, DEPTH_MAX);
        added.map_err(|error| format!("--add {}:{target}: {error}", source.display()))?;
    }
    Ok(archive)
}

/// Adds a file, or a directory with all that is in it. `own` are the paths of what the initramfs has anyway.
fn add(archive: &mut Archive, own: &BTreeSet<String>, source: &Path, target: &str, depth: u32) -> Result<(), String> {
    let context = |error: std::io::Error| format!("{}: {error}", source.display());
    let meta = std::fs::symlink_metadata(source).map_err(context)?;
    let mode = meta.permissions().mode() & 0o7777;
    check_target(archive, own, target, meta.is_dir())?;
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
            let name = entry.file_name().into_string();
            let name = name.map_err(|name| format!("{}: a name that is not UTF-8", source.join(name).display()))?;
            add(archive, own, &entry.path(), &format!("{target}/{name}"), depth - 1)?;
        }
    } else if !meta.is_file() {
        return Err(format!("{}: not a file, a directory or a symbolic link", source.display()));
    } else if meta.len() > u64::from(u32::MAX) {
        return Err(format!("{}: larger than 4 GiB, which a cpio cannot hold", source.display()));
    } else {
        let bytes = std::fs::read(source).map_err(context)?;
        let checked = match clean(target).as_str() {
            CMDLINE => check::cmdline(&bytes).map(drop),
            CA => check::certificates(&bytes),
            _ => Ok(()),
        };
        checked.map_err(|error| format!("{}: {error}", source.display()))?;
        archive.file(target, mode, bytes);
    }
    Ok(())
}

/// Whether something may be added at `target`.
fn check_target(archive: &Archive, own: &BTreeSet<String>, target: &str, is_directory: bool) -> Result<(), String> {
    if target.split('/').any(|part| part == "..") {
        return Err("'..' leads out of the initramfs: write the whole path".into());
    }
    let target = clean(target);
    if target.is_empty() {
        return if is_directory { Ok(()) } else { Err("names no place: write SRC:/PATH".into()) };
    }
    for (at, _) in target.match_indices('/') {
        if archive.is_directory(&target[..at]) == Some(false) {
            return Err(format!("/{} is not a directory there", &target[..at]));
        }
    }
    match archive.is_directory(&target) {
        _ if !is_directory && MOUNT_POINTS.iter().any(|path| is_below(path, &target)) => {
            Err(format!("/{target} must be a directory: the boot mounts file systems there"))
        }
        _ if is_directory && [CMDLINE, CA].contains(&target.as_str()) => Err(format!("/{target} must be a file")),
        Some(false) if target == "init" => Err("/init is ocinit itself (--init)".into()),
        Some(false) if own.contains(&target) => Err(format!("/{target} is one of our own files")),
        Some(false) if is_directory => Err(format!("/{target} is not a directory there")),
        Some(true) if !is_directory => Err(format!("/{target} is a directory there")),
        // Kernel modules come later; the kernel would replace what is in the place of their directories.
        None if !is_directory && own.iter().any(|path| is_below(path, &target)) => {
            Err(format!("/{target} must be a directory: kernel modules are in it"))
        }
        _ => Ok(()),
    }
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/') || rest.is_empty())
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
        let names = [
            "dev\0",
            "dev/console\0",
            "dev/null\0",
            "etc/ocinit/cmdline\0",
            "b2c.run=alpine",
            "binary",
            "user\0",
            "usr_mods\0",
            "TRAILER!!!",
        ];
        let places: Vec<_> = names.iter().map(|name| text.find(name).expect(name)).collect();
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
        let own = BTreeSet::new();
        add(&mut archive, &own, &dir, "opt", DEPTH_MAX).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        let mut expected = Archive::new();
        let mode = if archive.is_empty() { 0 } else { 0o755 };
        expected.directory("opt", mode);
        expected.symlink("opt/link", "sub/tool");
        expected.directory("opt/sub", mode);
        expected.file("opt/sub/tool", 0o4750, "x");
        assert_eq!(archive.to_bytes(0), expected.to_bytes(0));
        assert!(add(&mut archive, &own, &dir, "opt", DEPTH_MAX).unwrap_err().contains("No such file"));
    }

    /// Directories that boot loaders put files into are there in every initramfs.
    /// Promise: files-of-boot-loaders
    #[test]
    fn boot_loaders_find_their_directories() {
        let archive = base(&Spec::new(b"binary".to_vec(), Compression::None)).unwrap();
        for directory in ["etc", "etc/ocinit", "user", "usr_mods"] {
            assert_eq!(archive.is_directory(directory), Some(true), "{directory}");
        }
    }

    /// Promise: build-checks
    #[test]
    fn nothing_is_added_over_what_a_machine_needs() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("root/etc")).unwrap();
        std::fs::create_dir_all(at("with-init/bin")).unwrap();
        std::fs::create_dir_all(at("init-directory/init")).unwrap();
        std::fs::create_dir_all(at("merged")).unwrap();
        std::fs::write(at("file"), "x").unwrap();
        std::fs::write(at("root/etc/hosts"), "x").unwrap();
        std::fs::write(at("with-init/init"), "x").unwrap();
        std::os::unix::fs::symlink("usr/lib", at("merged/lib")).unwrap();
        let build = |pairs: &[(&str, &str)], cmdline: bool| {
            let mut spec = Spec::new(b"binary".to_vec(), Compression::None);
            spec.cmdline = cmdline.then(|| b"b2c.run=a".to_vec());
            spec.added = pairs.iter().map(|(source, target)| (at(source), target.to_string())).collect();
            base(&spec).map(drop)
        };
        for pairs in [
            &[("file", "/user/job.env")][..],
            &[("file", "x"), ("file", "//y/./z")],
            &[("root", "/"), ("file", "/etc/ocinit/auth.json")],
            &[("with-init", "/opt")],
            &[("merged", "/")],
            &[("file", "/x"), ("file", "/x")],
            &[("file", "/etc/ocinit/cmdline")],
            &[("file", "/..data"), ("file", "/a/...")],
        ] {
            assert_eq!(build(pairs, false), Ok(()), "{pairs:?}");
        }
        for (pairs, why) in [
            (&[("file", "/init")][..], "/init is ocinit itself (--init)"),
            (&[("file", ".//init/")], "/init is ocinit itself (--init)"),
            (&[("with-init", "/")], "/init is ocinit itself (--init)"),
            (&[("init-directory", "/")], "/init is ocinit itself (--init)"),
            (&[("file", "/init/x")], "/init is not a directory there"),
            (&[("file", "/x"), ("file", "/x/y")], "/x is not a directory there"),
            (&[("file", "/dev/console")], "/dev/console is one of our own files"),
            (&[("file", "/etc/ocinit/cmdline")], "/etc/ocinit/cmdline is one of our own files"),
            (&[("file", "/etc")], "/etc is a directory there"),
            (&[("file", "/user")], "/user is a directory there"),
            (&[("file", "/")], "names no place"),
            (&[("file", "")], "names no place"),
            (&[("file", "../x")], "'..' leads out"),
            (&[("file", "/a/../../x")], "'..' leads out"),
            (&[("file", "/a/..")], "'..' leads out"),
            (&[("none", "/x")], "none:/x: No such file"),
        ] {
            let told = build(pairs, true).unwrap_err();
            let last = pairs.last().unwrap();
            let named = format!("--add {}:{}: ", at(last.0).display(), last.1);
            assert!(told.starts_with(&named) && told.contains(why), "{told}\nnot {why}");
        }
    }
}
