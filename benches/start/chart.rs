//! The chart: a bar for each runtime. podman's is cut at the edge of the page; its label has its length.

use super::draw::{page, rectangle, text, FAINT, INK, MARGIN, OURS, THEIRS, WIDTH};
use super::measure::{Outcome, CONTENDERS};
use super::numbers::short;

const TOP: f64 = 100.0;
const ROW: f64 = 44.0;
const BAR: f64 = 28.0;
const NAMES: f64 = 90.0;
/// Room for the label on the right of a bar.
const WORDS: f64 = 190.0;

/// The chart as an SVG document.
pub fn svg(outcome: &Outcome, machine: &str) -> String {
    let height = TOP + ROW * CONTENDERS.len() as f64 + 24.0;
    let title = "Starting a container: ocinit, crun, runc and podman";
    let heading = "From a call to the container's first instruction";
    let mut document = page(height, title, heading, &format!("{machine}; median milliseconds"));
    let of = |name: &str| outcome.median(name, |start| start.first_ms);
    // The scale is without podman: its bar would make all others too short to compare.
    let longest = CONTENDERS.iter().filter(|name| **name != "podman").map(|name| of(name)).fold(0.001, f64::max);
    let room = WIDTH - 2.0 * MARGIN - NAMES - WORDS;
    for (index, name) in CONTENDERS.iter().enumerate() {
        let (y, ms) = (TOP + ROW * index as f64, of(name));
        let length = (ms / longest * room * 0.8).min(room);
        let colour = if *name == "ocinit" { OURS } else { THEIRS };
        let ratio = short(outcome.ratio(name, "ocinit"));
        let cut = if length == room { "… " } else { "" };
        document = document
            .add(text(MARGIN, y + 19.0, 14.0, INK, name))
            .add(rectangle(MARGIN + NAMES, y, length, BAR, colour).set("rx", 4))
            .add(text(MARGIN + NAMES + length + 8.0, y + 19.0, 12.0, FAINT, &format!("{cut}{ms:.1} ms, {ratio}×")));
    }
    format!("{document}\n")
}
