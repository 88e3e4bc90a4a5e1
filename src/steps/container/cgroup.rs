//! A container's control group, version 2.

use crate::report::Report;
use crate::steps::memory;
use std::fs;
use std::path::{Path, PathBuf};

const CGROUPS: &str = "/sys/fs/cgroup";
/// What a container leaves to the machine. What it writes to a tmpfs is memory
/// that no kill gives back: with none left the kernel panics («System is
/// deadlocked on memory»).
const KEPT_BYTES: u64 = 16 << 20;

/// The container's own group, directly below the root.
pub struct Cgroup(PathBuf);

impl Cgroup {
    pub fn make(report: &Report) -> Option<Cgroup> {
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

    /// One of the group's files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// On a machine of ours: all the memory that there is, but for what keeps the machine going.
    pub fn limit_memory(&self) {
        if let Some(bytes) = memory::available_bytes() {
            // What an earlier one has left behind may be most of it: then half of the rest.
            let max = bytes.saturating_sub(KEPT_BYTES).max(bytes / 2);
            // A kernel without the memory controller has no such limit.
            let _ = fs::write(self.file("memory.max"), max.to_string());
        }
    }

    /// Tells whether memory was short, and removes the group.
    pub fn end(self, report: &Report) {
        let events = fs::read_to_string(self.file("memory.events")).unwrap_or_default();
        if events.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count != "0")) {
            report.warn("container", "out of memory: what it wrote to memory counts; give the machine more");
        }
        // One that is still busy is empty at the end of the machine.
        let _ = fs::remove_dir(self.0);
    }
}
