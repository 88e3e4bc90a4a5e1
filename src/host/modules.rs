//! Kernel modules for the initramfs: those of a profile and those named, with all that
//! they depend on, and a `modules.dep`, `modules.alias` and `modules.softdep` of this set.
//!
//! Dependencies and aliases are read from the modules' own `.modinfo` sections, so a
//! directory in which depmod(8) has never run can be used.

mod profile;

pub use profile::Profile;

use super::compress::expand;
use super::cpio::Archive;
use super::elf;
use crate::kernel::pure::modules_dep::{name, same_name, soft};
use profile::in_profile;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A module, decompressed.
struct Module {
    data: Vec<u8>,
    info: Info,
}

#[derive(Default)]
struct Info {
    depends: Vec<String>,
    aliases: Vec<String>,
    /// In modinfo's form: `pre: a b post: c`.
    softdeps: Vec<String>,
}

/// A set of modules that contains all their dependencies.
pub struct Set {
    pub release: String,
    /// By path below `/lib/modules/RELEASE/`, without a compressor's suffix.
    modules: BTreeMap<String, Module>,
}

/// Selects modules from `dir`: `…/lib/modules/RELEASE`, or a directory above it. Modules
/// of the profile that the kernel does not have are left out; one of `names` that is
/// neither a module nor built in is an error.
pub fn select(dir: &Path, profile: Profile, names: &[String]) -> Result<Set, String> {
    let dir = release_dir(dir)?;
    let release = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut files = Vec::new();
    walk(&dir, "", &mut files)?;
    files.sort();
    if files.is_empty() {
        return Err(format!("{}: there are no kernel modules in it", dir.display()));
    }
    let read = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap_or_default();
    let alias = std::fs::read_to_string(dir.join("modules.alias")).map(OnceCell::from).unwrap_or_default();
    let (builtin, builtin_info) = (read("modules.builtin"), read("modules.builtin.modinfo"));
    let source = ModuleDir { alias, builtin, builtin_info, dir, files };
    let mut set = Set { release, modules: BTreeMap::new() };
    for path in source.files.iter().filter(|path| in_profile(path, profile)) {
        source.take(path, &mut set)?;
    }
    for wanted in names {
        match source.find(wanted) {
            Some(path) => source.take(path, &mut set)?,
            None if source.is_builtin(wanted) => {}
            None => return Err(format!("{}: no module {wanted}", source.dir.display())),
        }
    }
    Ok(set)
}

impl Set {
    /// The architecture of the kernel that they are for; none if there are none.
    pub fn architecture(&self) -> Option<String> {
        self.modules.values().find_map(|module| elf::architecture(&module.data))
    }

    pub fn len(&self) -> usize {
        self.modules.len()
    }

    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }

    pub fn names(&self) -> Vec<&str> {
        self.modules.keys().map(|path| name(path)).collect()
    }

    /// The modules' paths below `lib/modules/RELEASE`, each after those that it depends on.
    pub fn load_order(&self) -> Vec<&str> {
        let mut order = Vec::new();
        for path in self.modules.keys() {
            self.put_in_order(path, &mut order);
        }
        order
    }

    fn put_in_order<'a>(&'a self, path: &'a str, order: &mut Vec<&'a str>) {
        if order.contains(&path) {
            return;
        }
        for need in self.modules.get(path).map_or(&[][..], |module| &module.info.depends) {
            if let Some(found) = self.modules.keys().find(|other| same_name(name(other), need)) {
                self.put_in_order(found, order);
            }
        }
        order.push(path);
    }

    /// Removes the modules' signatures. Checking them takes most of the time of loading
    /// (9 modules under software emulation: 160 ms with, 30 ms without), and they do not
    /// compress. A kernel that requires them (`module.sig_enforce`, lockdown under Secure
    /// Boot) refuses such modules; any other loads them and marks itself as tainted.
    pub fn strip_signatures(&mut self) {
        for module in self.modules.values_mut() {
            module.data.truncate(unsigned_len(&module.data));
        }
    }

    /// Adds the modules and their indexes below `lib/modules/RELEASE`.
    pub fn add_to(&self, archive: &mut Archive) {
        let top = format!("lib/modules/{}", self.release);
        let (mut dep, mut alias, mut softdep) = (String::new(), String::new(), String::new());
        for (path, module) in &self.modules {
            archive.file(&format!("{top}/{path}"), 0o644, module.data.clone());
            dep.push_str(path);
            dep.push(':');
            for need in &module.info.depends {
                if let Some(found) = self.modules.keys().find(|path| same_name(name(path), need)) {
                    dep.push(' ');
                    dep.push_str(found);
                }
            }
            dep.push('\n');
            let name = name(path).replace('-', "_");
            for pattern in &module.info.aliases {
                alias.push_str(&format!("alias {pattern} {name}\n"));
            }
            for words in &module.info.softdeps {
                softdep.push_str(&format!("softdep {name} {words}\n"));
            }
        }
        for (file, text) in [("modules.dep", dep), ("modules.alias", alias), ("modules.softdep", softdep)] {
            if !text.is_empty() {
                archive.file(&format!("{top}/{file}"), 0o644, text);
            }
        }
    }
}

