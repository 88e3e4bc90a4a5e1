//! The chart: a panel for each image, with a pair of bars for each contender.

use super::draw::{page, rectangle, text, FAINT, INK, MARGIN, OURS, THEIRS, WIDTH};
use super::measure::CONTENDERS;
use super::numbers::short;
use super::outcome::Row;
use svg::node::element::Group;

const COLUMNS: usize = 2;
const GAP: f64 = 28.0;
const TOP: f64 = 116.0;
const PANEL: f64 = 208.0;
const ROW: f64 = 34.0;
const NAMES: f64 = 128.0;
/// Room for the label on the right of a bar.
const WORDS: f64 = 62.0;
const FLOOR: &str = "#7dd3fc";

/// The chart as an SVG document. The rows of an image must be adjacent.
pub fn svg(rows: &[Row], machine: &str) -> String {
    let mut images: Vec<&[Row]> = rows.chunk_by(|a, b| a.image.name == b.image.name).collect();
    images.retain(|rows| !rows.is_empty());
    let height = TOP + images.len().div_ceil(COLUMNS) as f64 * (PANEL + GAP);
    let title = "Pulling an image: ocinit, podman, skopeo with umoci, and the floor";
    let mut document = page(height, title, "From a registry to unpacked layers", &format!("{machine}; median seconds"));
    document = document.add(legend(rows));
    let width = (WIDTH - 2.0 * MARGIN - GAP) / COLUMNS as f64;
    for (index, rows) in images.iter().enumerate() {
        let x = MARGIN + (index % COLUMNS) as f64 * (width + GAP);
        document = document.add(panel(rows, x, TOP + (index / COLUMNS) as f64 * (PANEL + GAP), width));
    }
    format!("{document}\n")
}

/// The legend of the two bars of a pair.
fn legend(rows: &[Row]) -> Group {
    let mut group = Group::new();
    for (index, row) in rows.iter().take_while(|row| row.image.name == rows[0].image.name).enumerate() {
        let x = MARGIN + 90.0 * index as f64;
        group = group.add(rectangle(x, 88.0, 14.0, thickness(index), INK).set("opacity", opacity(index)));
        group = group.add(text(x + 20.0, 97.0, 12.0, INK, row.place));
    }
    group
}

/// The bars of the first file system are thicker than the others.
fn thickness(place: usize) -> f64 {
    if place == 0 {
        12.0
    } else {
        10.0
    }
}

fn opacity(place: usize) -> f64 {
    if place == 0 {
        1.0
    } else {
        0.5
    }
}

fn panel(rows: &[Row], x: f64, y: f64, width: f64) -> Group {
    let image = rows[0].image;
    let mut group = Group::new().add(rectangle(x, y, width, PANEL, "#f8fafc").set("rx", 8));
    group = group.add(text(x + 16.0, y + 26.0, 15.0, INK, image.title).set("font-weight", 600));
    let (mb, raw_mb) = (image.compressed_bytes as f64 / 1e6, image.raw_bytes as f64 / 1e6);
    let mut facts = format!("{mb:.0} MB, {raw_mb:.0} MB unpacked");
    if let Some(ratio) = rows[0].ratio("podman", "ours") {
        facts = format!("{facts}; podman takes {}×", short(ratio));
    }
    group = group.add(text(x + 16.0, y + 46.0, 12.0, FAINT, &facts));
    let seconds = |row: &Row, name| row.of(name, |run| run.wall_s);
    let all = rows.iter().flat_map(|row| CONTENDERS.iter().filter_map(move |one| seconds(row, one.name)));
    let scale = (width - NAMES - WORDS - 16.0) / all.fold(0.001, f64::max);
    for (index, contender) in CONTENDERS.iter().enumerate() {
        let top = y + 64.0 + ROW * index as f64;
        group = group.add(text(x + 16.0, top + 14.0, 12.0, INK, contender.title));
        let colour = match contender.name {
            "ours" => OURS,
            "floor" => FLOOR,
            _ => THEIRS,
        };
        let mut at = top;
        for (place, row) in rows.iter().enumerate() {
            let value = seconds(row, contender.name);
            let length = value.map_or(0.0, |value| (value * scale).max(2.0));
            let bar = rectangle(x + NAMES, at, length, thickness(place), colour).set("rx", 2);
            group = group.add(bar.set("opacity", opacity(place)));
            let words = value.map_or("failed".into(), |value| format!("{value:.2} s"));
            group = group.add(text(x + NAMES + length + 6.0, at + thickness(place) - 1.5, 11.0, FAINT, &words));
            at += thickness(place) + 2.0;
        }
    }
    group
}
