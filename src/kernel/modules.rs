//! Loads modules, with what they depend on, from the initramfs.

use crate::files;
use crate::inflate::Inflate;
use crate::kernel::pure::modprobe;
use crate::kernel::pure::modules_dep::{self, Lookup, Texts};
use crate::kernel::settings::{self, Settings};
use crate::report::Report;
use crate::sys::{io_text, machine, Error};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

const STEP: &str = "drivers";
const TOP: &str = "/lib/modules/";
/// The largest module that is decompressed here.
const MODULE_MAX: usize = 256 << 20;
const BUFFER_BYTES: usize = 64 << 10;
const XZ: &str =
    "packed with xz, which this kernel does not unpack: unpack it (ocinit-host build --kernel-modules does)";
const NOT_PERMITTED: &str = "operation not permitted";
const LISTED: &str = ", as module_blacklist= on the kernel's line says";

/// The modules of the running kernel, and what the machine wants of them.
pub struct Modules {
    dir: String,
    dep: String,
    alias: String,
    softdep: String,
    pub settings: Settings,
}

impl Modules {
    /// Reads depmod's files and the settings. Why there are no modules is told, where there is a report.
    pub fn open(report: Option<&Report>) -> Modules {
        let release = machine::kernel_release().unwrap_or_default();
        let dir = [TOP, &release, "/"].concat();
        let text = |name: &str| settings::text(&[&dir, name].concat());
        let (dep, settings) = match (text("modules.dep"), report) {
            (Some(dep), _) => (dep, settings::read()),
            (None, Some(report)) => {
                tell_none(&release, &dir, report);
                // Files of `b2c.insmods` have parameters, too.
                (String::new(), settings::read())
            }
            (None, None) => Default::default(),
        };
        let [alias, softdep] = ["modules.alias", "modules.softdep"].map(|name| text(name).unwrap_or_default());
        Modules { alias, softdep, dep, settings, dir }
    }

    /// Whether there are none: all drivers are built in.
    pub fn is_empty(&self) -> bool {
        self.dep.is_empty()
    }

    /// Loads a driver for each of `devices` (modaliases), network cards first.
    pub fn drive(&self, devices: &[String], done: &mut Loaded, report: &Report) {
        // Network first: its link and DHCP take longest.
        let (mut paths, mut cards) = (Vec::new(), 0);
        for aliases in [&self.settings.conf, &self.alias] {
            modules_dep::for_devices(aliases, devices, &mut |name| {
                let Some(path) = modules_dep::find_path(&self.dep, name).filter(|path| !paths.contains(path)) else {
                    return;
                };
                if path.contains("/net/") {
                    paths.insert(cards, path);
                    cards += 1;
                } else {
                    paths.push(path);
                }
            });
        }
        for path in paths {
            let name = modules_dep::name(path);
            if !self.is_kept_out(name, done, report) {
                self.want(name, done, report);
            }
        }
    }

    /// Loads a module by name or alias, with its dependencies; false if there is none. One that is named is loaded even
    /// if it is on the blacklist, as modprobe(8) does.
    pub fn want(&self, wanted: &str, done: &mut Loaded, report: &Report) -> bool {
        let texts = Texts { dep: &self.dep, softdep: &self.softdep, alias: &self.alias, conf: &self.settings.conf };
        let mut order = Vec::new();
        let mut found = modules_dep::load_order(&texts, wanted, &mut order);
        if found == Lookup::Missing {
            for aliases in [&self.settings.conf, &self.alias] {
                modules_dep::for_devices(aliases, &[wanted.to_string()], &mut |name| {
                    if !self.is_kept_out(name, done, report) {
                        found = modules_dep::load_order(&texts, name, &mut order);
                    }
                });
            }
        }
        if let Lookup::Never(path) = found {
            let name = modules_dep::name(path);
            done.once(name, &[name, ": never loaded, as modprobe.d says"], report);
        }
        let before = done.count;
        for path in &order {
            done.insert(&[&self.dir, *path].concat(), &self.settings.conf, report);
        }
        if done.count > before {
            done.asked(wanted);
        }
        found != Lookup::Missing
    }

