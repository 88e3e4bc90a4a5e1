//! The images of the next containers, pulled while one runs: by a process that
//! works when nobody else wants to, says nothing, and whose failures are nobody's:
//! the real pull says what is wrong, and finds what is there already.

use crate::container::cgroup::Cgroup;
use crate::container::pure::spec::ContainerSpec;
use crate::image::pull::{self, PullContext};
use crate::image::pure::pull_options::PullPolicy;
use crate::kernel::meminfo;
use crate::report::Report;
use crate::store::layers::Store;
use crate::sys::process::{self, Pid};
use crate::sys::{fs as sysfs, io, signal, STDERR, STDOUT};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What the process may take of memory where images go to a disk: TLS, windows
/// of zstd, and pages on their way.
const ON_DISK_BYTES: u64 = 96 << 20;
/// Where they go to memory: so much of what is free, and at least this.
const IN_MEMORY_PART: u64 = 8;
const IN_MEMORY_MIN: u64 = 24 << 20;

/// How much memory the pulls beside a container may take; none where there is
/// too little for them.
pub fn memory_bytes(store: &Store) -> Option<u64> {
    let free = meminfo::available_bytes()?;
    match store.is_durable() {
        true => Some(ON_DISK_BYTES).filter(|bytes| *bytes <= free / 2),
        false => Some(free / IN_MEMORY_PART).filter(|bytes| *bytes >= IN_MEMORY_MIN),
    }
}

/// A process that pulls ahead.
pub struct Ahead {
    pid: Pid,
    /// A byte comes for each image that it is done with.
    words: OwnedFd,
    /// How many have come.
    done: usize,
    cgroup: Option<Cgroup>,
}

impl Ahead {
    /// Pulls the images of `specs` in their order, with `bytes` of memory. None
    /// where no process can be had.
    pub fn start(
        specs: &[Option<ContainerSpec>],
        store: &Store,
        context: &PullContext,
        bytes: u64,
        report: &Report,
    ) -> Option<Ahead> {
        let (words, to) = io::pipe().ok()?;
        let cgroup = Cgroup::create("ahead").ok();
        if let Some(cgroup) = &cgroup {
            // A kernel without a controller has no such limit. The lowest weight is for kernels before 5.15.
            let _ = fs::write(cgroup.file("memory.max"), bytes.to_string());
            let _ = fs::write(cgroup.file("cpu.weight"), "1");
            let _ = fs::write(cgroup.file("cpu.idle"), "1");
        }
        let procs = cgroup.as_ref().map(|cgroup| cgroup.file("cgroup.procs"));
        let pid = process::fork(&mut || {
            process::close_all_but(&[to.as_fd()]);
            // One that cannot be kept low is none.
            let low = process::die_with_parent().and_then(|()| process::set_idle());
            // The first to go where memory is short.
            let _ = fs::write("/proc/self/oom_score_adj", "1000");
            let limited = procs.as_ref().is_some_and(|procs| fs::write(procs, "0").is_ok());
            if low.is_ok() && limited {
                pull_all(specs, store, context, to.as_fd(), report);
            }
            0
        });
        Some(Ahead { pid: pid.ok()?, words, done: 0, cgroup })
    }

    /// Returns when number `index` of the specs is done with, in one way or another.
    pub fn wait_for(&mut self, index: usize, report: &Report) {
        let mut told = false;
        let mut word = [0];
        while self.done <= index {
            let ready = io::poll(&[io::Poll { fd: self.words.as_fd(), write: false }], 0);
            if ready == Ok(0) && !told {
                report.line("pull", "the image is on its way already");
                self.lift_limits();
                told = true;
            }
            match io::read(self.words.as_fd(), &mut word) {
                Ok(1) => self.done += 1,
                // It has ended.
                _ => return,
            }
        }
    }

    /// Somebody waits for it now, and no container runs: it works as others do.
    fn lift_limits(&self) {
        if let Some(cgroup) = &self.cgroup {
            let _ = fs::write(cgroup.file("memory.max"), "max");
            let _ = fs::write(cgroup.file("cpu.idle"), "0");
            let _ = fs::write(cgroup.file("cpu.weight"), "100");
        }
    }

    /// Ends it, wherever it is, and removes what it leaves half done.
    pub fn stop(self, store: &Store, report: &Report) {
        let _ = process::kill(self.pid, signal::SIGKILL);
        let _ = process::wait(self.pid);
        // Its claim is free now: whoever opens the store clears it up.
        drop(store.reopen(report));
    }
}

fn pull_all(
    specs: &[Option<ContainerSpec>],
    store: &Store,
    context: &PullContext,
    words: BorrowedFd<'_>,
    report: &Report,
) {
    // Nothing of ours reaches the console, whoever writes it.
    let Ok(nowhere) = sysfs::openat(sysfs::CWD, c"/dev/null", sysfs::O_RDWR, 0) else { return };
    let silent = [STDOUT, STDERR].iter().zip(1..).all(|(_, number)| process::dup_onto(nowhere.as_fd(), number).is_ok());
    let Some(store) = store.reopen(report).ok().filter(|_| silent) else { return };
    for spec in specs {
        if let Some(image) = spec.as_ref().and_then(|spec| pull::image(&spec.pull, &store, context, report).ok()) {
            image.sync();
            image.synced(report);
        }
        if io::write(words, b".").is_err() {
            return;
        }
    }
}

/// The specs whose images are to be pulled, each once: none in the place of one
/// that needs no pull. `running` is what the container of now is made of.
pub fn to_pull(mut specs: Vec<Option<ContainerSpec>>, running: &ContainerSpec) -> Vec<Option<ContainerSpec>> {
    let key = |spec: &ContainerSpec| pull::key(&spec.pull);
    let mut seen = vec![key(running)];
    for place in &mut specs {
        let Some(spec) = place else { continue };
        // The real pull is patient: this one is not to be waited for.
        spec.pull.retry.retries = Some(0);
        if spec.pull.policy == PullPolicy::Never || seen.contains(&key(spec)) {
            *place = None;
        } else {
            seen.push(key(spec));
        }
    }
    specs
}
