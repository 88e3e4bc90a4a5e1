//! A process in its own namespaces: what it sees is planned here, as podman
//! has it with `--privileged --network=host`; then clone, relay, exit code.

use crate::container::cgroup::{self, Cgroup};
use crate::container::child::{self, Ends};
use crate::container::host_context::HostContext;
use crate::container::mount_flags::root_flags;
use crate::container::mount_target::MountTarget;
use crate::container::plan::{self, Parts, Plan};
use crate::container::pure::process::{merge, Environment};
use crate::container::pure::signal_name;
use crate::container::pure::spec::{ContainerSpec, Mount, Namespace};
use crate::container::reasons::{troubles, NOT_TO_BE_RUN};
use crate::container::relay::{self, Child, Ended, Running, Signals};
use crate::container::{devices, files, mounts, namespaces, security, state};
use crate::image::pull::Image;
use crate::layer::overlay;
use crate::report::{Failure, Outcome, Report};
use crate::store::layers::Store;
use crate::sys::process::{self as sysprocess, Arguments, Pid, Status};
use crate::sys::{crash, io as sysio, io_text, signal, Error};
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// How a container ended.
pub struct Exit {
    /// The process's own code, 126, 127, 128 and the signal, or 255 where it ran too long.
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
    crash::set_heard();
    Some(Exit { code: 128 + signal, reboot: None, stopped: true })
}

/// Runs one container to its end.
pub fn run(spec: &ContainerSpec, image: &Image, store: &Store, host: &HostContext) -> Outcome<Exit> {
    let fail = |what: &str, why: &str| Failure::new("container", [what, ": ", why].concat());
    let dir = store.begin_container().map_err(|error| fail("its folder in the store", &io_text(&error)))?;
    let flags = root_flags(spec.rights.privileged);
    let mounted = overlay::mount_writable(&image.layers, &dir, flags, host.report);
    let outcome = match mounted {
        Ok(root) => {
            let outcome = run_in(spec, image, &root, &dir, store, host);
            if let Err(error) = overlay::unmount(&root) {
                host.report.warn("container", format_args!("root: {error}"));
            }
            outcome
        }
        Err(error) => Err(Failure {
            hint: error.hint.map(String::from),
            ..Failure::new("container", "root: ".to_string() + &error.text)
        }),
    };
    if let Err(why) = dir.end() {
        host.report.warn("container", why);
    }
    outcome
}

fn run_in(
    spec: &ContainerSpec,
    image: &Image,
    root: &Path,
    dir: &Path,
    store: &Store,
    host: &HostContext,
) -> Outcome<Exit> {
    let hostname = spec.process.hostname.as_deref().unwrap_or(host.hostname);
    let env_files = files::env_files(&spec.process.env_files)?;
    let env = Environment { extra: &host.env, own: &host.own_env, files: &env_files, hostname };
    let merged = merge(&image.config, spec, &env);
    let mut process = merged.ok_or_else(|| {
        Failure::new("container", "the image names no command").hint("write one after the image, or --entrypoint")
    })?;
    for warning in spec.warnings.iter().chain(&process.warnings) {
        host.report.warn("container", warning);
    }
    let identity = match files::identity(root, &process, spec) {
        Ok(identity) => identity,
        Err(failure) => {
            host.report.fail(&failure);
            return Ok(Exit { code: NOT_TO_BE_RUN, reboot: None, stopped: false });
        }
    };
    process.set_home(identity.home.as_deref());
    if let Some(zone) = &spec.process.time_zone {
        files::write_localtime(root, zone)?;
    }
    let others = Others::of(spec, store)?;
    let target = MountTarget { root, dir, volumes: host.volumes, identity: &identity, report: host.report };
    let mut mounts = mounts::prepare(&spec.files, &image.config.volumes, &others.volumes, &target)?;
    mounts.add_shm(spec, others.ipc.as_deref(), dir)?;
    for (source, target) in files::own(spec, image, dir, others.network.as_deref(), hostname, host)? {
        mounts.add_file(&source, target, &spec.files);
    }
    let namespaces = namespaces::choose(&spec.namespaces, &|flag, name| state::expect(store, flag, name))?;
    let rights = security::plan(&spec.rights, &identity)?;
    let allowed = devices::filter(&spec.rights)?;
    let kept_bytes = (!host.forward_signals).then_some(host.kept_bytes);
    let cgroup = Cgroup::make(&spec.resources, kept_bytes, allowed.is_some(), host.report)?;
    if let Some(program) = &allowed {
        cgroup::filter_devices(cgroup.as_ref(), program)?;
    }
    // At boot we are not to be killed for want of memory (early::protect), and the container is.
    let oom_score_adj = spec.process.oom_score_adj.or((!host.forward_signals).then_some(0));
    let plan = plan::make(
        spec,
        &process,
        Parts { identity, root, hostname, cgroup: cgroup.as_ref(), namespaces, oom_score_adj, rights },
        &mut mounts,
    );
    let started = |pid| {
        let name = spec.process.name.as_deref();
        if let Some(Err(failure)) = name.map(|name| state::record(dir, name, pid, &mounts.volumes)) {
            host.report.warn("container", failure.what);
        }
        (host.started)();
    };
    let outcome = plan.and_then(|plan| spawn(spec, stop_signal(spec, image, host.report), &plan, &started, host));
    if let Some(cgroup) = cgroup {
        cgroup.end(host.report);
    }
    outcome
}

