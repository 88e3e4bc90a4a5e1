//! One container from its specification to its exit code.

use crate::container::cgroup::{self, Cgroup};
use crate::container::files::{self, OwnFile, OwnFiles};
use crate::container::host_context::HostContext;
use crate::container::mount_target::MountTarget;
use crate::container::mounts::{self, Mounts};
use crate::container::namespaces::{self, NamespaceSetup};
use crate::container::plan::{self, Plan, PlanInputs};
use crate::container::pure::passwd::Identity;
use crate::container::pure::process::{merge, Environment, Process};
use crate::container::pure::signal_name;
use crate::container::pure::spec::{ContainerSpec, Mount, Namespace};
use crate::container::reasons::{NOT_FOUND, NOT_TO_BE_RUN};
use crate::container::relay::{self, Child, Ended, Running, Signals};
use crate::container::security::{self, Rights};
use crate::container::spawn::{self, Spawn, Spawned};
use crate::container::{devices, state};
use crate::image::pull::Image;
use crate::layer::overlay;
use crate::net::random::random;
use crate::pure::digest;
use crate::report::{Failure, Outcome, Report};
use crate::store::layers::Store;
use crate::sys::process::{self as sysprocess, Pid, Status};
use crate::sys::{crash, io_text, signal};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How a container ended.
pub struct Exit {
    /// The process's own code, 126, 127, 128 and the signal, or 255 where it ran too long.
    pub code: i32,
    /// The kernel killed it in place of a reboot(2) that it called.
    pub reboot: Option<RebootRequest>,
    /// A signal to us asked for the end.
    pub stopped: bool,
}

/// What a container asked the machine to do by reboot(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebootRequest {
    Reboot,
    PowerOff,
}

/// At boot: whether a request to end waits for us. It then counts as a container that ended by it.
pub fn asked_to_stop() -> Option<Exit> {
    let signals = signal::descriptor(&[signal::SIGTERM, signal::SIGINT]).ok()?;
    let signal = signal::next(signals.as_fd())?;
    crash::set_heard();
    Some(Exit { code: 128 + signal, reboot: None, stopped: true })
}

/// Mounts a container's root, runs the container to its end, and unmounts the root.
pub fn run(spec: &ContainerSpec, image: &Image, store: &Store, host: &HostContext) -> Outcome<Exit> {
    let fail = |what: &str, why: &str| Failure::new("container", [what, ": ", why].concat());
    let dir = store.begin_container().map_err(|error| fail("its directory in the store", &io_text(&error)))?;
    let outcome = match overlay::mount_writable(&image.layers, &dir, 0, host.report) {
        Ok(root) => {
            let id = digest::hash(&[dir.as_os_str().as_bytes(), &random(0).to_ne_bytes()].concat()).hex();
            let hostname = hostname(spec, host.hostname, &id);
            let outcome = run_in(&Run { spec, image, store, host, root: &root, dir: &dir, hostname, id: &id });
            if let Err(error) = overlay::unmount(&root) {
                host.report.warn("container", format_args!("root: {error}"));
            }
            outcome
        }
        Err(error) => Err(fail("root", &error.text).hint_of(error.hint)),
    };
    if let Err(why) = dir.end() {
        host.report.warn("container", why);
    }
    outcome
}

/// What `--hostname` says; else, as podman has it, the host's own in the host's network, and in another one the
/// beginning of the container's number.
fn hostname<'a>(spec: &'a ContainerSpec, of_host: &'a str, id: &'a str) -> &'a str {
    let is_hosts = spec.namespaces.network == Namespace::Host || spec.namespaces.uts == Namespace::Host;
    let default = if is_hosts { of_host } else { id.get(..12).unwrap_or(id) };
    spec.process.hostname.as_deref().unwrap_or(default)
}

/// One container, its root mounted.
struct Run<'a> {
    spec: &'a ContainerSpec,
    image: &'a Image,
    store: &'a Store,
    host: &'a HostContext<'a>,
    root: &'a Path,
    /// Its own directory of the store, which is removed at its end.
    dir: &'a Path,
    hostname: &'a str,
    id: &'a str,
}

