//! Devices whose drivers are modules and that appear late: behind a bus that is enumerated after its controller got a
//! driver, or plugged in while the machine waits or runs. Debian's general kernel has all of USB and MMC as modules.

use crate::cache::clean;
use crate::lab::{disk, lab, Lab, Seen, POWER_DOWN};
use ocinit::host::kernel;
use ocinit::host::modules::{self, Profile};
use ocinit::host::qemu::{Machine, Network};
use serde_json::{json, Value};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// What these devices need, and `dm9601`, which none of them needs.
const MODULES: [&str; 9] =
    ["xhci_pci", "cdc_ether", "rndis_host", "usb_storage", "uas", "sd_mod", "sdhci_pci", "mmc_block", "dm9601"];

/// The general kernel, and an initramfs with its modules.
fn general(lab: &Lab) -> Option<&'static (PathBuf, PathBuf)> {
    static MADE: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    if let Some(made) = MADE.get() {
        return Some(made);
    }
    let kernel = match kernel::debian_general(Path::new("target/kernel")) {
        Ok(kernel) => kernel,
        Err(why) => skip!("no kernel that has USB: {why}"),
    };
    let modules = kernel.modules.as_deref().expect("Debian's kernel has modules");
    let set = modules::select(modules, Profile::Vm, &MODULES.map(String::from)).unwrap();
    let initramfs = lab.build("with-usb", |spec| spec.modules = Some(set));
    Some(MADE.get_or_init(|| (kernel.image, initramfs)))
}

/// Users build with the profile `lab`: it has all of these modules.
#[test]
fn the_lab_profile_has_them() {
    let kernel = match kernel::debian_general(Path::new("target/kernel")) {
        Ok(kernel) => kernel,
        Err(why) => skip!("no kernel that has USB: {why}"),
    };
    let set = modules::select(kernel.modules.as_deref().unwrap(), Profile::Lab, &[]).unwrap();
    let names: Vec<String> = set.names().iter().map(|name| name.replace('-', "_")).collect();
    for module in MODULES {
        assert!(names.iter().any(|name| name == module), "{module}");
    }
}

/// QEMU's monitor: commands in JSON, an answer to each.
struct Monitor {
    path: PathBuf,
    stream: Option<BufReader<UnixStream>>,
}

impl Monitor {
    fn new(lab: &Lab, name: &str) -> Monitor {
        Monitor { path: lab.dir.join(format!("{name}.qmp")), stream: None }
    }

    fn option(&self) -> String {
        format!("unix:{},server=on,wait=off", self.path.display())
    }

    fn run(&mut self, command: &str, arguments: Value) {
        if self.stream.is_none() {
            let stream = UnixStream::connect(&self.path).expect("QEMU's monitor");
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            self.stream = Some(BufReader::new(stream));
            self.ask(&json!({"execute": "qmp_capabilities"}));
        }
        self.ask(&json!({"execute": command, "arguments": arguments}));
    }

