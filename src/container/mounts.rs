//! The mounts of a container beside the default file systems: those of the container line, of the image's volumes, and
//! podman's own. Sources are made here; the mounts are a list of [`Op`]s for the child.

use crate::container::fill::{anonymous, fill, open_directory, tmpfs};
use crate::container::mount_flags::{flags, propagation_flags, NOSUID_NODEV, NOSUID_NODEV_NOEXEC};
use crate::container::mount_target::MountTarget;
use crate::container::ops::Op;
use crate::container::pure::passwd::Identity;
use crate::container::pure::paths::{below_root, c_string};
use crate::container::pure::spec::{
    ContainerSpec, Files, ImageVolumes, Mount, Namespace, Propagation, PropagationKind, Source,
};
use crate::layer::{overlay, packed};
use crate::pure::index::Index;
use crate::report::{Failure, Outcome, Report};
use crate::store::copy_tree;
use crate::sys::path::c_path;
use crate::sys::{self, fs as sysfs, io_text, mount};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

const READ_ONLY: u64 = mount::MS_RDONLY | NOSUID_NODEV_NOEXEC;
/// Flags of mount(2) that a mount's options can set; statfs(2) has the same numbers.
const CHOICES: u64 = READ_ONLY;
/// Where a read-only container has a tmpfs (podman-run(1), `--read-only-tmpfs`).
const WRITABLE: [&str; 3] = ["/run", "/tmp", "/var/tmp"];
/// podman's 65536k, each of 1000 bytes.
const SHM_BYTES: u64 = 65_536_000;

/// The mounts by their targets.
#[derive(Default)]
pub struct Mounts {
    entries: Vec<(String, Vec<Op>)>,
    /// The targets of all entries.
    targets: Index,
    /// Mounts on the host that are unmounted with the container.
    made: Vec<PathBuf>,
    /// What another container may share: source, target, whether it is read-only.
    pub volumes: Vec<(String, String, bool)>,
    pub shares: bool,
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for at in &self.made {
            // One that stays is unmounted when the store is opened next.
            let _ = packed::unmount(at);
        }
    }
}

impl Mounts {
    /// Whether something is mounted at exactly this path (relative to the root).
    pub fn has(&self, path: &str) -> bool {
        self.targets.get(path.as_bytes()).is_some()
    }

    /// Removes and returns what is mounted at exactly this path.
    pub fn take(&mut self, path: &str) -> Option<Vec<Op>> {
        self.targets.remove(path.as_bytes())?;
        let at = self.entries.iter().position(|(target, _)| target == path)?;
        Some(self.entries.remove(at).1)
    }

    fn put(&mut self, target: String, op: Op) {
        self.targets.insert(target.as_bytes(), 0);
        self.entries.push((target, vec![op]));
    }

    /// All other mounts, parents before what is mounted in them.
    pub fn rest(&mut self) -> Vec<Op> {
        self.targets = Index::default();
        self.entries.sort_by_cached_key(|(target, _)| target.matches('/').count());
        self.entries.drain(..).flat_map(|(_, ops)| ops).collect()
    }

    /// Mounts a file that we made at `target`, unless the container line has a mount there.
    pub fn add_file(&mut self, source: &Path, target: &str, files: &Files) {
        let target = below_root(target);
        // podman leaves a volume's /run as it is; in a tmpfs there it makes its file.
        let is_run = |(path, ops): &(String, Vec<Op>)| path == "run" && matches!(ops.first(), Some(Op::Bind { .. }));
        if self.has(&target) || (target.starts_with("run/") && self.entries.iter().any(is_run)) {
            return;
        }
        let op = Op::Bind {
            source: c_string(&source.to_string_lossy()),
            path: c_string(&target),
            is_directory: false,
            recursive: false,
            flags: files.read_only.then_some(READ_ONLY),
            propagation: mount::MS_PRIVATE | mount::MS_REC,
        };
        self.put(target, op);
    }
}

/// The limit of volumes that an image may declare: each is a directory and a mount. Real images have a few.
const IMAGE_VOLUMES_MAX: usize = 1024;

