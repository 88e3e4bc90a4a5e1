//! What a container line asks for, in groups: plain values, each checked by itself. Flags that exclude each other are
//! checked in [`ContainerSpec::conflict`].

pub mod files;
pub mod mounts;
pub mod parse;
pub mod redact;
pub mod resources;
mod root;
pub mod table;
pub mod values;

use crate::image::pure::pull_options::PullOptions;
pub use files::{Dns, Files, ImageVolumes, Mount, Propagation, PropagationKind, Source, VolumesFrom};

/// What one container line asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct ContainerSpec {
    pub process: Process,
    pub files: Files,
    pub namespaces: Namespaces,
    pub rights: Rights,
    pub resources: Resources,
    pub pull: PullOptions,
    /// The container gets the host's proxy in its environment.
    pub http_proxy: bool,
    pub command: Vec<String>,
    pub warnings: Vec<String>,
    /// It is no container but the machine's root.
    pub is_root: bool,
}

/// The process: what runs, with what environment, as whom.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Process {
    pub tty: bool,
    pub interactive: bool,
    /// As given: `NAME=value`, `NAME` or `NAME*` (our own values); later ones win.
    pub env: Vec<String>,
    /// `env` wins over them, whatever the order of flags.
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
    /// `--ulimit host`: the others do not count.
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

/// Which namespace of a kind a container has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespace {
    /// One of its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// Its own, with nothing in it: no interface but loopback, no `/dev/shm`.
    Empty,
    /// That of the container of this name.
    Container(String),
    /// The one that a file stands for.
    Path(String),
}

/// A container's namespaces; its user namespace is always the host's.
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
            // boot2container runs `podman run --privileged`.
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

/// A device of the host in the container.
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

/// -1, or a number.
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
