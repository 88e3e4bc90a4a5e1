//! From a call to a default route by DHCP: this init's network step, busybox's udhcpc (boot2container's) and dhcpcd,
//! in turns, each time in new network namespaces and with a new dnsmasq. Writes `size-report/lease.{md,svg,json}`.
//!
//! `./dev bench lease [--rounds N]`, as root.

#[macro_use]
#[path = "../tests/support/skip.rs"]
mod skip;

#[path = "common/draw.rs"]
mod draw;
#[path = "lease/measure.rs"]
mod measure;
#[path = "../tests/support/netns.rs"]
mod netns;
#[path = "common/numbers.rs"]
mod numbers;
#[path = "lease/report.rs"]
mod report;

use std::process::ExitCode;

const ROUNDS: u32 = 15;

fn main() -> ExitCode {
    if netns::inside() {
        return measure::step();
    }
    let result = numbers::rounds(ROUNDS).and_then(run);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench lease: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(rounds: u32) -> Result<(), String> {
    netns::possible(&["dnsmasq"]).ok_or("cannot run here")?;
    let outcome = measure::run(rounds)?;
    let load = numbers::host_load();
    numbers::save("lease.md", &report::markdown(&outcome, rounds, load))?;
    numbers::save("lease.json", &report::json(&outcome, rounds, load))?;
    numbers::save("lease.svg", &report::svg(&outcome))?;
    println!("{}", report::table(&outcome));
    println!("written: size-report/lease.md, lease.svg, lease.json");
    let step_ms = outcome.step_ms();
    if step_ms <= report::STEP_MAX_MS {
        Ok(())
    } else {
        Err(format!("the network step takes {step_ms:.1} ms; {} is promised", report::STEP_MAX_MS))
    }
}
