//! Sizes, colours and shapes that all charts use.

use svg::node::element::{Rectangle, Text, Title};
use svg::Document;

pub const WIDTH: f64 = 900.0;
pub const MARGIN: f64 = 36.0;
pub const INK: &str = "#1f2937";
pub const FAINT: &str = "#6b7280";
pub const OURS: &str = "#f97316";
pub const THEIRS: &str = "#94a3b8";

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
