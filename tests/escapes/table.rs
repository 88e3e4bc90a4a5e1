//! The attacks, one row each: an image, flags, a command, and whether the command has to run for the row to count.
//!
//! Every container here is run with `--privileged=false`. The same rows run on a host and in a virtual machine.

use super::evil;
use ocinit::host::image::Image;

/// What the attacks aim at.
pub struct Site {
    pub payload: Vec<u8>,
    /// A directory of the host, as an absolute path.
    pub canary: String,
    /// A block device that holds [`TEXT`] and that no container was given.
    pub disk: (u32, u32),
}

/// The content of the canaries.
pub const TEXT: &str = "nobody inside may read or write this";

/// One attack.
pub struct Attack {
    pub name: &'static str,
    pub image: fn(&Site) -> Image,
    /// `CANARY` stands for the canaries' directory, `LIBRARIES` for what our own program needs to run.
    pub flags: &'static [&'static str],
    /// As in `flags`; `MAJOR` and `MINOR` are the disk's.
    pub command: &'static [&'static str],
    /// A container that is refused held, too; but not where the row asks what it sees.
    pub must_run: bool,
}

/// A row whose container has to run.
const fn seen(
    name: &'static str,
    image: fn(&Site) -> Image,
    flags: &'static [&'static str],
    command: &'static [&'static str],
) -> Attack {
    Attack { name, image, flags, command, must_run: true }
}

/// A row whose container may be refused.
const fn tried(
    name: &'static str,
    image: fn(&Site) -> Image,
    flags: &'static [&'static str],
    command: &'static [&'static str],
) -> Attack {
    Attack { name, image, flags, command, must_run: false }
}

/// What is left open at exec.
pub const DESCRIPTORS: &[Attack] = &[
    seen("descriptors", evil::plain, &[], &["attack", "descriptors"]),
    seen("descriptors-terminal", evil::plain, &["-t"], &["attack", "descriptors"]),
    seen("descriptors-input", evil::plain, &["-i"], &["attack", "descriptors"]),
    seen("descriptors-init", evil::plain, &["--init", "LIBRARIES"], &["attack", "descriptors"]),
    seen("descriptors-user", evil::plain, &["--user=1000:100"], &["attack", "descriptors"]),
    tried("path-by-descriptors", evil::path_by_descriptors, &[], &[]),
    tried("path-by-descriptors-init", evil::path_by_descriptors, &["--init", "LIBRARIES"], &[]),
    tried("self-exe", evil::self_exe, &["--net=none", "--timeout=5", "LIBRARIES"], &["version"]),
    tried("self-exe-thread", evil::self_exe, SELF_EXE, &["version"]),
    tried("self-exe-script", evil::self_exe, SELF_EXE_SCRIPT, &["version"]),
    tried("self-exe-path", evil::self_exe_in_path, &["--pid=host", "--timeout=5", "LIBRARIES"], &["version"]),
    seen("init-program", evil::plain, &["--init", "LIBRARIES"], &["attack", "init-program", "/run/podman-init"]),
];
const SELF_EXE: &[&str] = &["--pid=host", "--timeout=5", "LIBRARIES", "--entrypoint=/proc/thread-self/exe"];
const SELF_EXE_SCRIPT: &[&str] = &["--pid=host", "--timeout=5", "LIBRARIES", "--entrypoint=/script"];

