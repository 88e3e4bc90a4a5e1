//! `b2c.filesystem` with disks in several formats, directories of the host, and a server's export: a container reads
//! what was there before, and what it writes is there afterwards.

use crate::cache::with_disk;
use crate::lab::{lab, Lab, POWER_DOWN};
use crate::support::servers;
use ocinit::host::kernel;
use ocinit::host::modules::{self, Profile};
use ocinit::host::qemu::Machine;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The usual initramfs with these modules, for which the kernel has them all.
fn initramfs(lab: &Lab, name: &str, wanted: &[&str]) -> Option<PathBuf> {
    initramfs_of(lab, &lab.modules, name, wanted)
}

/// The same for another kernel.
fn initramfs_of(lab: &Lab, directory: &Path, name: &str, wanted: &[&str]) -> Option<PathBuf> {
    let wanted: Vec<String> = wanted.iter().map(|name| name.to_string()).collect();
    match modules::select(directory, Profile::Vm, &wanted) {
        Ok(set) => Some(lab.build(&format!("with-{name}"), |spec| spec.modules = Some(set))),
        Err(why) => skip!("{name}: {why}"),
    }
}

/// A directory of the host with the volume `out`, in which something is.
fn shared(lab: &Lab, name: &str) -> PathBuf {
    let directory = lab.dir.join(name);
    std::fs::create_dir_all(directory.join("out")).unwrap();
    std::fs::write(directory.join("out/before"), "of the host\n").unwrap();
    directory
}

/// Two containers with the volume `out` on the file system `share`.
const READ_AND_WRITE: &str = r#"b2c.volume=out,filesystem=share b2c.run="-v out:/out pull:payload cat /out/before"
    b2c.run="-v out:/out pull:payload write /out/after of the guest""#;

fn read_and_write(lab: &Lab, kind: &str, options: &str, directory: &Path, change: impl FnOnce(&mut Machine)) {
    let words = format!("b2c.filesystem=share,type={kind},src=tag,opts={options} {READ_AND_WRITE}");
    let seen = lab.boot(kind, &words, change);
    seen.over(0, POWER_DOWN);
    seen.at("of the host");
    seen.never("WARN");
    assert_eq!(std::fs::read_to_string(directory.join("out/after")).unwrap(), "of the guest\n");
}

/// Debian's cloud kernel has no 9p.
/// Promise: volume-filesystems
#[test]
fn directory_of_the_host_by_9p() {
    let Some(lab) = lab() else { return };
    let kernel = match kernel::debian_general(Path::new("target/kernel")) {
        Ok(kernel) => kernel,
        Err(why) => skip!("no kernel that has 9p: {why}"),
    };
    let modules = kernel.modules.as_deref().expect("Debian's kernel has modules");
    let Some(initramfs) = initramfs_of(&lab, modules, "9p", &["9p", "9pnet_virtio"]) else { return };
    let directory = shared(&lab, "by-9p");
    read_and_write(&lab, "9p", "trans=virtio|version=9p2000.L", &directory, |machine| {
        machine.kernel = kernel.image.clone();
        machine.initrd = initramfs;
        let device = format!("local,path={},mount_tag=tag,security_model=none", directory.display());
        machine.extra.extend(["-virtfs".into(), device]);
    });
}

/// Promise: volume-filesystems
#[test]
fn directory_of_the_host_by_virtiofs() {
    let Some(lab) = lab() else { return };
    let Some(initramfs) = initramfs(&lab, "virtiofs", &["virtiofs"]) else { return };
    let (directory, socket) = (shared(&lab, "by-virtiofs"), lab.dir.join("virtiofs.sock"));
    let Some(_server) = servers::virtiofsd(&directory, &socket) else {
        skip!("there is no virtiofsd here (./dev setup brings it), or no root to start it");
    };
    read_and_write(&lab, "virtiofs", "", &directory, |machine| {
        machine.initrd = initramfs;
        // virtiofsd reads the guest's memory, which has to be shared.
        let memory = format!("memory-backend-memfd,id=memory,size={}M,share=on", machine.memory_mb);
        let socket = format!("socket,id=share,path={}", socket.display());
        for (option, value) in [
            ("-object", memory.as_str()),
            ("-machine", "memory-backend=memory"),
            ("-chardev", &socket),
            ("-device", "vhost-user-fs-pci,chardev=share,tag=tag"),
        ] {
            machine.extra.extend([option.into(), value.into()]);
        }
    });
}