    fn ask(&mut self, command: &Value) {
        let stream = self.stream.as_mut().unwrap();
        writeln!(stream.get_mut(), "{command}").unwrap();
        let mut line = String::new();
        while !line.starts_with(r#"{"return""#) {
            assert!(!line.starts_with(r#"{"error""#), "{command}: {line}");
            line.clear();
            assert!(stream.read_line(&mut line).unwrap() > 0, "{command}: QEMU has ended");
        }
    }
}

/// A text of the console, and a command for QEMU when it has come.
type Cue<'a> = (&'a str, &'a str, Value);

fn plug(driver: &str, id: &str, bus: &str, host: (&str, &str)) -> Value {
    json!({"driver": driver, "id": id, "bus": bus, host.0: host.1})
}

/// Boots the general kernel with these arguments for QEMU, and follows the cues in their order.
fn boot(lab: &Lab, name: &str, words: &str, arguments: &str, cues: &[Cue]) -> Option<Seen> {
    let (kernel, initramfs) = general(lab)?;
    let mut monitor = Monitor::new(lab, name);
    let option = monitor.option();
    let change = |machine: &mut Machine| {
        machine.kernel = kernel.clone();
        machine.initrd = initramfs.clone();
        machine.network = Network::None;
        machine.timeout = Duration::from_secs(150);
        machine.extra.extend(["-qmp".into(), option]);
        machine.extra.extend(arguments.split_ascii_whitespace().map(String::from));
    };
    let mut next = cues.iter().peekable();
    let seen = lab.boot_watched(name, words, change, &mut |line| {
        if let Some((_, command, arguments)) = next.next_if(|(text, _, _)| line.contains(text)) {
            monitor.run(command, arguments.clone());
        }
        false
    });
    assert!(next.peek().is_none(), "'{}' never came", next.peek().unwrap().0);
    Some(seen)
}

fn drive(id: &str, disk: &Path) -> String {
    format!("-drive if=none,id={id},format=raw,cache=unsafe,file={} ", disk.display())
}

fn content(disk: &Path, path: &str) -> String {
    let output = Command::new("debugfs").args(["-R", &format!("cat {path}")]).arg(disk).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

const XHCI: &str = "-device qemu-xhci,id=xhci -netdev user,id=late ";

/// The cache on a USB disk, a volume on an SD card, a network card on USB: the drivers of the controllers are loaded
/// when the buses behind them are still empty.
/// Promise: late-devices
#[test]
fn usb_and_sd_from_power_on() {
    let Some(lab) = lab() else { return };
    let (Some(stick), Some(card)) = (disk("on-stick.img", 64, "STICK"), disk("on-card.img", 64, "CARD")) else {
        return;
    };
    let words = r#"b2c.cache_device=/dev/sda b2c.filesystem=card,type=ext4,src=LABEL=CARD
        b2c.volume=on-card,filesystem=card b2c.run="-v on-card:/card pull:layers cat /turned/inside"
        b2c.run="-v on-card:/card pull:payload write /card/note from the guest""#;
    let arguments = [
        XHCI,
        &drive("stick", &stick),
        &drive("sd", &card),
        "-device usb-net,netdev=late,bus=xhci.0 -device usb-storage,drive=stick,bus=xhci.0 \
         -device sdhci-pci -device sd-card,drive=sd",
    ];
    let Some(seen) = boot(&lab, "usb_at_power_on", words, &arguments.concat(), &[]) else { return };
    seen.over(0, POWER_DOWN);
    seen.at("top");
    seen.never("WARN");
    seen.says("/dev/sda label 'STICK', ext4, its directory 'ocinit'");
    assert_eq!(content(&card, "/on-card/note"), "from the guest\n");
    clean(&stick);
    clean(&card);
}

/// The same devices, each plugged in when the machine waits for it; then more while containers run, and out again.
/// Messages that a container sends in the kernel's name load nothing.
/// Promise: late-devices, uevents-of-the-kernel
#[test]
fn usb_and_sd_plugged_in_later() {
    let Some(lab) = lab() else { return };
    let disks = ["late-stick", "late-card", "late-second", "late-pci"].map(|name| disk(name, 64, "LATE"));
    let [Some(stick), Some(card), Some(second), Some(pci)] = disks else { return };
    let fake = "ACTION=add DEVPATH=/devices/x SUBSYSTEM=usb \
                MODALIAS=usb:v0A46p9601d0000dc00dsc00dp00ic00isc00ip00in00";
    let gone = "remove@/devices/x ACTION=remove DEVPATH=/devices/x SUBSYSTEM=block DEVTYPE=disk DEVNAME=sdx";
    let words = format!(
        r#"b2c.cache_device=/dev/sda b2c.filesystem=card,type=ext4,src=/dev/mmcblk0
        b2c.volume=on-card,filesystem=card b2c.run="-v on-card:/card pull:payload write /card/note from the guest"
        b2c.run="pull:payload echo plug in" b2c.run="pull:payload await /sys/block/sdb"
        b2c.run="pull:payload await-gone /sys/block/sdb"
        b2c.run="pull:payload echo plug in PCI" b2c.run="pull:payload await /sys/block/vda"
        b2c.run="pull:payload uevent group add@/devices/x {fake}" b2c.run="pull:payload uevent group {gone}"
        b2c.run="pull:payload uevent kernel add@/devices/x {fake}" b2c.run="pull:payload uevent kernel {gone}"
        b2c.run="pull:payload echo plug in again" b2c.run="pull:payload await /sys/block/sdb"
        b2c.run="pull:payload stat /sys/module/dm9601" b2c.run="pull:payload await-gone /sys/class/net/usb0""#
    );
    let arguments = [
        XHCI,
        &drive("stick", &stick),
        &drive("second", &second),
        &drive("pci", &pci),
        "-drive if=none,id=sd -device sdhci-pci -device sd-card,id=card,drive=sd -device pcie-root-port,id=slot1,slot=1",
    ];
    let usb = |id: &str| plug("usb-storage", id, "xhci.0", ("drive", id));
    let medium = json!({"id": "card", "filename": card, "format": "raw"});
    let cues = [
        ("no wired network interface yet", "device_add", plug("usb-net", "nic", "xhci.0", ("netdev", "late"))),
        ("waiting for /dev/sda, 10 s at most", "device_add", usb("stick")),
        ("waiting for /dev/mmcblk0, 10 s at most", "blockdev-change-medium", medium),
        ("plug in", "device_add", usb("second")),
        ("waiting until /sys/block/sdb is gone", "device_del", json!({"id": "second"})),
        ("plug in PCI", "device_add", plug("virtio-blk-pci", "pci", "slot1", ("drive", "pci"))),
        // QEMU has removed the drive with its device.
        (
            "plug in again",
            "blockdev-add",
            json!({"driver": "raw", "node-name": "again",
            "file": {"driver": "file", "filename": second}}),
        ),
        ("", "device_add", plug("usb-storage", "again", "xhci.0", ("drive", "again"))),
        ("waiting until /sys/class/net/usb0 is gone", "device_del", json!({"id": "nic"})),
    ];
    let Some(seen) = boot(&lab, "usb_plugged_in", &words, &arguments.concat(), &cues) else { return };
    seen.over(0, POWER_DOWN);
    assert_eq!(content(&card, "/on-card/note"), "from the guest\n");
    for node in
        ["devices    sdb is there", "devices    sdb is gone", "devices    vda is there", "devices    usb0 is gone"]
    {
        seen.says(node);
    }
    assert_eq!((seen.count("sent to group"), seen.count("sent to kernel")), (2, 2));
    assert!(seen.says("/sys/module/dm9601 ").contains("No such file"), "a container's message loads no driver");
    seen.never("sdx");
    seen.never("WARN");
    clean(&stick);
    clean(&card);
}

/// The cache's disk is pulled out while a container runs: nothing more can be kept, and the machine ends in order.
/// Promise: late-devices
#[test]
fn the_cache_is_pulled_out() {
    let Some(lab) = lab() else { return };
    let Some(stick) = disk("pulled-out.img", 64, "B2C_CACHE") else { return };
    let words = r#"b2c.cache_device=auto b2c.run="pull:payload await-gone /sys/block/sda""#;
    let arguments = [
        XHCI,
        &drive("stick", &stick),
        "-device usb-net,netdev=late,bus=xhci.0 -device usb-storage,id=stick,drive=stick,bus=xhci.0",
    ];
    let cues = [("waiting until /sys/block/sda is gone", "device_del", json!({"id": "stick"}))];
    let Some(seen) = boot(&lab, "cache_pulled_out", words, &arguments.concat(), &cues) else { return };
    seen.says("devices    sda is gone");
    seen.never("FAIL init");
    seen.ends(POWER_DOWN);
}
