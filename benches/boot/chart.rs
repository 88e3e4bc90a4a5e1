//! The chart: two timelines, and below them panels that compare times, bytes and RAM.

use super::draw::{page, rectangle, text, FAINT, INK, MARGIN, OURS, THEIRS, WIDTH};
use super::measure::{Measured, Outcome, Times};
use super::numbers::{grouped, short};
use svg::node::element::{Circle, Group, Line};

/// Where the timelines start; the names are on the left of it.
const LEFT: f64 = 116.0;
const BAR: f64 = 40.0;
/// Top of each timeline, of the axis, and of the three small panels.
const ROWS: [f64; 2] = [136.0, 196.0];
const AXIS: f64 = 250.0;
const PANELS: f64 = 306.0;
const HEIGHT: f64 = 470.0;

const GRID: &str = "#e5e7eb";
const KERNEL: &str = "#cbd5e1";
const SETUP: &str = "#f97316";
const ENDING: &str = "#7dd3fc";

/// The chart as an SVG document.
pub fn svg(outcome: &Outcome, machine: &str) -> String {
    let seconds = outcome.theirs.median(Times::total_s).max(outcome.ours.median(Times::total_s));
    let scale = (WIDTH - LEFT - MARGIN - 54.0) / seconds;
    let line = format!("{machine}; median of {} boots", outcome.ours.boots.len());
    let title = "Booting into a container: ocinit and podman";
    let mut document = page(HEIGHT, title, "From power-on to a container, and off again", &line)
        .add(legend())
        .add(axis(seconds, scale));
    for (side, top) in [&outcome.ours, &outcome.theirs].into_iter().zip(ROWS) {
        document = document.add(timeline(side, top, scale));
    }
    for (index, panel) in panels(outcome).iter().enumerate() {
        let width = (WIDTH - 2.0 * MARGIN - 2.0 * 28.0) / 3.0;
        document = document.add(panel.draw(MARGIN + index as f64 * (width + 28.0), width));
    }
    format!("{document}\n")
}

fn legend() -> Group {
    let entries = [
        (KERNEL, "firmware, kernel, unpacking"),
        (SETUP, "PID 1 to the container's first line"),
        (ENDING, "to power-off"),
    ];
    let mut group = Group::new();
    let mut x = LEFT;
    for (colour, words) in entries {
        group = group.add(rectangle(x, 96.0, 12.0, 12.0, colour).set("rx", 3));
        group = group.add(text(x + 18.0, 106.5, 12.0, INK, words));
        x += 46.0 + 6.4 * words.chars().count() as f64;
    }
    group = group.add(Circle::new().set("cx", x + 6.0).set("cy", 102.0).set("r", 4.5).set("fill", INK));
    group.add(text(x + 18.0, 106.5, 12.0, INK, "the container speaks"))
}

fn axis(seconds: f64, scale: f64) -> Group {
    let step = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0].into_iter().find(|step| seconds / step <= 11.0).unwrap_or(30.0);
    let mut group = Group::new();
    for index in 0..=(seconds / step).floor() as u32 {
        let at = f64::from(index) * step;
        let x = LEFT + at * scale;
        let line = Line::new().set("x1", x).set("x2", x).set("y1", ROWS[0] - 10.0).set("y2", AXIS);
        group = group.add(line.set("stroke", GRID));
        let label = format!("{} s", (at * 10.0).round() / 10.0);
        group = group.add(text(x, AXIS + 16.0, 11.0, FAINT, &label).set("text-anchor", "middle"));
    }
    group
}

