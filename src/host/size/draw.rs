//! The report as a treemap of crates and their functions: size-report/size.svg.

use super::elf::{Share, Symbol};
use super::page::grouped;
use streemap::Rect;
use svg::node::element::{Group, Rectangle, Style, Text, Title};
use svg::Document;

type Area = Rect<f64>;

const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 720.0;
/// Room for a crate's name above its functions.
const HEADER: f64 = 15.0;
/// Width of a letter, to compute how much of a text fits.
const CHAR_WIDTH: f64 = 6.6;
/// Shorter parts of a name tell nothing and are left out.
const CHARS_MIN: usize = 5;
/// Smaller symbols of a crate share one rectangle: each alone would be too small for a mouse.
const SYMBOL_MIN_BYTES: u64 = 300;

/// Draws `crates` (largest first) with their `symbols`, and `unnamed` bytes of constants without a symbol.
pub fn draw(crates: &[(String, Share)], symbols: &[Symbol], unnamed: u64) -> String {
    let mut groups: Vec<(&str, u64)> = crates.iter().map(|(name, share)| (name.as_str(), share.total())).collect();
    groups.push(("constants without a name", unnamed));
    groups.retain(|(_, bytes)| *bytes > 0);
    groups.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let areas = layout(groups.iter().map(|(_, bytes)| *bytes), Rect::from_size(WIDTH, HEIGHT));
    let mut document = Document::new()
        .set("viewBox", (0, 0, WIDTH, HEIGHT))
        .set("role", "img")
        .add(Title::new("Bytes of the release, by crate and function"))
        .add(Style::new("text{font:11px sans-serif;fill:#111}.c{font-weight:bold}rect{stroke:#fff;stroke-width:.6}"));
    for (index, ((name, bytes), area)) in groups.iter().zip(&areas).enumerate() {
        document = document.add(draw_crate(name, *bytes, symbols, area, hue(index)));
    }
    document.to_string() + "\n"
}

fn draw_crate(name: &str, bytes: u64, symbols: &[Symbol], area: &Area, hue: usize) -> Group {
    let label = format!("{name} {}", grouped(bytes));
    let mut group = Group::new().add(rectangle(area, &label, hue, 62));
    if area.h > 2.0 * HEADER {
        let inside = Rect { y: area.y + HEADER, h: area.h - HEADER, ..*area };
        let own: Vec<&Symbol> = symbols.iter().filter(|symbol| symbol.krate == name).collect();
        let large: Vec<&&Symbol> = own.iter().filter(|symbol| symbol.bytes >= SYMBOL_MIN_BYTES).collect();
        let small: u64 = own.iter().map(|s| s.bytes).sum::<u64>() - large.iter().map(|s| s.bytes).sum::<u64>();
        let mut parts: Vec<(&str, u64)> = large.iter().map(|symbol| (symbol.name.as_str(), symbol.bytes)).collect();
        parts.extend((small > 0).then_some(("smaller ones", small)));
        parts.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        for ((part, bytes), area) in parts.iter().zip(layout(parts.iter().map(|(_, bytes)| *bytes), inside)) {
            group = group.add(rectangle(&area, &format!("{part} {}", grouped(*bytes)), hue, 80));
            group = with_text(group, last_words(part), &area, "f");
        }
    }
    with_text(group, &label, area, "c")
}

/// The last part of a name: `e` of `a::b::<impl c for d>::e`, `f` of `ring_core_0_17_14__f`.
fn last_words(path: &str) -> &str {
    let word = path.rsplit("::").next().unwrap_or(path);
    word.rsplit("__").next().filter(|end| !end.is_empty()).unwrap_or(word)
}

/// Writes `text` at the top left of `area`, as much of it as fits.
fn with_text(group: Group, text: &str, area: &Area, class: &str) -> Group {
    let fitting = ((area.w - 4.0) / CHAR_WIDTH).max(0.0) as usize;
    if area.h < HEADER - 2.0 || fitting < text.chars().count().min(CHARS_MIN) {
        return group;
    }
    let text: String = text.chars().take(fitting).collect();
    let (x, y) = (rounded(area.x + 3.0), rounded(area.y + 11.0));
    group.add(Text::new(text).set("x", x).set("y", y).set("class", class))
}

fn rectangle(area: &Area, title: &str, hue: usize, lightness: u32) -> Rectangle {
    Rectangle::new()
        .set("x", rounded(area.x))
        .set("y", rounded(area.y))
        .set("width", rounded(area.w))
        .set("height", rounded(area.h))
        .set("fill", format!("hsl({hue},55%,{lightness}%)"))
        .add(Title::new(title))
}

/// A hue in degrees: crates of similar size get colours that differ.
fn hue(index: usize) -> usize {
    index * 137 % 360
}

/// Rounded to a tenth, which is finer than any screen.
fn rounded(length: f64) -> f64 {
    (length * 10.0).round() / 10.0
}

/// Divides `area` in proportion to `sizes`, which are sorted, largest first.
fn layout(sizes: impl Iterator<Item = u64>, area: Area) -> Vec<Area> {
    let mut items: Vec<(f64, Area)> = sizes.map(|bytes| (bytes as f64, area)).collect();
    streemap::squarify(area, &mut items, |(bytes, _)| *bytes, |(_, own), area| *own = area);
    items.into_iter().map(|(_, area)| area).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_as_the_bytes_and_inside() {
        let areas = layout([600, 300, 100].into_iter(), Rect::from_size(100.0, 10.0));
        let of: Vec<f64> = areas.iter().map(|area| (area.w * area.h).round()).collect();
        assert_eq!(of, [600.0, 300.0, 100.0]);
        assert!(areas.iter().all(|area| area.x + area.w <= 100.01 && area.y + area.h <= 10.01));
    }

    #[test]
    fn the_drawing_parses_and_names_every_part() {
        let symbol = Symbol { name: "a::<b>::f".into(), krate: "a".into(), bytes: 900, code: true };
        let drawn = draw(&[("a".into(), Share { code: 900, data: 0 })], &[symbol], 500);
        let mut tags = 0;
        for event in svg::read(&drawn).unwrap() {
            match event {
                svg::parser::Event::Error(error) => panic!("{error}"),
                svg::parser::Event::Tag(..) => tags += 1,
                _ => {}
            }
        }
        assert!(tags > 6, "{drawn}");
        for title in ["a::&lt;b&gt;::f 900", "constants without a name 500"] {
            assert!(drawn.contains(title), "{title}\n{drawn}");
        }
    }
}