/// Prepare, plan, spawn, relay, clean up. What is prepared is undone where it is dropped, so every error may return.
fn run_in(run: &Run) -> Outcome<Exit> {
    let Some(process) = process(run)? else {
        let failure = Failure::new("container", "the image names no command");
        let failure = failure.hint("write one after the image, or --entrypoint");
        return Ok(refused(&failure, NOT_FOUND, run.host.report));
    };
    files::link_mtab(run.root);
    let (identity, users) = match files::identity(run.root, &process, run.spec, run.host.report) {
        Ok(found) => found,
        Err(failure) => return Ok(refused(&failure, NOT_TO_BE_RUN, run.host.report)),
    };
    let Prepared { process, mut mounts, namespaces, rights, cgroup } = prepare(run, process, &identity, users)?;
    let plan = plan::make(PlanInputs {
        spec: run.spec,
        process: &process,
        identity,
        root: run.root,
        hostname: run.hostname,
        cgroup: cgroup.as_ref(),
        namespaces,
        rights,
        oom_score_adj: oom_score_adj(run),
        mounts: &mut mounts,
    });
    let outcome = plan.and_then(|plan| {
        let stop_signal = stop_signal(run.spec, run.image, run.host.report);
        match spawn::spawn(run.spec, &run.image.config, &plan, run.host)? {
            Spawn::Refused(failure, code) => Ok(refused(&failure, code, run.host.report)),
            Spawn::Running(spawned) => {
                started(run, spawned.child.pid(), &mounts);
                relay(run, &plan, spawned, stop_signal)
            }
        }
    });
    if let Some(cgroup) = cgroup {
        cgroup.end(run.host.report);
    }
    outcome
}

/// The container's program cannot be run: `code` says so to the pipeline.
fn refused(failure: &Failure, code: i32, report: &Report) -> Exit {
    report.fail(failure);
    Exit { code, reboot: None, stopped: false }
}

/// What runs, before its user is looked up; none without a command.
fn process(run: &Run) -> Outcome<Option<Process>> {
    let (spec, report) = (run.spec, run.host.report);
    let env_files = files::env_files(&spec.process.env_files)?;
    let (extra, own) = (&run.host.env, &run.host.own_env);
    let env = Environment { extra, own, files: &env_files, hostname: run.hostname, is_machine: false };
    let Some(process) = merge(&run.image.config, spec, &env) else { return Ok(None) };
    for warning in spec.warnings.iter().chain(&process.warnings) {
        report.warn("container", warning);
    }
    Ok(Some(process))
}

/// What is made for a container before its child is planned; dropping it undoes that.
struct Prepared {
    process: Process,
    mounts: Mounts,
    namespaces: NamespaceSetup,
    rights: Rights,
    cgroup: Option<Cgroup>,
}

fn prepare(run: &Run, mut process: Process, identity: &Identity, users: Vec<OwnFile>) -> Outcome<Prepared> {
    let Run { spec, image, store, host, root, dir, hostname, id } = *run;
    process.set_home(identity.home.as_deref());
    let shared = SharedWith::of(spec, store)?;
    let target = MountTarget { root, dir, volumes: host.volumes, identity, report: host.report };
    let mut mounts = mounts::prepare(&spec.files, &image.config.volumes, &shared.volumes, &target)?;
    mounts.add_shm(spec, shared.ipc.as_deref(), dir)?;
    let own = OwnFiles { spec, image, dir, hostname, id, root, users, network_of: shared.network.as_deref() };
    for (source, target) in own.write(&host.resolv_conf)? {
        mounts.add_file(&source, target, &spec.files);
    }
    let namespaces = namespaces::choose(&spec.namespaces, &|flag, name| state::expect(store, flag, name))?;
    let rights = security::plan(&spec.rights, identity)?;
    let allowed = devices::filter(&spec.rights)?;
    let kept_bytes = (!host.forward_signals).then_some(host.kept_bytes);
    let cgroup = Cgroup::make(&spec.resources, kept_bytes, allowed.is_some(), host.report)?;
    if let Some(program) = &allowed {
        cgroup::filter_devices(cgroup.as_ref(), program)?;
    }
    Ok(Prepared { process, mounts, namespaces, rights, cgroup })
}

