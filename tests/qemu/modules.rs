//! Modules as a lab or a distribution brings them: settings in the initramfs and on the kernel's line, packed files,
//! and directories that do not fit.

use crate::lab::{lab, Lab, Seen, POWER_DOWN};
use ocinit::host::compress::expand;
use ocinit::host::kernel;
use ocinit::host::modules::{self, Profile};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Files of an initramfs: path and text.
fn files(lab: &Lab, name: &str, files: &[(&str, &str)]) -> Vec<(PathBuf, String)> {
    let mut added = Vec::new();
    for (path, text) in files {
        let file = lab.dir.join(name).join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        added.push((file, path.to_string()));
    }
    added
}

/// By name, by device, not at all, with parameters: as systemd, u-root and modprobe do.
/// Promise: modules-load, module-blacklist, module-parameters, modprobe-d
#[test]
fn settings_of_modules() {
    let Some(lab) = lab() else { return };
    let added = files(
        &lab,
        "settings",
        &[
            ("etc/modules-load.d/a.conf", "# a comment\ntun\n\nveth\nbridge\n"),
            ("lib/modules-load.d/a.conf", "ifb\n"),
            ("lib/modules-load.d/b.conf", "; another\nloop\n"),
            ("lib/modules-load.d/readme", "ifb\n"),
            (
                "etc/modprobe.d/x.conf",
                "options dummy \\\n numdummies=3\ninstall bridge /bin/true\nblacklist virtio_balloon\n",
            ),
            (
                "lib/modprobe.d/y.conf",
                "install tun /bin/sh -c 'echo no'\n# install loop /bin/false\noptions loop max_loop=2\n",
            ),
        ],
    );
    let names = ["tun", "veth", "bridge", "ifb", "loop", "dummy", "virtio_balloon", "nbd", "vrf"].map(String::from);
    let initramfs = lab.build("with-settings", |spec| {
        spec.modules = Some(modules::select(&lab.modules, Profile::Vm, &names).unwrap());
        spec.added = added;
    });
    let words = r#"modules_load=dummy,nothere rd.modules_load=nbd modules-load=vrf module_blacklist=nbd
        modprobe.blacklist=virtio_rng,vrf loop.max_loop=5
        b2c.run="pull:payload stat /sys/module/tun /sys/module/veth /sys/module/bridge /sys/module/ifb /sys/module/nbd
        /sys/module/vrf /sys/module/virtio_rng /sys/module/virtio_balloon" b2c.run="pull:payload ls /sys/class/net"
        b2c.run="pull:payload cat /sys/module/loop/parameters/max_loop""#;
    let seen = lab.boot("module_settings", words, |machine| {
        machine.initrd = initramfs;
        machine.extra.extend(["-device", "virtio-rng-pci", "-device", "virtio-balloon-pci"].map(String::from));
    });
    seen.over(0, POWER_DOWN);
    for module in ["tun", "veth", "bridge", "ifb", "nbd", "vrf", "virtio_rng", "virtio_balloon"] {
        let line = seen.says(&format!("/sys/module/{module} "));
        assert_eq!(line.contains(" directory 0"), ["tun", "veth", "vrf"].contains(&module), "{line}");
    }
    seen.in_order(&["dummy0", "dummy1", "dummy2"]);
    seen.at("5");
    for text in [
        "WARN nothere: not among the initramfs' modules; it may be built in",
        "nbd.ko: finit_module: operation not permitted, as module_blacklist= on the kernel's line says",
        "WARN tun: a command of modprobe.d is not run: /bin/sh -c 'echo no'",
        "drivers    bridge: never loaded, as modprobe.d says",
        "drivers    virtio-rng: on the blacklist, not loaded",
        "drivers    virtio_balloon: on the blacklist, not loaded",
    ] {
        assert_eq!(seen.count(text), 1, "{text}");
    }
}

