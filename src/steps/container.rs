//! A process in its own namespaces: what it sees is planned here, as podman
//! has it with `--privileged --network=host`; then clone, relay, exit code.

pub mod cgroup;
mod files;
mod inside;
mod plan;
mod relay;
mod trouble;

use self::cgroup::Cgroup;
use self::inside::{Ends, Plan};
use self::relay::{Ended, Running, Signals, Stop};
use self::trouble::{Stage, Trouble};
use super::pull::Image;
use super::rootfs;
use super::store::Store;
use super::volumes::Volumes;
use crate::proto::flags::Container;
use crate::proto::process::merge;
use crate::proto::signal_name;
use crate::report::{Failure, Outcome, Report};
use crate::sys::process::{self as sysprocess, Arguments, Pid, Status};
use crate::sys::{fs as sysfs, io as sysio, io_text, signal, Error, EACCES, ENOENT, EPERM, STDIN};
use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
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
    /// It runs beside the pipeline, whose the console's input is.
    pub service: bool,
    /// Memory that the machine keeps for itself while it runs.
    pub kept_bytes: u64,
    pub volumes: &'a Volumes<'a>,
    /// Called when the container's own program runs.
    pub started: &'a dyn Fn(),
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Reboot,
    PowerOff,
}

/// The signals that we hold back and read.
pub const SIGNALS: [i32; 7] = [
    signal::SIGINT,
    signal::SIGTERM,
    signal::SIGHUP,
    signal::SIGQUIT,
    signal::SIGUSR1,
    signal::SIGUSR2,
    signal::SIGWINCH,
];

/// At boot: whether a request to end waits for us. It then counts as a container that ended by it.
pub fn asked_to_stop() -> Option<Exit> {
    let signals = signal::descriptor(&[signal::SIGTERM, signal::SIGINT]).ok()?;
    let signal = signal::next(signals.as_fd())?;
    signal::set_heard();
    Some(Exit { code: 128 + signal, reboot: None, stopped: true })
}

/// Runs one container to its end.
pub fn run(line: &Container, image: &Image, store: &Store, around: &Surroundings) -> Outcome<Exit> {
    let fail = |what: &str, why: &str| Failure::new("container", [what, ": ", why].concat());
    let dir = store.begin_container().map_err(|error| fail("its folder in the store", &io_text(&error)))?;
    let mounted = rootfs::mount_writable(&image.layers, &dir, around.report);
    let outcome = match mounted {
        Ok(root) => {
            let outcome = run_in(line, image, &root, around);
            if let Err(error) = rootfs::unmount(&root) {
                around.report.warn("container", format_args!("root: {error}"));
            }
            outcome
        }
        Err(error) => Err(Failure {
            hint: error.hint.map(String::from),
            ..Failure::new("container", "root: ".to_string() + &error.text)
        }),
    };
    if let Err(error) = store.end_container(&dir) {
        around.report.warn("container", format_args!("{}: {error}", dir.to_string_lossy()));
    }
    outcome
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
    let identity = files::identity(root, &process.user)?;
    process.set_home(&identity.home);
    files::write_own(line, root, hostname, around)?;
    let cgroup = Cgroup::make(&std::process::id().to_string(), around.report);
    if let Some(cgroup) = cgroup.as_ref().filter(|_| !around.forward_signals) {
        cgroup.limit(around.kept_bytes);
    }
    let mut plan = plan::make(line, &process, identity, root, hostname, cgroup.as_ref(), around.volumes)?;
    // At boot we are not to be killed for want of memory (early::protect), and the container is.
    plan.oom_score_adj = (!around.forward_signals).then(|| c"0".into());
    let outcome = spawn(line, &plan, stop(image, around.report), around);
    if let Some(cgroup) = cgroup {
        cgroup.end(around.report);
    }
    outcome
}

/// Makes the child in its control group, or, on kernels before 5.7, beside it.
fn clone(namespaces: i32, plan: &Plan, ends: &Ends) -> Result<Pid, Error> {
    let (arguments, env) = (Arguments::new(&plan.arguments), Arguments::new(&plan.env));
    let group = plan.cgroup.as_deref().and_then(|procs| File::open(group_of(procs)?).ok());
    let made = group.map(|group| {
        sysprocess::clone_into(namespaces, group.as_fd(), &mut || inside::enter(plan, true, &arguments, &env, ends))
    });
    match made {
        Some(Ok(pid)) => Ok(pid),
        _ => sysprocess::clone(namespaces, &mut || inside::enter(plan, false, &arguments, &env, ends)),
    }
}

/// The folder of the group whose file `cgroup.procs` is `procs`.
fn group_of(procs: &CStr) -> Option<PathBuf> {
    Some(Path::new(procs.to_str().ok()?).parent()?.into())
}