/// Makes the sources of all mounts. `image` are the volumes that the image declares.
pub fn prepare(files: &Files, image: &[String], from_others: &[Mount], to: &MountTarget) -> Outcome<Mounts> {
    let mut mounts = Mounts::default();
    for mount in files.mounts.iter().chain(from_others) {
        mounts.add(mount, to)?;
    }
    let of_image = match files.image_volumes {
        ImageVolumes::Anonymous => Some(Source::Anonymous),
        ImageVolumes::Tmpfs => Some(Source::Tmpfs(String::new())),
        ImageVolumes::Ignored => None,
    };
    if image.len() > IMAGE_VOLUMES_MAX && of_image.is_some() {
        let what = ["the image declares ", &image.len().to_string(), " volumes; the limit is 1024"].concat();
        return Err(Failure::new("container", what).hint("--image-volume=ignore makes none of them"));
    }
    for target in image.iter().filter(|target| below_root(target) != ".") {
        if is_kernels(&below_root(target), to.report)? {
            continue;
        }
        if let Some(source) = &of_image {
            mounts.add(&Mount::plain(source.clone(), target), to)?;
        }
    }
    if files.read_only && !files.no_read_only_tmpfs {
        for target in WRITABLE {
            mounts.add(&Mount::plain(Source::Tmpfs(String::new()), target), to)?;
        }
    }
    Ok(mounts)
}

/// Whether a volume that an image declares is left out because the container's control group is mounted there: images
/// for systemd declare it. Any other below `/proc`, `/sys` and `/dev` is an error: what is trusted to be the kernel's
/// would be the image's.
fn is_kernels(target: &str, report: &Report) -> Outcome<bool> {
    let top = target.split('/').next().unwrap_or_default();
    if !matches!(top, "proc" | "sys" | "dev") || target == "dev/shm" {
        return Ok(false);
    }
    if target == "sys/fs/cgroup" {
        report.warn("container", "the image's VOLUME '/sys/fs/cgroup' is left out: the container has its own there");
        return Ok(true);
    }
    let what = ["the image's VOLUME '/", target, "' would cover what the kernel has there"].concat();
    Err(Failure::new("container", what).hint("--image-volume=ignore runs it without its volumes"))
}

impl Mounts {
    /// Adds `/dev/shm` as podman has it: a tmpfs of its own, or that of the container whose IPC namespace it shares,
    /// which has the directory `of`. A container with a name has it mounted on the host, so that others can share it.
    pub fn add_shm(&mut self, spec: &ContainerSpec, of: Option<&Path>, dir: &Path) -> Outcome<()> {
        let files = &spec.files;
        if self.has("dev/shm") || self.has("dev") || spec.namespaces.ipc == Namespace::Empty {
            return Ok(());
        }
        let flags = NOSUID_NODEV | mount::MS_NOEXEC;
        let data = c_string(&["mode=1777,size=", &files.shm_size.unwrap_or(SHM_BYTES).to_string()].concat());
        let shared = match (&spec.namespaces.ipc, of) {
            (Namespace::Host, _) => Some("/dev/shm".into()),
            (_, Some(of)) => Some(of.join("shm")),
            _ if spec.process.name.is_some() => {
                let at = dir.join("shm");
                let fail = |why: &str| Failure::new("container", ["/dev/shm: ", why].concat());
                fs::create_dir(&at).map_err(|error| fail(&io_text(&error)))?;
                c_path(&at)
                    .and_then(|at| mount::mount(c"shm", &at, c"tmpfs", flags as _, &data))
                    .map_err(|error| fail(&error.to_string()))?;
                self.made.push(at.clone());
                Some(at)
            }
            _ => None,
        };
        let path = c_string("dev/shm");
        let op = match shared {
            None => Op::Tmpfs { name: c"shm", path, flags, data },
            Some(source) => Op::Bind {
                source: c_string(&source.to_string_lossy()),
                path,
                is_directory: true,
                recursive: false,
                flags: Some(flags),
                propagation: mount::MS_PRIVATE,
            },
        };
        self.put("dev/shm".into(), op);
        Ok(())
    }
}

/// A program of ours, read-only in the container.
pub fn program(source: &Path, target: &str) -> Op {
    let (flags, propagation) = (Some(mount::MS_RDONLY), mount::MS_PRIVATE);
    let (source, path) = (c_string(&source.to_string_lossy()), c_string(&below_root(target)));
    Op::Bind { source, path, is_directory: false, recursive: false, flags, propagation }
}

/// `--read-only-tmpfs=false` is about `/dev` and `/dev/shm`, too, unless the container line mounts them.
pub fn readonly_dev(own_shm: bool) -> Vec<Op> {
    let dev = mount::MS_RDONLY | mount::MS_NOSUID;
    let shm = dev | mount::MS_NODEV | mount::MS_NOEXEC;
    let all = [("dev", dev | mount::MS_STRICTATIME), ("dev/shm", shm)];
    let all = all.iter().filter(|(path, _)| own_shm || *path == "dev");
    all.map(|(path, flags)| Op::RemountOptional { path: c_string(path), flags: *flags }).collect()
}

