//! Loads modules, with what they depend on, from the initramfs.

use crate::files;
use crate::inflate::Inflate;
use crate::kernel::pure::modprobe;
use crate::kernel::pure::modules_dep::{self, Lookup, Texts};
use crate::kernel::settings::{self, Settings};
use crate::report::Report;
use crate::sys::{io_text, machine, Error};
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

const STEP: &str = "drivers";
/// Where directories of modules are. The second is a merged /usr's, unpacked beside our own /lib.
const TOPS: [&str; 2] = ["/lib/modules/", "/usr/lib/modules/"];
/// The largest module that is decompressed here.
const MODULE_MAX: u64 = 256 << 20;

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
        let dirs = TOPS.map(|top| [top, &release, "/"].concat());
        let dir = dirs.iter().find(|dir| Path::new(dir).is_dir()).unwrap_or(&dirs[0]).clone();
        let read = |name: &str| fs::read(Path::new(&dir).join(name)).map(|b| String::from_utf8_lossy(&b).into_owned());
        let dep = read("modules.dep");
        if let (Err(_), Some(report)) = (&dep, report) {
            tell_none(&release, &dir, report);
        }
        let text = |name| if dep.is_ok() { read(name).unwrap_or_default() } else { String::new() };
        let (alias, softdep) = (text("modules.alias"), text("modules.softdep"));
        // Without modules, only `b2c.insmods` needs the settings.
        let settings = if dep.is_ok() || report.is_some() { settings::read(report) } else { Settings::default() };
        Modules { alias, softdep, dep: dep.unwrap_or_default(), settings, dir }
    }

    /// Whether there are none: all drivers are built in.
    pub fn is_empty(&self) -> bool {
        self.dep.is_empty()
    }

    /// Loads a driver for each of `devices` (modaliases), network cards first.
    pub fn drive(&self, devices: &[String], done: &mut Loaded, report: &Report) {
        let mut paths = Vec::new();
        for aliases in [&self.settings.conf, &self.alias] {
            modules_dep::for_devices(aliases, devices, &mut |name| {
                if let Some(path) = modules_dep::find_path(&self.dep, name) {
                    if !paths.contains(&path) {
                        paths.push(path);
                    }
                }
            });
        }
        // Network first: its link and DHCP take longest.
        paths.sort_by_key(|path| !path.contains("/net/"));
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
            done.once(name, &|| report.line(STEP, [name, ": never loaded, as modprobe.d says"].concat()));
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
            done.once(name, &|| report.line(STEP, [name, ": on the blacklist, not loaded"].concat()));
        }
        kept_out
    }
}

