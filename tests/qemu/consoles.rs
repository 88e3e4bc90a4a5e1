//! Several consoles, and consoles whose driver is a module.

use crate::lab::{lab, Lab, Seen, OVER, POWER_DOWN, SAFE};
use ocinit::host::qemu::Machine;
use std::path::PathBuf;

/// Boots with `console=` words in place of the usual one, on a machine that has a virtio console as well: what the
/// serial line has, and what that has. Debian's kernel has its driver, virtio_console, as a module.
fn boot(lab: &Lab, name: &str, consoles: &str, words: &str) -> (Seen, PathBuf) {
    let file = lab.dir.join(format!("{name}.hvc0"));
    let seen = lab.boot(name, words, |machine: &mut Machine| {
        machine.append = machine.append.replace("console=ttyS0", consoles);
        let chardev = format!("file,id=hvc,path={}", file.display());
        let virtio = ["-chardev", &chardev, "-device", "virtio-serial-pci", "-device", "virtconsole,chardev=hvc"];
        machine.extra.extend(virtio.map(String::from));
    });
    (seen, file)
}

/// Our last lines. The kernel's own comes after a virtio console's end.
fn over(virtio: &Seen, status: i32) {
    assert!(virtio.at(&format!("{OVER}{status}")) < virtio.at(SAFE));
    assert_eq!(virtio.count(OVER) + virtio.count(SAFE), 2);
}

/// Promise: late-console
#[test]
fn a_console_whose_driver_is_a_module() {
    let Some(lab) = lab() else { return };
    let words = r#"b2c.run="pull:payload hello" b2c.run="-ti pull:payload tty" b2c.run="pull:nothing""#;
    let (serial, file) = boot(&lab, "hvc0", "console=hvc0", words);
    assert!(serial.boot.raw.is_empty(), "{}", serial.text());
    let seen = serial.by(&file);
    over(&seen, 125);
    // What was said before it was there is there as well, in its order, and once.
    let place = |part: &str| seen.lines().position(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part}"));
    let order = [" ocinit ", " drivers ", "Linux version: ", " network ", "Hello from a container"].map(place);
    assert!(order.is_sorted(), "{order:?}");
    for part in [" ocinit  ", " drivers ", "Linux version: ", "Hello from a container", "FAIL pull"] {
        assert_eq!(seen.count(part), 1, "{part}");
    }
    seen.never("WARN");
}

/// PID 1 has opened the console before the driver was there; after a crash it finds it.
/// Promise: late-console
#[test]
fn last_words_on_a_late_console() {
    let Some(lab) = lab() else { return };
    let words = r#"b2c.log=sections b2c.run="-v /proc:/machine pull:payload break-init /machine""#;
    let (serial, file) = boot(&lab, "hvc0_crash", "console=ttyS0 console=hvc0", words);
    serial.says("FAIL init  crashed: signal ");
    serial.ends(POWER_DOWN);
    let seen = serial.by(&file);
    assert!(seen.lines().position(|line| line.contains("FAIL init  crashed: signal ")) < Some(seen.at(SAFE)));
}

/// Our lines are on each console, those of containers on the last one.
/// Promise: several-consoles
#[test]
fn two_consoles() {
    let Some(lab) = lab() else { return };
    let words = r#"b2c.run="pull:payload hello" b2c.shutdown_cmd="echo JOB_RESULT=0; poweroff -f""#;
    let ours = ["drivers ", "Linux version: ", "exit code 0", "JOB_RESULT=0", "About to start executing a container"];
    for (name, consoles, serial_is_last) in
        [("serial_first", "console=ttyS0 console=hvc0", false), ("serial_last", "console=hvc0 console=ttyS0", true)]
    {
        let (serial, file) = boot(&lab, name, consoles, words);
        let of_container = |seen: &Seen| seen.count("Hello from a container");
        assert_eq!(of_container(&serial), usize::from(serial_is_last));
        serial.ends(POWER_DOWN);
        let check = |seen: &Seen| {
            over(seen, 0);
            ours.iter().for_each(|part| assert_eq!(seen.count(part), 1, "{part}"));
            assert_eq!(seen.count(" ocinit  "), 1);
            seen.never("WARN");
        };
        check(&serial);
        let virtio = serial.by(&file);
        check(&virtio);
        assert_eq!(of_container(&virtio), usize::from(!serial_is_last));
    }
}

/// Each is told once; the boot goes on with those that are there.
/// Promise: several-consoles
#[test]
fn consoles_that_are_not_there() {
    let Some(lab) = lab() else { return };
    let consoles = "console=lp0 console=ttyUSB0,9600 console=lp0 console=null console=hvc7 console=ttyS0 console=ttyS3";
    let (seen, file) = boot(&lab, "no_console", consoles, r#"b2c.run="pull:payload hello""#);
    seen.over(0, POWER_DOWN);
    seen.at("Hello from a container");
    for name in ["lp0", "ttyUSB0", "hvc7", "ttyS3"] {
        assert_eq!(seen.count(&format!("console    WARN {name}: no such device, or no driver for it")), 1, "{name}");
    }
    assert_eq!(seen.count("WARN"), 4);
    // The machine has this one, but nobody has asked for it.
    assert_eq!(std::fs::read(file).unwrap().len(), 0);
}

/// Of two serial ports the kernel makes the first one its console. The other is there all the same.
/// Promise: several-consoles
#[test]
fn two_serial_ports() {
    let Some(lab) = lab() else { return };
    let file = lab.dir.join("ttyS1");
    let words = r#"b2c.run="pull:payload hello""#;
    let serial = lab.boot("two_serial_ports", words, |machine: &mut Machine| {
        machine.append = machine.append.replace("console=ttyS0", "console=ttyS0,115200 console=ttyS1,115200");
        let chardev = format!("file,id=second,path={}", file.display());
        machine.extra.extend(["-chardev", &chardev, "-serial", "chardev:second"].map(String::from));
    });
    serial.over(0, POWER_DOWN);
    serial.at("Hello from a container");
    serial.never("WARN");
    let second = serial.by(&file);
    for part in [" ocinit  ", "drivers ", "exit code 0", "Execution is over, pipeline status: 0"] {
        assert_eq!(second.count(part), 1, "{part}");
    }
    second.never("Hello from a container");
}
