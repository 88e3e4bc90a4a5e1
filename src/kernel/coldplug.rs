//! Loads drivers: for the devices that are there, and for those that come later.
//!
//! What is loaded is not remembered between calls: `/sys/module` has it. An initramfs without modules costs a few
//! failed calls.

use crate::files;
use crate::kernel::modules::{is_loaded, Loaded, Modules};
use crate::kernel::pure::uevent::Event;
use crate::kernel::pure::{modprobe, modules_dep};
use crate::kernel::settings;
use crate::kernel::uevents::Uevents;
use crate::report::Report;
use crate::sys::io::{self, Poll};
use crate::sys::process::{self, Pid};
use crate::sys::{signal, socket};
use std::os::fd::AsFd;
use std::path::Path;

/// The directory of the files that `b2c.insmods` names.
const NAMED: &str = "/usr_mods";
/// A driver may add a bus with more devices, as virtio_pci does; a device behind
/// more buses than this is not needed to boot.
const ROUNDS_MAX: usize = 8;
/// How long the watcher's process may take to end.
const END_MS: i32 = 2_000;
/// The buses that lead to a network card, a disk or a console. The others (clocks,
/// memory banks, processors; ACPI, whose devices also appear on these buses) have
/// hundreds of devices and no driver that a boot needs.
const BUSES: [&str; 13] =
    ["pci", "virtio", "usb", "platform", "mmc", "sdio", "mdio_bus", "scsi", "vmbus", "xen", "amba", "hid", "soc"];

/// Loads what the machine's devices need: first the files `named` (in `/usr_mods`,
/// in their order) and the modules of `modules_load=` and modules-load.d, then,
/// where the initramfs has modules for this kernel, a driver for every device,
/// network cards first, and overlayfs. Devices that appear later get their drivers
/// for as long as the result lives.
pub fn load(named: &[String], report: &Report) -> Option<Watcher> {
    let modules = Modules::open(Some(report));
    let mut done = Loaded::default();
    for file in named {
        let before = done.count;
        done.insert(&[NAMED, "/", file].concat(), &modules.settings.conf, report);
        if done.count > before {
            done.asked(modules_dep::name(file));
        }
    }
    for name in modprobe::names(&modules.settings.wanted) {
        if !modules.want(name, &mut done, report) && !is_loaded(name) {
            done.once(name, &["WARN ", name, ": not among the initramfs' modules; it may be built in"], report);
        }
    }
    if modules.is_empty() {
        done.tell(report);
        return None;
    }
    // Opened before the first look: what comes after that look is told.
    let mut devices = Devices { uevents: Uevents::open().ok(), looked: false, seen: Vec::new() };
    for _ in 0..ROUNDS_MAX {
        let new = devices.news(&mut |_, _| {});
        if new.is_empty() {
            break;
        }
        modules.drive(&new, &mut done, report);
    }
    modules.want("overlay", &mut done, report);
    done.tell(report);
    Watcher::start(devices, done, report)
}

/// Loads the module `name`, or those with that alias (`fs-ext4`), where the
/// initramfs has them. A module that it does not have is not an error: it may be
/// built in.
pub fn ensure(name: &str, report: &Report) {
    let mut done = Loaded::default();
    Modules::open(None).want(name, &mut done, report);
    done.tell(report);
}

/// The devices that were seen.
struct Devices {
    uevents: Option<Uevents>,
    /// Whether all of /sys was looked at.
    looked: bool,
    /// Their modaliases.
    seen: Vec<String>,
}

impl Devices {
    /// The modaliases of devices that were not seen before. Calls `node` with the disks and network interfaces that
    /// came or went.
    fn news(&mut self, node: &mut dyn FnMut(&str, bool)) -> Vec<String> {
        let (mut new, seen) = (Vec::new(), &mut self.seen);
        let is_told = match &mut self.uevents {
            Some(uevents) if self.looked => uevents.take(&mut |event| match event {
                Event::Added { bus, modalias } if BUSES.contains(&bus) => add(modalias, seen, &mut new),
                Event::Added { .. } => {}
                // Where it comes again, its module may have been unloaded.
                Event::Removed { modalias } => seen.retain(|other| other != modalias),
                Event::Node { name, here } => node(name, here),
            }),
            _ => false,
        };
        if !is_told {
            self.looked = true;
            look(seen, &mut new);
        }
        new
    }
}

/// Looks at all devices of the buses.
fn look(seen: &mut Vec<String>, new: &mut Vec<String>) {
    for bus in BUSES {
        let dir = ["/sys/bus/", bus, "/devices/"].concat();
        for device in files::entries(Path::new(&dir)) {
            let modalias = settings::text(&[&*device.to_string_lossy(), "/modalias"].concat());
            add(modalias.unwrap_or_default().trim_ascii_end(), seen, new);
        }
    }
}

fn add(modalias: &str, seen: &mut Vec<String>, new: &mut Vec<String>) {
    if !modalias.is_empty() && !seen.iter().any(|other| other == modalias) {
        seen.push(modalias.into());
        new.push(modalias.into());
    }
}

/// A process that loads drivers for devices that come later: buses are enumerated after a controller's driver was
/// loaded, and anything can be plugged in at any time. It is no thread, since the boot forks.
pub struct Watcher(Pid);

impl Watcher {
    fn start(mut devices: Devices, mut done: Loaded, report: &Report) -> Option<Watcher> {
        devices.uevents.as_ref()?;
        match process::fork(&mut || watch(&mut devices, &mut done, report)) {
            Ok(pid) => Some(Watcher(pid)),
            Err(error) => {
                report.warn("drivers", ["devices that come later get none: ", &error.to_string()].concat());
                None
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // A container in the host's PID namespace may have ended it. Where a driver's probe hangs, it cannot end yet.
        let _ = process::kill(self.0, signal::SIGKILL);
        let ended = process::pidfd_open(self.0);
        if ended.is_ok_and(|ended| io::poll(&[Poll { fd: ended.as_fd(), write: false }], END_MS) != Ok(0)) {
            let _ = process::wait(self.0);
        }
    }
}

/// Waits for news, and acts on them, until it is killed.
fn watch(devices: &mut Devices, done: &mut Loaded, report: &Report) -> i32 {
    let _ = process::die_with_parent();
    loop {
        let new = devices.news(&mut |name, here| {
            report.line("devices", [name, if here { " is there" } else { " is gone" }].concat());
        });
        if !new.is_empty() {
            // Read anew each time, so that no memory is held meanwhile.
            Modules::open(None).drive(&new, done, report);
            done.tell(report);
            continue;
        }
        match &devices.uevents {
            Some(uevents) if socket::poll_readable([uevents.fd()], -1).is_ok() => {}
            _ => return 0,
        }
    }
}
