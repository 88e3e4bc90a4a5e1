//! The plan of a container as data: its mounts, its devices, its process.

use crate::container::cgroup::Cgroup;
use crate::container::mount_flags::NOSUID_NODEV_NOEXEC;
use crate::container::mounts::{self, Mounts};
use crate::container::namespaces::{self, NamespaceSetup};
use crate::container::ops::Op;
use crate::container::own_program::{self, FileId};
use crate::container::pure::passwd::Identity;
use crate::container::pure::paths::{c_string, c_strings, relative};
use crate::container::pure::process::Process;
use crate::container::pure::spec::{self, ContainerSpec, Ulimit};
use crate::container::security::{self, Rights};
use crate::container::{devices, init};
use crate::report::{Failure, Outcome};
use crate::sys::{io_text, mount, tty, STDIN};
use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::path::Path;

/// podman's limit of open files, and of processes where the kernel does not tell its own.
const LIMIT_DEFAULT: u64 = 1 << 20;
/// Linux, asm-generic/resource.h.
const RLIMIT_NPROC: u32 = 6;
const RLIMIT_NOFILE: u32 = 7;

/// All that the child needs.
pub struct Plan {
    /// The mounted root.
    pub root: CString,
    pub ops: Vec<Op>,
    /// Mounts below one of its volumes are to reach the host (`rshared`).
    pub shares_mounts: bool,
    /// None where it has the host's UTS namespace.
    pub hostname: Option<CString>,
    /// `cgroup.procs` of the container's control group, if it has one.
    pub cgroup: Option<CString>,
    /// `cgroup.procs` of its groups in hierarchies of version 1.
    pub cgroups_v1: Vec<CString>,
    pub namespaces: NamespaceSetup,
    pub own_program: FileId,
    pub tty: Option<tty::Size>,
    pub identity: Identity,
    pub rights: Rights,
    pub working_dir: CString,
    pub candidates: Vec<CString>,
    pub arguments: Vec<CString>,
    pub env: Vec<CString>,
    /// Limits, and whether one that the kernel refuses is left out.
    pub limits: Vec<(Ulimit, bool)>,
    /// As `/proc` takes it.
    pub oom_score_adj: Option<CString>,
    pub umask: u32,
}

/// What a plan is made from.
pub struct PlanInputs<'a> {
    pub spec: &'a ContainerSpec,
    pub process: &'a Process,
    pub identity: Identity,
    /// The container's mounted root.
    pub root: &'a Path,
    pub hostname: &'a str,
    pub cgroup: Option<&'a Cgroup>,
    pub namespaces: NamespaceSetup,
    pub rights: Rights,
    pub oom_score_adj: Option<i32>,
    pub mounts: &'a mut Mounts,
}

/// Plans everything that happens between clone and exec.
pub fn make(inputs: PlanInputs) -> Outcome<Plan> {
    let PlanInputs { spec, process, identity, root, hostname, cgroup, namespaces, rights, oom_score_adj, mounts } =
        inputs;
    let mut ops = Vec::new();
    let shares_mounts = mounts.shares;
    let own_dev = !mounts.has("dev");
    file_systems(&mut ops, spec, cgroup.is_some(), mounts)?;
    if let Some((path, value)) = namespaces::default_sysctl(&spec.namespaces) {
        ops.push(Op::Write { path: c_string(path), value: c_string(value), optional: true });
    }
    for (path, value) in namespaces::sysctls(&spec.namespaces)? {
        ops.push(Op::Write { path: c_string(&path), value: c_string(&value), optional: false });
    }
    ops.extend(mounts.rest());
    if spec.process.working_dir.is_none() {
        working_dir(&mut ops, &process.working_dir, &identity);
    }
    if spec.process.init {
        own_init(&mut ops)?;
    }
    security::paths(&mut ops, &spec.rights);
    if spec.files.read_only {
        if own_dev && spec.files.no_read_only_tmpfs {
            ops.extend(mounts::readonly_dev(spec.files.mount_at("/dev/shm").is_none()));
        }
        ops.push(mounts::readonly_root());
    }
    let (candidates, arguments) = match spec.process.init {
        true => (vec![init::PATH.into()], [&[init::PATH.into(), "--".into()], process.arguments.as_slice()].concat()),
        false => (process.candidates(), process.arguments.clone()),
    };
    Ok(Plan {
        root: c_string(&root.to_string_lossy()),
        ops,
        shares_mounts,
        hostname: namespaces.own_hostname.then(|| c_string(hostname)),
        cgroup: cgroup.map(|cgroup| c_string(&cgroup.file("cgroup.procs").to_string_lossy())),
        cgroups_v1: cgroup
            .into_iter()
            .flat_map(Cgroup::procs_v1)
            .map(|path| c_string(&path.to_string_lossy()))
            .collect(),
        namespaces,
        own_program: own_program::id(),
        tty: spec.process.tty.then(|| tty::size(STDIN).unwrap_or_default()),
        identity,
        rights,
        working_dir: c_string(&process.working_dir),
        candidates: c_strings(&candidates),
        arguments: c_strings(&arguments),
        env: c_strings(&process.env),
        limits: limits(&spec.process),
        oom_score_adj: oom_score_adj.map(|score| c_string(&score.to_string())),
        umask: spec.process.umask.unwrap_or(0o022),
    })
}

