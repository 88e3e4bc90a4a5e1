//! Clock, host name, modules: the machine around the containers.

use crate::lab::{boot, lab, POWER_DOWN};
use crate::support;
use std::io;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// chrony's own server on a loopback port; ended with its owner.
pub struct Chrony(Child);

impl Chrony {
    pub fn start(dir: &Path, port: u16) -> io::Result<Chrony> {
        let conf = dir.join("chrony.conf");
        let text = format!(
            "local stratum 5\nallow all\nport {port}\nbindaddress 127.0.0.1\ncmdport 0\npidfile {dir}/chrony.pid\n\
             bindcmdaddress /\n",
            dir = dir.display()
        );
        std::fs::write(&conf, text)?;
        // -x: never touches this machine's clock.
        let mut command = Command::new(support::servers::find("chronyd").ok_or(io::ErrorKind::NotFound)?);
        command.args(["-x", "-d", "-u", "root", "-f"]).arg(&conf);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(Chrony)
    }
}

impl Drop for Chrony {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn clock_from_chrony() {
    let Some(lab) = lab() else { return };
    let dir = support::scratch("chrony");
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Ok(_chrony) = Chrony::start(&dir, port) else {
        skip!("there is no chronyd here (./dev setup brings it)");
    };
    // The board's clock is a year and more ahead.
    let words = format!(
        r#"b2c.ntp_peer=10.0.2.2:{port} b2c.run="pull:payload echo clock is set"
        b2c.run="pull:payload cat /sys/class/rtc/rtc0/date""#
    );
    let seen = lab.boot("ntp", &words, |machine| {
        machine.extra.extend(["-rtc".into(), "base=2029-01-01T00:00:00".into()]);
    });
    seen.over(0, POWER_DOWN);
    let line = seen.says(" UTC by 10.0.2.2, was off by -");
    assert!(!line.contains("clock      2029"), "{line}");
    // Nor does the hardware clock say so any longer.
    seen.never("2029-");
    seen.never("WARN");
}

#[test]
fn host_name_and_kernel_log() {
    let words = r#"b2c.hostname=dut-7 b2c.run="pull:payload hostname" b2c.run="pull:payload cat /etc/hostname"
        b2c.run="-h own pull:payload hostname""#;
    let Some(seen) = boot("hostname", words) else { return };
    seen.over(0, POWER_DOWN);
    seen.in_order(&["dut-7", "dut-7", "own"]);
}

#[test]
fn modules_of_the_user() {
    let Some(lab) = lab() else { return };
    let find = |name: &str| {
        let output = Command::new("find").arg(&lab.modules).args(["-name", &format!("{name}.ko*")]).output().unwrap();
        let path = String::from_utf8(output.stdout).unwrap();
        ocinit::host::compress::expand(std::fs::read(path.trim()).unwrap()).unwrap()
    };
    // One that no device of this machine asks for.
    let module = lab.dir.join("dummy.ko");
    std::fs::write(&module, find("dummy")).unwrap();
    let initramfs = lab.build("with-module", |spec| spec.added.push((module, "usr_mods/dummy.ko".into())));
    let words = r#"b2c.insmods=dummy.ko,missing.ko b2c.run="pull:payload stat /sys/module/dummy""#;
    let seen = lab.boot("insmods", words, |machine| machine.initrd = initramfs);
    seen.over(0, POWER_DOWN);
    seen.says("/sys/module/dummy directory");
    seen.says("WARN /usr_mods/missing.ko");
}

#[test]
fn options_from_the_initramfs() {
    let Some(lab) = lab() else { return };
    let run = format!("--tls-verify=false docker://{}/payload", lab.registry.for_guest());
    let text = format!("b2c.hostname=from-file b2c.run=\"{run} hostname\"\n");
    let initramfs = lab.build("with-options", |spec| spec.cmdline = Some(text.into_bytes()));
    let seen = lab.boot("own_cmdline", "", |machine| machine.initrd = initramfs);
    seen.over(0, POWER_DOWN);
    seen.at("from-file");
}

/// A newc archive of one file, without the directories above it: as iPXE and GRUB make theirs.
fn alone(path: &str, text: &str) -> Vec<u8> {
    let member = |path: &str, mode: u32, text: &str| {
        let (size, name) = (text.len() as u32, path.len() as u32 + 1);
        let fields = [1, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name, 0].map(|field: u32| format!("{field:08X}")).concat();
        let mut bytes = format!("070701{fields}{path}\0").into_bytes();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(text.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    [member(path, 0o100_644, text), member("TRAILER!!!", 0, "")].concat()
}

/// Promise: files-of-boot-loaders
#[test]
fn files_of_a_boot_loader() {
    let Some(lab) = lab() else { return };
    let run = format!("--tls-verify=false -v /user:/user:ro docker://{}/payload", lab.registry.for_guest());
    let options =
        format!("b2c.hostname=of-the-loader b2c.run=\"{run} hostname\" b2c.run=\"{run} cat /user/job.env\"\n");
    let mut bytes = std::fs::read(&lab.initramfs).unwrap();
    for file in [alone("etc/ocinit/cmdline", &options), alone("user/job.env", "JOB=4711\n")] {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(&file);
    }
    let initramfs = lab.dir.join("of-a-boot-loader");
    std::fs::write(&initramfs, bytes).unwrap();
    let seen = lab.boot("boot_loader", "", |machine| machine.initrd = initramfs);
    seen.over(0, POWER_DOWN);
    seen.in_order(&["of-the-loader", "JOB=4711"]);
}
