//! What a container line asks for, in groups: plain values, checked where they
//! stand. What they mean together is checked in [`super::Container::conflict`].

use crate::proto::digest::Digest;
use std::collections::BTreeSet;

/// The process: what runs, with what environment, as whom.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Process {
    pub tty: bool,
    pub interactive: bool,
    /// As given: `NAME=value`, `NAME` or `NAME*` (our own values); later ones win.
    pub env: Vec<String>,
    /// Below `env`, whatever the order on the line.
    pub env_files: Vec<String>,
    /// Our own environment comes along.
    pub env_host: bool,
    /// Names that neither the defaults nor the image set.
    pub unset_env: Vec<String>,
    pub unset_env_all: bool,
    /// Replaces the image's; an empty one removes it.
    pub entrypoint: Option<Vec<String>>,
    pub working_dir: Option<String>,
    /// `USER[:GROUP]`.
    pub user: Option<String>,
    /// Names or numbers.
    pub groups: Vec<String>,
    pub umask: Option<u32>,
    pub ulimits: Vec<Ulimit>,
    /// `--ulimit host`: those that are not given stay as ours are.
    pub ulimits_of_host: bool,
    pub oom_score_adj: Option<i32>,
    /// A first process that reaps and passes signals on.
    pub init: bool,
    pub stop_signal: Option<i32>,
    /// From the stop signal to SIGKILL.
    pub stop_timeout_s: Option<u32>,
    /// The longest that the container may run; 0 is no limit.
    pub timeout_s: u32,
    /// A name below `/usr/share/zoneinfo`, or `local`.
    pub time_zone: Option<String>,
    pub hostname: Option<String>,
    pub name: Option<String>,
}

/// One resource limit of setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// Linux's `RLIMIT_…`, as on every architecture that we run on.
    pub resource: u32,
    /// `u64::MAX` is no limit.
    pub soft: u64,
    pub hard: u64,
}

impl Ulimit {
    pub fn name(&self) -> &'static str {
        ULIMITS.get(self.resource as usize).copied().unwrap_or_default()
    }
}

/// The names of limits, in the order of their numbers (asm-generic/resource.h).
pub const ULIMITS: [&str; 16] = [
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];

/// The file systems, and the files of `/etc` that are ours.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// `-v`, `--mount` and `--tmpfs`, in order; no target twice.
    pub mounts: Vec<Mount>,
    /// Where they lie.
    pub(super) targets: BTreeSet<String>,
    pub read_only: bool,
    /// `--read-only-tmpfs=false`: a read-only root gets no `/run`, `/tmp`, `/var/tmp` in memory.
    pub no_read_only_tmpfs: bool,
    /// Of `/dev/shm`, in bytes; 0 is no limit.
    pub shm_size: Option<u64>,
    pub volumes_from: Vec<VolumesFrom>,
    pub image_volumes: ImageVolumes,
    /// Put over the image's own, in order.
    pub layers: Vec<Layer>,
    pub dns: Dns,
    /// Host name, address: lines of `/etc/hosts`.
    pub hosts: Vec<(String, String)>,
    /// `/etc/hosts` is the image's own.
    pub no_hosts: bool,
}

impl Files {
    /// The machine's file or folder that comes to lie at just that path.
    pub fn source_at(&self, path: &str) -> Option<&str> {
        let is_there = |mount: &&Mount| below_root(&mount.target) == below_root(path);
        match &self.mounts.iter().find(is_there)?.source {
            Source::Path(source) => Some(source),
            _ => None,
        }
    }
}

/// What becomes of the paths that the image declares as volumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageVolumes {
    #[default]
    Anonymous,
    Tmpfs,
    /// They are folders like others.
    Ignored,
}

/// What the container's `/etc/resolv.conf` is made of.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// The file is the image's own (`--dns=none`).
    pub none: bool,
    pub servers: Vec<String>,
    /// `.` alone is none.
    pub search: Vec<String>,
    pub options: Vec<String>,
}

/// Something that the container sees at a place of its tree.
#[derive(Debug, PartialEq, Eq)]
pub struct Mount {
    pub source: Source,
    /// Absolute, and not the root.
    pub target: String,
    pub read_only: bool,
    /// What is not said is podman's default for that kind of source.
    pub suid: Option<bool>,
    pub dev: Option<bool>,
    pub exec: Option<bool>,
    /// `bind`, or `rbind` with what is mounted below the source.
    pub recursive: Option<bool>,
    pub propagation: Option<Propagation>,
    /// The source becomes the container's user's (`U`).
    pub chown: bool,
    /// What the container writes is gone with it (`O`).
    pub overlay: bool,
    /// A fresh volume or tmpfs is filled from the image, unless this is false.
    pub copy: Option<bool>,
}

impl Mount {
    /// One with podman's defaults.
    pub fn plain(source: Source, target: &str) -> Mount {
        Mount {
            source,
            target: target.into(),
            read_only: false,
            suid: None,
            dev: None,
            exec: None,
            recursive: None,
            propagation: None,
            chown: false,
            overlay: false,
            copy: None,
        }
    }
}

/// A place of the container's tree as a path below its root, by its words
/// alone: `.` is the root itself.
pub fn below_root(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return ".".into();
    }
    parts.join("/")
}