/// Our own program as the container's process 1.
fn own_init(ops: &mut Vec<Op>) -> Outcome<()> {
    let own = own_program::path();
    let own = own.map_err(|error| Failure::new("container", ["--init: our program: ", &io_text(&error)].concat()))?;
    ops.push(mounts::program(&own, init::PATH));
    Ok(())
}

/// The limits of `--ulimit`, and podman's defaults, which are left out where the kernel refuses them.
fn limits(asked: &spec::Process) -> Vec<(Ulimit, bool)> {
    let given = if asked.ulimits_of_host { &[][..] } else { &asked.ulimits };
    let mut limits: Vec<(Ulimit, bool)> = given.iter().map(|limit| (*limit, false)).collect();
    for resource in [RLIMIT_NOFILE, RLIMIT_NPROC] {
        if !limits.iter().any(|(limit, _)| limit.resource == resource) {
            limits.push((Ulimit { resource, soft: LIMIT_DEFAULT, hard: LIMIT_DEFAULT }, true));
        }
    }
    limits
}

/// The image's working directory: made where it is missing, with the container's user as its owner.
fn working_dir(ops: &mut Vec<Op>, path: &str, identity: &Identity) {
    let path = relative(path);
    if path != "." {
        ops.push(Op::MkdirChown { path: c_string(&path), owner: (identity.uid, identity.gid) });
    }
}

/// The default file systems, in order (OCI runtime spec, config-linux.md, "Default Filesystems"; sizes and modes as
/// podman has them).
type FileSystem = (&'static str, &'static CStr, u64, &'static CStr, bool);
const FILE_SYSTEMS: [FileSystem; 5] = [
    ("proc", c"proc", NOSUID_NODEV_NOEXEC, c"", false),
    ("sys", c"sysfs", NOSUID_NODEV_NOEXEC, c"", true),
    ("dev", c"tmpfs", mount::MS_NOSUID | mount::MS_STRICTATIME, c"mode=755,size=65536k", false),
    ("dev/pts", c"devpts", mount::MS_NOSUID | mount::MS_NOEXEC, c"newinstance,ptmxmode=0666,mode=0620,gid=5", false),
    ("dev/mqueue", c"mqueue", NOSUID_NODEV_NOEXEC, c"", true),
];

/// A mount of the container line replaces a default one at the same path; below a `/dev` of its own none is made.
fn file_systems(ops: &mut Vec<Op>, spec: &ContainerSpec, cgroup: bool, mounts: &mut Mounts) -> Outcome<()> {
    let own_dev = mounts.has("dev");
    for (path, kind, flags, data, optional) in FILE_SYSTEMS {
        if let Some(own) = mounts.take(path) {
            ops.extend(own);
        } else if !(own_dev && path.starts_with("dev/")) {
            let (flags, data) = match path {
                "proc" if !spec.rights.proc_options.is_empty() => proc_options(&spec.rights.proc_options),
                _ => (flags, data.into()),
            };
            ops.push(Op::Mount { kind, path: c_string(path), flags, data, optional });
            remount_readonly(ops, spec, path);
        }
        if path == "dev" && !own_dev {
            devices::plan(ops, &spec.rights, spec.process.tty)?;
        }
    }
    ops.extend(mounts.take("dev/shm").into_iter().flatten());
    if let Some(own) = mounts.take("sys/fs/cgroup") {
        ops.extend(own);
    } else if cgroup {
        let path = c_string("sys/fs/cgroup");
        ops.push(Op::Mount { kind: c"cgroup2", path, flags: NOSUID_NODEV_NOEXEC, data: c"".into(), optional: true });
        remount_readonly(ops, spec, "sys/fs/cgroup");
    }
    Ok(())
}

/// Without privileges `/sys` is read-only, and so is the control group's file system, unless `unmask=` names it.
fn remount_readonly(ops: &mut Vec<Op>, spec: &ContainerSpec, path: &str) {
    let is_group = path == "sys/fs/cgroup" && security::is_unmasked(&spec.rights, "/sys/fs/cgroup");
    if !spec.rights.privileged && path.starts_with("sys") && !is_group {
        // As crun has it (1.28).
        let no_links = if path == "sys/fs/cgroup" { mount::MS_NOSYMFOLLOW } else { 0 };
        let flags = NOSUID_NODEV_NOEXEC | mount::MS_RDONLY | no_links;
        ops.push(Op::RemountOptional { path: c_string(path), flags });
    }
}

/// `--security-opt proc-opts=`: in place of the default ones.
fn proc_options(options: &[String]) -> (u64, Cow<'static, CStr>) {
    let (mut flags, mut data) = (0, Vec::new());
    for option in options {
        match option.as_str() {
            "nosuid" => flags |= mount::MS_NOSUID,
            "nodev" => flags |= mount::MS_NODEV,
            "noexec" => flags |= mount::MS_NOEXEC,
            "ro" => flags |= mount::MS_RDONLY,
            "rw" | "suid" | "dev" | "exec" => {}
            other => data.push(other),
        }
    }
    (flags, c_string(&data.join(",")).into())
}
