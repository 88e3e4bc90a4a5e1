//! Sizes, colours and shapes that all charts use.
#![allow(dead_code)]

use super::numbers::short;
use svg::node::element::{Rectangle, Text, Title};
use svg::Document;

pub const WIDTH: f64 = 900.0;
pub const MARGIN: f64 = 36.0;
pub const INK: &str = "#1f2937";
pub const FAINT: &str = "#6b7280";
pub const OURS: &str = "#f97316";
pub const THEIRS: &str = "#94a3b8";

/// A bar's row, its height, and the room on its left and right for words.
const ROW: f64 = 44.0;
const BAR: f64 = 28.0;
const NAMES: f64 = 120.0;
const WORDS: f64 = 190.0;
const TOP: f64 = 100.0;

/// A bar of [`bars`].
pub struct Bar<'a> {
    pub name: &'a str,
    /// Milliseconds.
    pub value: f64,
    /// How many times as long as the first one.
    pub ratio: f64,
}

/// A chart of milliseconds with a bar for each, the first of which is ours. The longest is cut at the edge of the page
/// where it would make all others too short to compare; its label has its length.
pub fn bars(title: &str, heading: &str, line: &str, all: &[Bar]) -> String {
    let mut document = page(TOP + ROW * all.len() as f64 + 24.0, title, heading, line);
    let longest = all.iter().map(|bar| bar.value).fold(0.001, f64::max);
    let second = all.iter().map(|bar| bar.value).filter(|value| *value < longest).fold(0.001, f64::max);
    let room = WIDTH - 2.0 * MARGIN - NAMES - WORDS;
    for (index, bar) in all.iter().enumerate() {
        let y = TOP + ROW * index as f64;
        let length = (bar.value / second * room * 0.8).min(room);
        let colour = if index == 0 { OURS } else { THEIRS };
        let cut = if length == room { "… " } else { "" };
        let label = format!("{cut}{:.1} ms, {}×", bar.value, short(bar.ratio));
        document = document
            .add(text(MARGIN, y + 19.0, 14.0, INK, bar.name))
            .add(rectangle(MARGIN + NAMES, y, length, BAR, colour).set("rx", 4))
            .add(text(MARGIN + NAMES + length + 8.0, y + 19.0, 12.0, FAINT, &label));
    }
    format!("{document}\n")
}

/// A white page with a heading and a line below it; screen readers read `title`.
pub fn page(height: f64, title: &str, heading: &str, line: &str) -> Document {
    Document::new()
        .set("viewBox", (0, 0, WIDTH, height))
        .set("width", WIDTH)
        .set("height", height)
        .set("font-family", "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif")
        .add(Title::new(title))
        .add(rectangle(0.0, 0.0, WIDTH, height, "#ffffff").set("rx", 10))
        .add(text(MARGIN, 44.0, 21.0, INK, heading).set("font-weight", 600))
        .add(text(MARGIN, 66.0, 12.0, FAINT, line))
}

pub fn rectangle(x: f64, y: f64, width: f64, height: f64, fill: &str) -> Rectangle {
    Rectangle::new().set("x", x).set("y", y).set("width", width).set("height", height).set("fill", fill)
}

pub fn text(x: f64, y: f64, size: f64, fill: &str, words: &str) -> Text {
    Text::new(words).set("x", x).set("y", y).set("font-size", size).set("fill", fill)
}
