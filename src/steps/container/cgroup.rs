//! A container's control group, version 2.

use super::resources;
use crate::proto::flags::asked::Resources;
use crate::report::{Failure, Outcome, Report};
use crate::steps::memory;
use crate::sys::{bpf, io_text};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

const CGROUPS: &str = "/sys/fs/cgroup";
/// What a container leaves to the machine. What it writes to a tmpfs is memory
/// that no kill gives back: with none left the kernel panics («System is
/// deadlocked on memory»).
const KEPT_BYTES: u64 = 16 << 20;

/// The container's own group, directly below the root.
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// `whole_machine`: there is nothing but the container to leave memory to.
    pub fn make(asked: &Resources, whole_machine: bool, report: &Report) -> Outcome<Option<Cgroup>> {
        let settings = resources::settings(asked)?;
        let without = |why: &str| match resources::first_flag(&settings) {
            Some(flag) => Err(Failure::new("container", [flag, ": no control group of its own: ", why].concat())),
            None => {
                report.warn("container", format_args!("no control group of its own: {why}"));
                Ok(None)
            }
        };
        let parent = Path::new(CGROUPS);
        if !parent.join("cgroup.controllers").exists() {
            return without("there is no cgroup v2 here");
        }
        let dir = parent.join(["ocinit.", &std::process::id().to_string()].concat());
        match fs::create_dir(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return without(&[&dir.to_string_lossy(), ": ", &io_text(&error)].concat());
            }
            _ => {}
        }
        let group = Cgroup(dir);
        if whole_machine {
            group.limit_memory();
        }
        match resources::apply(parent, &group.0, &settings) {
            Ok(()) => Ok(Some(group)),
            Err(failure) => {
                group.end(report);
                Err(failure)
            }
        }
    }

    /// One of the group's files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// On a machine of ours: all the memory that there is, but for what keeps the machine going.
    fn limit_memory(&self) {
        if let Some(bytes) = memory::available_bytes() {
            // What an earlier one has left behind may be most of it: then half of the rest.
            let max = bytes.saturating_sub(KEPT_BYTES).max(bytes / 2);
            // A kernel without the memory controller has no such limit.
            let _ = fs::write(self.file("memory.max"), max.to_string());
        }
    }

    /// Has `program` asked about each use of a device.
    pub fn filter_devices(&self, program: &[u64], report: &Report) {
        let attach = |folder: File| bpf::filter_devices(folder.as_fd(), program).map_err(|error| error.to_string());
        if let Err(why) = File::open(&self.0).map_err(|error| io_text(&error)).and_then(attach) {
            report.warn("container", format_args!("left out: the list of allowed devices: {why}"));
        }
    }

    /// Tells whether memory was short, and removes the group.
    pub fn end(self, report: &Report) {
        let events = fs::read_to_string(self.file("memory.events")).unwrap_or_default();
        if events.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count != "0")) {
            report.warn("container", "out of memory: what it wrote to memory counts; give the machine more");
        }
        // Where it shares the machine's processes, its own do not end with its first. Linux before 5.14 cannot.
        let _ = fs::write(self.file("cgroup.kill"), "1");
        // One that is still busy is empty at the end of the machine.
        let _ = fs::remove_dir(self.0);
    }
}