/// A kernel's module directory.
struct ModuleDir {
    dir: PathBuf,
    files: Vec<String>,
    /// `modules.alias`; if depmod(8) has not written it, it is made when first needed.
    alias: OnceCell<String>,
    builtin: String,
    /// `modules.builtin.modinfo`: `NAME.KEY=VALUE`, each ended by a NUL.
    builtin_info: String,
}

impl ModuleDir {
    fn find(&self, wanted: &str) -> Option<&str> {
        self.files.iter().map(String::as_str).find(|path| same_name(name(path), wanted))
    }

    fn is_builtin(&self, wanted: &str) -> bool {
        self.builtin.lines().any(|path| same_name(name(path), wanted))
    }

    fn has_builtin_alias(&self, wanted: &str) -> bool {
        let alias = |entry: &'_ str| entry.split_once(".alias=").is_some_and(|(_, alias)| same_name(alias, wanted));
        self.builtin_info.split('\0').any(alias)
    }

    fn aliases(&self) -> &str {
        self.alias.get_or_init(|| {
            let read = |path: &String| info(&expand(std::fs::read(self.dir.join(path)).ok()?).ok()?);
            let lines = |path: &String| {
                let aliases = read(path).map(|info| info.aliases).unwrap_or_default();
                aliases.iter().map(|alias| format!("alias {alias} {}\n", name(path))).collect::<String>()
            };
            self.files.iter().map(lines).collect()
        })
    }

    /// Adds a module and all that it depends on to `set`.
    fn take(&self, path: &str, set: &mut Set) -> Result<(), String> {
        let plain = match path.find(".ko") {
            Some(end) => &path[..end + 3],
            None => path,
        };
        if set.modules.contains_key(plain) {
            return Ok(());
        }
        let file = self.dir.join(path);
        let context = |error: String| format!("{}: {error}", file.display());
        let data = std::fs::read(&file).map_err(|error| context(error.to_string()))?;
        let data = expand(data).map_err(context)?;
        let info = info(&data).ok_or_else(|| context("not a kernel module".into()))?;
        let (needs, softdeps) = (info.depends.clone(), info.softdeps.clone());
        set.modules.insert(plain.to_string(), Module { data, info });
        for need in needs {
            match self.find(&need) {
                Some(path) => self.take(path, set)?,
                None if self.is_builtin(&need) => {}
                None => return Err(context(format!("depends on {need}, which is missing"))),
            }
        }
        for words in softdeps {
            for wanted in soft(&format!("softdep x {words}"), "x") {
                self.take_soft(wanted, set)?;
            }
        }
        Ok(())
    }

