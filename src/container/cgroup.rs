//! A container's control group, version 2.

use crate::container::pure::spec::Resources;
use crate::container::resources;
use crate::disk::remove_tree;
use crate::files;
use crate::kernel::meminfo;
use crate::report::{Failure, Outcome, Report};
use crate::sys::{bpf, io_text, machine, process, signal};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

const CGROUPS: &str = "/sys/fs/cgroup";
/// Where version 2 is beside controllers of version 1 (systemd's hybrid layout): its groups have lists of devices, but
/// no limits.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

fn is_v2(path: &str) -> bool {
    Path::new(path).join("cgroup.controllers").exists()
}

/// Memory that a container leaves to the host. What it writes to a tmpfs is memory that killing it does not free: with
/// none left the kernel panics ("System is deadlocked on memory").
const KEPT_BYTES: u64 = 16 << 20;

/// Names of our groups begin with it.
pub const PREFIX: &str = "ocinit.";

/// A container's control group, directly below the root of the hierarchy.
pub struct Cgroup {
    dir: PathBuf,
    /// Beside controllers of version 1: a group in each of their hierarchies. A container can mount those in a user
    /// namespace, and then sees nothing above its own group (CVE-2022-0492).
    v1: Vec<PathBuf>,
}

impl Cgroup {
    /// The group of a container that this process runs. `kept_bytes` of memory are kept for the rest of the boot;
    /// `None` on a host that is not ours, which has its own limits. `listed`: the group is to have a list of allowed
    /// devices, for which one without limits is enough.
    pub fn make(asked: &Resources, kept_bytes: Option<u64>, listed: bool, report: &Report) -> Outcome<Option<Cgroup>> {
        let settings = resources::settings(asked)?;
        let name = std::process::id().to_string();
        let flag = resources::first_flag(&settings);
        if listed && flag.is_none() && !is_v2(CGROUPS) && is_v2(UNIFIED) {
            report.warn("container", "no limits of its own: the controllers of this host are of cgroup v1");
            let mut group = Cgroup::create_in(UNIFIED, &name).map_err(|why| Failure::new("container", why))?;
            group.add_v1(&name).map_err(|why| Failure::new("container", ["cgroup v1: ", &why].concat()))?;
            return Ok(Some(group));
        }
        let group = match Cgroup::create(&name) {
            Ok(group) => group,
            Err(why) => {
                let why = ["no control group of its own: ", &why].concat();
                if let Some(flag) = flag {
                    return Err(Failure::new("container", [flag, ": ", &why].concat()));
                }
                report.warn("container", why);
                return Ok(None);
            }
        };
        if let Some(bytes) = kept_bytes {
            group.limit_memory(bytes);
        }
        resources::apply(Path::new(CGROUPS), &group.dir, &settings)?;
        Ok(Some(group))
    }

    /// The group `name`, with no limits.
    pub fn create(name: &str) -> Result<Cgroup, String> {
        if !is_v2(CGROUPS) {
            return Err("there is no cgroup v2 here".into());
        }
        Cgroup::create_in(CGROUPS, name)
    }

    fn create_in(parent: &str, name: &str) -> Result<Cgroup, String> {
        let dir = Path::new(parent).join([PREFIX, name].concat());
        let mut made = fs::create_dir(&dir);
        if made.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::AlreadyExists) {
            // A process that is gone left it behind, with limits and a list of devices that are not ours.
            drop(Cgroup::at(dir.clone()));
            made = fs::create_dir(&dir);
        }
        made.map_err(|error| [&dir.to_string_lossy(), ": ", &io_text(&error)].concat())?;
        Ok(Cgroup::at(dir))
    }

    fn at(dir: PathBuf) -> Cgroup {
        Cgroup { dir, v1: Vec::new() }
    }

    /// A group in each hierarchy of version 1, below the one that this process is in.
    fn add_v1(&mut self, name: &str) -> Result<(), String> {
        for parent in own_v1() {
            let dir = parent.join([PREFIX, name].concat());
            match fs::create_dir(&dir) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err([&dir.to_string_lossy(), ": ", &io_text(&error)].concat());
                }
                _ => self.v1.push(dir.clone()),
            }
            // A new cpuset group has neither, and takes no process without them; other controllers have no such files.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let _ = fs::read(parent.join(file)).and_then(|value| fs::write(dir.join(file), value));
            }
        }
        Ok(())
    }

    /// Where a process writes itself into the groups of version 1.
    pub fn procs_v1(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.v1.iter().map(|dir| dir.join("cgroup.procs"))
    }

    /// One of the group's files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// At boot: the memory that is available, less `kept_bytes` and what keeps the host going.
    fn limit_memory(&self, kept_bytes: u64) {
        if let Some(bytes) = meminfo::available_bytes() {
            // What an earlier container has left behind may be most of it: then half of the rest.
            let max = bytes.saturating_sub(KEPT_BYTES.saturating_add(kept_bytes)).max(bytes / 2);
            // A kernel without the memory controller has no such limit.
            let _ = fs::write(self.file("memory.max"), max.to_string());
        }
    }

    /// Warns where memory was short, and removes the group.
    pub fn end(self, report: &Report) {
        let read = |name: &str| fs::read_to_string(self.file(name)).unwrap_or_default();
        if let Some(text) = out_of_memory(&read("memory.events"), &read("memory.max"), &read("memory.peak")) {
            report.warn("container", text);
            report.line("hint", "what is written to memory counts: give the machine more");
        }
    }

    fn is_populated(&self) -> bool {
        fs::read_to_string(self.file("cgroup.events"))
            .is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
    }
}

