//! From a runtime's call to the container's first instruction: this init, crun, runc and podman
//! with the same root and process, in one boot whose clock counts instructions; and the number of
//! flags with which a container is the same as podman's. Writes `size-report/start.{md,svg,json}`.
//!
//! `./dev bench start [--rounds N]`: a round has three starts of each, and one of podman.

#[path = "start/chart.rs"]
mod chart;
// Files of a test: functions that only the test calls are unused here.
#[allow(dead_code)]
#[path = "../tests/parity/compare.rs"]
mod compare;
#[path = "common/draw.rs"]
mod draw;
#[allow(dead_code)]
#[path = "../tests/parity/golden.rs"]
mod golden;
#[allow(dead_code)]
#[path = "../tests/parity/guest.rs"]
mod guest;
#[path = "start/measure.rs"]
mod measure;
#[path = "../tests/parity/more.rs"]
mod more;
#[path = "common/numbers.rs"]
mod numbers;
#[path = "../tests/support/podman.rs"]
mod podman;
#[path = "../tests/parity/reasons.rs"]
mod reasons;
#[path = "start/report.rs"]
mod report;
#[path = "../tests/parity/table.rs"]
mod table;
#[allow(dead_code)]
#[path = "../tests/parity/report.rs"]
mod verdicts;

use ocinit::host::kernel;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// The files of `./dev build`.
const RELEASE: &str = "target/ocinit/x86_64";
const WORK: &str = "target/bench-start";
const ROUNDS: u32 = 5;
const PARITY_LIMIT: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    let result = numbers::rounds(ROUNDS).and_then(run);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench start: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(rounds: u32) -> Result<(), String> {
    let init = Path::new(RELEASE).join("ocinit");
    let payload = Path::new(RELEASE).join("ocinit-payload");
    let payload = std::fs::read(&payload).map_err(|error| format!("{}: {error}", payload.display()))?;
    let kernel = kernel::debian(Path::new(guest::KERNELS))?;
    let table = parity(&init, &payload)?;
    let outcome = measure::run(&kernel, &init, &payload, &work("starts")?, rounds)?;
    let facts = report::Facts::gather(&kernel, rounds, &outcome, &table);
    numbers::save("start.md", &report::markdown(&outcome, &facts))?;
    numbers::save("start.json", &report::json(&outcome, &facts))?;
    numbers::save("start.svg", &chart::svg(&outcome, &facts.machine))?;
    println!("{}", report::table(&outcome));
    println!("written: size-report/start.md, start.svg, start.json");
    let broken = report::broken(&outcome, &table);
    if broken.is_empty() {
        Ok(())
    } else {
        Err(format!("{} promises are not kept:\n  {}", broken.len(), broken.join("\n  ")))
    }
}

/// The table of `tests/parity.rs`, compared with the recorded answers of podman.
fn parity(init: &Path, payload: &[u8]) -> Result<verdicts::Table, String> {
    let theirs = golden::read(&[])?;
    let names: Vec<&str> = more::all().iter().map(|row| row.name).collect();
    let ours = guest::run(&guest::Side::Ours(init), &names, payload, &work("parity")?, PARITY_LIMIT)?;
    let table = verdicts::Table::new(&theirs, &ours.normal()?);
    table.show(ours.wall_s);
    Ok(table)
}

/// An empty directory below [`WORK`].
fn work(name: &str) -> Result<PathBuf, String> {
    let dir = Path::new(WORK).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    Ok(dir)
}