/// Makes the container's root read-only, after all other mounts.
pub fn readonly_root() -> Op {
    Op::Remount { path: c_string("."), flags: mount::MS_RDONLY }
}

fn fail(mount: &Mount, why: &str) -> Failure {
    let source = match &mount.source {
        Source::Path(path) => path,
        Source::Volume(name) => name,
        Source::Anonymous | Source::Tmpfs(_) => &mount.target,
    };
    Failure::new("container", ["volume ", source, ": ", why].concat())
}

impl Mounts {
    /// The first mount at a target wins.
    fn add(&mut self, mount: &Mount, to: &MountTarget) -> Outcome<()> {
        let target = below_root(&mount.target);
        if self.has(&target) {
            return Ok(());
        }
        let op = match &mount.source {
            Source::Tmpfs(data) => tmpfs(mount, &target, data, to).map_err(|error| fail(mount, &error.to_string()))?,
            source => {
                let source = match source {
                    Source::Path(path) => fs::canonicalize(path).map_err(|error| fail(mount, &io_text(&error)))?,
                    Source::Volume(name) => {
                        to.volumes.filled(name, &mut |directory| fill(&target, directory, mount.copy, to))?
                    }
                    _ => anonymous(mount, &target, self.volumes.len(), to).map_err(|why| fail(mount, &why))?,
                };
                self.bind(mount, &target, source, to)?
            }
        };
        self.put(target, op);
        Ok(())
    }

    fn bind(&mut self, mount: &Mount, target: &str, source: PathBuf, to: &MountTarget) -> Outcome<Op> {
        let source = if mount.overlay { self.overlay(mount, &source, to)? } else { source };
        let is_directory = source.is_dir();
        let open = open_source(&source).map_err(|error| fail(mount, &error.to_string()))?;
        if mount.chown {
            give(&source, is_directory, to.identity).map_err(|why| fail(mount, &why))?;
        }
        let has = sysfs::statfs(open.as_fd()).map_err(|error| fail(mount, &error.to_string()))?.flags & CHOICES;
        let default = if matches!(mount.source, Source::Path(_)) { has } else { has | NOSUID_NODEV };
        let wanted = flags(mount, default);
        self.volumes.push((source.to_string_lossy().into_owned(), ["/", target].concat(), mount.read_only));
        let propagation = mount.propagation.unwrap_or(Propagation { kind: PropagationKind::Private, recursive: true });
        self.shares |= propagation.kind == PropagationKind::Shared;
        Ok(Op::Bind {
            source: c_path(&source).map_err(|error| fail(mount, &error.to_string()))?,
            path: c_string(target),
            is_directory,
            recursive: mount.recursive.unwrap_or(true),
            flags: (wanted != has).then_some(wanted),
            propagation: propagation_flags(propagation),
        })
    }

    /// An overlay over a volume: what is written is removed with the container.
    fn overlay(&mut self, mount: &Mount, lower: &Path, to: &MountTarget) -> Outcome<PathBuf> {
        let number = self.made.len().to_string();
        let (parts, at) = (to.dir.join(["over.", &number].concat()), to.dir.join(["over-root.", &number].concat()));
        for dir in [&parts.join("upper"), &parts.join("work"), &at] {
            fs::create_dir_all(dir).map_err(|error| fail(mount, &io_text(&error)))?;
        }
        overlay::mount_over(lower, &parts, &at, to.report).map_err(|error| fail(mount, &error.text))?;
        self.made.push(at.clone());
        Ok(at)
    }
}

fn open_source(path: &Path) -> sys::Result<OwnedFd> {
    sysfs::openat(sysfs::CWD, &c_path(path)?, sysfs::O_PATH, 0)
}

/// Directories of the host whose owner a typing error must not change (podman's list).
const SYSTEM: [&str; 13] =
    ["/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/proc", "/root", "/sbin", "/sys", "/usr"];

fn give(source: &Path, is_directory: bool, to: &Identity) -> Result<(), String> {
    if SYSTEM.iter().any(|path| Path::new(path) == source) {
        return Err("the owner of a system directory is not changed (U)".into());
    }
    // A FIFO or a device is not opened: that could block.
    let given = match is_directory {
        true => open_directory(source).and_then(|directory| copy_tree::chown(directory.as_fd(), to.uid, to.gid)),
        false => c_path(source).and_then(|path| sysfs::fchownat(sysfs::CWD, &path, to.uid, to.gid)),
    };
    given.map_err(|error| error.to_string())
}
