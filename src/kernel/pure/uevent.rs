//! The kernel's uevents: devices that come and go (Linux, lib/kobject_uevent.c).
//!
//! `ACTION@DEVPATH`, then `KEY=VALUE` for each property, each part ended by a NUL.

/// What happened to a device.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A device of the bus appeared that wants a driver, by its modalias.
    Added { bus: &'a str, modalias: &'a str },
    /// The device with this modalias is gone.
    Removed { modalias: &'a str },
    /// A disk or a network interface of the machine, by its name, is there or gone.
    Node { name: &'a str, here: bool },
}

/// Calls `each` with what the message tells. Events that someone has requested by writing to a file `uevent` of sysfs
/// are no news, as are those of devices without hardware (loop devices, veth pairs).
pub fn parse(message: &[u8], each: &mut dyn FnMut(Event)) {
    let Ok(text) = std::str::from_utf8(message) else { return };
    let Some((title, properties)) = text.split_once('\0') else { return };
    // What is cut is no property.
    let Some((properties, "")) = properties.rsplit_once('\0') else { return };
    let value = |key: &str| properties.split('\0').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    let (Some(action), Some(path)) = (value("ACTION"), value("DEVPATH")) else { return };
    if title.split_once('@') != Some((action, path)) || value("SYNTH_UUID").is_some() {
        return;
    }
    let here = match action {
        "add" => true,
        "remove" => false,
        _ => return,
    };
    let subsystem = value("SUBSYSTEM").unwrap_or_default();
    if let Some(modalias) = value("MODALIAS").filter(|modalias| !modalias.is_empty()) {
        each(if here { Event::Added { bus: subsystem, modalias } } else { Event::Removed { modalias } });
    }
    let name = match subsystem {
        "block" if value("DEVTYPE") == Some("disk") => value("DEVNAME"),
        "net" => value("INTERFACE"),
        _ => None,
    };
    if let Some(name) = name.filter(|_| !path.starts_with("/devices/virtual/")) {
        each(Event::Node { name, here });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(parts: &[&str]) -> Vec<u8> {
        parts.iter().flat_map(|part| part.bytes().chain([0])).collect()
    }

    fn told(message: &[u8]) -> String {
        let mut text = String::new();
        parse(message, &mut |event| match event {
            Event::Added { bus, modalias } => text.extend(["+", bus, " ", modalias, ";"]),
            Event::Removed { modalias } => text.extend(["-", modalias, ";"]),
            Event::Node { name, here } => text.extend([if here { "here " } else { "gone " }, name, ";"]),
        });
        text
    }

    const DISK: &str = "/devices/pci0000:00/0000:00:03.0/usb1/1-1/1-1:1.0/host0/target0:0:0/0:0:0:0/block/sda";

    /// As Linux 6.1 sends them for QEMU's devices.
    #[test]
    fn devices_come_and_go() {
        let path = "/devices/pci0000:00/0000:00:03.0/usb1/1-1/1-1:1.0";
        let usb = |action: &str| {
            let (title, action) = (format!("{action}@{path}"), format!("ACTION={action}"));
            let path = format!("DEVPATH={path}");
            message(&[
                &title,
                &action,
                &path,
                "SUBSYSTEM=usb",
                "DEVTYPE=usb_interface",
                "PRODUCT=46f4/1/0",
                "MODALIAS=usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00",
                "SEQNUM=1207",
            ])
        };
        let alias = "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00;";
        assert_eq!(told(&usb("add")), format!("+usb {alias}"));
        assert_eq!(told(&usb("remove")), format!("-{alias}"));
        assert_eq!(told(&usb("bind")), "", "its driver is there already");
        let node = |action: &str, path: &str, more: &[&str]| {
            let head = [format!("{action}@{path}"), format!("ACTION={action}"), format!("DEVPATH={path}")];
            told(&message(&[&[&*head[0], &*head[1], &*head[2]], more].concat()))
        };
        assert_eq!(node("add", DISK, &["SUBSYSTEM=block", "DEVNAME=sda", "DEVTYPE=disk"]), "here sda;");
        assert_eq!(node("remove", DISK, &["SUBSYSTEM=block", "DEVNAME=sda", "DEVTYPE=disk"]), "gone sda;");
        assert_eq!(node("remove", DISK, &["SUBSYSTEM=block", "DEVNAME=sda1", "DEVTYPE=partition"]), "");
        assert_eq!(node("remove", "/devices/pci0000:00/net/eth1", &["SUBSYSTEM=net", "INTERFACE=eth1"]), "gone eth1;");
        assert_eq!(node("remove", "/devices/virtual/net/veth0", &["SUBSYSTEM=net", "INTERFACE=veth0"]), "");
        let disk = ["SUBSYSTEM=block", "DEVNAME=loop0", "DEVTYPE=disk"];
        assert_eq!(node("add", "/devices/virtual/block/loop0", &disk), "");
    }

    /// Someone's `echo add > /sys/.../uevent`, udev's own messages, and what is no message.
    /// Promise: uevents-of-the-kernel
    #[test]
    fn what_is_no_news_is_dropped() {
        let good = message(&["add@/a", "ACTION=add", "DEVPATH=/a", "SUBSYSTEM=usb", "MODALIAS=usb:x"]);
        assert_eq!(told(&good), "+usb usb:x;");
        for bad in [
            &["add@/a", "ACTION=add", "DEVPATH=/a", "SUBSYSTEM=usb", "MODALIAS=usb:x", "SYNTH_UUID=0"][..],
            &["libudev", "ACTION=add", "DEVPATH=/a", "SUBSYSTEM=usb", "MODALIAS=usb:x"],
            &["add@/a", "ACTION=remove", "DEVPATH=/a", "SUBSYSTEM=usb", "MODALIAS=usb:x"],
            &["add@/a", "ACTION=add", "DEVPATH=/b", "SUBSYSTEM=usb", "MODALIAS=usb:x"],
            &["add@/a", "ACTION=add", "DEVPATH=/a", "SUBSYSTEM=usb", "MODALIAS="],
            &["add@/a", "ACTION=add", "DEVPATH=/a", "SUBSYSTEM=usb", "XMODALIAS=usb:x", "MODALIASES=y"],
            &["add@/a"],
            &[""],
            &[],
        ] {
            assert_eq!(told(&message(bad)), "", "{bad:?}");
        }
        for length in 0..good.len() {
            assert_eq!(told(&good[..length]).matches("usb:x").count(), 0, "cut at {length}");
        }
        assert_eq!(told(&[&good[..], &[0xff, 0]].concat()), "", "not UTF-8");
        assert_eq!(told(&[&good[..], &[b'='; 4000], &[0; 4000]].concat()), "+usb usb:x;");
    }

    #[test]
    fn any_bytes_do_no_harm() {
        let good = message(&["add@/a", "ACTION=add", "DEVPATH=/a", "SUBSYSTEM=block", "DEVTYPE=disk", "DEVNAME=x"]);
        let mut seed = 1u32;
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..3 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (seed >> 8) as usize % bytes.len();
                bytes[at] = (seed >> 24) as u8;
            }
            told(&bytes);
        }
    }
}