    /// Adds a soft dependency. It may be an alias (`crc32c`), and it may be missing.
    fn take_soft(&self, wanted: &str, set: &mut Set) -> Result<(), String> {
        if let Some(path) = self.find(wanted) {
            return self.take(path, set);
        }
        let mut found = Vec::new();
        if !self.is_builtin(wanted) && !self.has_builtin_alias(wanted) {
            crate::kernel::pure::modules_dep::for_devices(self.aliases(), &[wanted.to_string()], &mut |name| {
                found.push(name)
            });
        }
        for path in found.into_iter().filter_map(|name| self.find(name)) {
            self.take(path, set)?;
        }
        Ok(())
    }
}

/// Finds `…/lib/modules/RELEASE`: `dir` itself, or below it if there is exactly one release.
fn release_dir(dir: &Path) -> Result<PathBuf, String> {
    if dir.join("kernel").is_dir() {
        return dir.canonicalize().map_err(|error| format!("{}: {error}", dir.display()));
    }
    for below in ["", "lib/modules", "usr/lib/modules"] {
        let Ok(entries) = std::fs::read_dir(dir.join(below)) else { continue };
        let mut releases: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        releases.retain(|path| path.join("kernel").is_dir());
        match releases.as_slice() {
            [] => {}
            [one] => return Ok(one.clone()),
            _ => {
                return Err(format!(
                    "{}: modules of more than one kernel: give the directory of one",
                    dir.join(below).display()
                ))
            }
        }
    }
    Err(format!("{}: no kernel modules (looked for lib/modules/RELEASE/kernel)", dir.display()))
}

