//! The child's setup errors as messages, and the exit codes that they stand for.

use crate::container::ops::Op;
use crate::container::plan::Plan;
use crate::container::pure::spec::ContainerSpec;
use crate::container::setup_error::{SetupError, Stage};
use crate::image::pure::oci::{self, ImageConfig};
use crate::image::pure::reference::Reference;
use crate::report::{Failure, Report};
use crate::sys::{Error, E2BIG, EACCES, ELOOP, ENOENT, ENOEXEC, EPERM};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

/// podman's exit code for a command, a user or a working directory that the image does not have as it must be.
pub const NOT_TO_BE_RUN: i32 = 126;
/// There is no such command, or none at all.
pub const NOT_FOUND: i32 = 127;

/// Reads what the child tells until exec closes the pipe. An error that ends
/// it comes with an exit code where that is the container's, not ours.
pub fn setup_errors(
    pipe: OwnedFd,
    plan: &Plan,
    spec: &ContainerSpec,
    image: &ImageConfig,
    report: &Report,
) -> Option<(Failure, Option<i32>)> {
    let mut pipe = File::from(pipe);
    let mut bytes = [0; SetupError::LENGTH];
    while pipe.read_exact(&mut bytes).is_ok() {
        let Some(failed) = SetupError::parse(bytes) else { continue };
        let error = Error::new("", failed.errno).to_string();
        let why = error.trim_start_matches([':', ' ']);
        if failed.skipped {
            report.warn("container", format_args!("left out: {}: {why}", object(failed, plan)));
            continue;
        }
        let failure = Failure::new("container", [&object(failed, plan), ": ", why].concat());
        return Some(match (failed.stage, failed.errno) {
            (Stage::Exec, ENOENT) => {
                (failure.hint("no such command in the image, or its interpreter or loader is missing"), Some(NOT_FOUND))
            }
            (Stage::Exec, EACCES) => (failure.hint("a directory, or a file without the x bit"), Some(NOT_TO_BE_RUN)),
            (Stage::Exec, E2BIG) => (failure.hint(too_long(plan, &spec.pull.image)), Some(NOT_TO_BE_RUN)),
            (Stage::Exec, ENOEXEC) => (failure.hint(no_program(image)), Some(NOT_TO_BE_RUN)),
            (Stage::Exec, ELOOP) => {
                (failure.hint("a link leads to the program that starts containers"), Some(NOT_TO_BE_RUN))
            }
            (Stage::WorkingDir, ENOENT) => (failure.hint("--workdir creates no directory"), Some(NOT_TO_BE_RUN)),
            (Stage::Exec | Stage::WorkingDir, _) => (failure, Some(NOT_TO_BE_RUN)),
            (Stage::Op, _) if is_working_dir(failed, plan) => (failure, Some(NOT_TO_BE_RUN)),
            (Stage::Op, ELOOP) => (failure.hint("a symbolic link of the image leads there"), None),
            (_, EPERM) => (failure.hint("containers need root"), None),
            _ => (failure, None),
        });
    }
    None
}

/// Whether it is about the image's working directory, which was to be made.
fn is_working_dir(failed: SetupError, plan: &Plan) -> bool {
    matches!(plan.ops.get(usize::from(failed.index)), Some(Op::MkdirChown { .. }))
}

/// What a setup error is about, in words.
fn object(failed: SetupError, plan: &Plan) -> String {
    let text = |text: &CStr| text.to_string_lossy().into_owned();
    match failed.stage {
        Stage::Session => "session".into(),
        Stage::Namespace => "namespace to join".into(),
        Stage::Cgroup => "control group".into(),
        Stage::Hostname => ["hostname ", &plan.hostname.as_deref().map(text).unwrap_or_default()].concat(),
        Stage::Loopback => "loopback interface".into(),
        Stage::Propagation => "mount namespace".into(),
        Stage::Root => ["root ", &text(&plan.root)].concat(),
        Stage::Op => {
            let path = plan.ops.get(usize::from(failed.index)).map(|op| text(op.path()));
            path.map_or("mount".into(), |path| ["/", path.trim_start_matches('/')].concat())
        }
        Stage::Pivot => "pivot_root".into(),
        Stage::Terminal => "standard streams".into(),
        Stage::WorkingDir => ["working directory ", &text(&plan.working_dir)].concat(),
        Stage::Keyring => "session keyring".into(),
        Stage::Limit => plan.limits.get(usize::from(failed.index)).map_or("limit".into(), |(limit, _)| {
            ["limit ", limit.name(), "=", &limit.hard.to_string(), " (CAP_SYS_RESOURCE)"].concat()
        }),
        Stage::OomScore => "--oom-score-adj (lower needs CAP_SYS_RESOURCE)".into(),
        Stage::Identity => ["user ", &plan.identity.uid.to_string(), ":", &plan.identity.gid.to_string()].concat(),
        Stage::Capabilities => "capabilities".into(),
        Stage::Seccomp => "filter of system calls".into(),
        Stage::Exec => match plan.arguments.first().map(|first| text(first)).unwrap_or_default() {
            none if none.is_empty() => "entry point ''".into(),
            first => ["entry point ", &first].concat(),
        },
    }
}

/// Why the kernel cannot execute the program.
fn no_program(image: &ImageConfig) -> String {
    let own = oci::platform(std::env::consts::ARCH).0;
    match image.other_platform(own) {
        Some(other) => ["the image is for ", &other, ", and this machine is linux/", own].concat(),
        None => "a program for another architecture, or a script whose first line is not #!INTERPRETER".into(),
    }
}

/// What exec(2) refused as too long. The limit is the kernel's: it depends on the stack's limit and the size of pages.
fn too_long(plan: &Plan, image: &Reference) -> String {
    let size = |texts: &[CString]| texts.iter().map(|text| text.as_bytes().len() + 1).sum::<usize>().to_string();
    let count = |texts: &[CString]| texts.len().to_string();
    [
        &image.shown(),
        ": the image's and the line's environment have ",
        &size(&plan.env),
        " bytes in ",
        &count(&plan.env),
        " variables, its arguments ",
        &size(&plan.arguments),
        " in ",
        &count(&plan.arguments),
        ": most kernels take 2 MiB in all, and 128 KiB each",
    ]
    .concat()
}
