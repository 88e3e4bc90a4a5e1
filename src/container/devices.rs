//! A container's `/dev`: its nodes and links, and which devices it may use.

use crate::container::ops::Op;
use crate::container::pure::device_filter::{self, Kind, Rule};
use crate::container::pure::paths::{c_string, directories, relative};
use crate::container::pure::spec::{Access, Device, DeviceRule, Rights};
use crate::files;
use crate::report::{Failure, Outcome};
use crate::sys::{fs as sysfs, io_text};
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

const DEVICES_MAX: usize = 4096;

const LINKS: [(&str, &str); 6] = [
    ("dev/fd", "/proc/self/fd"),
    ("dev/stdin", "/proc/self/fd/0"),
    ("dev/stdout", "/proc/self/fd/1"),
    ("dev/stderr", "/proc/self/fd/2"),
    ("dev/core", "/proc/kcore"),
    ("dev/ptmx", "pts/ptmx"),
];

/// What every container has (OCI runtime spec, config-linux.md, "Default Devices").
const NODES: [(&str, (u32, u32)); 6] = [
    ("dev/null", (1, 3)),
    ("dev/zero", (1, 5)),
    ("dev/full", (1, 7)),
    ("dev/tty", (5, 0)),
    ("dev/random", (1, 8)),
    ("dev/urandom", (1, 9)),
];

/// Fills `/dev`: with every device of the host where the container is privileged, else with the default ones; and with
/// those of `--device`. The first at a path wins.
pub fn plan(ops: &mut Vec<Op>, rights: &Rights, tty: bool) -> Outcome<()> {
    for (path, target) in LINKS {
        ops.push(Op::Symlink { path: c_string(path), target: c_string(target) });
    }
    if tty {
        // The terminal is the first of its own devpts.
        ops.push(Op::Symlink { path: c_string("dev/console"), target: c_string("/dev/pts/0") });
    }
    // The directory that was made last: a host has a hundred devices, most of them in one directory.
    let mut made = String::from("dev");
    let mut add = |path: &str, meta: &Metadata| {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if parent != made {
            ops.extend(directories(parent).into_iter().map(Op::Directory));
            made = parent.into();
        }
        ops.push(node(path, meta));
    };
    for device in &rights.devices {
        for (path, meta) in devices_of(device)? {
            add(&target(device, &path), &meta);
        }
    }
    if rights.privileged {
        for (path, meta) in below(Path::new("/dev")) {
            add(&relative(&path.to_string_lossy()), &meta);
        }
    }
    for (path, device) in NODES {
        ops.push(Op::Node { path: c_string(path), mode: sysfs::S_IFCHR | 0o666, device, owner: (0, 0) });
    }
    Ok(())
}

/// The program that allows a container its devices; `None` where it may use all.
pub fn filter(rights: &Rights) -> Outcome<Option<Vec<u64>>> {
    if rights.privileged {
        return Ok(None);
    }
    let mut rules = device_filter::DEFAULT.to_vec();
    for device in &rights.devices {
        for (_, meta) in devices_of(device)? {
            let (major, minor) = sysfs::device_numbers(meta.rdev());
            let access = access(device.access);
            rules.push(Rule { kind: Some(kind(&meta)), major: Some(major), minor: Some(minor), access });
        }
    }
    rules.extend(rights.device_rules.iter().map(rule));
    Ok(Some(device_filter::assemble(&rules)))
}

fn rule(rule: &DeviceRule) -> Rule {
    let kind = match rule.kind {
        'b' => Some(Kind::Block),
        'c' => Some(Kind::Character),
        _ => None,
    };
    Rule { kind, major: rule.major, minor: rule.minor, access: access(rule.access) }
}

fn access(asked: Access) -> u32 {
    let choice = |holds, bit| if holds { bit } else { 0 };
    choice(asked.read, device_filter::READ)
        | choice(asked.write, device_filter::WRITE)
        | choice(asked.mknod, device_filter::MKNOD)
}

fn kind(meta: &Metadata) -> Kind {
    if meta.file_type().is_block_device() {
        Kind::Block
    } else {
        Kind::Character
    }
}

fn is_device(meta: &Metadata) -> bool {
    meta.file_type().is_char_device() || meta.file_type().is_block_device()
}

fn node(path: &str, meta: &Metadata) -> Op {
    let device = sysfs::device_numbers(meta.rdev());
    Op::Node { path: c_string(path), mode: meta.mode(), device, owner: (meta.uid(), meta.gid()) }
}

/// The device of a `--device`, or all in the directory that it names.
fn devices_of(device: &Device) -> Outcome<Vec<(PathBuf, Metadata)>> {
    let fail = |why: &str| Failure::new("container", ["--device ", &device.source, ": ", why].concat());
    let path = PathBuf::from(&device.source);
    let meta = fs::metadata(&path).map_err(|error| fail(&io_text(&error)))?;
    let found = match meta.is_dir() {
        true => below(&path),
        false if is_device(&meta) => vec![(path, meta)],
        false => Vec::new(),
    };
    match found.is_empty() {
        true => Err(fail("neither a device nor a directory with devices")),
        false => Ok(found),
    }
}

/// Where the container has a device that the host has at `path`.
fn target(device: &Device, path: &Path) -> String {
    let below = path.strip_prefix(&device.source).unwrap_or(Path::new(""));
    relative(&[&device.target, "/", &below.to_string_lossy()].concat())
}

/// All devices in a directory and in those below it, without what a container has of its own.
fn below(directory: &Path) -> Vec<(PathBuf, Metadata)> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_path_buf()];
    while let Some(dir) = pending.pop() {
        // A directory that is gone again has no devices.
        for path in files::entries(&dir) {
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            let name = relative(&path.to_string_lossy());
            if matches!(name.as_str(), "dev/pts" | "dev/shm" | "dev/mqueue" | "dev/console" | "dev/ptmx") {
                continue;
            }
            if meta.is_dir() {
                pending.push(path);
            } else if is_device(&meta) && found.len() < DEVICES_MAX {
                found.push((path, meta));
            }
        }
    }
    found
}