/// What an image has at the places of the kernel's file systems, and where its volumes lie.
pub const MOUNTS: &[Attack] = &[
    tried("proc-volume", evil::proc_volume, TERMINAL, &["attack", "console", "terminal"]),
    tried("proc-volume-sysfs", evil::proc_volume_to_sysfs, &["-t"], &["attack", "console", "terminal"]),
    tried("proc-volume-quiet", evil::proc_volume, &["-v", "CANARY:/ro:ro"], &["attack", "file-systems"]),
    tried("proc-volume-slashes", evil::proc_volume_spelled::<0>, TERMINAL, &["attack", "file-systems"]),
    tried("proc-volume-slash", evil::proc_volume_spelled::<1>, TERMINAL, &["attack", "file-systems"]),
    tried("proc-volume-dots", evil::proc_volume_spelled::<2>, TERMINAL, &["attack", "file-systems"]),
    tried("proc-volume-up", evil::proc_volume_spelled::<3>, TERMINAL, &["attack", "file-systems"]),
    tried("proc-volume-alias", evil::proc_volume_spelled::<4>, TERMINAL, &["attack", "file-systems"]),
    tried("proc-volume-aliases", evil::proc_volume_spelled::<5>, TERMINAL, &["attack", "file-systems"]),
    tried("root-volume", evil::root_volume, TERMINAL, &["attack", "file-systems"]),
    tried("proc-link", evil::proc_link, TERMINAL, &["attack", "console", "terminal"]),
    tried("proc-link-masks", evil::proc_link, &[], &["attack", "masks"]),
    tried("proc-link-writes", evil::proc_link, &[], &["attack", "writes"]),
    tried("proc-link-types", evil::proc_link, &[], &["attack", "file-systems"]),
    tried("proc-self-volume", evil::proc_self_volume, TERMINAL, &["attack", "console", "terminal"]),
    tried("proc-sys-volume", evil::proc_sys_volume, &[], &["attack", "writes"]),
    tried("sys-link", evil::sys_link, &[], &["attack", "file-systems"]),
    tried("sys-volume", evil::sys_volume, &[], &["attack", "file-systems"]),
    tried("cgroup-volume", evil::cgroup_volume, &[], &["attack", "writes"]),
    tried("dev-link", evil::dev_link, TERMINAL, &["attack", "console", "terminal"]),
    tried("dev-link-quiet", evil::dev_link, &["-v", "CANARY:/ro:ro"], &["attack", "console"]),
    tried("dev-link-out", evil::dev_link_out, &["-t"], &["attack", "console", "terminal"]),
    tried("dev-link-out-volume", evil::dev_link_out, &["-v", "CANARY:/ro:ro"], &["attack", "console"]),
    tried("dev-volume", evil::dev_volume, TERMINAL, &["attack", "console", "terminal"]),
    tried("dev-parts-volume", evil::dev_parts_volume, TERMINAL, &["attack", "console", "terminal"]),
    tried("dev-parts-volume-types", evil::dev_parts_volume, &[], &["attack", "file-systems"]),
    tried("dev-of-the-line", evil::plain, DEV_OF_THE_LINE, &["attack", "console"]),
    tried("dev-of-the-line-quiet", evil::plain, &["-v", "CANARY/dev:/dev"], &["attack", "console"]),
    seen("dev-links", evil::dev_links, &["-t", "-v", "CANARY:/ro:ro"], &["attack", "console", "terminal"]),
    tried("dev-null-link", evil::dev_links, &["-v", "CANARY:/ro:ro"], &["attack", "masks"]),
    tried("volumes-outside", evil::volumes_outside, &[], READ),
    tried("volume-of-a-descriptor", evil::volume_of_a_descriptor, &[], READ),
    tried("working-directory-link", evil::working_directory_link, &[], &["attack", "working-directory"]),
    tried("working-directory-root", evil::plain, &["--workdir=/proc/1/root"], &["attack", "working-directory"]),
    tried("working-directory-made", evil::working_directory_made, &[], &["attack", "working-directory"]),
];
const TERMINAL: &[&str] = &["-t", "-v", "CANARY:/ro:ro"];
const DEV_OF_THE_LINE: &[&str] = &["-t", "-v", "CANARY:/ro:ro", "-v", "CANARY/dev:/dev"];
const READ: &[&str] = &["attack", "read", "CANARY/file", "nobody"];

