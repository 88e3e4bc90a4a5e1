//! `ocinit-host size`: the bytes of the release by crate, function and section, their
//! history, and whether they are within the budget.
//!
//! size-report/ contains latest.md, size.svg and size.json (of the last run with
//! `--write`), history.jsonl (one line for each change of the sources) and budget.toml
//! (written by hand). Without `--write` the report goes to target/, so that a check
//! changes no file of the repository.

mod draw;
mod elf;
mod page;

use super::compress::{compress, expand, Compression};
use elf::Binary;
use page::{grouped, Figures};
use serde_json::{Map, Value};
use std::path::Path;
use std::process::Command;

/// The files that determine the release's bytes, as arguments of git.
const SOURCES: [&str; 5] = ["src", "Cargo.toml", "Cargo.lock", "dev.d/build.sh", ":!src/bin"];

/// Measures the release in `release` (ocinit, ocinit.debug, initramfs.cpio.xz), writes
/// the report into `into`, and fails if a figure is over the budget of `report`.
pub fn run(release: &Path, report: &Path, into: &Path) -> Result<(), String> {
    let stripped = read(&release.join("ocinit"))?;
    let binary = elf::read(&read(&release.join("ocinit.debug"))?)?;
    let crates = elf::by_crate(&binary.symbols);
    let budget = Budget::parse(&text(&report.join("budget.toml"))?)?;
    let mut totals = totals(&stripped, read(&release.join("initramfs.cpio.xz"))?)?;
    let figures = Figures { totals: totals.clone(), budget: budget.limits.clone() };
    std::fs::create_dir_all(into).map_err(|error| format!("{}: {error}", into.display()))?;
    write(&into.join("latest.md"), &page::write(&figures, &binary, &crates))?;
    write(&into.join("size.svg"), &draw::draw(&crates, &binary.symbols, unnamed_bytes(&binary)))?;
    totals.extend(crates.iter().map(|(name, share)| (crate_key(name), share.total())));
    write(&into.join("size.json"), &(to_json(&totals)? + "\n"))?;
    if let Some((tree, subject)) = change() {
        let path = report.join("history.jsonl");
        let old = if path.exists() { text(&path)? } else { String::new() };
        write(&into.join("history.jsonl"), &with_line(&old, &tree, &subject, &figures.totals))?;
    }
    let (held, told) = budget.for_compiler(&binary.compiler);
    let over = over_budget(&totals, &held);
    for (name, bytes) in &figures.totals {
        println!("{:>9}  {name}", grouped(*bytes));
    }
    if !told.is_empty() {
        println!("not the budget's compiler, so lines of crates are reported but do not fail: {}", binary.compiler);
        over_budget(&totals, &told).iter().for_each(|line| println!("{line}"));
    }
    println!("written: {}", into.display());
    if over.is_empty() {
        return Ok(());
    }
    Err(format!("over size-report/budget.toml:\n{}", over.join("\n")))
}

fn totals(stripped: &[u8], initramfs_xz: Vec<u8>) -> Result<Vec<(String, u64)>, String> {
    let xz = initramfs_xz.len();
    let raw = expand(initramfs_xz)?;
    let zstd = compress(&raw, Compression::Zstd)?.0.len();
    let gzip = compress(&raw, Compression::Gzip)?.0.len();
    let lens = [("binary_bytes", stripped.len()), ("initramfs_xz_bytes", xz), ("initramfs_zstd_bytes", zstd)];
    let lens = lens.into_iter().chain([("initramfs_gzip_bytes", gzip), ("initramfs_raw_bytes", raw.len())]);
    Ok(lens.map(|(name, len)| (name.to_string(), len as u64)).collect())
}

/// Bytes of constants without a symbol: texts, tables, certificates.
fn unnamed_bytes(binary: &Binary) -> u64 {
    let constants = |name: &str| name.starts_with(".rodata") || name.starts_with(".data");
    let all: u64 = binary.sections.iter().filter(|(name, _)| constants(name)).map(|(_, bytes)| bytes).sum();
    let named: u64 = binary.symbols.iter().filter(|symbol| !symbol.code).map(|symbol| symbol.bytes).sum();
    all.saturating_sub(named)
}

fn crate_key(name: &str) -> String {
    format!("crate_{}_bytes", name.replace(|c: char| !c.is_alphanumeric(), "_").replace("__", "_"))
}

/// A flat object: the name of each figure and its number.
fn to_json(figures: &[(String, u64)]) -> Result<String, String> {
    let map: Map<String, Value> = figures.iter().map(|(name, bytes)| (name.clone(), Value::from(*bytes))).collect();
    serde_json::to_string_pretty(&map).map_err(|error| error.to_string())
}

type Limits = Vec<(String, u64)>;

/// The contents of budget.toml.
#[derive(Debug, Default, PartialEq)]
struct Budget {
    /// The compiler by which the crates' lines were measured.
    compiler: String,
    limits: Limits,
}

