//! A container's limits as its control group's files: what is written where,
//! as data, then written. Conversions are crun's (crun(1), "cgroup v2").

use crate::container::pure::spec::{DeviceLimit, Limit, LimitKind, Resources};
use crate::report::{Failure, Outcome};
use crate::sys::{fs as sysfs, io_text};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// podman's default.
const PIDS_MAX: u64 = 2048;
/// The kernel's default period, in microseconds (Linux, cgroup-v2.rst, cpu.max).
const PERIOD_US: u64 = 100_000;

/// A file of the group and what it gets; its controller is what stands before the dot.
pub struct Setting {
    pub file: String,
    pub value: String,
    /// The flag, for an error; a default has none, and is left out where it cannot be set.
    pub flag: Option<&'static str>,
}

/// The settings for what the container line asks for. Devices are looked up, nothing is written.
pub fn settings(asked: &Resources) -> Outcome<Vec<Setting>> {
    let mut settings = Vec::new();
    let mut set = |flag, file: &str, value: String| {
        settings.push(Setting { file: file.into(), value, flag: Some(flag) });
    };
    memory(asked, &mut set);
    cpu(asked, &mut set);
    if let Some(weight) = asked.blkio_weight {
        set("--blkio-weight", "io.weight", io_weight(weight).to_string());
    }
    for (path, weight) in &asked.blkio_weight_devices {
        let value = [&device("--blkio-weight-device", path)?, " ", &io_weight(*weight).to_string()].concat();
        set("--blkio-weight-device", "io.weight", value);
    }
    for DeviceLimit { path, kind, rate } in &asked.device_limits {
        let (flag, key) = match kind {
            LimitKind::ReadBps => ("--device-read-bps", " rbps="),
            LimitKind::WriteBps => ("--device-write-bps", " wbps="),
            LimitKind::ReadIops => ("--device-read-iops", " riops="),
            LimitKind::WriteIops => ("--device-write-iops", " wiops="),
        };
        set(flag, "io.max", [&device(flag, path)?, key, &rate.to_string()].concat());
    }
    match asked.pids {
        Some(limit) => set("--pids-limit", "pids.max", text(limit)),
        None => settings.push(Setting { file: "pids.max".into(), value: PIDS_MAX.to_string(), flag: None }),
    }
    for (file, value) in &asked.cgroup_conf {
        settings.push(Setting { file: file.clone(), value: value.clone(), flag: Some("--cgroup-conf") });
    }
    Ok(settings)
}

type Set<'a> = dyn FnMut(&'static str, &str, String) + 'a;

/// That `--memory-swap` fits `--memory` was checked with the container line.
fn memory(asked: &Resources, set: &mut Set) {
    // 0 is no limit, podman's word for it.
    let memory = asked.memory.filter(|bytes| *bytes > 0);
    if let Some(bytes) = memory {
        set("--memory", "memory.max", bytes.to_string());
    }
    // The group counts swap alone; as much again as memory where nothing is said.
    let swap = match (asked.memory_swap, memory) {
        (Some(Limit::Unlimited), _) => Some("max".into()),
        (None | Some(Limit::At(0)), memory) => memory.map(|bytes| bytes.to_string()),
        (Some(Limit::At(both)), memory) => memory.map(|bytes| both.saturating_sub(bytes).to_string()),
    };
    if let Some(swap) = swap {
        set("--memory-swap", "memory.swap.max", swap);
    }
    if let Some(bytes) = asked.memory_reservation.filter(|bytes| *bytes > 0) {
        set("--memory-reservation", "memory.low", bytes.to_string());
    }
}

fn cpu(asked: &Resources, set: &mut Set) {
    let (quota, period) = (asked.cpus.or(asked.cpu_quota_us), asked.cpu_period_us);
    if quota.is_some() || period.is_some() {
        let flag = match (asked.cpus, quota) {
            (Some(_), _) => "--cpus",
            (None, Some(_)) => "--cpu-quota",
            (None, None) => "--cpu-period",
        };
        let period = period.filter(|period| *period > 0).unwrap_or(PERIOD_US);
        let quota = quota.map_or("max".into(), text);
        set(flag, "cpu.max", [&quota, " ", &period.to_string()].concat());
    }
    if let Some(shares) = asked.cpu_shares.filter(|shares| *shares > 0) {
        set("--cpu-shares", "cpu.weight", cpu_weight(shares).to_string());
    }
    if let Some(cpus) = &asked.cpuset_cpus {
        set("--cpuset-cpus", "cpuset.cpus", cpus.clone());
    }
    if let Some(mems) = &asked.cpuset_mems {
        set("--cpuset-mems", "cpuset.mems", mems.clone());
    }
}

