//! What this machine is, in boot2container's words: a harness keeps these lines with the results of a job.

use crate::boot::pure::runtime_info;
use crate::files;
use crate::pure::scrub::clean;
use crate::report::{Report, Section};
use crate::sys::machine;
use std::fs;
use std::path::Path;

/// One processor's part of /proc/cpuinfo is enough; the whole may be large.
const READ_MAX: u64 = 1 << 22;
const SECTOR_BYTES: u64 = 512;

/// Prints the lines. Disks whose drivers are modules are there only when these were loaded.
pub fn tell(report: &Report) {
    report.section(Section::RuntimeInfo);
    for (name, value) in [
        ("Linux version: ", machine::kernel_release().unwrap_or_default()),
        ("Boot2container version: ocinit ", env!("CARGO_PKG_VERSION").into()),
        ("Architecture: ", machine::architecture().unwrap_or_default()),
        ("CPU: ", cpu()),
        ("RAM: ", runtime_info::memory(&read("/proc/meminfo")).into()),
        ("Block devices: ", block_devices()),
    ] {
        report.exact(&[name, &clean(&value)].concat());
    }
}

fn read(path: &str) -> String {
    files::read(Path::new(path), READ_MAX).map_or(String::new(), |text| String::from_utf8_lossy(&text).into_owned())
}

/// Most processors that are not x86 have no name in /proc/cpuinfo, but their boards have one.
fn cpu() -> String {
    let info = read("/proc/cpuinfo");
    let board = || read("/proc/device-tree/model").trim_end_matches('\0').into();
    runtime_info::cpu(&info).map_or_else(board, String::from)
}

fn block_devices() -> String {
    let mut disks = Vec::new();
    for disk in files::entries(Path::new("/sys/block")) {
        let name = files::name(&disk);
        let size = fs::read_to_string(disk.join("size")).ok();
        let sectors: u64 = size.and_then(|size| size.trim().parse().ok()).unwrap_or(0);
        // Every kernel has loop devices without a file, and some have disks in memory.
        if sectors > 0 && !name.starts_with("ram") {
            disks.push([&name, "=", &runtime_info::size(sectors.saturating_mul(SECTOR_BYTES))].concat());
        }
    }
    disks.join(" ")
}
