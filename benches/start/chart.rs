//! The chart: a bar for each runtime.

use super::draw::{bars, Bar};
use super::measure::{Outcome, CONTENDERS};

/// The chart as an SVG document.
pub fn svg(outcome: &Outcome, machine: &str) -> String {
    let bar = |name: &'static str| {
        let (value, ratio) = (outcome.median(name, |start| start.first_ms), outcome.ratio(name, CONTENDERS[0]));
        Bar { name, value, ratio }
    };
    let title = "Starting a container: ocinit, crun, runc and podman";
    let heading = "From a call to the container's first instruction";
    bars(title, heading, &format!("{machine}; median milliseconds"), &CONTENDERS.map(bar))
}
