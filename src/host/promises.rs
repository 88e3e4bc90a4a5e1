//! The last column of docs/promises.md and docs/inputs.md: the tests of each row, found by the tags above them.
//!
//! A row of these pages has a name, a text and its tests: `| NAME | TEXT | TESTS |`. A test says which rows it keeps by
//! a line of its doc comment: `/// Promise: NAME, NAME` or `/// Input: NAME`. Renaming a test changes no page by hand:
//! `ocinit-host docs` writes the column anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

/// A page, and the word of the tags that belong to it.
pub struct Page {
    pub path: &'static str,
    pub tag: &'static str,
}

/// The pages whose last column is generated.
pub const PAGES: [Page; 2] =
    [Page { path: "docs/promises.md", tag: "Promise" }, Page { path: "docs/inputs.md", tag: "Input" }];

/// The line below the header of each table with such a column.
const RULER: &str = "|---|---|---|";

/// The tests of each row: names of rows, each with its `FILE::TEST`s in the order of the sources.
pub type Tests = BTreeMap<String, Vec<String>>;

/// Path and text of the Rust files of `src` and `tests` below `root`, sorted by path.
pub fn sources(root: &Path) -> std::io::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut pending = vec![root.join("src"), root.join("tests")];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path)?;
                found.push((path.strip_prefix(root).unwrap_or(&path).display().to_string(), text));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What the tags `/// TAG: NAME, …` in `sources` say; an error where one stands above something that is no test.
pub fn tagged(tag: &str, sources: &[(String, String)]) -> Result<Tests, String> {
    let mut tests = Tests::new();
    for (path, text) in sources {
        let start = format!("/// {tag}: ");
        let (mut names, mut is_test): (Vec<&str>, bool) = (Vec::new(), false);
        for (index, line) in text.lines().map(str::trim_start).enumerate() {
            if let Some(list) = line.strip_prefix(&start) {
                names.extend(list.split(", "));
            } else if line == "#[test]" {
                is_test = true;
            } else if !line.starts_with("///") && !line.starts_with("#[") {
                let function = line.strip_prefix("fn ").and_then(|rest| rest.split('(').next());
                match function.filter(|_| is_test) {
                    Some(function) => names.drain(..).for_each(|name| {
                        tests.entry(name.into()).or_default().push(format!("{path}::{function}"));
                    }),
                    None if names.is_empty() => {}
                    None => {
                        return Err(format!("{path}:{}: no test below the tag {tag}: {}", index + 1, names.join(", ")))
                    }
                }
                is_test = false;
            }
        }
        if !names.is_empty() {
            return Err(format!("{path}: no test below the tag {tag}: {}", names.join(", ")));
        }
    }
    Ok(tests)
}

/// `page` with the tests of each row in its last column; an error for a row without tests, a name that two rows have,
/// and a name of a tag that no row has.
pub fn refresh(page: &str, tests: &Tests) -> Result<String, String> {
    let (mut out, mut seen, mut in_table) = (String::new(), BTreeSet::new(), false);
    for line in page.lines() {
        in_table = line == RULER || in_table && line.starts_with("| ");
        if line == RULER || !in_table {
            let _ = writeln!(out, "{line}");
            continue;
        }
        let (name, text) = name_and_text(line).ok_or_else(|| format!("not of three columns: {line}"))?;
        let list = tests.get(name).ok_or_else(|| format!("{name}: no test has this tag"))?;
        if !seen.insert(name) {
            return Err(format!("{name}: two rows have this name"));
        }
        let list: Vec<String> = list.iter().map(|test| format!("`{test}`")).collect();
        let _ = writeln!(out, "| {name} | {text} | {} |", list.join(" "));
    }
    let unknown = tests.iter().find(|(name, _)| !seen.contains(name.as_str()));
    match unknown {
        Some((name, list)) => Err(format!("{name}: no row has this name, which is a tag of {}", list.join(", "))),
        None => Ok(out),
    }
}

/// The first two columns of a row of three; the last column may be empty.
fn name_and_text(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix("| ")?.split_once(" | ")?;
    let rest = rest.strip_suffix('|')?.trim_end();
    let text = rest.strip_suffix('|').or_else(|| rest.rsplit_once(" | ").map(|(text, _)| text))?;
    Some((name, text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Tests, String> {
        tagged("Promise", &[("tests/a.rs".into(), text.into())])
    }

    #[test]
    fn a_tag_belongs_to_the_test_below_it() {
        let text = "/// Why.\n/// Promise: b, c\n/// Input: x\n#[test]\nfn one() {}\n\n    /// Promise: b\n    #[test]\n    fn two() {";
        let tests = of(text).unwrap();
        assert_eq!(tests["b"], ["tests/a.rs::one", "tests/a.rs::two"]);
        assert_eq!((tests["c"].len(), tests.len()), (1, 2));
        assert!(of("#[test]\nfn one() {}\n\nfn two() {}").unwrap().is_empty());
        for bad in [
            "/// Promise: b\nfn no_test() {}",
            "/// Promise: b\n\n#[test]\nfn far() {}",
            "#[test]\nfn one() {}\n/// Promise: b\nfn two() {}",
            "/// Promise: b",
        ] {
            assert!(of(bad).unwrap_err().contains("no test below the tag Promise: b"), "{bad}");
        }
    }

    #[test]
    fn rows_and_tags_belong_together() {
        let tests = of("/// Promise: b, c\n#[test]\nfn one() {}").unwrap();
        let page = |rows: &str| format!("# A\n\n| name | promise | kept by |\n{RULER}\n{rows}\n\nb | c\n");
        let fresh = page("| b | one `|` two | `tests/a.rs::one` |\n| c | three | `tests/a.rs::one` |");
        assert_eq!(
            refresh(&page("| b | one `|` two | |\n| c | three | `tests/old.rs::name` |"), &tests).unwrap(),
            fresh
        );
        assert_eq!(refresh(&fresh, &tests).unwrap(), fresh);
        for (rows, why) in [
            ("| b | one | |", "c: no row has this name, which is a tag of tests/a.rs::one"),
            ("| b | one | |\n| c | two | |\n| d | three | |", "d: no test has this tag"),
            ("| b | one | |\n| c | two | |\n| b | three | |", "b: two rows have this name"),
            ("| b | one | |\n| c |", "not of three columns: | c |"),
        ] {
            assert_eq!(refresh(&page(rows), &tests), Err(why.into()));
        }
    }
}
