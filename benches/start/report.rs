//! The results for people (Markdown, a table on the console) and for programs (JSON).

use super::compare::WORDS;
use super::measure::{Outcome, Start, CONTENDERS};
use super::numbers::{self, rounded, short};
use super::verdicts::Table;
use ocinit::host::kernel::Kernel;
use std::fmt::Write;

/// The promises: ours takes as long as crun at most, and podman this many times as long as ours.
const CRUN_MAX: f64 = 1.0;
const PODMAN_MIN: f64 = 20.0;

/// The circumstances of the measurement.
pub struct Facts {
    pub machine: String,
    rounds: u32,
    kernel: String,
    versions: String,
    combinations: usize,
    /// How often each verdict was given.
    counts: [usize; WORDS.len()],
}

impl Facts {
    pub fn gather(kernel: &Kernel, rounds: u32, outcome: &Outcome, table: &Table) -> Facts {
        let name = kernel.image.file_name().unwrap_or_default().to_string_lossy();
        let runtimes = outcome.versions.iter().filter(|(name, _)| CONTENDERS.contains(&name.as_str()));
        let versions: Vec<String> = runtimes.map(|(name, version)| format!("{name} {version}")).collect();
        Facts {
            machine: format!(
                "{}, software emulation with counted instructions",
                numbers::version_of("qemu-system-x86_64")
            ),
            rounds,
            kernel: name.trim_start_matches("vmlinuz-").into(),
            versions: versions.join(", "),
            combinations: table.rows.len(),
            counts: WORDS.map(|word| table.count(word)),
        }
    }
}

fn first(start: &Start) -> f64 {
    start.first_ms
}

/// The table for the console.
pub fn table(outcome: &Outcome) -> String {
    let mut text = format!("{:10} {:>16} {:>16} {:>12}\n", "", "first, ms", "whole call, ms", "over ocinit");
    for name in CONTENDERS {
        let (start, end) = (outcome.median(name, first), outcome.median(name, |start| start.end_ms));
        let _ = writeln!(text, "{name:10} {start:>16.2} {end:>16.2} {:>11}×", short(outcome.ratio(name, "ocinit")));
    }
    text
}

pub fn markdown(outcome: &Outcome, facts: &Facts) -> String {
    let Facts { machine, rounds, kernel, versions, combinations, counts, .. } = facts;
    let mut text = String::from("# From a call to the container's first instruction\n\n![bars](start.svg)\n\n");
    let _ = writeln!(
        text,
        "Written by `./dev bench start`: medians of {rounds} rounds. In a round each runtime is started three times (podman \
         once), in turns; a first round to warm the caches does not count. The milliseconds are those of a clock that \
         counts instructions: their ratios can be compared, and they are the same on a busy host.\n\n\
         | | first instruction, ms | least … most | whole call, ms | over ocinit |\n|---|---:|---:|---:|---:|"
    );
    for name in CONTENDERS {
        let starts = outcome.starts.get(name).map(Vec::as_slice).unwrap_or_default();
        let (low, high) = starts.iter().map(first).fold((f64::INFINITY, 0.0f64), |(a, b), ms| (a.min(ms), b.max(ms)));
        let (start, end) = (outcome.median(name, first), outcome.median(name, |start| start.end_ms));
        let ratio = short(outcome.ratio(name, "ocinit"));
        let _ = writeln!(text, "| {name} | {start:.2} | {low:.2} … {high:.2} | {end:.2} | {ratio}× |");
    }
    let [same, explained, unexplained] = counts;
    let _ = write!(
        text,
        "\n## What the container sees\nOf {combinations} combinations of flags, compared line by line with podman's \
         container (`tests/parity.rs`):\n\n\
         | same | with reasons only | without a reason |\n\
         |---:|---:|---:|\n\
         | {same} | {explained} | {unexplained} |\n\n\
         ## How\n\
         - Machine: {machine}; Debian's kernel {kernel}, 1 CPU.\n\
         - Debian's {versions}; podman with crun and cgroupfs, no systemd.\n\
         - ocinit and podman have the image in their stores, pulled before, and mount its overlay themselves, which \
         is in their times; crun and runc get a bundle, whose root is a plain directory, with the same namespaces, \
         mounts, capabilities and device rules as `--privileged --network=host` has.\n\
         - From just before fork(2) in the caller to the first function of the container's static program, by \
         CLOCK_MONOTONIC.\n"
    );
    text
}

/// The promises that are not kept.
pub fn broken(outcome: &Outcome, table: &Table) -> Vec<String> {
    let (crun, podman) = (outcome.ratio("ocinit", "crun"), outcome.ratio("podman", "ocinit"));
    let promises = [
        (crun <= CRUN_MAX, format!("ours over crun's: {}, at most {CRUN_MAX}", short(crun))),
        (podman >= PODMAN_MIN, format!("podman's over ours: {}, at least {PODMAN_MIN}", short(podman))),
        (table.unexplained() == 0, format!("{} combinations with unexplained differences", table.unexplained())),
    ];
    promises.into_iter().filter(|(kept, _)| !kept).map(|(_, words)| words).collect()
}

/// The results for programs.
pub fn json(outcome: &Outcome, facts: &Facts) -> String {
    let mut map = serde_json::Map::new();
    for name in CONTENDERS {
        map.insert(format!("{name}_first_ms"), rounded(outcome.median(name, first)).into());
        map.insert(format!("{name}_call_ms"), rounded(outcome.median(name, |start| start.end_ms)).into());
    }
    map.insert("ratio_crun".into(), rounded(outcome.ratio("ocinit", "crun")).into());
    map.insert("ratio_runc".into(), rounded(outcome.ratio("ocinit", "runc")).into());
    map.insert("ratio_podman".into(), rounded(outcome.ratio("podman", "ocinit")).into());
    map.insert("parity_combinations".into(), facts.combinations.into());
    let keys = ["parity_same", "parity_explained", "parity_unexplained"];
    for (key, count) in keys.into_iter().zip(facts.counts) {
        map.insert(key.into(), count.into());
    }
    map.insert("rounds".into(), facts.rounds.into());
    map.insert("machine".into(), facts.machine.as_str().into());
    map.insert("kernel".into(), facts.kernel.as_str().into());
    map.insert("versions".into(), facts.versions.as_str().into());
    numbers::json(map)
}