/// All module files below `dir`, as paths relative to it.
fn walk(dir: &Path, below: &str, files: &mut Vec<String>) -> Result<(), String> {
    let here = dir.join(below);
    let entries = std::fs::read_dir(&here).map_err(|error| format!("{}: {error}", here.display()))?;
    for entry in entries.flatten() {
        let file_name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { file_name.clone() } else { format!("{below}/{file_name}") };
        // Links are not followed: `build` and `source` lead to the kernel's sources.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(dir, &path, files)?,
            Ok(kind)
                if kind.is_file() && [".ko", ".ko.xz", ".ko.zst", ".ko.gz"].iter().any(|end| path.ends_with(end)) =>
            {
                files.push(path);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Parses the `.modinfo` section: NUL-terminated `key=value` strings.
fn info(elf: &[u8]) -> Option<Info> {
    let mut info = Info::default();
    for text in section(elf, b".modinfo")?.split(|b| *b == 0).filter_map(|text| std::str::from_utf8(text).ok()) {
        match text.split_once('=') {
            Some(("depends", list)) => {
                info.depends = list.split(',').filter(|name| !name.is_empty()).map(str::to_string).collect();
            }
            Some(("alias", pattern)) => info.aliases.push(pattern.to_string()),
            Some(("softdep", words)) => info.softdeps.push(words.to_string()),
            _ => {}
        }
    }
    Some(info)
}

/// What follows `struct module_signature` (include/linux/module_signature.h).
const SIGNATURE_MARK: &[u8] = b"~Module signature appended~\n";
const SIGNATURE_HEADER_BYTES: usize = 12;

/// A module's length without its signature. What is appended to a module is the
/// signature, 12 bytes that end in its length (big-endian), and the mark.
fn unsigned_len(data: &[u8]) -> usize {
    let strip = || {
        let rest = data.strip_suffix(SIGNATURE_MARK)?;
        let (rest, len) = rest.split_last_chunk::<4>()?;
        let signature = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        rest.len().checked_sub(SIGNATURE_HEADER_BYTES - 4)?.checked_sub(signature)
    };
    strip().unwrap_or(data.len())
}

/// Finds a section of a little-endian ELF file of 32 or 64 bits.
fn section<'a>(elf: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let wide = match elf.get(..6)? {
        [0x7f, b'E', b'L', b'F', 2, 1] => true,
        [0x7f, b'E', b'L', b'F', 1, 1] => false,
        _ => return None,
    };
    let number = |at: usize, len: usize| -> Option<usize> {
        let bytes = elf.get(at..at.checked_add(len)?)?;
        Some(bytes.iter().rev().fold(0usize, |value, byte| value << 8 | *byte as usize))
    };
    let word = if wide { 8 } else { 4 };
    let (headers, sizes) = if wide { (number(0x28, 8)?, 0x3a) } else { (number(0x20, 4)?, 0x2e) };
    let (header_len, count, names) = (number(sizes, 2)?, number(sizes + 2, 2)?, number(sizes + 4, 2)?);
    // Offset and size follow name, type, flags and address.
    let body = |index: usize| -> Option<&'a [u8]> {
        let header = headers.checked_add(index.checked_mul(header_len)?)?;
        let (offset, len) = (number(header + 8 + 2 * word, word)?, number(header + 8 + 3 * word, word)?);
        elf.get(offset..offset.checked_add(len)?)
    };
    let strings = body(names)?;
    (0..count).find_map(|index| {
        let name = number(headers + index * header_len, 4)?;
        let found = strings.get(name..)?.split(|b| *b == 0).next()?;
        if found == wanted {
            body(index)
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A minimal 64-bit ELF file with a `.modinfo` of these strings.
    fn module(strings: &[&str]) -> Vec<u8> {
        let modinfo: Vec<u8> = strings.iter().flat_map(|text| [text.as_bytes(), b"\0"].concat()).collect();
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.resize(64, 0);
        let at_info = elf.len();
        elf.extend_from_slice(&modinfo);
        let at_names = elf.len();
        elf.extend_from_slice(names);
        let headers = elf.len();
        elf[0x28..0x30].copy_from_slice(&(headers as u64).to_le_bytes());
        elf[0x3a..0x40].copy_from_slice(&[64, 0, 3, 0, 2, 0]);
        for (name, offset, len) in [(0u32, 0, 0), (1, at_info, modinfo.len()), (10, at_names, names.len())] {
            let mut header = name.to_le_bytes().to_vec();
            header.resize(24, 0);
            header.extend_from_slice(&(offset as u64).to_le_bytes());
            header.extend_from_slice(&(len as u64).to_le_bytes());
            header.resize(64, 0);
            elf.extend_from_slice(&header);
        }
        elf
    }

    fn module_dir(name: &str) -> PathBuf {
        let top = std::env::temp_dir().join(format!("ocinit-modules-{name}-{}", std::process::id()));
        let dir = top.join("lib/modules/6.1.0-test");
        let put = |path: &str, data: Vec<u8>| {
            let file = dir.join("kernel").join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, data).unwrap();
        };
        put("drivers/virtio/virtio.ko", module(&["license=GPL", "depends="]));
        put("drivers/virtio/virtio_pci.ko", module(&["alias=pci:v00001AF4d*sv*", "depends=virtio,builtin_one"]));
        let net = module(&["depends=net-failover,virtio", "alias=virtio:d00000001v*"]);
        let mut gz = flate2::read::GzEncoder::new(&net[..], flate2::Compression::fast());
        let mut packed = Vec::new();
        std::io::Read::read_to_end(&mut gz, &mut packed).unwrap();
        put("drivers/net/virtio-net.ko.gz", packed);
        put("drivers/net/net_failover.ko", module(&["depends="]));
        put("fs/ext4/ext4.ko", module(&["softdep=pre: crc32c", "alias=fs-ext4", "depends="]));
        put("crypto/crc32c_generic.ko", module(&["alias=crypto-crc32c", "depends="]));
        put("drivers/net/ethernet/acme/card.ko", module(&["depends=", "alias=pci:v00000ACEd*"]));
        std::fs::write(dir.join("modules.builtin"), "kernel/lib/builtin_one.ko\n").unwrap();
        std::fs::write(dir.join("modules.alias"), "alias crc32c crc32c_generic\n").unwrap();
        top
    }

    /// The module with the alias `crypto-crc32c` is found in the modules themselves, unless it is built in.
    /// Promise: soft-dependencies
    #[test]
    fn soft_dependencies_by_alias_without_depmod() {
        let top = module_dir("soft");
        let dir = top.join("lib/modules/6.1.0-test");
        std::fs::remove_file(dir.join("modules.alias")).unwrap();
        std::fs::write(dir.join("kernel/fs/ext4/ext4.ko"), module(&["softdep=pre: crypto-crc32c", "depends="]))
            .unwrap();
        let scanned = select(&top, Profile::None, &["ext4".into()]).unwrap();
        std::fs::write(dir.join("modules.builtin.modinfo"), "a.license=GPL\0a.alias=crypto-crc32c\0").unwrap();
        let builtin = select(&top, Profile::None, &["ext4".into()]).unwrap();
        std::fs::remove_dir_all(&top).unwrap();
        assert_eq!((scanned.names(), builtin.names()), (vec!["crc32c_generic", "ext4"], vec!["ext4"]));
    }

    #[test]
    fn a_profile_is_closed_over_its_dependencies() {
        let top = module_dir("vm");
        let set = select(&top, Profile::Vm, &[]).unwrap();
        let lab = select(&top.join("lib/modules/6.1.0-test"), Profile::Lab, &[]).unwrap();
        let none = select(&top, Profile::None, &["virtio_net".into(), "builtin-one".into()]).unwrap();
        let missing = select(&top, Profile::None, &["nothere".into()]).err().unwrap();
        std::fs::remove_dir_all(&top).unwrap();
        assert_eq!(set.names(), ["crc32c_generic", "net_failover", "virtio-net", "virtio", "virtio_pci", "ext4"]);
        assert!(lab.names().contains(&"card"));
        let order = set.load_order();
        let place = |wanted: &str| order.iter().position(|path| name(path) == wanted).unwrap();
        assert_eq!(order.len(), set.len());
        assert!(place("net_failover") < place("virtio-net") && place("virtio") < place("virtio-net"), "{order:?}");
        assert!(place("virtio") < place("virtio_pci"), "{order:?}");
        assert_eq!(none.names(), ["net_failover", "virtio-net", "virtio"]);
        assert!(missing.ends_with("no module nothere"), "{missing}");
        let mut archive = Archive::new();
        set.add_to(&mut archive);
        let text = String::from_utf8_lossy(&archive.to_bytes(0)).into_owned();
        for line in [
            "kernel/drivers/net/virtio-net.ko: kernel/drivers/net/net_failover.ko kernel/drivers/virtio/virtio.ko\n",
            "kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio.ko\n",
            "alias virtio:d00000001v* virtio_net\n",
            "alias fs-ext4 ext4\n",
            "softdep ext4 pre: crc32c\n",
            "lib/modules/6.1.0-test/kernel/drivers/net/virtio-net.ko\0",
        ] {
            assert!(text.contains(line), "{line}");
        }
    }

    #[test]
    fn a_broken_module_is_an_error_and_no_panic() {
        let whole = module(&["depends=a"]);
        assert_eq!(info(&whole).unwrap().depends, ["a"]);
        for len in 0..whole.len() {
            let _ = info(&whole[..len]);
        }
        assert!(info(b"text").is_none());
    }

    #[test]
    fn signatures_are_cut_off() {
        let signed = [&b"module"[..], &[0xaa; 300], &[0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 44], SIGNATURE_MARK].concat();
        assert_eq!(unsigned_len(&signed), 6);
        assert_eq!(unsigned_len(b"module"), 6);
        // A length beyond the file's start: the file is left unchanged.
        let lying = [&b"module"[..], &[0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 44], SIGNATURE_MARK].concat();
        assert_eq!(unsigned_len(&lying), lying.len());
    }

    #[test]
    fn a_directory_without_modules_is_named() {
        let text = select(Path::new("/nonexistent"), Profile::Vm, &[]).err().unwrap();
        assert!(text.starts_with("/nonexistent: no kernel modules"), "{text}");
    }
}
