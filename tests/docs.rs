//! The pages against the code: tables, links, commands, options, promises. A page that has become wrong is a failing
//! test.
#![cfg(feature = "host")]

use ocinit::boot::pure::options;
use ocinit::host::{docs, promises};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo").into()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Path and text of every page of the repository.
fn pages() -> Vec<(String, String)> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard", "*.md"];
    let output = Command::new("git").args(arguments).current_dir(root()).output().expect("git");
    let listed = String::from_utf8(output.stdout).expect("file names are UTF-8");
    let pages: Vec<_> = listed.lines().map(|path| (path.to_string(), read(path))).collect();
    assert!(pages.len() > 10, "only {} pages found", pages.len());
    pages
}

/// What each page has to say against itself, by `rule`.
fn findings(rule: impl Fn(&str, &str) -> Vec<String>) -> String {
    let all: Vec<String> = pages()
        .iter()
        .flat_map(|(path, text)| rule(path, text).into_iter().map(move |what| format!("{path}: {what}")))
        .collect();
    all.join("\n")
}

/// Promise: generated-tables
#[test]
fn the_tables_are_the_codes() {
    for path in docs::PAGES {
        let page = read(path);
        let fresh = docs::refresh(&page).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(page == fresh, "{path} is not what the code says: {REFRESH}");
        assert!(page.contains("| `b2c.run` (repeatable) |"), "{path} has no table");
    }
}

/// Targets of links that are files here, without what follows `#`.
fn dead_links(path: &str, text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let here = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    let directory = root().join(path).parent().map(Path::to_path_buf).unwrap_or_default();
    let exists = |target: &str| directory.join(target.split('#').next().unwrap_or_default()).exists();
    here.filter(|target| !exists(target)).map(|target| format!("no such file: {target}")).collect()
}

/// Promise: pages
#[test]
fn links_lead_somewhere() {
    assert_eq!(findings(dead_links), "");
    assert_eq!(dead_links("docs/a.md", "[b](../README.md#top) [c](https://c/d) [e](#f)"), Vec::<String>::new());
    assert_eq!(dead_links("docs/a.md", "![b](README.md)"), ["no such file: README.md"]);
}

/// The words that follow `program ` in `text`, lower-case ones only: a subcommand.
fn subcommands<'a>(program: &'a str, text: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(program).filter_map(|(at, _)| {
        let rest = text.get(at + program.len()..)?.strip_prefix(' ')?;
        let end = rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
        rest.get(..end).filter(|word| !word.is_empty())
    })
}

/// Promise: pages
#[test]
fn commands_exist() {
    let readme = read("README.md");
    let script: String = read("dev");
    let functions: String = std::fs::read_dir(root().join("dev.d"))
        .unwrap()
        .flatten()
        .map(|e| std::fs::read_to_string(e.path()).unwrap())
        .collect();
    for command in ["boot", "test"] {
        assert!(readme.contains(&format!("./dev {command}")), "README.md doesn't name ./dev {command}");
    }
    let host_help = help(env!("CARGO_BIN_EXE_ocinit-host"), &["--help"]);
    let init_help = help(env!("CARGO_BIN_EXE_ocinit"), &["help"]);
    let unknown = |_: &str, text: &str| {
        let of_dev = subcommands("./dev", text).filter(|word| {
            !script.contains(&format!("./dev {word}")) || !functions.contains(&format!("\ndev_{word}() {{"))
        });
        let of_host = subcommands("ocinit-host", text).filter(|word| !host_help.contains(&format!("\n  {word} ")));
        // As a command only: at the start of a line, or of a quotation.
        let quoted = text.replace('`', "\n");
        let of_init = subcommands("\nocinit", &quoted).filter(|word| !init_help.contains(&format!("\n  {word} ")));
        let of_init: Vec<String> = of_init.map(|word| format!("ocinit {word}")).collect();
        let rest = of_dev.map(|word| format!("./dev {word}")).chain(of_host.map(|word| format!("ocinit-host {word}")));
        rest.chain(of_init).map(|command| format!("no such command: {command}")).collect::<Vec<_>>()
    };
    assert_eq!(findings(unknown), "");
    let wrong = "`./dev bot` and `ocinit-host biuld`\nocinit rum x";
    assert_eq!(unknown("a.md", wrong).len(), 3);
}

fn help(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Each `$ ocinit check 'LINE'` of a console in `text`, with the lines that follow it there.
fn transcripts(text: &str) -> Vec<(&str, &str)> {
    let parts = text.split("```console\n$ ocinit check '").skip(1);
    parts.filter_map(|part| part.split("\n```").next()?.split_once("'\n")).collect()
}

/// Promise: pages, check-command
#[test]
fn transcripts_of_check_are_what_it_says() {
    let page = read("docs/check.md");
    let found = transcripts(&page);
    assert!(!found.is_empty(), "docs/check.md has no transcript");
    for (line, said) in found {
        let output = Command::new(env!("CARGO_BIN_EXE_ocinit")).args(["check", line]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), said, "docs/check.md: {line}");
    }
}

/// Flags in the examples of the host tool that it does not have.
fn unknown_flags(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().filter_map(|line| line.trim_start().strip_prefix("ocinit-host "));
    let mut unknown = Vec::new();
    for line in lines {
        let line = line.split(" -- ").next().unwrap_or_default();
        let Some(subcommand) = line.split_whitespace().next() else { continue };
        let known = help(env!("CARGO_BIN_EXE_ocinit-host"), &[subcommand, "--help"]);
        let flags = line.split_whitespace().filter(|word| word.starts_with("--"));
        let missing =
            flags.filter(|flag| !known.contains(&format!("{flag} ")) && !known.contains(&format!("{flag}\n")));
        unknown.extend(missing.map(|flag| format!("ocinit-host {subcommand} has no {flag}")));
    }
    unknown
}