fn text(limit: Limit) -> String {
    match limit {
        Limit::Unlimited | Limit::At(0) => "max".into(),
        Limit::At(number) => number.to_string(),
    }
}

fn wrong(flag: &str, why: &str) -> Failure {
    Failure::new("container", [flag, ": ", why].concat())
}

/// 2 to 262144 shares on 1 to 10000, 1024 on 100: 10 to the power of (l*l + 125 l) / 612 - 7 / 34, where l is the
/// logarithm of the shares to the base of 2, rounded up, as crun 1.28 has it.
///
/// Numbers have 30 bits behind the point: powers of floating point would bring 6 KB of tables.
fn cpu_weight(shares: u64) -> u64 {
    const ONE: u64 = 1 << 30;
    /// The logarithm of 10 to the base of 2.
    const OF_TEN: u64 = 3_566_893_131;
    /// What is above a whole number by less than this is that number.
    const ROUNDING: u64 = ONE / 1000;
    let times = |a: u64, b: u64| ((u128::from(a) * u128::from(b)) >> 30) as u64;
    let shares = shares.clamp(2, 262_144);
    let whole = shares.ilog2();
    let (mut log, mut rest) = (u64::from(whole) << 30, (shares << 30) >> whole);
    for bit in (0..30).rev() {
        rest = times(rest, rest);
        if rest >= 2 * ONE {
            rest /= 2;
            log |= 1 << bit;
        }
    }
    let exponent = (times(log, log) + 125 * log) / 612;
    let exponent = times(exponent.saturating_sub(7 * ONE / 34), OF_TEN);
    let (mut power, mut root) = (ONE << (exponent >> 30), 2 * ONE);
    for bit in (0..30).rev() {
        root = (root << 30).isqrt();
        if exponent >> bit & 1 == 1 {
            power = times(power, root);
        }
    }
    (power + ONE - ROUNDING) >> 30
}

/// 10 to 1000 on 1 to 10000.
fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.clamp(10, 1000) - 10) * 9999 / 990
}

/// `MAJOR:MINOR` of a block device.
fn device(flag: &'static str, path: &str) -> Outcome<String> {
    let fail = |why: &str| wrong(flag, &[path, ": ", why].concat());
    let meta = fs::metadata(path).map_err(|error| fail(&io_text(&error)))?;
    if !meta.file_type().is_block_device() {
        return Err(fail("is no block device"));
    }
    let (major, minor) = sysfs::device_numbers(meta.rdev());
    Ok([&major.to_string(), ":", &minor.to_string()].concat())
}