/// Where a mount's content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A folder or file of the machine.
    Path(String),
    /// A named volume.
    Volume(String),
    /// A volume without a name: it is gone with the container.
    Anonymous,
    /// Memory; the kernel's own options (`size=64m,mode=1777`).
    Tmpfs(String),
}

/// mount(2)'s words; the recursive ones begin with an `r`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    pub kind: PropagationKind,
    pub recursive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropagationKind {
    Shared,
    Slave,
    Private,
    Unbindable,
}

/// The mounts of an earlier container.
#[derive(Debug, PartialEq, Eq)]
pub struct VolumesFrom {
    pub container: String,
    /// As there, where it is not said.
    pub read_only: Option<bool>,
}

/// A tar that becomes a layer of the container's root.
#[derive(Debug, PartialEq, Eq)]
pub struct Layer {
    /// A URL of http or https, or a file.
    pub source: String,
    /// Of its bytes as they come.
    pub digest: Option<Digest>,
}

/// Which namespace of a kind a container has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespace {
    /// One of its own.
    #[default]
    Private,
    /// The machine's.
    Host,
    /// Its own, with nothing in it: no interface but loopback, no `/dev/shm`.
    Empty,
    /// That of the container of this name.
    Container(String),
    /// The one that a file stands for.
    Path(String),
}

/// A container's namespaces; the user's is always the machine's.
#[derive(Debug, PartialEq, Eq)]
pub struct Namespaces {
    pub pid: Namespace,
    pub ipc: Namespace,
    pub uts: Namespace,
    pub cgroup: Namespace,
    pub network: Namespace,
    /// Key (with dots or slashes), value.
    pub sysctls: Vec<(String, String)>,
}

impl Default for Namespaces {
    fn default() -> Namespaces {
        let private = || Namespace::Private;
        Namespaces {
            pid: private(),
            ipc: private(),
            uts: private(),
            cgroup: private(),
            network: Namespace::Host,
            sysctls: Vec::new(),
        }
    }
}

/// What the container may do.
#[derive(Debug, PartialEq, Eq)]
pub struct Rights {
    pub privileged: bool,
    /// A bit for each capability's number; all of them for `ALL`.
    pub cap_add: u64,
    pub cap_drop: u64,
    pub no_new_privileges: bool,
    pub seccomp: Seccomp,
    /// Paths beside the default ones.
    pub mask: Vec<String>,
    /// `ALL`, or paths and patterns of them.
    pub unmask: Vec<String>,
    /// Options of the mount of `/proc`.
    pub proc_options: Vec<String>,
    pub devices: Vec<Device>,
    pub device_rules: Vec<DeviceRule>,
}

impl Default for Rights {
    fn default() -> Rights {
        Rights {
            // The dialect's: b2c runs `podman run --privileged`.
            privileged: true,
            cap_add: 0,
            cap_drop: 0,
            no_new_privileges: false,
            seccomp: Seccomp::Default,
            mask: Vec::new(),
            unmask: Vec::new(),
            proc_options: Vec::new(),
            devices: Vec::new(),
            device_rules: Vec::new(),
        }
    }
}

/// The filter of system calls.
#[derive(Debug, PartialEq, Eq)]
pub enum Seccomp {
    /// podman's profile; none for a privileged container.
    Default,
    Unconfined,
    /// The path of a profile.
    Profile(String),
}

/// A device of the machine in the container.
#[derive(Debug, PartialEq, Eq)]
pub struct Device {
    pub source: String,
    pub target: String,
    pub access: Access,
}

/// What may be done with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub read: bool,
    pub write: bool,
    pub mknod: bool,
}

/// A line of the list of allowed devices (Linux, cgroup-v1/devices.rst).
#[derive(Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// `a` for all, `c` or `b`.
    pub kind: char,
    /// All of them where there is none.
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: Access,
}

/// The control group's limits.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// In bytes; 0 is no limit.
    pub memory: Option<u64>,
    pub memory_reservation: Option<u64>,
    /// Memory and swap together; podman's default is twice the memory.
    pub memory_swap: Option<Limit>,
    /// Microseconds in each 100 ms; excludes the next two.
    pub cpus: Option<Limit>,
    /// In each period.
    pub cpu_quota_us: Option<Limit>,
    pub cpu_period_us: Option<u64>,
    pub cpu_shares: Option<u64>,
    /// A list such as `0-3,7`.
    pub cpuset_cpus: Option<String>,
    pub cpuset_mems: Option<String>,
    pub pids: Option<Limit>,
    pub blkio_weight: Option<u16>,
    /// The path of a block device, its weight.
    pub blkio_weight_devices: Vec<(String, u16)>,
    pub device_limits: Vec<DeviceLimit>,
    /// A file of the control group, what is written to it.
    pub cgroup_conf: Vec<(String, String)>,
}

/// -1 on the line, or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Unlimited,
    At(u64),
}

/// How fast a block device may be read or written.
#[derive(Debug, PartialEq, Eq)]
pub struct DeviceLimit {
    pub path: String,
    pub kind: LimitKind,
    /// Bytes or operations in a second.
    pub rate: u64,
}

/// cgroup v2's keys in `io.max`: `rbps`, `wbps`, `riops`, `wiops`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    ReadBps,
    WriteBps,
    ReadIops,
    WriteIops,
}
