//! A process in its own namespaces: what it sees is planned here, as podman
//! has it with `--privileged --network=host`; then clone, relay, exit code.

use super::inside::{self, Ends, Op, Plan, Stage, Trouble};
use super::pull::Image;
use super::relay::{self, Ended, Running};
use super::rootfs;
use super::store::Store;
use crate::proto::flags::Container;
use crate::proto::passwd::{self, Identity};
use crate::proto::process::{merge, Process};
use crate::report::{Failure, Outcome, Report};
use crate::sys::process::{self as sysprocess, Arguments, Status};
use crate::sys::{fs as sysfs, mount, tty, Error, EACCES, ENOENT, EPERM, STDIN};
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The machine around a container.
pub struct Surroundings<'a> {
    pub hostname: &'a str,
    /// The text of `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// `NAME=value` for every container.
    pub env: Vec<String>,
    /// On a host's command line signals go to the container; at boot they end it.
    pub forward_signals: bool,
    pub report: &'a Report,
}

/// How a container ended.
pub struct Exit {
    /// The process's own code, 126, 127, or 128 and the signal.
    pub code: i32,
    /// Killed by the kernel in place of a reboot(2) that it called.
    pub reboot: Option<Asked>,
    /// A signal to us asked for the end.
    pub stopped: bool,
    /// The output ended in the middle of a line.
    pub open_line: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Reboot,
    PowerOff,
}

/// The signals that we hold back and read.
pub const SIGNALS: [i32; 7] = [
    sysprocess::SIGINT,
    sysprocess::SIGTERM,
    sysprocess::SIGHUP,
    sysprocess::SIGQUIT,
    sysprocess::SIGUSR1,
    sysprocess::SIGUSR2,
    sysprocess::SIGWINCH,
];

/// Files of an image that we read, `/etc/passwd` and its kin, are no larger.
const IMAGE_FILE_MAX: u64 = 1 << 20;
const OPEN_FILES_MAX: u64 = 1 << 20;
const DEVICES_MAX: usize = 4096;
const CGROUPS: &str = "/sys/fs/cgroup";

/// Runs one container to its end.
pub fn run(line: &Container, image: &Image, store: &Store, around: &Surroundings) -> Outcome<Exit> {
    let fail = |what: &str, why: &str| Failure::new("container", [what, ": ", why].concat());
    let dir = store.begin_container().map_err(|error| fail("its folder in the store", &error.to_string()))?;
    let mounted = rootfs::mount_writable(&image.layers, &dir);
    let outcome = match mounted {
        Ok(root) => {
            let outcome = run_in(line, image, &root, around);
            if let Err(error) = rootfs::unmount(&root) {
                around.report.warn("container", format_args!("root: {error}"));
            }
            outcome
        }
        Err(error) => Err(overlay_failure(&error)),
    };
    if let Err(error) = store.end_container(&dir) {
        around.report.warn("container", format_args!("{}: {error}", dir.to_string_lossy()));
    }
    outcome
}

fn overlay_failure(error: &Error) -> Failure {
    let failure = Failure::new("container", ["root: ", &error.to_string()].concat());
    match error.errno {
        crate::sys::ENODEV => failure.hint("this kernel has no overlayfs: build it in, or add its module"),
        EPERM => failure.hint("mounting takes root"),
        _ => failure,
    }
}

fn run_in(line: &Container, image: &Image, root: &Path, around: &Surroundings) -> Outcome<Exit> {
    let hostname = line.hostname.as_deref().unwrap_or(around.hostname);
    let merged = merge(&image.config, line, &around.env, hostname);
    let mut process = merged.ok_or_else(|| {
        Failure::new("container", "the image names no command").hint("write one after the image, or --entrypoint")
    })?;
    for warning in line.warnings.iter().chain(&process.warnings) {
        around.report.warn("container", warning);
    }
    let identity = identity(root, &process.user)?;
    process.set_home(&identity.home);
    write_own_files(line, root, hostname, around)?;
    let cgroup = Cgroup::make(around.report);
    let plan = plan(line, &process, identity, root, hostname, cgroup.as_ref())?;
    let outcome = spawn(line, &plan, around);
    if let Some(cgroup) = cgroup {
        // A group that is still busy is empty at the end of the machine.
        let _ = fs::remove_dir(cgroup.0);
    }
    outcome
}

/// Opens a file of the image, wherever its own symlinks lead inside it.
fn open_inside(root: &Path, path: &CStr, flags: i32) -> crate::sys::Result<OwnedFd> {
    let root = File::open(root).map_err(|error| Error::from_io("open", &error))?;
    sysfs::openat2(root.as_fd(), path, flags, 0, sysfs::RESOLVE_IN_ROOT | sysfs::RESOLVE_NO_MAGICLINKS)
}

