//! Loads kernel modules, by modalias (coldplug) or by name, in the order of modules.dep.
//!
//! No state is kept between calls: `/sys/module` has what is loaded. An initramfs
//! without modules costs one failed open.

use crate::files;
use crate::kernel::pure::modules_dep::{self, Texts};
use crate::report::Report;
use crate::sys::machine;
use std::ffi::CString;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

/// The directory of the files that `b2c.insmods` names.
const NAMED: &str = "/usr_mods";
/// A driver may add a bus with more devices, as virtio_pci does; a device behind
/// more buses than this is not needed to boot.
const ROUNDS_MAX: usize = 8;
/// The buses that lead to a network card, a disk or a console. The others (clocks,
/// memory banks, processors; ACPI, whose devices also appear on these buses) have
/// hundreds of devices and no driver that a boot needs.
const BUSES: [&str; 13] =
    ["pci", "virtio", "usb", "platform", "mmc", "sdio", "mdio_bus", "scsi", "vmbus", "xen", "amba", "hid", "soc"];

/// Loads what the machine's devices need: first the files `named` (in `/usr_mods`,
/// in their order), then, where the initramfs has modules for this kernel, a
/// driver for every device, network cards first, and overlayfs. A failure is a
/// warning: whether it matters is known to the step that needs the module.
pub fn load(named: &[String], report: &Report) {
    let mut done = Loaded::default();
    let cmdline = if named.is_empty() { String::new() } else { cmdline() };
    for file in named {
        let path = [NAMED, "/", file].concat();
        let before = done.count;
        done.insert(&path, modules_dep::name(file), &cmdline, report);
        if done.count > before {
            done.asked(modules_dep::name(file));
        }
    }
    if let Some(tree) = Tree::open() {
        tree.coldplug(&mut done, report);
        tree.want("overlay", &mut done, report);
    }
    done.tell(report);
}

/// Loads the module `name`, or those with that alias (`fs-ext4`), where the
/// initramfs has them. A module that it does not have is not an error: it may be
/// built in.
pub fn ensure(name: &str, report: &Report) {
    let mut done = Loaded::default();
    if let Some(tree) = Tree::open() {
        tree.want(name, &mut done, report);
    }
    done.tell(report);
}

/// The modules of the running kernel.
struct Tree {
    dir: String,
    dep: String,
    alias: String,
    softdep: String,
    cmdline: String,
}

impl Tree {
    fn open() -> Option<Tree> {
        let dir = ["/lib/modules/", &machine::kernel_release().ok()?, "/"].concat();
        let read = |name: &str| fs::read_to_string([&dir, name].concat()).unwrap_or_default();
        let dep = fs::read_to_string([&dir, "modules.dep"].concat()).ok()?;
        let (alias, softdep) = (read("modules.alias"), read("modules.softdep"));
        Some(Tree { alias, softdep, dep, dir, cmdline: cmdline() })
    }

    /// Loads drivers until no new device appears.
    fn coldplug(&self, done: &mut Loaded, report: &Report) {
        let mut seen = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let new = &look(&mut seen);
            if new.is_empty() {
                return;
            }
            let mut paths = Vec::new();
            modules_dep::for_devices(&self.alias, new, &mut |name| {
                if let Some(path) = modules_dep::find_path(&self.dep, name) {
                    if !paths.contains(&path) {
                        paths.push(path);
                    }
                }
            });
            // Network first: its link and DHCP take longest.
            paths.sort_by_key(|path| !path.contains("/net/"));
            for path in paths {
                self.want(modules_dep::name(path), done, report);
            }
        }
    }

    /// Loads a module by name or alias, with its dependencies.
    fn want(&self, wanted: &str, done: &mut Loaded, report: &Report) {
        let texts = Texts { dep: &self.dep, softdep: &self.softdep, alias: &self.alias };
        let mut order = Vec::new();
        if !modules_dep::load_order(&texts, wanted, &mut order) {
            modules_dep::for_devices(&self.alias, &[wanted.to_string()], &mut |name| {
                modules_dep::load_order(&texts, name, &mut order);
            });
        }
        let before = done.count;
        for path in &order {
            done.insert(&[&self.dir, *path].concat(), modules_dep::name(path), &self.cmdline, report);
        }
        if done.count > before {
            done.asked(wanted);
        }
    }
}

/// The kernel's command line, which also has parameters of modules.
fn cmdline() -> String {
    let bytes = fs::read("/proc/cmdline").unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The modaliases of the devices that are not in `seen` yet, by bus and name.
fn look(seen: &mut Vec<String>) -> Vec<String> {
    let mut new = Vec::new();
    for bus in BUSES {
        let dir = ["/sys/bus/", bus, "/devices/"].concat();
        for device in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = [&dir, &*device.file_name().to_string_lossy(), "/modalias"].concat();
            if seen.contains(&path) {
                continue;
            }
            if let Ok(text) = fs::read_to_string(&path) {
                let modalias = text.trim_end().to_string();
                if !modalias.is_empty() && !new.contains(&modalias) {
                    new.push(modalias);
                }
            }
            seen.push(path);
        }
    }
    new
}

/// What was loaded: how many in all, and the names that were asked for.
#[derive(Default)]
struct Loaded {
    count: usize,
    names: String,
}

impl Loaded {
    fn asked(&mut self, name: &str) {
        if !self.names.is_empty() {
            self.names.push(' ');
        }
        self.names.push_str(name);
    }

    fn insert(&mut self, path: &str, name: &str, cmdline: &str, report: &Report) {
        let state = ["/sys/module/", &name.replace('-', "_"), "/initstate"].concat();
        // One that another thread is loading is "coming": finit_module(2) waits for it and fails with EEXIST.
        if fs::read_to_string(state).is_ok_and(|state| state.trim_end() == "live") {
            return;
        }
        let file = match files::open(Path::new(path)) {
            Ok(file) => file,
            Err(why) => return report.warn("drivers", [path, ": open: ", &why].concat()),
        };
        let mut params = String::new();
        modules_dep::parameters(cmdline, name, &mut params);
        let params = CString::new(params).unwrap_or_default();
        match machine::finit_module(file.as_fd(), &params, false) {
            Ok(()) => self.count += 1,
            Err(error) if error.errno == libc::EEXIST => {}
            Err(error) => warn(path, &error, report),
        }
    }

    /// `virtio_pci virtio_net overlay (7 modules)`
    fn tell(&self, report: &Report) {
        match self.count {
            0 => {}
            1 => report.line("drivers", &self.names),
            count => report.line("drivers", [&self.names, " (", &count.to_string(), " modules)"].concat()),
        }
    }
}

fn warn(path: &str, error: &crate::sys::Error, report: &Report) {
    report.warn("drivers", [path, ": ", &error.to_string()].concat());
}