    /// Whether the blacklist keeps the module from devices and aliases.
    fn is_kept_out(&self, name: &str, done: &mut Loaded, report: &Report) -> bool {
        let kept_out = modprobe::is_blacklisted(&self.settings.conf, name);
        if kept_out && !is_loaded(name) {
            done.once(name, &[name, ": on the blacklist, not loaded"], report);
        }
        kept_out
    }
}

/// Tells why no module is found, unless the initramfs has none at all.
fn tell_none(release: &str, dir: &str, report: &Report) {
    if Path::new(dir).is_dir() {
        let how = [dir, "modules.dep is missing, so no module is found: 'depmod -b DIR ", release, "' writes it"];
        return report.warn(STEP, how.concat());
    }
    let mut others = String::new();
    for path in files::entries(Path::new(TOP)) {
        if path.is_dir() {
            others.extend([" ", &files::name(&path)]);
        }
    }
    if !others.is_empty() {
        let what =
            ["the initramfs has the modules of", &others, ", and this kernel is ", release, ": none can be loaded"];
        report.warn(STEP, what.concat());
    }
}

/// Whether the kernel has the module: loaded, or built in with parameters.
pub fn is_loaded(name: &str) -> bool {
    Path::new("/sys/module").join(name.replace('-', "_")).exists()
}

/// What was loaded: how many in all, and the names that were asked for.
#[derive(Default)]
pub struct Loaded {
    pub count: usize,
    names: String,
    /// What the console has said, so that it is said once.
    told: Vec<String>,
}

impl Loaded {
    pub fn asked(&mut self, name: &str) {
        if !self.names.is_empty() {
            self.names.push(' ');
        }
        self.names.push_str(name);
    }

    /// Says what `parts` make, unless it has said something about `about` before.
    pub fn once(&mut self, about: &str, parts: &[&str], report: &Report) {
        if !self.told.iter().any(|told| told == about) {
            self.told.push(about.into());
            report.line(STEP, parts.concat());
        }
    }

    /// Loads the module in the file `path`. A failure is a warning: whether it matters is known to the step that needs
    /// the module.
    pub fn insert(&mut self, path: &str, conf: &str, report: &Report) {
        let name = modules_dep::name(path);
        let state = ["/sys/module/", &name.replace('-', "_"), "/initstate"].concat();
        // One that another thread is loading is "coming": finit_module(2) waits for it and fails with EEXIST.
        if settings::text(&state).is_some_and(|state| state.starts_with("live")) {
            return;
        }
        if let Some(command) = modprobe::install(conf, name) {
            self.once(name, &["WARN ", name, ": a command of modprobe.d is not run: ", command], report);
        }
        let params = CString::new(modprobe::options(conf, name)).unwrap_or_default();
        match load_file(path, &params) {
            Ok(()) => self.count += 1,
            Err(Refused { why, .. }) if why.is_empty() => {}
            Err(Refused { why, all }) => {
                let listed =
                    if why.ends_with(NOT_PERMITTED) && modprobe::is_blacklisted(conf, name) { LISTED } else { "" };
                self.once(if all { &why } else { path }, &["WARN ", path, ": ", &why, listed], report);
            }
        }
    }

    /// `virtio_pci virtio_net overlay (7 modules)`; then counts anew.
    pub fn tell(&mut self, report: &Report) {
        match self.count {
            0 => {}
            1 => report.line(STEP, &self.names),
            count => report.line(STEP, [&self.names, " (", &count.to_string(), " modules)"].concat()),
        }
        self.count = 0;
        self.names.clear();
    }
}

/// Why a module is not loaded.
struct Refused {
    /// Empty if it is loaded already.
    why: String,
    /// Whether other modules are refused for the same reason.
    all: bool,
}

impl Refused {
    fn alone(why: String) -> Refused {
        Refused { why, all: false }
    }
}