/// A small regular file of the image as text; empty where there is none. It is
/// looked at before it is opened: a FIFO would block, a device would answer.
fn read_inside(root: &Path, path: &CStr) -> Result<String, String> {
    let place = match open_inside(root, path, sysfs::O_PATH) {
        Err(error) if error.errno == ENOENT => return Ok(String::new()),
        result => result.map_err(|error| error.to_string())?,
    };
    let stat = sysfs::statat(place.as_fd(), c"").map_err(|error| error.to_string())?;
    if !stat.is(sysfs::S_IFREG) {
        return Err("not a regular file".into());
    }
    if stat.size > IMAGE_FILE_MAX {
        return Err("larger than 1 MiB".into());
    }
    let file = open_inside(root, path, sysfs::O_RDONLY | sysfs::O_NONBLOCK).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    File::from(file).take(IMAGE_FILE_MAX).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn identity(root: &Path, user: &str) -> Outcome<Identity> {
    let read = |path: &CStr, name: &str| {
        read_inside(root, path)
            .map_err(|why| Failure::new("container", ["user «", user, "»: the image's ", name, ": ", &why].concat()))
    };
    let passwd = read(c"etc/passwd", "/etc/passwd")?;
    let group = read(c"etc/group", "/etc/group")?;
    passwd::resolve(user, &passwd, &group)
        .map_err(|error| Failure::new("container", ["user «", user, "»: ", &error.text()].concat()))
}

/// `/etc/hostname`, `hosts`, `resolv.conf`: new files in the container's upper.
/// Whatever the image has there is replaced and never followed: it could be a
/// symlink out, a FIFO or a disk.
fn write_own_files(line: &Container, root: &Path, hostname: &str, around: &Surroundings) -> Outcome<()> {
    let fail = |name: &str, error: &str| Failure::new("container", ["/etc/", name, ": ", error].concat());
    // Its errors show at the open below.
    let _ = open_inside(root, c".", sysfs::O_RDONLY).map(|root| sysfs::mkdirat(root.as_fd(), c"etc", 0o755));
    let etc = open_inside(root, c"etc", sysfs::O_PATH | sysfs::O_DIRECTORY);
    let etc = etc.map_err(|error| fail("", &error.to_string()))?;
    let hosts = ["127.0.0.1\tlocalhost ", hostname, "\n::1\tlocalhost\n"].concat();
    let mut files = vec![(c"hostname", [hostname, "\n"].concat()), (c"hosts", hosts)];
    if !line.own_resolv_conf && !line.no_network {
        files.push((c"resolv.conf", around.resolv_conf.clone()));
    }
    for (name, text) in files {
        let write = || -> Result<(), Error> {
            match sysfs::unlinkat(etc.as_fd(), name) {
                Err(error) if error.errno != ENOENT => return Err(error),
                _ => {}
            }
            let flags = sysfs::O_CREAT | sysfs::O_EXCL | sysfs::O_NOFOLLOW | sysfs::O_WRONLY;
            let file = sysfs::openat(etc.as_fd(), name, flags, 0o644)?;
            sysfs::pwrite(file.as_fd(), text.as_bytes(), 0).map(drop)
        };
        write().map_err(|error| fail(&name.to_string_lossy(), &error.to_string()))?;
    }
    Ok(())
}

/// The container's own control group: version 2, directly below the root.
struct Cgroup(PathBuf);

impl Cgroup {
    fn make(report: &Report) -> Option<Cgroup> {
        if !Path::new(CGROUPS).join("cgroup.controllers").exists() {
            report.warn("container", "no cgroup v2 here: the container gets no control group of its own");
            return None;
        }
        let dir = Path::new(CGROUPS).join(["ocinit.", &std::process::id().to_string()].concat());
        match fs::create_dir(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                report.warn("container", format_args!("no control group of its own: {}: {error}", dir.display()));
                None
            }
            _ => Some(Cgroup(dir)),
        }
    }
}