/// Attaches `program`, which the kernel asks about each use of a device. An unprivileged container does not run without
/// it.
pub fn filter_devices(group: Option<&Cgroup>, program: &[u64]) -> Outcome<()> {
    let attach = |dir: File| bpf::filter_devices(dir.as_fd(), program).map_err(|error| error.to_string());
    let attached = match group {
        Some(group) => File::open(&group.dir).map_err(|error| io_text(&error)).and_then(attach),
        None => Err("no control group of its own".into()),
    };
    attached.map_err(|why| {
        let failure = Failure::new("container", ["the list of allowed devices: ", &why].concat());
        failure.hint("--privileged=false needs cgroup v2 and a kernel with CONFIG_CGROUP_BPF")
    })
}

impl Drop for Cgroup {
    /// Kills what is left in the group, and removes it: in a shared PID namespace a container's processes do not end
    /// with its first.
    fn drop(&mut self) {
        if self.is_populated() {
            let start_ms = machine::uptime_ms();
            while self.is_populated() && machine::uptime_ms() < start_ms + GONE_MS {
                // Again, since without cgroup.kill a process that forks may outrun it.
                kill(&self.dir);
                std::thread::sleep(Duration::from_millis(LOOK_AGAIN_MS));
            }
        }
        // With the groups that its own containers had below. One that is still busy stays until the end of the boot.
        for dir in self.v1.iter().chain([&self.dir]) {
            let _ = remove_tree::directories(dir).or_else(|_| remove_tree::directories(dir));
        }
    }
}

/// The groups of version 1 that this process is in (cgroups(7), `/proc/self/cgroup`).
fn own_v1() -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for line in fs::read_to_string("/proc/self/cgroup").unwrap_or_default().lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let name = controllers.strip_prefix("name=").unwrap_or(controllers);
        let dir = PathBuf::from([CGROUPS, "/", name, path].concat());
        if !name.is_empty() && dir.join("cgroup.procs").exists() {
            dirs.push(dir);
        }
    }
    dirs
}

/// How long killed processes may take to be gone.
const GONE_MS: u64 = 30_000;
const LOOK_AGAIN_MS: u64 = 5;

/// Ends every process of the group and of those below it, at once (Linux 5.14,
/// cgroup-v2.rst, "cgroup.kill"): what forks cannot outrun it. Before that
/// kernel one by one.
pub fn kill(group: &Path) {
    if fs::write(group.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let processes = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in processes.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0) {
        // It may have ended in the meantime.
        let _ = process::kill(pid, signal::SIGKILL);
    }
    for below in files::entries(group) {
        if below.is_dir() {
            kill(&below);
        }
    }
}

/// Kills and removes the group that an earlier program of this process has made.
pub fn end_of_process() {
    let name = [PREFIX, &std::process::id().to_string()].concat();
    for parent in [CGROUPS, UNIFIED].iter().filter(|parent| is_v2(parent)) {
        let v1 = own_v1().iter().map(|dir| dir.join(&name)).collect();
        drop(Cgroup { dir: Path::new(parent).join(&name), v1 });
    }
}

/// Kills all processes of all our groups.
pub fn kill_all() {
    for group in files::entries(Path::new(CGROUPS)) {
        if files::name(&group).starts_with(PREFIX) {
            kill(&group);
        }
    }
}

/// `killed: out of memory, limit 512 MB, peak 511 MB`, by the group's files
/// `memory.events`, `memory.max` and (Linux 5.19) `memory.peak`.
fn out_of_memory(events: &str, max: &str, peak: &str) -> Option<String> {
    let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
    if kills == "0" {
        return None;
    }
    let mut text = String::from("killed: out of memory");
    for (what, bytes) in [(", limit ", max), (", peak ", peak)] {
        // "max" is none.
        if let Ok(bytes) = bytes.trim_end().parse::<u64>() {
            text = [&text, what, &(bytes >> 20).to_string(), " MB"].concat();
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: memory-kills
    #[test]
    fn what_was_killed_for_its_memory_is_told() {
        let events = "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n";
        let told = |max, peak| out_of_memory(events, max, peak).unwrap();
        assert_eq!(told("536870912\n", "535822336\n"), "killed: out of memory, limit 512 MB, peak 511 MB");
        assert_eq!(told("max\n", ""), "killed: out of memory");
        assert_eq!(out_of_memory("oom 1\noom_kill 0\n", "1", "1"), None);
        assert_eq!(out_of_memory("", "", ""), None);
    }
}
