//! Whether KVM works here: found out by booting, once.

use super::qemu::{Accel, Machine, Network};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the answer is kept.
const MEMORY: &str = "target/kvm-probe";
/// How long a kernel may take to its first words under KVM: 0.3 s is usual.
const PROBE_MS: u64 = 4000;

/// KVM where a guest of `kernel` shows a sign of life under it. `/dev/kvm`
/// existing proves nothing: on some hosts guests hang on it. `OCINIT_ACCEL=tcg`
/// or `kvm` decides without a try. The answer is kept in `target/` until the
/// host's next boot.
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
    let known = std::fs::read_to_string(MEMORY).unwrap_or_default();
    if let Some((id, answer)) = known.split_once(' ') {
        if id == boot_id.trim() {
            return if answer.trim() == "usable" { Accel::Kvm } else { Accel::Tcg };
        }
    }
    let usable = boots(kernel);
    let answer = if usable { "usable" } else { "unusable" };
    let _ = std::fs::create_dir_all("target");
    let _ = std::fs::write(MEMORY, format!("{} {answer}\n", boot_id.trim()));
    if usable {
        Accel::Kvm
    } else {
        Accel::Tcg
    }
}

fn boots(kernel: &Path) -> bool {
    // No initrd: it is not going to get that far.
    let append = "console=ttyS0 earlyprintk=ttyS0 panic=-1";
    let mut machine = Machine::on(Accel::Kvm, kernel.to_path_buf(), PathBuf::new(), append.into());
    machine.network = Network::None;
    machine.timeout = Duration::from_millis(PROBE_MS);
    // The late line: a guest may print from its decompressor and hang after it.
    let boot = machine.boot_until(&mut |_, _| {}, &mut |line| line.contains("Kernel command line"));
    boot.is_ok_and(|boot| !boot.timed_out && boot.find("Kernel command line").is_some())
}