/// Tells why no module is found, unless the initramfs has none at all.
fn tell_none(release: &str, dir: &str, report: &Report) {
    if Path::new(dir).is_dir() {
        let how = [" is missing, so no module is found: 'depmod -b DIR ", release, "' writes it"].concat();
        return report.warn(STEP, [dir, "modules.dep", &how].concat());
    }
    let mut others = String::new();
    for top in TOPS {
        for entry in fs::read_dir(top).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
            others.extend([" ", &*entry.file_name().to_string_lossy()]);
        }
    }
    if !others.is_empty() {
        let what = ["the initramfs has the modules of", &others, ", and this kernel is ", release];
        report.warn(STEP, [&what.concat(), ": none of them can be loaded"].concat());
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

    /// Calls `tell` unless the same was told before.
    pub fn once(&mut self, what: &str, tell: &dyn Fn()) {
        if !self.told.iter().any(|told| told == what) {
            self.told.push(what.into());
            tell();
        }
    }

    /// Loads the module in the file `path`. A failure is a warning: whether it matters is known to the step that needs
    /// the module.
    pub fn insert(&mut self, path: &str, conf: &str, report: &Report) {
        let name = modules_dep::name(path);
        let state = ["/sys/module/", &name.replace('-', "_"), "/initstate"].concat();
        // One that another thread is loading is "coming": finit_module(2) waits for it and fails with EEXIST.
        if fs::read_to_string(state).is_ok_and(|state| state.trim_end() == "live") {
            return;
        }
        if let Some(command) = modprobe::install(conf, name) {
            let what = [name, ": a command of modprobe.d is not run: ", command].concat();
            self.once(&what, &|| report.warn(STEP, &what));
        }
        let params = CString::new(modprobe::options(conf, name)).unwrap_or_default();
        match load_file(path, &params) {
            Ok(()) => self.count += 1,
            Err(Refused::Loaded) => {}
            Err(Refused::Like(why)) => self.once(why, &|| report.warn(STEP, [path, ": ", why].concat())),
            Err(Refused::Alone(mut why)) => {
                if modprobe::is_blacklisted(conf, name) {
                    why.push_str(", as module_blacklist= on the kernel's line says");
                }
                self.once(path, &|| report.warn(STEP, [path, ": ", &why].concat()));
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
enum Refused {
    /// It is loaded already.
    Loaded,
    /// For a reason that other modules have, too.
    Like(&'static str),
    Alone(String),
}

fn load_file(path: &str, params: &CStr) -> Result<(), Refused> {
    let file = files::open(Path::new(path)).map_err(|why| Refused::Alone(["open: ", &why].concat()))?;
    let mut start = [0; 6];
    // A file that is too short is no module, and the kernel says so.
    let _ = file.read_at(&mut start, 0);
    let Some(packing) = packing(&start) else {
        return machine::finit_module(file.as_fd(), params, false).map_err(|error| refused(&error));
    };
    // It has one format at most, and says which (since Linux 5.17).
    if fs::read_to_string("/sys/module/compression").is_ok_and(|own| own.trim_end() == packing) {
        return machine::finit_module(file.as_fd(), params, true).map_err(|error| refused(&error));
    }
    if packing == "xz" {
        return Err(Refused::Like(
            "packed with xz, which this kernel does not unpack: unpack it (ocinit-host build --kernel-modules does)",
        ));
    }
    let module = unpack(file).map_err(|error| Refused::Alone(io_text(&error)))?;
    let module = module.ok_or_else(|| Refused::Alone(files::too_large(MODULE_MAX)))?;
    machine::init_module(&module, params).map_err(|error| refused(&error))
}

/// How a file that begins so is packed, in the kernel's words.
fn packing(start: &[u8; 6]) -> Option<&'static str> {
    match start {
        [0x1f, 0x8b, ..] => Some("gzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("zstd"),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Some("xz"),
        _ => None,
    }
}

fn unpack(mut file: File) -> std::io::Result<Option<Vec<u8>>> {
    files::read_stream(&mut Inflate::new(&mut file, &mut |_| Ok(())), MODULE_MAX)
}

/// The reason of an error of finit_module(2).
fn refused(error: &Error) -> Refused {
    match error.errno {
        libc::EEXIST => Refused::Loaded,
        libc::ENOEXEC => Refused::Like("not built for this kernel (the kernel's log says more: loglevel=7)"),
        libc::EKEYREJECTED | libc::ENOKEY | libc::EBADMSG => {
            Refused::Like("the kernel takes only modules that are signed by its own key")
        }
        libc::ENOENT => Refused::Alone("needs a symbol or a parameter that this kernel does not have".into()),
        _ => Refused::Alone(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(refused: Refused) -> String {
        match refused {
            Refused::Loaded => "loaded".into(),
            Refused::Like(why) => ["all: ", why].concat(),
            Refused::Alone(why) => why,
        }
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
            assert_eq!(packing(&start), Some(expected));
            use std::io::Seek;
            file.rewind().unwrap();
            assert!(unpack(file).unwrap().unwrap() == raw, "{expected}");
        }
        assert_eq!(packing(b"\x7fELF\x02\x01"), None);
    }

    #[test]
    fn errors_of_the_kernel_in_words() {
        let of = |errno| text(refused(&Error::new("finit_module", errno)));
        assert_eq!(of(libc::EEXIST), "loaded");
        assert!(of(libc::ENOEXEC).starts_with("all: not built for this kernel"));
        assert!(of(libc::EKEYREJECTED).starts_with("all: the kernel takes only modules that are signed"));
        assert!(of(libc::ENOENT).contains("symbol"));
        assert_eq!(of(libc::EPERM), "finit_module: operation not permitted");
    }
}