/// Clones, relays and waits.
fn spawn(line: &Container, plan: &Plan, stop: Stop, around: &Surroundings) -> Outcome<Exit> {
    let fail = |error: Error| Failure::new("container", error.to_string());
    let (report_in, report_out) = sysio::pipe().map_err(fail)?;
    let (terminal_in, terminal_out) = sysio::socket_pair().map_err(fail)?;
    let (stdout_in, stdout) = sysio::pipe().map_err(fail)?;
    let (stderr_in, stderr) = sysio::pipe().map_err(fail)?;
    let interactive = line.interactive && !around.service;
    let stdin = standard_input(interactive, around).map_err(fail)?;
    let ends = Ends { report: report_out, terminal: terminal_out, stdin, stdout, stderr };
    signal::block(&SIGNALS);
    let signals = signal::descriptor(&SIGNALS).map_err(fail)?;
    let mut namespaces =
        sysprocess::CLONE_NEWNS | sysprocess::CLONE_NEWPID | sysprocess::CLONE_NEWIPC | sysprocess::CLONE_NEWUTS;
    if line.no_network {
        namespaces |= sysprocess::CLONE_NEWNET;
    }
    let pid = clone(namespaces, plan, &ends).map_err(fail)?;
    drop(ends);
    if let Some((trouble, code)) = troubles(report_in, plan, around.report) {
        // It ends by itself; its number is free only when it was waited for.
        let _ = sysprocess::wait(pid);
        return match code {
            None => Err(trouble),
            Some(code) => {
                around.report.fail(&trouble);
                Ok(Exit { code, reboot: None, stopped: false })
            }
        };
    }
    (around.started)();
    let outputs = match line.tty {
        true => sysio::receive_fd(terminal_in.as_fd()).map_err(fail)?.map(|master| (master, 1)).into_iter().collect(),
        false => vec![(stdout_in, 1), (stderr_in, 2)],
    };
    let ended = relay::until_end(Running {
        pid,
        outputs,
        terminal: line.tty,
        interactive,
        signals,
        signals_are: match (around.forward_signals, around.service) {
            (true, _) => Signals::Forwarded,
            (false, true) => Signals::EndService,
            (false, false) => Signals::End,
        },
        stop,
        group: plan.cgroup.as_deref().and_then(group_of),
        whole_lines: around.service,
    });
    let ended = ended.map_err(fail)?;
    if ended.open_line && !around.forward_signals {
        // The next line is ours, and must stand alone.
        around.report.exact("");
    }
    Ok(exit(ended))
}

/// podman's time for a container to end after it was asked to.
pub const STOP_MS: u64 = 10_000;

/// How the container is asked to end, by its image. A signal that nobody knows
/// is as none.
fn stop(image: &Image, report: &Report) -> Stop {
    let wanted = image.config.stop_signal.as_str();
    let known = signal_name::parse(wanted);
    if known.is_none() && !wanted.is_empty() {
        report.warn("container", ["the image's StopSignal «", wanted, "» is none: SIGTERM"].concat());
    }
    Stop { signal: known.unwrap_or(signal::SIGTERM), timeout_ms: STOP_MS }
}

/// What a container without a terminal reads. At boot the console is opened anew: a program that makes its input
/// non-blocking (ssh, node) would do so to all that we write, too, were it the same open file.
fn standard_input(interactive: bool, around: &Surroundings) -> crate::sys::Result<OwnedFd> {
    let path = if interactive { c"/dev/console" } else { c"/dev/null" };
    if !interactive || !around.forward_signals {
        let opened = sysfs::openat(sysfs::CWD, path, sysfs::O_RDWR | sysfs::O_NOCTTY, 0);
        if opened.is_ok() || !interactive {
            return opened;
        }
    }
    STDIN.try_clone_to_owned().map_err(|error| Error::from_io("dup", &error))
}

/// reboot(2) in a process namespace of its own ends that namespace's PID 1 by
/// SIGHUP for a restart and by SIGINT for the rest (pid_namespaces(7)).
fn exit(ended: Ended) -> Exit {
    let (code, reboot) = match ended.status {
        Status::Exited(code) => (code, None),
        Status::Killed(signal::SIGHUP) => (129, Some(Asked::Reboot)),
        Status::Killed(signal::SIGINT) => (130, Some(Asked::PowerOff)),
        Status::Killed(signal) => (128 + signal, None),
    };
    Exit { code, reboot: reboot.filter(|_| !ended.stopped), stopped: ended.stopped }
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
        Stage::OomScore => "oom_score_adj".into(),
        Stage::Cgroup => "control group".into(),
        Stage::Hostname => ["hostname ", &text(&plan.hostname)].concat(),
        Stage::Loopback => "loopback interface".into(),
        Stage::Propagation => "mount namespace".into(),
        Stage::Root => ["root ", &text(&plan.root)].concat(),
        Stage::Op => {
            plan.ops.get(usize::from(trouble.index)).map_or("mount".into(), |op| ["/", &text(op.path())].concat())
        }
        Stage::Pivot => "pivot_root".into(),
        Stage::Terminal => "standard streams".into(),
        Stage::WorkingDir => ["working directory ", &text(&plan.working_dir)].concat(),
        Stage::Descriptors => "descriptors to be closed by exec".into(),
        Stage::OpenFiles => "limit of 1048576 open files (CAP_SYS_RESOURCE)".into(),
        Stage::Identity => ["user ", &plan.identity.uid.to_string(), ":", &plan.identity.gid.to_string()].concat(),
        Stage::Exec => ["entry point ", &plan.arguments.first().map(|first| text(first)).unwrap_or_default()].concat(),
    }
}