#[test]
fn flags_of_the_examples_exist() {
    assert_eq!(findings(|_, text| unknown_flags(text)), "");
    assert_eq!(unknown_flags("ocinit-host build \\\n  --init a --outptu b\n"), ["ocinit-host build has no --outptu"]);
}

/// Names of boot2container's options in `text` that the table does not have.
fn unknown_options(text: &str) -> Vec<String> {
    let found = text.match_indices("b2c.").filter_map(|(at, _)| {
        let rest = text.get(at..)?;
        let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.'));
        rest.get(..end.unwrap_or(rest.len())).map(|name| name.trim_end_matches('.'))
    });
    let named = found.filter(|name| *name != "b2c");
    named.filter(|name| options::TABLE.iter().all(|row| row.name != *name)).map(String::from).collect()
}

/// Promise: pages
#[test]
fn options_exist() {
    assert_eq!(findings(|_, text| unknown_options(text)), "");
    assert_eq!(unknown_options("`b2c.` b2c.run=x, b2c.hostname. b2c.piepfail b2c.ntp_peer"), ["b2c.piepfail"]);
}

const REFRESH: &str = "cargo run --features host --bin ocinit-host docs";

/// Promise: pages
#[test]
fn promises_and_rules_of_inputs_have_tests() {
    let sources = promises::sources(&root()).unwrap();
    for page in promises::PAGES {
        let tests = promises::tagged(page.tag, &sources).unwrap();
        let text = read(page.path);
        let fresh = promises::refresh(&text, &tests).unwrap_or_else(|error| panic!("{}: {error}", page.path));
        assert!(text == fresh, "{} is not what the tags of the tests say: {REFRESH}", page.path);
        assert!(text.matches(".rs::").count() > 50, "{}: the tables are not found", page.path);
    }
}

/// Rules that a source names as `docs/inputs.md#RULE` and that the page does not have.
fn unknown_rules(source: &str, page: &str) -> Vec<String> {
    let named = source.split("docs/inputs.md#").skip(1);
    let names = named.filter_map(|rest| rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).next());
    let is_rule = |name: &&str| page.lines().any(|line| line.starts_with(&format!("| {name} | ")));
    names.filter(|name| !name.is_empty() && !is_rule(name)).map(String::from).collect()
}

#[test]
fn pointers_to_the_rules_of_inputs_lead_there() {
    let page = read("docs/inputs.md");
    let mut unknown = Vec::new();
    for (path, text) in promises::sources(&root()).unwrap().iter().filter(|(path, _)| path != "tests/docs.rs") {
        unknown.extend(unknown_rules(text, &page).into_iter().map(|name| format!("{path}: no rule {name}")));
    }
    assert_eq!(unknown, Vec::<String>::new());
    let sample = "// See docs/inputs.md#a-b. (docs/inputs.md#c), docs/inputs.md, docs/inputs.md#NAME\n";
    assert_eq!(unknown_rules(sample, "| a-b | text | |\n"), ["c", "NAME"]);
}

/// Tests that `text` names as `FILE.rs::NAME` in backquotes and that are not there.
fn missing_tests(text: &str) -> Vec<String> {
    let mut missing = Vec::new();
    for (file, name) in text.split('`').filter_map(|word| word.split_once(".rs::")) {
        let source = std::fs::read_to_string(root().join(format!("{file}.rs"))).unwrap_or_default();
        let is_test = |(at, _): (usize, &str)| source[..at].trim_end().ends_with("#[test]");
        if !source.match_indices(&format!("fn {name}(")).any(is_test) {
            missing.push(format!("no such test: {file}.rs::{name}"));
        }
    }
    missing
}

/// What the table of escapes names and is not there: tests, and rows of the table that they run.
fn missing_attacks(page: &str, table: &str) -> Vec<String> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.contains("CVE-"));
    let mut missing = Vec::new();
    for row in rows {
        if row.contains(".rs::") {
            missing.extend(missing_tests(row));
        } else if row.contains("| yes") {
            missing.push(format!("no test: {row}"));
        }
    }
    let named = page.split("(`").skip(1).filter_map(|rest| rest.split(')').next());
    for name in named.flat_map(|list| list.split(", ")).map(|name| name.trim_matches('`')) {
        let is_attack = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        if is_attack && !table.contains(&format!("\"{name}\", evil::")) {
            missing.push(format!("no such attack: {name}"));
        }
    }
    missing
}

/// Promise: escape-table
#[test]
fn escapes_have_tests() {
    let (page, table) = (read("docs/security.md"), read("tests/escapes/table.rs"));
    assert_eq!(missing_attacks(&page, &table), Vec::<String>::new());
    assert!(page.matches("| CVE-").count() > 60, "the table is not found");
    let sample = "| CVE-1 | a | b | yes | none |\n| CVE-2 | a | b | yes | `tests/docs.rs::root` (`nodes`, `nods`) |";
    assert_eq!(missing_attacks(sample, &table).len(), 3);
}

/// The first column of the list of crates in vendor-notes/README.md.
fn listed_crates(page: &str) -> Vec<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let mut names: Vec<String> = rows.map(|(name, _)| name.to_string()).collect();
    names.sort();
    names
}

/// Promise: dependencies
#[test]
fn the_crates_of_the_init_are_those_listed() {
    let arguments =
        ["tree", "--offline", "--edges", "normal", "--no-default-features", "--prefix", "none", "--format", "{p}"];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().expect("cargo tree");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text.lines().skip(1).filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty());
    let mut resolved: Vec<String> = names.map(String::from).collect();
    resolved.sort();
    resolved.dedup();
    assert_eq!(resolved, listed_crates(&read("vendor-notes/README.md")));
}