fn plan(
    line: &Container,
    process: &Process,
    identity: Identity,
    root: &Path,
    hostname: &str,
    cgroup: Option<&Cgroup>,
) -> Outcome<Plan> {
    let mut ops = Vec::new();
    file_systems(&mut ops, cgroup.is_some());
    devices(&mut ops, line.tty);
    folders(&mut ops, &process.working_dir);
    for volume in &line.volumes {
        let source = fs::canonicalize(&volume.source).map_err(|error| {
            Failure::new("container", ["volume ", &volume.source, ": ", &error.to_string()].concat())
        })?;
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
        cgroup: cgroup.map(|cgroup| c_string(&cgroup.0.join("cgroup.procs").to_string_lossy())),
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

/// Clones, relays and waits.
fn spawn(line: &Container, plan: &Plan, around: &Surroundings) -> Outcome<Exit> {
    let fail = |error: Error| Failure::new("container", error.to_string());
    let (report_in, report_out) = sysprocess::pipe().map_err(fail)?;
    let (terminal_in, terminal_out) = sysprocess::socket_pair().map_err(fail)?;
    let (stdout_in, stdout) = sysprocess::pipe().map_err(fail)?;
    let (stderr_in, stderr) = sysprocess::pipe().map_err(fail)?;
    let stdin = if line.interactive { STDIN.try_clone_to_owned() } else { File::open("/dev/null").map(OwnedFd::from) };
    let stdin = stdin.map_err(|error| fail(Error::from_io("open", &error)))?;
    let ends = Ends { report: report_out, terminal: terminal_out, stdin, stdout, stderr };
    sysprocess::block_signals(&SIGNALS);
    let signals = sysprocess::signal_fd(&SIGNALS).map_err(fail)?;
    let mut namespaces =
        sysprocess::CLONE_NEWNS | sysprocess::CLONE_NEWPID | sysprocess::CLONE_NEWIPC | sysprocess::CLONE_NEWUTS;
    if line.no_network {
        namespaces |= sysprocess::CLONE_NEWNET;
    }
    let (arguments, env) = (Arguments::new(&plan.arguments), Arguments::new(&plan.env));
    let pid = sysprocess::clone(namespaces, &mut || inside::enter(plan, &arguments, &env, &ends)).map_err(fail)?;
    drop(ends);
    if let Some((trouble, code)) = troubles(report_in, plan, around.report) {
        // It ends by itself; its number is free only when it was waited for.
        let _ = sysprocess::wait(pid);
        return match code {
            None => Err(trouble),
            Some(code) => {
                around.report.fail(&trouble);
                Ok(Exit { code, reboot: None, stopped: false, open_line: false })
            }
        };
    }
    let outputs = match line.tty {
        true => {
            sysprocess::receive_fd(terminal_in.as_fd()).map_err(fail)?.map(|master| (master, 1)).into_iter().collect()
        }
        false => vec![(stdout_in, 1), (stderr_in, 2)],
    };
    let ended = relay::until_end(Running {
        pid,
        outputs,
        terminal: line.tty,
        interactive: line.interactive,
        signals,
        forward: around.forward_signals,
    });
    ended.map(exit).map_err(fail)
}

/// reboot(2) in a process namespace of its own ends that namespace's PID 1 by
/// SIGHUP for a restart and by SIGINT for the rest (pid_namespaces(7)).
fn exit(ended: Ended) -> Exit {
    let (code, reboot) = match ended.status {
        Status::Exited(code) => (code, None),
        Status::Killed(sysprocess::SIGHUP) => (129, Some(Asked::Reboot)),
        Status::Killed(sysprocess::SIGINT) => (130, Some(Asked::PowerOff)),
        Status::Killed(signal) => (128 + signal, None),
    };
    Exit { code, reboot: reboot.filter(|_| !ended.stopped), stopped: ended.stopped, open_line: ended.open_line }
}

/// Reads what the child tells until exec closes the pipe. A trouble that ends
/// it comes with an exit code where that is the container's, not ours.
fn troubles(pipe: OwnedFd, plan: &Plan, report: &Report) -> Option<(Failure, Option<i32>)> {
    let mut pipe = File::from(pipe);
    let mut bytes = [0; Trouble::LENGTH];
    while pipe.read_exact(&mut bytes).is_ok() {
        let Some(trouble) = Trouble::parse(bytes) else { continue };
        let error = Error::new("", trouble.errno).to_string();
        let why = error.trim_start_matches([':', ' ']);
        if trouble.skipped {
            report.warn("container", format_args!("left out: {}: {why}", object(trouble, plan)));
            continue;
        }
        let failure = Failure::new("container", [&object(trouble, plan), ": ", why].concat());
        return Some(match (trouble.stage, trouble.errno) {
            (Stage::Exec, ENOENT) => {
                (failure.hint("no such command in the image, or its interpreter or loader is missing"), Some(127))
            }
            (Stage::Exec, EACCES) => (failure.hint("a folder, or a file without the x bit"), Some(126)),
            (Stage::Exec, _) => (failure, Some(126)),
            (_, EPERM) => (failure.hint("containers take root"), None),
            _ => (failure, None),
        });
    }
    None
}

/// What a trouble is about, in words.
fn object(trouble: Trouble, plan: &Plan) -> String {
    let text = |text: &CStr| text.to_string_lossy().into_owned();
    match trouble.stage {
        Stage::Session => "session".into(),
        Stage::Cgroup => "control group".into(),
        Stage::Hostname => ["hostname ", &text(&plan.hostname)].concat(),
        Stage::Propagation => "mount namespace".into(),
        Stage::Root => ["root ", &text(&plan.root)].concat(),
        Stage::Op => {
            plan.ops.get(usize::from(trouble.index)).map_or("mount".into(), |op| ["/", &text(op.path())].concat())
        }
        Stage::Pivot => "pivot_root".into(),
        Stage::Terminal => "standard streams".into(),
        Stage::WorkingDir => ["working directory ", &text(&plan.working_dir)].concat(),
        Stage::OpenFiles => "limit of 1048576 open files (CAP_SYS_RESOURCE)".into(),
        Stage::Identity => ["user ", &plan.identity.uid.to_string(), ":", &plan.identity.gid.to_string()].concat(),
        Stage::Exec => ["entry point ", &plan.arguments.first().map(|first| text(first)).unwrap_or_default()].concat(),
    }
}