/// What a line shares with containers that run: their folders, and volumes.
struct Others {
    ipc: Option<PathBuf>,
    network: Option<PathBuf>,
    volumes: Vec<Mount>,
}

impl Others {
    fn of(spec: &ContainerSpec, store: &Store) -> Outcome<Others> {
        if let Some(name) = spec.process.name.as_deref().filter(|name| state::find(store, name).is_some()) {
            let what = ["--name: «", name, "» is the name of a container that runs"].concat();
            return Err(Failure::new("container", what));
        }
        let folder = |flag, namespace: &Namespace| match namespace {
            Namespace::Container(name) => state::expect(store, flag, name).map(|other| Some(other.dir)),
            _ => Ok(None),
        };
        Ok(Others {
            ipc: folder("--ipc", &spec.namespaces.ipc)?,
            network: folder("--network", &spec.namespaces.network)?,
            volumes: state::volumes_from(store, &spec.files.volumes_from)?,
        })
    }
}

/// Makes the child in its control group, or, on kernels before 5.7, beside it.
fn clone(plan: &Plan, ends: &Ends) -> Result<Pid, Error> {
    let Some(processes) = &plan.namespaces.pid else { return clone_here(plan, ends) };
    let own = File::open("/proc/self/ns/pid").map_err(|error| Error::from_io("open", &error))?;
    sysprocess::setns(processes.as_fd())?;
    let made = clone_here(plan, ends);
    sysprocess::setns(own.as_fd())?;
    made
}

fn clone_here(plan: &Plan, ends: &Ends) -> Result<Pid, Error> {
    let (arguments, env) = (Arguments::new(&plan.arguments), Arguments::new(&plan.env));
    let new = plan.namespaces.new;
    let group = plan.cgroup.as_deref().and_then(|procs| File::open(group_of(procs)?).ok());
    let made = group.map(|group| {
        sysprocess::clone_into(new, group.as_fd(), &mut || child::enter(plan, true, &arguments, &env, ends))
    });
    match made {
        Some(Ok(pid)) => Ok(pid),
        _ => sysprocess::clone(new, &mut || child::enter(plan, false, &arguments, &env, ends)),
    }
}

/// The folder of the group whose file `cgroup.procs` is `procs`.
fn group_of(procs: &CStr) -> Option<PathBuf> {
    Some(Path::new(procs.to_str().ok()?).parent()?.into())
}