/// At boot the kernel is not to kill us where memory is short (early_mounts::protect): the container gets 0 again.
fn oom_score_adj(run: &Run) -> Option<i32> {
    run.spec.process.oom_score_adj.or((!run.host.forward_signals).then_some(0))
}

/// What running containers share with a new one.
struct SharedWith {
    /// Their directories of the store.
    ipc: Option<PathBuf>,
    network: Option<PathBuf>,
    volumes: Vec<Mount>,
}

impl SharedWith {
    fn of(spec: &ContainerSpec, store: &Store) -> Outcome<SharedWith> {
        if let Some(name) = spec.process.name.as_deref().filter(|name| state::find(store, name).is_some()) {
            let what = ["--name: '", name, "' is the name of a running container"].concat();
            return Err(Failure::new("container", what));
        }
        let dir = |flag, namespace: &Namespace| match namespace {
            Namespace::Container(name) => state::expect(store, flag, name).map(|other| Some(other.dir)),
            _ => Ok(None),
        };
        Ok(SharedWith {
            ipc: dir("--ipc", &spec.namespaces.ipc)?,
            network: dir("--network", &spec.namespaces.network)?,
            volumes: state::volumes_from(store, &spec.files.volumes_from)?,
        })
    }
}

/// The container's own program runs: other containers may share with it from now on.
fn started(run: &Run, pid: Pid, mounts: &Mounts) {
    let name = run.spec.process.name.as_deref();
    if let Some(Err(failure)) = name.map(|name| state::record(run.dir, name, pid, &mounts.volumes)) {
        run.host.report.warn("container", &failure.what);
    }
    (run.host.started)();
}

/// Passes input, output and signals on until the container has ended.
fn relay(run: &Run, plan: &Plan, spawned: Spawned, stop_signal: i32) -> Outcome<Exit> {
    let Run { spec, host, .. } = *run;
    let ended = relay::until_end(Running {
        child: spawned.child,
        outputs: spawned.outputs,
        terminal: spec.process.tty,
        input: spawned.input,
        signals: spawned.signals,
        signals_are: match (host.forward_signals, host.service) {
            (true, _) => Signals::Forwarded,
            (false, true) => Signals::EndService,
            (false, false) => Signals::End,
        },
        stop_signal,
        stop_timeout_ms: stop_timeout_ms(spec),
        timeout_ms: Some(u64::from(spec.process.timeout_s) * 1000).filter(|ms| *ms > 0),
        group: plan.cgroup.as_deref().and_then(spawn::group_of),
        whole_lines: host.service,
    });
    let ended = ended.map_err(|error| Failure::new("container", error.to_string()))?;
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

/// That of the container line, else the image's, else SIGTERM.
fn stop_signal(spec: &ContainerSpec, image: &Image, report: &Report) -> i32 {
    let of_image = &image.config.stop_signal;
    let parsed = signal_name::parse(of_image);
    if parsed.is_none() && !of_image.is_empty() {
        report.warn("container", format_args!("the image's stop signal '{of_image}' is unknown: TERM is used"));
    }
    spec.process.stop_signal.or(parsed).unwrap_or(signal::SIGTERM)
}

/// reboot(2) in a process namespace of its own ends that namespace's PID 1 by SIGHUP for a restart and by SIGINT for
/// the rest (pid_namespaces(7)). In the host's namespace, or another container's, they are ordinary signals.
fn exit(ended: Ended, own_processes: bool) -> Exit {
    let (code, reboot) = match ended.status {
        Status::Exited(code) => (code, None),
        Status::Killed(signal::SIGHUP) if own_processes => (129, Some(RebootRequest::Reboot)),
        Status::Killed(signal::SIGINT) if own_processes => (130, Some(RebootRequest::PowerOff)),
        Status::Killed(signal) => (128 + signal, None),
    };
    Exit { code, reboot: reboot.filter(|_| !ended.stopped), stopped: ended.stopped }
}

/// Cleans up for a program that has run a container in this process and crashed: kills its processes, and removes its
/// group.
pub fn end_of_process() {
    let own = std::process::id().to_string();
    let children = std::fs::read_to_string(["/proc/self/task/", &own, "/children"].concat()).unwrap_or_default();
    for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
        drop(Child::new(pid));
    }
    cgroup::end_of_process();
}