/// The controllers that the settings take: what stands before the dot, once.
fn controllers(settings: &[Setting]) -> Vec<(&str, Option<&'static str>)> {
    let mut names: Vec<(&str, Option<&'static str>)> = Vec::new();
    for setting in settings {
        let name = setting.file.split('.').next().unwrap_or_default();
        // What the kernel itself has in every group.
        if name != "cgroup" {
            match names.iter_mut().find(|(known, _)| *known == name) {
                Some((_, flag)) => *flag = flag.or(setting.flag),
                None => names.push((name, setting.flag)),
            }
        }
    }
    names
}

/// Enables all controllers in `parent`, and writes the settings into its child `group`. A default that cannot be set is
/// left out.
pub fn apply(parent: &Path, group: &Path, settings: &[Setting]) -> Outcome<()> {
    let has = fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
    let enabled = fs::read_to_string(parent.join("cgroup.subtree_control")).unwrap_or_default();
    let is_in = |list: &str, name: &str| list.split_ascii_whitespace().any(|word| word == name);
    let enable = |name: &str| match is_in(&has, name) {
        _ if is_in(&enabled, name) => Ok(()),
        true => fs::write(parent.join("cgroup.subtree_control"), ["+", name].concat()).map_err(|error| io_text(&error)),
        false => Err("this kernel's cgroup v2 does not have it".into()),
    };
    // All that exist, for the container's own use; one that cannot be enabled is an error only where a setting needs
    // it.
    has.split_ascii_whitespace().for_each(|name| drop(enable(name)));
    for (name, flag) in controllers(settings) {
        let result = enable(name);
        if let (Err(why), Some(flag)) = (result, flag) {
            let failure = wrong(flag, &["needs the controller '", name, "': ", &why].concat());
            return Err(failure.hint("build it into the kernel, and leave no controller to cgroup v1"));
        }
    }
    for Setting { file, value, flag } in settings {
        let written = fs::write(group.join(file), value);
        if let (Err(error), Some(flag)) = (written, flag) {
            return Err(wrong(flag, &[file, "=", value, ": ", &io_text(&error)].concat()));
        }
    }
    Ok(())
}

/// The first flag that needs a control group.
pub fn first_flag(settings: &[Setting]) -> Option<&'static str> {
    settings.iter().find_map(|setting| setting.flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(asked: &Resources) -> Vec<String> {
        let settings = settings(asked).unwrap_or_else(|failure| panic!("{}", failure.what));
        settings.iter().map(|setting| format!("{}={}", setting.file, setting.value)).collect()
    }

    #[test]
    fn memory_and_swap() {
        assert_eq!(lines(&Resources::default()), ["pids.max=2048"]);
        let asked = Resources { memory: Some(512 << 20), pids: Some(Limit::Unlimited), ..Resources::default() };
        assert_eq!(lines(&asked), ["memory.max=536870912", "memory.swap.max=536870912", "pids.max=max"]);
        let more = Resources { memory_swap: Some(Limit::At(600 << 20)), memory_reservation: Some(7), ..asked };
        let all = ["memory.max=536870912", "memory.swap.max=92274688", "memory.low=7", "pids.max=max"];
        assert_eq!(lines(&more), all);
        let unlimited = Resources { memory_swap: Some(Limit::Unlimited), ..Resources::default() };
        assert_eq!(lines(&unlimited), ["memory.swap.max=max", "pids.max=2048"]);
    }

    #[test]
    fn processors() {
        let asked = Resources {
            cpus: Some(Limit::At(150_000)),
            cpu_shares: Some(1024),
            cpuset_cpus: Some("0-1".into()),
            cpuset_mems: Some("0".into()),
            pids: Some(Limit::At(100)),
            ..Resources::default()
        };
        let all = ["cpu.max=150000 100000", "cpu.weight=100", "cpuset.cpus=0-1", "cpuset.mems=0", "pids.max=100"];
        assert_eq!(lines(&asked), all);
        let asked = Resources { cpu_period_us: Some(50_000), ..Resources::default() };
        assert_eq!(lines(&asked)[0], "cpu.max=max 50000");
        assert_eq!([1, 2, 3, 10, 256, 512].map(cpu_weight), [1, 1, 2, 4, 35, 59]);
        assert_eq!([1000, 1024, 2048, 4096].map(cpu_weight), [99, 100, 174, 303]);
        assert_eq!([262_143, 262_144, u64::MAX].map(cpu_weight), [10_000, 10_000, 10_000]);
        assert_eq!([10, 500, 1000].map(io_weight), [1, 4950, 10_000]);
    }

    #[test]
    fn devices_and_files() {
        let limit = |path: &str| DeviceLimit { path: path.into(), kind: LimitKind::ReadBps, rate: 1 };
        for (path, why) in [("/dev/null", "is no block device"), ("/dev/none-such", "no such file")] {
            let asked = Resources { device_limits: vec![limit(path)], ..Resources::default() };
            assert!(settings(&asked).is_err_and(|failure| failure.what.contains(why)), "{path}");
        }
        let conf = vec![("memory.high".into(), "1G".into()), ("cgroup.max.depth".into(), "3".into())];
        let asked = Resources { cgroup_conf: conf, memory: Some(1), ..Resources::default() };
        assert_eq!(lines(&asked)[3..], ["memory.high=1G", "cgroup.max.depth=3"]);
        let made = settings(&asked).unwrap_or_default();
        assert_eq!(controllers(&made), [("memory", Some("--memory")), ("pids", None)]);
        assert_eq!(first_flag(&made), Some("--memory"));
    }

    /// A directory that looks like a group: the missing controller is named.
    /// Promise: limits
    #[test]
    fn a_missing_controller_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let group = dir.path().join("group");
        fs::create_dir(&group).unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "pids memory\n").unwrap();
        fs::write(dir.path().join("cgroup.subtree_control"), "pids\n").unwrap();
        let of = |asked: &Resources| settings(asked).and_then(|settings| apply(dir.path(), &group, &settings));
        assert!(of(&Resources { memory: Some(1 << 20), ..Resources::default() }).is_ok());
        assert_eq!(fs::read_to_string(group.join("memory.max")).unwrap(), "1048576");
        assert_eq!(fs::read_to_string(dir.path().join("cgroup.subtree_control")).unwrap(), "+memory");
        let failure = of(&Resources { cpu_shares: Some(2), ..Resources::default() }).err().unwrap();
        assert!(failure.what.contains("--cpu-shares: needs the controller 'cpu'"), "{}", failure.what);
    }
}
