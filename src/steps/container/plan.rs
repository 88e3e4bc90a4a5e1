//! What a container sees, as data: its mounts, its devices, its process.

use super::cgroup::Cgroup;
use super::inside::{Op, Plan};
use crate::proto::flags::Container;
use crate::proto::passwd::Identity;
use crate::proto::process::Process;
use crate::report::{Failure, Outcome};
use crate::steps::volumes::Volumes;
use crate::sys::{fs as sysfs, io_text, mount, tty, STDIN};
use std::ffi::{CStr, CString};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

const OPEN_FILES_MAX: u64 = 1 << 20;
const DEVICES_MAX: usize = 4096;

/// Plans everything that happens between clone and exec.
pub fn make(
    line: &Container,
    process: &Process,
    identity: Identity,
    root: &Path,
    hostname: &str,
    cgroup: Option<&Cgroup>,
    volumes: &Volumes,
) -> Outcome<Plan> {
    let mut ops = Vec::new();
    file_systems(&mut ops, cgroup.is_some());
    devices(&mut ops, line.tty);
    folders(&mut ops, &process.working_dir);
    for volume in &line.volumes {
        let source = match volume.source.starts_with(['/', '.']) {
            true => fs::canonicalize(&volume.source).map_err(|error| {
                Failure::new("container", ["volume ", &volume.source, ": ", &io_text(&error)].concat())
            })?,
            false => volumes.filled(&volume.source, root, &volume.target)?,
        };
        let target = relative(&volume.target);
        if source.is_dir() {
            folders(&mut ops, &volume.target);
        } else {
            folders(&mut ops, target.rsplit_once('/').map_or("", |(parent, _)| parent));
            ops.push(Op::File(c_string(&target)));
        }
        let source = c_string(&source.to_string_lossy());
        ops.push(Op::Bind { source, path: c_string(&target), read_only: volume.read_only });
    }
    Ok(Plan {
        root: c_string(&root.to_string_lossy()),
        ops,
        hostname: c_string(hostname),
        cgroup: cgroup.map(|cgroup| c_string(&cgroup.file("cgroup.procs").to_string_lossy())),
        oom_score_adj: None,
        own_network: line.no_network,
        tty: line.tty.then(|| tty::size(STDIN).unwrap_or_default()),
        identity,
        working_dir: c_string(&process.working_dir),
        candidates: process.candidates().iter().map(|text| c_string(text)).collect(),
        arguments: process.arguments.iter().map(|text| c_string(text)).collect(),
        env: process.env.iter().map(|text| c_string(text)).collect(),
        open_files_max: OPEN_FILES_MAX,
    })
}

/// A text for the kernel; it ends at a NUL, should one be in it.
fn c_string(text: &str) -> CString {
    CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default()
}

/// A container's path below its root: `.` is the root itself.
fn relative(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() {
        ".".into()
    } else {
        parts.join("/")
    }
}

/// Every folder on the way to `path`.
fn folders(ops: &mut Vec<Op>, path: &str) {
    let path = relative(path);
    for (at, _) in path.match_indices('/') {
        ops.push(Op::Folder(c_string(path.get(..at).unwrap_or_default())));
    }
    if path != "." {
        ops.push(Op::Folder(c_string(&path)));
    }
}

const QUIET: u64 = mount::MS_NOSUID | mount::MS_NODEV | mount::MS_NOEXEC;

/// What the container finds mounted, in order (OCI runtime spec,
/// config-linux.md, «Default Filesystems»; sizes and modes as podman has them).
type FileSystem = (&'static str, &'static CStr, u64, &'static CStr, bool);
const FILE_SYSTEMS: [FileSystem; 6] = [
    ("proc", c"proc", QUIET, c"", false),
    ("sys", c"sysfs", QUIET, c"", true),
    ("dev", c"tmpfs", mount::MS_NOSUID | mount::MS_STRICTATIME, c"mode=755,size=65536k", false),
    ("dev/pts", c"devpts", mount::MS_NOSUID | mount::MS_NOEXEC, c"newinstance,ptmxmode=0666,mode=0620,gid=5", false),
    ("dev/mqueue", c"mqueue", QUIET, c"", true),
    ("dev/shm", c"tmpfs", QUIET, c"mode=1777,size=65536k", false),
];

fn file_systems(ops: &mut Vec<Op>, cgroup: bool) {
    for (path, kind, flags, data, optional) in FILE_SYSTEMS {
        ops.push(Op::Folder(c_string(path)));
        ops.push(Op::Mount { kind, path: c_string(path), flags, data, optional });
    }
    if cgroup {
        let path = c_string("sys/fs/cgroup");
        ops.push(Op::Mount { kind: c"cgroup2", path, flags: QUIET, data: c"", optional: true });
    }
}

const LINKS: [(&str, &str); 6] = [
    ("dev/fd", "/proc/self/fd"),
    ("dev/stdin", "/proc/self/fd/0"),
    ("dev/stdout", "/proc/self/fd/1"),
    ("dev/stderr", "/proc/self/fd/2"),
    ("dev/core", "/proc/kcore"),
    ("dev/ptmx", "pts/ptmx"),
];

/// Every device of the machine, as `--privileged` gives them.
fn devices(ops: &mut Vec<Op>, tty: bool) {
    for (path, target) in LINKS {
        ops.push(Op::Symlink { path: c_string(path), target: c_string(target) });
    }
    if tty {
        ops.push(Op::File(c_string("dev/console")));
    }
    let mut nodes = 0;
    let mut pending = vec![PathBuf::from("/dev")];
    while let Some(dir) = pending.pop() {
        // A folder that is gone again has no devices.
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            let name = relative(&path.to_string_lossy());
            let ours = matches!(name.as_str(), "dev/pts" | "dev/shm" | "dev/mqueue" | "dev/console" | "dev/ptmx");
            let node = meta.file_type().is_char_device() || meta.file_type().is_block_device();
            if ours || nodes == DEVICES_MAX {
                continue;
            }
            if meta.is_dir() {
                folders(ops, &name);
                pending.push(path);
            } else if node {
                nodes += 1;
                let (major, minor) = sysfs::device_numbers(meta.rdev());
                ops.push(Op::Node { path: c_string(&name), mode: meta.mode(), device: (major, minor) });
            }
        }
    }
}
