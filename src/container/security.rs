//! What a container may do: capabilities, the filter of system calls, masked
//! and read-only paths. Planned here, as podman has it; the child assumes it.

use crate::container::ops::Op;
use crate::container::pure::capability::{self, Sets};
use crate::container::pure::passwd::Identity;
use crate::container::pure::paths::{c_string, relative};
use crate::container::pure::seccomp::{self, Machine};
use crate::container::pure::spec::{self, Seccomp};
use crate::container::setup_error::{SetupError, Stage};
use crate::files;
use crate::kernel::version::version;
use crate::report::{Failure, Outcome};
use crate::sys::{bpf, capabilities, process, Result};
use std::path::Path;

/// A profile is some 15 KB.
const PROFILE_MAX: u64 = 1 << 20;

/// Paths that are hidden (podman-run(1), `--security-opt`, `unmask`).
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/fs/selinux",
    "/sys/devices/virtual/powercap",
];
/// One for each processor: it tells what other loads do, as `/proc/interrupts` and the powercap files do
/// (CVE-2020-8694); moby masks them, too.
const PROCESSORS: &str = "/sys/devices/system/cpu";
const THERMAL_THROTTLE: &str = "/thermal_throttle";
/// Paths that are read-only.
const READ_ONLY: [&str; 7] =
    ["/proc/asound", "/proc/bus", "/proc/dynamic_debug", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the child takes on before exec.
pub struct Rights {
    sets: Sets,
    no_new_privileges: bool,
    filter: Option<Vec<bpf::Instruction>>,
}

/// The rights that the container line asks for, for its user.
pub fn plan(asked: &spec::Rights, identity: &Identity) -> Outcome<Rights> {
    let available = capabilities::bounding();
    let is_root = identity.uid == 0;
    let sets = capability::sets(asked.privileged, is_root, asked.cap_add, asked.cap_drop, available);
    let filter = match &asked.seccomp {
        Seccomp::Unconfined => None,
        Seccomp::Default if asked.privileged => None,
        Seccomp::Default => Some(("its default", seccomp::default_filter(&machine(&sets)))),
        Seccomp::Profile(path) => Some((path.as_str(), seccomp::compile(&profile(path)?, &machine(&sets)))),
    };
    let filter = filter.map(|(name, program)| program.map_err(|error| failure(name, &error.text()))).transpose()?;
    let instruction = |from: &seccomp::Instruction| bpf::Instruction {
        code: from.code,
        jt: from.jump_true,
        jf: from.jump_false,
        k: from.value,
    };
    Ok(Rights {
        sets,
        no_new_privileges: asked.no_new_privileges,
        filter: filter.map(|program| program.iter().map(instruction).collect()),
    })
}

fn failure(profile: &str, why: &str) -> Failure {
    Failure::new("container", ["--security-opt seccomp=", profile, ": ", why].concat())
}

fn profile(path: &str) -> Outcome<Vec<u8>> {
    files::read(Path::new(path), PROFILE_MAX).map_err(|why| failure(path, &why))
}

fn machine(sets: &Sets) -> Machine {
    Machine { abi: seccomp::NATIVE, capabilities: sets.bounding, kernel: version() }
}

/// Hides and write-protects paths, when everything is mounted.
pub fn paths(ops: &mut Vec<Op>, asked: &spec::Rights) {
    let is_kept = |path: &&str| !asked.privileged && !is_unmasked(asked, path);
    let throttles = if asked.privileged { Vec::new() } else { throttles() };
    let masked = MASKED.into_iter().chain(throttles.iter().map(String::as_str)).filter(is_kept);
    for path in masked.chain(asked.mask.iter().map(String::as_str)) {
        ops.push(Op::Mask(c_string(&relative(path))));
    }
    for path in READ_ONLY.into_iter().filter(is_kept) {
        ops.push(Op::ReadonlyPath(c_string(&relative(path))));
    }
}

/// Those directories that exist; most hosts have none.
fn throttles() -> Vec<String> {
    let mut paths = Vec::new();
    for processor in files::entries(Path::new(PROCESSORS)) {
        let path = [&*processor.to_string_lossy(), THERMAL_THROTTLE].concat();
        if Path::new(&path).is_dir() {
            paths.push(path);
        }
    }
    paths
}

/// Whether `unmask=` leaves a path as the kernel has it.
pub fn is_unmasked(asked: &spec::Rights, path: &str) -> bool {
    asked.unmask.iter().any(|pattern| matches(pattern, path))
}

/// `ALL`, or a path in which `*` and `?` do not stand for a slash.
fn matches(pattern: &str, path: &str) -> bool {
    pattern == "ALL" || glob(pattern.as_bytes(), path.as_bytes())
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            glob(rest, text) || matches!(text, [c, after @ ..] if *c != b'/' && glob(pattern, after))
        }
        ([b'?', rest @ ..], [c, after @ ..]) if *c != b'/' => glob(rest, after),
        ([p, rest @ ..], [c, after @ ..]) if p == c => glob(rest, after),
        _ => false,
    }
}

/// In the child, last before exec: becomes the user, with the rights. Without
/// the promise to gain nothing a filter takes CAP_SYS_ADMIN: then it comes
/// before the capabilities go; with it, last of all, so that it need not
/// allow what we do here.
pub fn assume(rights: &Rights, identity: &Identity) -> std::result::Result<(), SetupError> {
    let (sets, all) = (&rights.sets, capabilities::bounding());
    become_user(identity).map_err(SetupError::at(Stage::Identity))?;
    let limit = || -> Result<()> {
        capabilities::set(all, 0)?;
        (0..u64::BITS)
            .filter(|number| all & !sets.bounding & 1 << number != 0)
            .try_for_each(capabilities::drop_bounding)
    };
    limit().map_err(SetupError::at(Stage::Capabilities))?;
    if !rights.no_new_privileges {
        filter(rights)?;
    }
    let take =
        || capabilities::set(sets.effective, sets.ambient).and_then(|()| capabilities::set_ambient(sets.ambient));
    take().map_err(SetupError::at(Stage::Capabilities))?;
    if rights.no_new_privileges {
        capabilities::no_new_privileges().map_err(SetupError::at(Stage::Capabilities))?;
        filter(rights)?;
    }
    Ok(())
}

fn become_user(identity: &Identity) -> Result<()> {
    capabilities::keep_over_setuid()?;
    process::setgroups(&identity.groups)?;
    process::setgid(identity.gid)?;
    process::setuid(identity.uid)?;
    // A change of user resets it to fs.suid_dumpable, which may be visible.
    process::hide()?;
    // If we are killed, nothing else would end the container. A change of user, and of capabilities, clears this.
    process::die_with_parent()
}

fn filter(rights: &Rights) -> std::result::Result<(), SetupError> {
    match &rights.filter {
        Some(program) => bpf::filter_system_calls(program).map_err(SetupError::at(Stage::Seccomp)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_paths() {
        for (pattern, path, want) in [
            ("ALL", "/proc/acpi", true),
            ("/proc/acpi", "/proc/acpi", true),
            ("/proc/*", "/proc/acpi", true),
            ("/proc/*", "/proc/acpi/x", false),
            ("/*", "/proc/acpi", false),
            ("/sys/f?/*", "/sys/fs/selinux", true),
            ("/proc/acp", "/proc/acpi", false),
        ] {
            assert_eq!(matches(pattern, path), want, "{pattern} {path}");
        }
    }
}