fn timeline(side: &Measured, top: f64, scale: f64) -> Group {
    let (init, setup) = (side.median(Times::init_s), side.median(Times::setup_s));
    let total = side.median(Times::total_s);
    let hello = init + setup;
    let mut group = Group::new();
    let name = text(LEFT - 14.0, top + 26.0, 16.0, INK, side.name).set("text-anchor", "end").set("font-weight", 600);
    group = group.add(name);
    for (from, to, colour) in [(0.0, init, KERNEL), (init, hello, SETUP), (hello, total, ENDING)] {
        // A pixel of space between the parts; none is too short to be seen.
        let width = ((to - from) * scale - 1.0).max(1.5);
        group = group.add(rectangle(LEFT + from * scale, top, width, BAR, colour).set("rx", 2));
        let label = if to - from < 0.1 { format!("{:.0} ms", (to - from) * 1000.0) } else { seconds(to - from) };
        if width > 11.0 + 7.5 * label.len() as f64 {
            let middle = LEFT + (from + to) / 2.0 * scale;
            let words = text(middle, top + 25.0, 13.0, INK, &label).set("text-anchor", "middle");
            group = group.add(words.set("font-weight", if colour == SETUP { 700 } else { 400 }));
        }
    }
    let x = LEFT + hello * scale;
    group = group.add(Circle::new().set("cx", x).set("cy", top + BAR).set("r", 4.5).set("fill", INK));
    group.add(text(LEFT + total * scale + 8.0, top + 25.0, 14.0, INK, &seconds(total)).set("font-weight", 600))
}

/// Two bars and their ratio.
struct Panel {
    title: &'static str,
    better: &'static str,
    values: [f64; 2],
    labels: [String; 2],
    names: [&'static str; 2],
}

fn panels(outcome: &Outcome) -> Vec<Panel> {
    let sides = [&outcome.ours, &outcome.theirs];
    let names = sides.map(|side| side.name);
    let setup = sides.map(|side| side.median(Times::setup_s));
    let bytes = sides.map(|side| side.base_len as u64);
    let mut panels = vec![
        Panel {
            title: "PID 1 to the container's first line",
            better: "faster",
            values: setup,
            labels: setup.map(seconds),
            names,
        },
        Panel {
            title: "initramfs, xz, no kernel modules",
            better: "smaller",
            values: bytes.map(|len| len as f64),
            labels: bytes.map(|len| format!("{} kB", grouped((len + 500) / 1000))),
            names,
        },
    ];
    if let [Some(our), Some(their)] = sides.map(|side| side.min_ram_mb) {
        panels.push(Panel {
            title: "smallest RAM that works",
            better: "less",
            values: [our, their].map(f64::from),
            labels: [our, their].map(|size| format!("{size} MB")),
            names,
        });
    }
    panels
}

impl Panel {
    fn draw(&self, x: f64, width: f64) -> Group {
        let [ours, theirs] = self.values;
        let most = ours.max(theirs);
        let mut group = Group::new().add(rectangle(x, PANELS, width, 136.0, "#f8fafc").set("rx", 8));
        group = group.add(text(x + 16.0, PANELS + 26.0, 12.5, FAINT, self.title));
        let ratio = text(x + 16.0, PANELS + 60.0, 26.0, INK, &format!("{}×", short(theirs / ours)));
        group = group.add(ratio.set("font-weight", 700));
        let offset = 24.0 + 16.0 * short(theirs / ours).len() as f64 + 16.0;
        group = group.add(text(x + offset, PANELS + 60.0, 14.0, FAINT, self.better));
        let room = width - 32.0 - 56.0 - 84.0;
        for (index, colour) in [OURS, THEIRS].into_iter().enumerate() {
            let top = PANELS + 76.0 + 26.0 * index as f64;
            let length = (self.values[index] / most * room).max(2.0);
            group = group.add(text(x + 16.0, top + 13.0, 12.0, INK, self.names[index]));
            group = group.add(rectangle(x + 72.0, top, length, 17.0, colour).set("rx", 2));
            group = group.add(text(x + 72.0 + length + 7.0, top + 13.0, 12.0, INK, &self.labels[index]));
        }
        group
    }
}

fn seconds(value: f64) -> String {
    format!("{value:.2} s")
}