/// Clones, relays and waits.
fn spawn(
    spec: &ContainerSpec,
    stop_signal: i32,
    plan: &Plan,
    started: &dyn Fn(Pid),
    host: &HostContext,
) -> Outcome<Exit> {
    let fail = |error: Error| Failure::new("container", error.to_string());
    let (report_in, report_out) = sysio::pipe().map_err(fail)?;
    let (terminal_in, terminal_out) = sysio::socket_pair().map_err(fail)?;
    let (stdout_in, stdout) = sysio::pipe().map_err(fail)?;
    let (stderr_in, stderr) = sysio::pipe().map_err(fail)?;
    let interactive = spec.process.interactive && !host.service;
    let (stdin, feed) = standard_input(interactive && !spec.process.tty).map_err(fail)?;
    let ends = Ends { report: report_out, terminal: terminal_out, stdin, stdout, stderr };
    signal::block(&SIGNALS);
    let signals = signal::descriptor(&SIGNALS).map_err(fail)?;
    let child = Child::new(clone(plan, &ends).map_err(fail)?);
    drop(ends);
    if let Some((trouble, code)) = troubles(report_in, plan, spec, host.report) {
        return match code {
            None => Err(trouble),
            Some(code) => {
                host.report.fail(&trouble);
                Ok(Exit { code, reboot: None, stopped: false })
            }
        };
    }
    started(child.pid());
    let outputs: Vec<(OwnedFd, i32)> = match spec.process.tty {
        true => sysio::receive_fd(terminal_in.as_fd()).map_err(fail)?.map(|master| (master, 1)).into_iter().collect(),
        false => vec![(stdout_in, 1), (stderr_in, 2)],
    };
    let input = match outputs.first().filter(|_| interactive && spec.process.tty) {
        Some((master, _)) => Some(master.try_clone().map_err(|error| fail(Error::from_io("dup", &error)))?),
        None => feed,
    };
    let ended = relay::until_end(Running {
        child,
        outputs,
        terminal: spec.process.tty,
        input,
        signals,
        signals_are: match (host.forward_signals, host.service) {
            (true, _) => Signals::Forwarded,
            (false, true) => Signals::EndService,
            (false, false) => Signals::End,
        },
        stop_signal,
        stop_timeout_ms: stop_timeout_ms(spec),
        timeout_ms: Some(u64::from(spec.process.timeout_s) * 1000).filter(|ms| *ms > 0),
        group: plan.cgroup.as_deref().and_then(group_of),
        whole_lines: host.service,
    });
    let ended = ended.map_err(fail)?;
    if ended.open_line && !host.forward_signals {
        // The next line is ours, and must stand alone.
        host.report.exact("");
    }
    if ended.timed_out {
        host.report.warn("container", format_args!("killed: it ran for {} s (--timeout)", spec.process.timeout_s));
        return Ok(Exit { code: TIMED_OUT, reboot: None, stopped: ended.stopped });
    }
    Ok(exit(ended, plan.namespaces.new & sysprocess::CLONE_NEWPID != 0))
}

/// From the stop signal to SIGKILL; podman's number.
const STOP_TIMEOUT_S: u32 = 10;
/// How long a container that was asked to end may take.
pub fn stop_timeout_ms(spec: &ContainerSpec) -> u64 {
    u64::from(spec.process.stop_timeout_s.unwrap_or(STOP_TIMEOUT_S)) * 1000
}

/// podman's exit code for a container that ran too long.
const TIMED_OUT: i32 = 255;

/// The line's, the image's, or SIGTERM.
fn stop_signal(spec: &ContainerSpec, image: &Image, report: &Report) -> i32 {
    let of_image = &image.config.stop_signal;
    let parsed = signal_name::parse(of_image);
    if parsed.is_none() && !of_image.is_empty() {
        report.warn("container", format_args!("the image's stop signal «{of_image}» is none: TERM is taken"));
    }
    spec.process.stop_signal.or(parsed).unwrap_or(signal::SIGTERM)
}

/// What a container without a terminal reads, and what feeds it. Never our own input itself: a program that makes it
/// non-blocking (ssh, node) would do so to all that we write to the same console, too.
fn standard_input(fed: bool) -> crate::sys::Result<(Option<OwnedFd>, Option<OwnedFd>)> {
    match fed {
        true => sysio::pipe().map(|(from, to)| (Some(from), Some(to))),
        false => Ok((None, None)),
    }
}

/// reboot(2) in a process namespace of its own ends that namespace's PID 1 by
/// SIGHUP for a restart and by SIGINT for the rest (pid_namespaces(7)).
/// In the machine's, or another container's, those are signals like others.
fn exit(ended: Ended, own_processes: bool) -> Exit {
    let (code, reboot) = match ended.status {
        Status::Exited(code) => (code, None),
        Status::Killed(signal::SIGHUP) if own_processes => (129, Some(Asked::Reboot)),
        Status::Killed(signal::SIGINT) if own_processes => (130, Some(Asked::PowerOff)),
        Status::Killed(signal) => (128 + signal, None),
    };
    Exit { code, reboot: reboot.filter(|_| !ended.stopped), stopped: ended.stopped }
}

/// In the place of a program that has run a container and ended without a word: its processes end, and its group goes.
pub fn end_of_process() {
    let own = std::process::id().to_string();
    let children = std::fs::read_to_string(["/proc/self/task/", &own, "/children"].concat()).unwrap_or_default();
    for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
        drop(Child::new(pid));
    }
    cgroup::end_of_process();
}