impl Budget {
    /// Parses `name = bytes` lines, where the name is a figure of size.json, and `compiler = "…"`.
    fn parse(toml: &str) -> Result<Budget, String> {
        let mut budget = Budget::default();
        for line in toml.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
            if line.is_empty() {
                continue;
            }
            let wrong = || format!("budget.toml: not NAME = BYTES: {line}");
            let (name, value) = line.split_once('=').ok_or_else(wrong)?;
            match (name.trim(), value.trim()) {
                ("compiler", text) => budget.compiler = text.trim_matches('"').to_string(),
                (name, limit) => {
                    let bytes = limit.replace('_', "").parse().map_err(|_| wrong())?;
                    budget.limits.push((name.to_string(), bytes));
                }
            }
        }
        Ok(budget)
    }

    /// The lines that are enforced with this compiler, and those that are only reported. When a distribution updates
    /// its compiler, the bytes of a crate change without a change of ours; the totals are enforced with any compiler.
    fn for_compiler(&self, compiler: &str) -> (Limits, Limits) {
        let is_held = |(name, _): &&(String, u64)| self.compiler == compiler || !name.starts_with("crate_");
        let (held, told): (Vec<_>, Vec<_>) = self.limits.iter().partition(is_held);
        let owned = |list: Vec<&(String, u64)>| list.into_iter().cloned().collect();
        (owned(held), owned(told))
    }
}

/// A line for each figure over its budget, and for each budget of an unknown figure,
/// whose name may be misspelt. A crate may be unknown: it is no longer in the release.
fn over_budget(figures: &[(String, u64)], budget: &[(String, u64)]) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, limit) in budget {
        match figures.iter().find(|(figure, _)| figure == name) {
            Some((_, bytes)) if bytes > limit => {
                let (bytes, over) = (grouped(*bytes), grouped(bytes - limit));
                lines.push(format!("  {name} {bytes} is {over} over {}", grouped(*limit)));
            }
            None if !name.starts_with("crate_") => lines.push(format!("  {name}: no such figure")),
            _ => {}
        }
    }
    lines
}

/// The sources' hash and the subject of their last commit; none if there are uncommitted changes.
fn change() -> Option<(String, String)> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).arg("--").args(SOURCES).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    if !git(&["status", "--porcelain"])?.is_empty() {
        return None;
    }
    let listed = git(&["ls-files", "--stage"])?;
    let digest = ring::digest::digest(&ring::digest::SHA256, listed.as_bytes());
    let tree: String = digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let subject = git(&["log", "-1", "--format=%s"])?.trim().to_string();
    Some((tree, subject))
}

/// Adds this change to the history; if it is there already, its line is updated in place.
fn with_line(history: &str, tree: &str, subject: &str, figures: &[(String, u64)]) -> String {
    let mut line = Map::new();
    line.insert("tree".into(), tree.into());
    line.insert("subject".into(), subject.into());
    line.extend(figures.iter().map(|(name, bytes)| (name.clone(), Value::from(*bytes))));
    let line = Value::Object(line).to_string();
    let is_this = |old: &str| {
        serde_json::from_str::<Value>(old).is_ok_and(|old| old.get("tree").and_then(Value::as_str) == Some(tree))
    };
    let mut lines: Vec<&str> = history.lines().filter(|old| !old.is_empty()).collect();
    match lines.iter_mut().find(|old| is_this(old)) {
        Some(old) => *old = &line,
        None => lines.push(&line),
    }
    lines.join("\n") + "\n"
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, contents: &str) -> Result<(), String> {
    std::fs::write(path, contents).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
        pairs.iter().map(|(name, bytes)| (name.to_string(), *bytes)).collect()
    }

    /// Promise: size-budget
    #[test]
    fn a_budget_is_kept_passed_or_misspelt() {
        let toml = "# why\ncompiler = \"rustc 1\"\ninitramfs_xz_bytes = 700_000 # the promise\n\ncrate_gone_bytes=5\n";
        let Budget { compiler, limits: budget } = Budget::parse(toml).unwrap();
        assert_eq!(compiler, "rustc 1");
        assert_eq!(budget, named(&[("initramfs_xz_bytes", 700_000), ("crate_gone_bytes", 5)]));
        assert!(over_budget(&named(&[("initramfs_xz_bytes", 700_000)]), &budget).is_empty());
        let over = over_budget(&named(&[("initramfs_xz_bytes", 701_500)]), &budget);
        assert_eq!(over, ["  initramfs_xz_bytes 701 500 is 1 500 over 700 000"]);
        assert_eq!(over_budget(&[], &budget), ["  initramfs_xz_bytes: no such figure"]);
        assert!(Budget::parse("initramfs_xz_bytes = much").is_err());
        assert!(Budget::parse("initramfs_xz_bytes").is_err());
    }

    /// Promise: size-budget
    #[test]
    fn an_updated_compiler_changes_no_verdict_on_a_crate() {
        let (total, part) = (named(&[("initramfs_xz_bytes", 1)]), named(&[("crate_core_bytes", 2)]));
        let budget = Budget { compiler: "rustc 1".into(), limits: [total.clone(), part.clone()].concat() };
        assert_eq!(budget.for_compiler("rustc 1"), (budget.limits.clone(), Vec::new()));
        assert_eq!(budget.for_compiler("rustc 2"), (total, part));
    }

    #[test]
    fn the_same_change_has_one_line() {
        let once = with_line("", "aa", "init: start", &named(&[("binary_bytes", 1)]));
        assert_eq!(with_line(&once, "aa", "init: start", &named(&[("binary_bytes", 1)])), once);
        let twice = with_line(&once, "bb", "init: go on", &named(&[("binary_bytes", 2)]));
        assert_eq!(twice.lines().count(), 2);
        let again = with_line(&twice, "aa", "init: start", &named(&[("binary_bytes", 3)]));
        assert_eq!(again.lines().count(), 2);
        assert!(again.lines().next().unwrap().contains("\"binary_bytes\":3"), "{again}");
    }

    #[test]
    fn json_is_flat_and_keys_are_words() {
        let json = to_json(&[(crate_key("musl, libgcc"), 7)]).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["crate_musl_libgcc_bytes"], 7);
    }
}
