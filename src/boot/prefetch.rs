//! Pulls the images of the next containers while one runs, in a process of the lowest priority. It prints nothing and
//! its failures have no effect: the real pull, just before the container, finds what is in the store and reports
//! errors.

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

/// The memory limit of the process where images go to a disk: TLS, zstd's windows, and pages that wait to be written.
const ON_DISK_BYTES: u64 = 96 << 20;
/// Where images go to memory, the limit is this fraction of the free memory: an eighth.
const IN_MEMORY_FRACTION: u64 = 8;
/// With less than this there is no prefetch.
const IN_MEMORY_MIN: u64 = 24 << 20;

/// How much memory a prefetch may take while a container runs; None where there is too little for one.
pub fn memory_bytes(store: &Store) -> Option<u64> {
    let free = meminfo::available_bytes()?;
    match store.is_durable() {
        true => Some(ON_DISK_BYTES).filter(|bytes| *bytes <= free / 2),
        false => Some(free / IN_MEMORY_FRACTION).filter(|bytes| *bytes >= IN_MEMORY_MIN),
    }
}

/// The process that pulls the next images.
pub struct Prefetch {
    pid: Pid,
    /// It writes a byte for each spec, when its image is pulled, has failed or needs no pull.
    progress: OwnedFd,
    /// How many bytes were read.
    done: usize,
    cgroup: Option<Cgroup>,
}

impl Prefetch {
    /// Pulls the images of `specs` in their order, with at most `bytes` of memory. None where no process can be made.
    pub fn start(
        specs: &[Option<ContainerSpec>],
        store: &Store,
        context: &PullContext,
        bytes: u64,
        report: &Report,
    ) -> Option<Prefetch> {
        let (progress, to) = io::pipe().ok()?;
        let cgroup = Cgroup::create("prefetch").ok();
        if let Some(cgroup) = &cgroup {
            // Without its controller a limit is left out. The lowest weight is for kernels before 5.15, without
            // cpu.idle.
            let _ = fs::write(cgroup.file("memory.max"), bytes.to_string());
            let _ = fs::write(cgroup.file("cpu.weight"), "1");
            let _ = fs::write(cgroup.file("cpu.idle"), "1");
        }
        let procs = cgroup.as_ref().map(|cgroup| cgroup.file("cgroup.procs"));
        let pid = process::fork(&mut || {
            process::close_all_but(&[to.as_fd()]);
            // Without its limits and the lowest priority it would slow the container down, so it pulls nothing.
            let low = process::die_with_parent().and_then(|()| process::set_idle());
            // Where memory is short, the kernel kills it first.
            let _ = fs::write("/proc/self/oom_score_adj", "1000");
            let limited = procs.as_ref().is_some_and(|procs| fs::write(procs, "0").is_ok());
            if low.is_ok() && limited {
                // Only standard error is a console here: the others were closed.
                pull_all(specs, store, context, to.as_fd(), &Report { times: false, sections: false, ..*report });
            }
            0
        });
        Some(Prefetch { pid: pid.ok()?, progress, done: 0, cgroup })
    }

    /// Waits until spec number `index` is done, whether its image was pulled or not.
    pub fn wait_for(&mut self, index: usize, report: &Report) {
        let mut told = false;
        let mut byte = [0];
        while self.done <= index {
            let ready = io::poll(&[io::Poll { fd: self.progress.as_fd(), write: false }], 0);
            if ready == Ok(0) && !told {
                report.line("pull", "the image is being pulled already");
                self.lift_limits();
                told = true;
            }
            match io::read(self.progress.as_fd(), &mut byte) {
                Ok(1) => self.done += 1,
                // The process has ended.
                _ => return,
            }
        }
    }

    /// Lifts its limits: no container runs now, and the boot waits for it.
    fn lift_limits(&self) {
        if let Some(cgroup) = &self.cgroup {
            let _ = fs::write(cgroup.file("memory.max"), "max");
            let _ = fs::write(cgroup.file("cpu.idle"), "0");
            let _ = fs::write(cgroup.file("cpu.weight"), "100");
        }
    }

    /// Kills the process, and removes the layers that it has not finished.
    pub fn stop(self, store: &Store, report: &Report) {
        let _ = process::kill(self.pid, signal::SIGKILL);
        let _ = process::wait(self.pid);
        // Its claim in the store is released now, and opening the store removes what is left under it.
        drop(store.reopen(report));
    }
}

fn pull_all(
    specs: &[Option<ContainerSpec>],
    store: &Store,
    context: &PullContext,
    progress: BorrowedFd<'_>,
    report: &Report,
) {
    // Nothing that this process prints reaches the console.
    let Ok(null) = sysfs::openat(sysfs::CWD, c"/dev/null", sysfs::O_RDWR, 0) else { return };
    let silent = [STDOUT, STDERR].iter().zip(1..).all(|(_, number)| process::dup_onto(null.as_fd(), number).is_ok());
    let Some(store) = store.reopen(report).ok().filter(|_| silent) else { return };
    for spec in specs {
        if let Some(image) = spec.as_ref().and_then(|spec| pull::image(&spec.pull, &store, context, report).ok()) {
            image.sync();
            image.synced(report);
        }
        if io::write(progress, b".").is_err() {
            return;
        }
    }
}

/// The specs with None in place of each that needs no prefetch: its image is that of an earlier one or of `running`,
/// the container that runs now, or it is never pulled.
pub fn to_pull(mut specs: Vec<Option<ContainerSpec>>, running: &ContainerSpec) -> Vec<Option<ContainerSpec>> {
    let key = |spec: &ContainerSpec| pull::key(&spec.pull);
    let mut seen = vec![key(running)];
    for slot in &mut specs {
        let Some(spec) = slot else { continue };
        // The real pull retries. This one must not make the boot wait for retries.
        spec.pull.retry.retries = Some(0);
        if spec.pull.policy == PullPolicy::Never || seen.contains(&key(spec)) {
            *slot = None;
        } else {
            seen.push(key(spec));
        }
    }
    specs
}