/// Nodes in layers.
pub const DEVICES: &[Attack] = &[
    seen("nodes", evil::nodes, &[], NODES_IN_ROOT),
    seen("nodes-user", evil::nodes, &["--user=1000:100"], NODES_IN_ROOT),
    tried("nodes-in-a-volume", evil::nodes_in_a_volume, &[], NODES),
    tried("made-node", evil::plain, &["--cap-add=MKNOD"], IN_TMP),
    tried("made-node-in-dev", evil::plain, &["--cap-add=MKNOD"], IN_DEV),
    tried("made-node-in-shm", evil::plain, &["--cap-add=MKNOD"], IN_SHM),
];
const IN_TMP: &[&str] = &["attack", "make-node", "/tmp/disk", "MAJOR", "MINOR"];
const IN_DEV: &[&str] = &["attack", "make-node", "/dev/disk", "MAJOR", "MINOR"];
const IN_SHM: &[&str] = &["attack", "make-node", "/dev/shm/disk", "MAJOR", "MINOR"];
/// The null device is every container's, by any name.
const NODES_IN_ROOT: &[&str] = &["attack", "nodes", "/nodes/disk", "/nodes/console", "/nodes/kmsg", "/nodes/memory"];
/// Where the mount takes no devices at all.
const NODES: &[&str] =
    &["attack", "nodes", "/nodes/disk", "/nodes/console", "/nodes/kmsg", "/nodes/memory", "/nodes/other-null"];

/// Standard streams, the kernel's files, and system calls.
pub const KERNEL: &[Attack] = &[
    seen("streams", evil::plain, &[], &["attack", "streams"]),
    seen("streams-terminal", evil::plain, &["-t"], &["attack", "streams"]),
    seen("streams-input", evil::plain, &["-i"], &["attack", "streams"]),
    seen("masks", evil::plain, &[], &["attack", "masks"]),
    seen("writes", evil::plain, &[], &["attack", "writes"]),
    seen("writes-cgroups-of-the-host", evil::plain, &["--cgroupns=host"], &["attack", "writes"]),
    seen("file-systems", evil::plain, &[], &["attack", "file-systems"]),
    seen("console", evil::plain, &[], &["attack", "console"]),
    seen("console-terminal", evil::plain, &["-t"], &["attack", "console", "terminal"]),
    seen("calls", evil::plain, &[], &["attack", "calls"]),
    seen("calls-unfiltered", evil::plain, &["--security-opt=seccomp=unconfined"], &["attack", "calls"]),
    seen("user-namespace", evil::plain, &[], &["attack", "user-namespace"]),
    seen("sockets", evil::plain, &[], &["attack", "sockets"]),
    seen("read", evil::plain, &[], READ),
    seen("read-processes-of-the-host", evil::plain, &["--pid=host"], READ),
];

/// Who a container runs as.
pub const IDENTITY: &[Attack] = &[
    seen("rights", evil::plain, &[], &["attack", "rights"]),
    seen("rights-user", evil::plain, &["--user=1000:100"], &["attack", "rights"]),
    seen("rights-unnamed-user", evil::plain, &["--user=4321:54"], &["attack", "rights"]),
    seen("user-named-as-a-number", evil::user_named_as_a_number, &[], &["attack", "user", ""]),
    tried("user-beyond-32-bits", evil::user_beyond_32_bits, &[], &["attack", "user", ""]),
    tried("user-minus-one", evil::user_minus_one, &[], &["attack", "user", ""]),
    tried("user-forged-by-a-directory", evil::user_forged, &[], &["attack", "user", "forged:"]),
    seen("environment", evil::environment, &["--env=FROM=line"], &["attack", "environment", TEXT]),
];

/// What must be in no container's output: an attack's own word, a program of the host's, our own program.
const ESCAPED: [&str; 4] = ["escaped: ", evil::RAN, "ocinit version ", "ocinit     0."];

/// podman's exit codes for a container that never ran.
const REFUSED: std::ops::RangeInclusive<i32> = 125..=127;

/// Whether an attack held, by what its container wrote, on both streams, and its exit code.
pub fn judge(attack: &Attack, output: &str, code: i32) -> Result<(), String> {
    if let Some(line) = output.lines().find(|line| ESCAPED.iter().any(|word| line.contains(word))) {
        return Err(line.trim().to_string());
    }
    let done = attack.command.get(1).map(|name| format!("done: {name}"));
    let is_done = code == 0 && done.is_some_and(|done| output.lines().any(|line| line.trim() == done));
    // What --init cannot start ends with 1, as with catatonit.
    let is_init = code == 1 && output.contains("FAIL container  entry point ");
    let is_refused = (REFUSED.contains(&code) || is_init) && !attack.must_run;
    match is_done || is_refused {
        true => Ok(()),
        false => Err(format!("neither held nor refused: exit code {code}")),
    }
}
