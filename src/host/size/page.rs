//! The report in Markdown: size-report/latest.md.

use super::elf::{Binary, Share};
use std::fmt::Write;

/// Totals and their budgets: names and bytes, in the order of the report.
pub struct Figures {
    pub totals: Vec<(String, u64)>,
    pub budget: Vec<(String, u64)>,
}

/// How many functions the page lists.
const FUNCTIONS_MAX: usize = 40;
/// Smaller crates are added up in one line.
const CRATE_MIN_BYTES: u64 = 512;
/// Longer names are cut: that of a generic function may fill a screen.
const NAME_MAX_CHARS: usize = 96;

/// The page, in Markdown.
pub fn write(figures: &Figures, binary: &Binary, crates: &[(String, Share)]) -> String {
    let mut page = String::from("# Size of the release\n\nWritten by `./dev size --write`. ");
    let _ = write!(page, "x86-64, {}.\n\n", binary.compiler);
    totals(&mut page, figures);
    page.push_str("\n![Every function and constant, by crate](size.svg)\n");
    crate_table(&mut page, crates);
    function_table(&mut page, binary);
    section_table(&mut page, binary);
    page
}

fn totals(page: &mut String, figures: &Figures) {
    page.push_str("| what | bytes | budget |\n|---|--:|--:|\n");
    for (name, bytes) in &figures.totals {
        let budget = figures.budget.iter().find(|(of, _)| of == name);
        let budget = budget.map_or(String::new(), |(_, limit)| grouped(*limit));
        let _ = writeln!(page, "| {} | {} | {budget} |", words_of(name), grouped(*bytes));
    }
}

/// `initramfs_xz_bytes` is `initramfs, xz` on the page.
fn words_of(key: &str) -> String {
    key.trim_end_matches("_bytes").replacen('_', ", ", 1).replace('_', " ")
}

fn crate_table(page: &mut String, crates: &[(String, Share)]) {
    page.push_str("\n## By crate\n`<T as Trait>::f` counts for T's crate; constants without a name count for none.\n");
    page.push_str("\n| crate | code | constants | together |\n|---|--:|--:|--:|\n");
    let row = |page: &mut String, name: &str, share: Share| {
        let (code, data, total) = (grouped(share.code), grouped(share.data), grouped(share.total()));
        let _ = writeln!(page, "| {name} | {code} | {data} | {total} |");
    };
    let mut rest = Share::default();
    for (name, share) in crates {
        if share.total() >= CRATE_MIN_BYTES {
            row(page, name, *share);
        } else {
            rest = Share { code: rest.code + share.code, data: rest.data + share.data };
        }
    }
    row(page, "others", rest);
}

fn function_table(page: &mut String, binary: &Binary) {
    let _ = write!(page, "\n## The {FUNCTIONS_MAX} largest functions\n\n| function | bytes |\n|---|--:|\n");
    for symbol in binary.symbols.iter().filter(|symbol| symbol.code).take(FUNCTIONS_MAX) {
        let mut name: String = symbol.name.chars().take(NAME_MAX_CHARS).collect();
        if name.len() < symbol.name.len() {
            name.push('…');
        }
        let _ = writeln!(page, "| `{}` | {} |", name.replace('|', "\\|"), grouped(symbol.bytes));
    }
}

fn section_table(page: &mut String, binary: &Binary) {
    page.push_str(
        "\n## By section\nThese are of the unstripped twin; the release has no `.eh_frame`, since nothing unwinds.\n",
    );
    page.push_str("\n| section | bytes |\n|---|--:|\n");
    for (name, bytes) in &binary.sections {
        let _ = writeln!(page, "| `{name}` | {} |", grouped(*bytes));
    }
}

/// `1072296` as `1 072 296`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::size::elf::Symbol;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1 000");
        assert_eq!(grouped(1_072_296), "1 072 296");
    }

    #[test]
    fn the_page_has_totals_crates_and_functions() {
        let symbol = Symbol { name: "a::b|c".into(), krate: "a".into(), bytes: 1234, code: true };
        let binary =
            Binary { sections: vec![(".text".into(), 1234)], symbols: vec![symbol], compiler: "rustc 1".into() };
        let crates =
            vec![("a".to_string(), Share { code: 1234, data: 0 }), ("b".to_string(), Share { code: 3, data: 0 })];
        let figures = Figures {
            totals: vec![("initramfs_xz_bytes".into(), 1000)],
            budget: vec![("initramfs_xz_bytes".into(), 2000)],
        };
        let page = write(&figures, &binary, &crates);
        for line in [
            "| initramfs, xz | 1 000 | 2 000 |",
            "| a | 1 234 | 0 | 1 234 |",
            "| others | 3 | 0 | 3 |",
            "| `a::b\\|c` | 1 234 |",
            "| `.text` | 1 234 |",
        ] {
            assert!(page.lines().any(|l| l == line), "{line}\n{page}");
        }
    }
}