fn load_file(path: &str, params: &CStr) -> Result<(), Refused> {
    let file = files::open(Path::new(path)).map_err(|why| Refused::alone(["open: ", &why].concat()))?;
    let mut start = [0; 6];
    // A file that is too short is no module, and the kernel says so.
    let _ = file.read_at(&mut start, 0);
    let packing = packing(&start);
    // The kernel unpacks one format at most, and says which (since Linux 5.17).
    let by_kernel = packing.is_empty()
        || settings::text("/sys/module/compression").is_some_and(|own| own.trim_ascii_end() == packing);
    let loaded = if by_kernel {
        machine::finit_module(file.as_fd(), params, !packing.is_empty())
    } else if packing == "xz" {
        return Err(Refused { why: XZ.into(), all: true });
    } else {
        machine::init_module(&unpack(file).map_err(|error| Refused::alone(io_text(&error)))?, params)
    };
    loaded.map_err(|error| refused(&error))
}

/// How a file that begins so is packed, in the kernel's words; empty if it is not.
fn packing(start: &[u8; 6]) -> &'static str {
    match start {
        [0x1f, 0x8b, ..] => "gzip",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [0xfd, b'7', b'z', b'X', b'Z', 0] => "xz",
        _ => "",
    }
}

fn unpack(mut file: File) -> std::io::Result<Vec<u8>> {
    let mut no_limit = |_| Ok(());
    let mut source = Inflate::new(&mut file, &mut no_limit);
    let (mut module, mut buffer) = (Vec::new(), vec![0; BUFFER_BYTES]);
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(module),
            _ if module.len() > MODULE_MAX => return Err(ErrorKind::FileTooLarge.into()),
            count => module.extend_from_slice(buffer.get(..count).unwrap_or_default()),
        }
    }
}

/// The reason of an error of finit_module(2).
fn refused(error: &Error) -> Refused {
    let why = match error.errno {
        libc::EEXIST => "",
        libc::ENOEXEC => "not built for this kernel (the kernel's log says more: loglevel=7)",
        libc::EKEYREJECTED | libc::ENOKEY | libc::EBADMSG => {
            "this kernel takes only modules that its own key has signed"
        }
        libc::ENOENT => return Refused::alone("needs a symbol or a parameter that this kernel does not have".into()),
        _ => return Refused::alone(error.to_string()),
    };
    Refused { why: why.into(), all: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(refused: Refused) -> String {
        [if refused.all { "all: " } else { "" }, &refused.why].concat()
    }

    #[test]
    fn what_is_no_module_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            load_file(&path.to_string_lossy(), c"").map_err(text).unwrap_err()
        };
        assert_eq!(text(load_file("/nonexistent", c"").unwrap_err()), "open: no such file or directory");
        assert!(at("a.ko.xz", b"\xfd7zXZ\0rest").starts_with("all: packed with xz"));
        // By its first bytes, whatever its name is.
        assert!(at("a.ko", b"\xfd7zXZ\0rest").starts_with("all: packed with xz"));
        assert_eq!(at("a.ko.gz", b"\x1f\x8bcut"), "gzip: unknown compression method");
        assert_eq!(at("a.ko.zst", b"\x28\xb5\x2f\xfd"), "zstd: truncated");
    }

    #[cfg(feature = "host")]
    #[test]
    fn a_packed_module_is_unpacked() {
        use std::io::Write;
        let raw: Vec<u8> = (0..1_000_000u32).map(|n| (n / 7) as u8).collect();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&raw).unwrap();
        let packed = [gzip.finish().unwrap(), zstd::bulk::compress(&raw, 3).unwrap()];
        for (bytes, expected) in packed.iter().zip(["gzip", "zstd"]) {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            let mut start = [0; 6];
            file.read_at(&mut start, 0).unwrap();
            assert_eq!(packing(&start), expected);
            use std::io::Seek;
            file.rewind().unwrap();
            assert!(unpack(file).unwrap() == raw, "{expected}");
        }
        assert_eq!(packing(b"\x7fELF\x02\x01"), "");
    }

    #[test]
    fn errors_of_the_kernel_in_words() {
        let of = |errno| text(refused(&Error::new("finit_module", errno)));
        assert_eq!(of(libc::EEXIST), "all: ");
        assert!(of(libc::ENOEXEC).starts_with("all: not built for this kernel"));
        assert!(of(libc::EKEYREJECTED).starts_with("all: this kernel takes only modules"));
        assert!(of(libc::ENOENT).contains("symbol"));
        assert_eq!(of(libc::EPERM), "finit_module: operation not permitted");
    }
}