/// The newest version of NFS that both sides have is used without an option; errors say what to do.
/// Promise: volume-filesystems, nfs-versions
#[test]
fn export_of_a_server_by_nfs() {
    let Some(lab) = lab() else { return };
    let Some(initramfs) = initramfs(&lab, "nfs", &["nfs", "nfsv3", "nfsv4"]) else { return };
    let directory = shared(&lab, "by-nfs");
    let servers = ["0,1,2", "0"].map(|versions| servers::ganesha_for_guests(&lab.dir, &directory, versions));
    let [Some(newer), Some(older)] = &servers else {
        skip!("no ganesha.nfsd (./dev setup brings it), or no root to start it");
    };
    let share = |name: &str, source: &str, port: u16| {
        format!(
            "b2c.filesystem={name},type=nfs,src=10.0.2.2:{source},opts=port={port} \
             b2c.volume={name}-volume,filesystem={name} "
        )
    };
    let words = [
        share("share", "/export", newer.address.port()),
        share("old", "/export/out", older.address.port()),
        READ_AND_WRITE.into(),
        r#" b2c.run="-v out:/out -v old-volume:/old pull:payload mounts""#.into(),
    ];
    let seen = lab.boot("nfs", &words.concat(), |machine| machine.initrd = initramfs.clone());
    seen.over(0, POWER_DOWN);
    seen.at("of the host");
    seen.never("WARN");
    assert_eq!(std::fs::read_to_string(directory.join("out/after")).unwrap(), "of the guest\n");
    for (place, version) in [("/out", "vers=4.2"), ("/old", "vers=4.0")] {
        let mount = seen.says(&format!(" {place} nfs4 "));
        assert!(mount.contains(version), "{mount}");
    }
    for (name, words, why) in [
        ("nfs_none", share("none", "/nothing", newer.address.port()), "/nothing: mount: no such file or directory"),
        ("nfs_closed", share("closed", "/export", servers::reserved().port()), "/export: mount: connection refused"),
    ] {
        let seen = lab.boot(name, &words, |machine| machine.initrd = initramfs.clone());
        seen.over(1, POWER_DOWN);
        assert!(seen.says("FAIL filesystem  ").ends_with(why));
    }
}

fn formatted(lab: &Lab, name: &str, mkfs: &Path) -> PathBuf {
    let disk = lab.dir.join(format!("{name}.img"));
    std::fs::File::create(&disk).unwrap().set_len(128 << 20).unwrap();
    run(mkfs, &[&disk.to_string_lossy()]);
    disk
}

fn run(program: &Path, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Not every file system can hold images: then they are in memory, with a warning, and the containers run.
/// Promise: filesystem-without-images
#[test]
fn cache_on_disks_that_can_hold_images_and_that_cannot() {
    let Some(lab) = lab() else { return };
    let Some(initramfs) = initramfs(&lab, "caches", &["btrfs", "vfat", "nls_cp437", "nls_ascii"]) else { return };
    for (kind, holds) in [("btrfs", true), ("vfat", false)] {
        let Some(mkfs) = servers::find(&format!("mkfs.{kind}")) else {
            skip!("there is no mkfs.{kind} here (./dev setup brings it)");
        };
        let disk = formatted(&lab, &format!("cache-{kind}"), &mkfs);
        let words = format!(
            "b2c.filesystem=share,type={kind},src=/dev/vda b2c.cache_device=share \
             b2c.run=\"pull:layers cat /turned/inside\""
        );
        let seen = lab.boot(&format!("cache on {kind}"), &words, |machine| {
            machine.initrd = initramfs.clone();
            with_disk(&disk)(machine);
        });
        seen.over(0, POWER_DOWN);
        seen.at("top");
        let warning = "WARN share: vfat cannot hold images: mknod: operation not permitted; images are kept in memory";
        assert_eq!(seen.count(warning), usize::from(!holds));
        assert_eq!(seen.count("WARN"), usize::from(!holds));
    }
}

/// Promise: volume-filesystems
#[test]
fn disks_in_several_formats() {
    let Some(lab) = lab() else { return };
    let Some(initramfs) = initramfs(&lab, "formats", &["btrfs", "vfat", "nls_cp437", "nls_ascii"]) else { return };
    let tools = ["mkfs.btrfs", "btrfs", "mkfs.vfat", "mcopy"].map(servers::find);
    let [Some(mkfs_btrfs), Some(btrfs), Some(mkfs_vfat), Some(mcopy)] = &tools else {
        skip!("there are no btrfs-progs, dosfstools, mtools here (./dev setup brings them)");
    };
    let restored = lab.dir.join("restored");
    std::fs::create_dir_all(&restored).unwrap();
    let (mut words, mut disks) = (String::new(), Vec::new());
    for (kind, mkfs) in [("ext4", Path::new("mkfs.ext4")), ("btrfs", mkfs_btrfs), ("vfat", mkfs_vfat)] {
        let disk = formatted(&lab, kind, mkfs);
        let device = ["a", "b", "c"][disks.len()];
        words += &format!(
            "b2c.filesystem={kind},type={kind},src=/dev/vd{device} b2c.volume=on-{kind},filesystem={kind} \
             b2c.run=\"-v on-{kind}:/out pull:payload write /out/text written to {kind}\" "
        );
        disks.push(disk);
    }
    let seen = lab.boot("formats", &words, |machine| {
        machine.initrd = initramfs;
        disks.iter().for_each(|disk| with_disk(disk)(machine));
    });
    seen.over(0, POWER_DOWN);
    seen.never("WARN");
    let image = |at: usize| disks[at].to_string_lossy();
    run(btrfs, &["restore", &image(1), &restored.to_string_lossy()]);
    let found = [
        run(Path::new("debugfs"), &["-R", "cat /on-ext4/text", &image(0)]),
        std::fs::read_to_string(restored.join("on-btrfs/text")).unwrap(),
        run(mcopy, &["-i", &image(2), "::/on-vfat/text", "-"]),
    ];
    assert_eq!(found, ["ext4", "btrfs", "vfat"].map(|kind| format!("written to {kind}\n")));
}
