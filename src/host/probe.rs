//! Whether KVM works on this host: a kernel is booted once to find out.

use super::cache;
use super::qemu::{Accel, Machine, Network};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name of the file in which the answer is kept between runs.
const MEMORY: &str = "kvm-probe";
/// How long a kernel may take to its first console line under KVM: 0.3 s is usual.
const PROBE_MS: u64 = 4000;

impl Machine {
    /// As [`Machine::on`], with the fastest accelerator that works.
    pub fn new(kernel: impl Into<PathBuf>, initrd: impl Into<PathBuf>, append: impl Into<String>) -> Machine {
        let kernel = kernel.into();
        Machine::on(accel(&kernel), kernel, initrd.into(), append.into())
    }
}

/// KVM, if a guest of `kernel` prints its command line under it. That `/dev/kvm`
/// exists proves nothing: on some hosts guests hang on it. `OCINIT_ACCEL=tcg`
/// or `kvm` decides without a boot. The answer is kept until the host's next boot:
/// in `target/` where that is there, else in the user's cache.
pub fn accel(kernel: &Path) -> Accel {
    match std::env::var("OCINIT_ACCEL").as_deref() {
        Ok("kvm") => return Accel::Kvm,
        Ok("tcg") => return Accel::Tcg,
        _ => {}
    }
    let writable = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    if !writable {
        return Accel::Tcg;
    }
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let memory = if Path::new("target").is_dir() { PathBuf::from("target") } else { cache::dir() }.join(MEMORY);
    let known = std::fs::read_to_string(&memory).unwrap_or_default();
    if let Some((id, answer)) = known.split_once(' ') {
        if id == boot_id.trim() {
            return if answer.trim() == "usable" { Accel::Kvm } else { Accel::Tcg };
        }
    }
    let usable = boots(kernel);
    let answer = if usable { "usable" } else { "unusable" };
    let _ = memory.parent().map(std::fs::create_dir_all);
    let _ = std::fs::write(memory, format!("{} {answer}\n", boot_id.trim()));
    if usable {
        Accel::Kvm
    } else {
        Accel::Tcg
    }
}

fn boots(kernel: &Path) -> bool {
    // Without an initrd: the boot is over before the kernel needs one.
    let append = "console=ttyS0 earlyprintk=ttyS0 panic=-1";
    let mut machine = Machine::on(Accel::Kvm, kernel.to_path_buf(), PathBuf::new(), append.into());
    machine.network = Network::None;
    machine.timeout = Duration::from_millis(PROBE_MS);
    // This line comes late enough: a guest may print from its decompressor and hang after that.
    let boot = machine.boot_until(&mut |_, _| {}, &mut |line| line.contains("Kernel command line"));
    boot.is_ok_and(|boot| !boot.timed_out && boot.find("Kernel command line").is_some())
}