fn pack(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(["-c", "-q"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// A directory `lib/modules/RELEASE` with the usual modules and those of `more`, each packed by a program (none: as it
/// is), and with depmod's files.
fn directory(lab: &Lab, name: &str, more: &[&str], packer: &dyn Fn(&str) -> &'static str) -> (PathBuf, String) {
    let more: Vec<String> = more.iter().map(|name| name.to_string()).collect();
    let set = modules::select(&lab.modules, Profile::Vm, &more).unwrap();
    let top = lab.dir.join(name);
    let (release, plain, mut packed) = (top.join("lib/modules").join(&set.release), top.join("plain"), Vec::new());
    for path in set.load_order() {
        let raw = expand(std::fs::read(lab.modules.join(path)).unwrap()).unwrap();
        let program = packer(path);
        let suffix = match program {
            "gzip" => ".gz",
            "zstd" => ".zst",
            "xz" => ".xz",
            _ => "",
        };
        let file = release.join(format!("{path}{suffix}"));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, if suffix.is_empty() { raw } else { pack(program, &raw) }).unwrap();
        if !suffix.is_empty() {
            packed.push((path, suffix));
        }
    }
    // Not every depmod knows every format: it sees the modules as they are.
    for path in set.load_order() {
        let plain = plain.join("lib/modules").join(&set.release).join(path);
        std::fs::create_dir_all(plain.parent().unwrap()).unwrap();
        std::fs::copy(lab.modules.join(path), plain).unwrap();
    }
    let status = Command::new("depmod").arg("-b").arg(&plain).arg(&set.release).status();
    assert!(status.expect("depmod").success());
    for file in ["modules.dep", "modules.alias", "modules.softdep", "modules.dep.bin"] {
        std::fs::copy(plain.join("lib/modules").join(&set.release).join(file), release.join(file)).unwrap();
    }
    let mut dep = std::fs::read_to_string(release.join("modules.dep")).unwrap();
    for (path, suffix) in packed {
        dep = dep.replace(path, &format!("{path}{suffix}"));
    }
    std::fs::write(release.join("modules.dep"), dep).unwrap();
    (top.join("lib"), set.release)
}

fn boot(lab: &Lab, name: &str, lib: PathBuf, words: &str) -> Seen {
    let initramfs = lab.build(&format!("with-{name}"), |spec| {
        spec.modules = None;
        spec.added = vec![(lib, "lib".into()), (lab.dir.join("payload"), "images/payload".into())];
    });
    lab.boot(name, words, |machine| machine.initrd = initramfs)
}

/// A distribution's own files. Debian's kernel decompresses none itself, so gzip and zstd are ours; xz is told.
/// Promise: packed-modules
#[test]
fn packed_modules() {
    let Some(lab) = lab() else { return };
    let packer = |path: &str| match path {
        _ if path.ends_with("/dummy.ko") => "xz",
        _ if path.contains("/virtio/") || path.contains("/net/") => "gzip",
        _ => "zstd",
    };
    let (lib, release) = directory(&lab, "packed", &["dummy", "ifb"], &packer);
    let words = r#"modules_load=dummy,ifb ifb.numifbs=3 b2c.run="pull:payload ls /sys/class/net""#;
    let seen = boot(&lab, "packed", lib, words);
    seen.over(0, POWER_DOWN);
    seen.in_order(&["eth0", "ifb0", "ifb1", "ifb2", "lo"]);
    let path = format!("/lib/modules/{release}/kernel/drivers/net/dummy.ko.xz: ");
    let warning = seen.says("WARN");
    assert!(
        warning.contains(&path) && warning.contains("packed with xz, which this kernel does not unpack"),
        "{warning}"
    );
    assert_eq!(seen.count("WARN"), 1);
}

/// Of another release, of another build with this release's name, and without depmod's files: each is told once.
/// Promise: modules-that-do-not-fit
#[test]
fn modules_that_do_not_fit() {
    let Some(lab) = lab() else { return };
    let other = match kernel::debian_general(Path::new("target/kernel")) {
        Ok(kernel) => kernel.modules.expect("Debian's kernel has modules"),
        Err(why) => skip!("no second kernel: {why}"),
    };
    let words = r#"b2c.run="oci:/images/payload:latest echo one""#;
    let (lib, release) = directory(&lab, "another-release", &[], &|_| "");
    std::fs::rename(lib.join("modules").join(&release), lib.join("modules/5.5.5-other")).unwrap();
    let seen = boot(&lab, "another-release", lib, words);
    let text = format!("the initramfs has the modules of 5.5.5-other, and this kernel is {release}: none can be");
    assert_eq!((seen.count(&text), seen.count("WARN the initramfs")), (1, 1));
    seen.ends(POWER_DOWN);

    let (lib, release) = directory(&lab, "no-depmod", &[], &|_| "");
    for file in ["modules.dep", "modules.dep.bin"] {
        std::fs::remove_file(lib.join("modules").join(&release).join(file)).unwrap();
    }
    let seen = boot(&lab, "no-depmod", lib, words);
    let text = format!("WARN /lib/modules/{release}/modules.dep is missing, so no module is found: 'depmod -b DIR");
    assert_eq!(seen.count(&text), 1);
    seen.ends(POWER_DOWN);

    let (lib, release) = directory(&lab, "another-build", &[], &|_| "");
    let set = modules::select(&other, Profile::Vm, &[]).unwrap();
    for path in set.load_order() {
        let file = lib.join("modules").join(&release).join(path);
        if file.exists() {
            std::fs::copy(other.join(path), file).unwrap();
        }
    }
    let seen = boot(&lab, "another-build", lib, words);
    assert_eq!(seen.count("not built for this kernel (the kernel's log says more: loglevel=7)"), 1);
    seen.ends(POWER_DOWN);
}
