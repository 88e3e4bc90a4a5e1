//! Clones a planned child, and connects it to us.

use crate::container::child::{self, ChildFds};
use crate::container::host_context::HostContext;
use crate::container::plan::Plan;
use crate::container::pure::spec::ContainerSpec;
use crate::container::reasons::setup_errors;
use crate::container::relay::{Child, SIGNALS};
use crate::image::pure::oci::ImageConfig;
use crate::report::{Failure, Outcome};
use crate::sys::process::{self as sysprocess, Arguments, Pid};
use crate::sys::{io as sysio, signal, Error};
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A container whose own program runs, and what connects it to us.
pub struct Spawned {
    pub child: Child,
    pub signals: OwnedFd,
    /// Its output, and the number of ours that each goes to.
    pub outputs: Vec<(OwnedFd, i32)>,
    /// Takes our input, where the container is to have it.
    pub input: Option<OwnedFd>,
}

/// What became of a planned child.
pub enum Spawn {
    Running(Spawned),
    /// The image has no program that can be run so: why, and the exit code that says so.
    Refused(Failure, i32),
}

/// Clones the child, and waits until it executes the container's program.
pub fn spawn(spec: &ContainerSpec, image: &ImageConfig, plan: &Plan, host: &HostContext) -> Outcome<Spawn> {
    let fail = |error: Error| Failure::new("container", error.to_string());
    let (report_in, report_out) = sysio::pipe().map_err(fail)?;
    let (terminal_in, terminal_out) = sysio::socket_pair().map_err(fail)?;
    let (stdout_in, stdout) = sysio::pipe().map_err(fail)?;
    let (stderr_in, stderr) = sysio::pipe().map_err(fail)?;
    let (tty, interactive) = (spec.process.tty, spec.process.interactive && !host.service);
    let (stdin, feed) = standard_input(interactive && !tty).map_err(fail)?;
    let fds = ChildFds { report: report_out, terminal: terminal_out, stdin, stdout, stderr };
    signal::block(&SIGNALS);
    let signals = signal::descriptor(&SIGNALS).map_err(fail)?;
    let child = Child::new(clone(plan, &fds).map_err(fail)?);
    drop(fds);
    match setup_errors(report_in, plan, spec, image, host.report) {
        Some((failure, None)) => return Err(failure),
        Some((failure, Some(code))) => return Ok(Spawn::Refused(failure, code)),
        None => {}
    }
    let outputs: Vec<(OwnedFd, i32)> = match tty {
        true => sysio::receive_fd(terminal_in.as_fd()).map_err(fail)?.map(|master| (master, 1)).into_iter().collect(),
        false => vec![(stdout_in, 1), (stderr_in, 2)],
    };
    let input = match outputs.first().filter(|_| interactive && tty) {
        Some((master, _)) => Some(master.try_clone().map_err(|error| fail(Error::from_io("dup", &error)))?),
        None => feed,
    };
    Ok(Spawn::Running(Spawned { child, signals, outputs, input }))
}

/// Makes the child in its control group, or, on kernels before 5.7, beside it.
fn clone(plan: &Plan, fds: &ChildFds) -> Result<Pid, Error> {
    let Some(processes) = &plan.namespaces.pid else { return clone_here(plan, fds) };
    let own = File::open("/proc/self/ns/pid").map_err(|error| Error::from_io("open", &error))?;
    sysprocess::setns(processes.as_fd())?;
    let made = clone_here(plan, fds);
    sysprocess::setns(own.as_fd())?;
    made
}

fn clone_here(plan: &Plan, fds: &ChildFds) -> Result<Pid, Error> {
    let (arguments, env) = (Arguments::new(&plan.arguments), Arguments::new(&plan.env));
    let new = plan.namespaces.new;
    let group = plan.cgroup.as_deref().and_then(|procs| File::open(group_of(procs)?).ok());
    let made = group
        .map(|group| sysprocess::clone_into(new, group.as_fd(), &mut || child::run(plan, true, &arguments, &env, fds)));
    match made {
        Some(Ok(pid)) => Ok(pid),
        _ => sysprocess::clone(new, &mut || child::run(plan, false, &arguments, &env, fds)),
    }
}

/// The directory of the group whose file `cgroup.procs` is `procs`.
pub fn group_of(procs: &CStr) -> Option<PathBuf> {
    Some(Path::new(procs.to_str().ok()?).parent()?.into())
}

/// What a container without a terminal reads, and what feeds it. Never our own input itself: a program that makes it
/// non-blocking (ssh, node) would do so to all that we write to the same console, too.
fn standard_input(fed: bool) -> crate::sys::Result<(Option<OwnedFd>, Option<OwnedFd>)> {
    match fed {
        true => sysio::pipe().map(|(from, to)| (Some(from), Some(to))),
        false => Ok((None, None)),
    }
}
