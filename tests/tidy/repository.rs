//! The rules for the repository as a whole: its files, dependencies and notes.

use std::path::{Path, PathBuf};
use std::process::Command;

const COLUMNS_MAX: usize = 120;

/// The init's direct dependencies; another one has to be added here on purpose.
const DEPENDENCIES: [&str; 4] = ["libc", "ring", "rustls", "webpki-roots"];

/// Path and text of the repository's files with these extensions, or of all text files where none is given.
pub fn files(extensions: &[&str]) -> Vec<(String, String)> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
    let output = Command::new("git").args(arguments).current_dir(root()).output().expect("git");
    let listed = String::from_utf8(output.stdout).expect("file names are UTF-8");
    let wanted = |path: &&str| {
        let extension = Path::new(path).extension().unwrap_or_default();
        !path.is_empty() && (extensions.is_empty() || extensions.iter().any(|wanted| extension == *wanted))
    };
    let read = |path: &str| Some((path.to_string(), std::fs::read_to_string(root().join(path)).ok()?));
    listed.split('\0').filter(wanted).filter_map(read).collect()
}

/// The repository, as cargo tells its tests when they run.
fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo").into()
}

/// Strings in a line do not count as columns: an unbroken message is easier to find.
fn long_lines(path: &str, text: &str) -> Vec<String> {
    let columns = |line: &str| line.replace("\\\"", "").split('"').step_by(2).map(|code| code.chars().count()).sum();
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, columns(line)));
    lines.filter(|(_, n): &(_, usize)| *n > COLUMNS_MAX).map(|(at, n)| format!("{path}:{at}: {n} columns")).collect()
}

/// Names of one host in a text: its paths of the repository, of cargo's files and of the project, and its package
/// servers. They are in pieces here, so that this file passes too.
fn names_a_machine(path: &str, text: &str, own: &str) -> Vec<String> {
    // A short path, as in a chroot (`/src`), is part of many others.
    let mut words: Vec<String> = (own.matches('/').count() > 1).then_some(own.into()).into_iter().collect();
    let pieces = [
        ("/root", "/."),
        ("/work", "/main"),
        ("/work", "/shared"),
        ("/tmp", "/wt"),
        ("deb.debian", ".org"),
        ("security.debian", ".org"),
        ("archive.ubuntu", ".com"),
        ("static.crates", ".io"),
        ("index.crates", ".io"),
        ("files.pythonhosted", ".org"),
        ("registry.npmjs", ".org"),
    ];
    words.extend(pieces.iter().map(|(start, end)| format!("{start}{end}")));
    let home = std::env::var("HOME").unwrap_or_default();
    words.extend((home.matches('/').count() > 1).then_some(home));
    let found = words.iter().filter(|word| text.contains(word.as_str()));
    found.map(|word| format!("{path}: names this machine's {word}")).collect()
}

/// Names of the init's direct dependencies and of the host tool's, from cargo itself.
/// A crate of this repository is none.
fn dependencies() -> (Vec<String>, Vec<String>) {
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().expect("cargo metadata");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let all = metadata["packages"][0]["dependencies"].as_array().expect("dependencies").clone();
    // A kind is set for build and test dependencies only.
    let (host, init): (Vec<_>, Vec<_>) =
        all.into_iter().filter(|d| d["kind"].is_null() && d["path"].is_null()).partition(|d| d["optional"] == true);
    let names = |list: Vec<serde_json::Value>| {
        let mut names: Vec<String> = list.iter().filter_map(|d| d["name"].as_str()).map(String::from).collect();
        names.sort();
        names
    };
    (names(init), names(host))
}

/// A serial console knows no such quotes; only what is done with a foreign text may be tested with some. By their
/// numbers, so that this file passes too.
fn guillemets(path: &str, text: &str) -> Vec<String> {
    let has_some = |line: &str| line.contains(['\u{ab}', '\u{bb}']);
    let lines = text.lines().enumerate().filter(|(_, line)| path != "src/pure/scrub.rs" && has_some(line));
    lines.map(|(at, _)| format!("{path}:{}: quotes that are not ASCII", at + 1)).collect()
}

/// A page for each of the init's dependencies, and no page for what is gone.
fn unmatched_notes(pages: &[String], init: &[String], host: &[String]) -> Vec<String> {
    let without = init.iter().filter(|name| !pages.contains(name)).map(|name| format!("{name} has no page"));
    let gone = pages.iter().filter(|page| !init.contains(page) && !host.contains(page));
    without.chain(gone.map(|page| format!("{page} is no dependency"))).collect()
}

/// Promise: no-host-names
#[test]
fn the_files_keep_the_rules() {
    let generated =
        |path: &str| path == "Cargo.lock" || path.starts_with("size-report/") || path.starts_with("tests/data/");
    let code = |path: &str| path == "dev" || path.ends_with(".rs") || path.ends_with(".sh");
    let mut findings = Vec::new();
    for (path, text) in files(&[]) {
        if code(&path) {
            findings.extend(long_lines(&path, &text));
        }
        if !path.starts_with("fuzz/corpus/") {
            findings.extend(guillemets(&path, &text));
        }
        if !generated(&path) {
            findings.extend(names_a_machine(&path, &text, &root().display().to_string()));
        }
    }
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn a_bad_file_is_found() {
    assert_eq!(long_lines("a", &format!("{}\n{}", "é".repeat(120), "é".repeat(121))), ["a:2: 121 columns"]);
    assert_eq!(long_lines("a", &format!("f({:?})", "\"text".repeat(90))), Vec::<String>::new());
    assert_eq!(guillemets("a", "'a'\n\u{ab}a\u{bb}").len(), 1);
    assert!(!names_a_machine("a", "cd /srv/build/it", "/srv/build").is_empty());
    assert!(names_a_machine("a", "lib/src/it", "/src").is_empty());
    assert!(!names_a_machine("a", &format!("deb http://{}{}", "deb.debian", ".org/debian"), "/a/b").is_empty());
    assert!(names_a_machine("a", "root:x:0:0:root:/root:/bin/sh\ndocker.io/library/debian", "/a/b").is_empty());
}

/// Promise: dependencies
#[test]
fn the_init_has_four_dependencies_and_each_has_a_page() {
    let (init, host) = dependencies();
    assert_eq!(init, DEPENDENCIES);
    let notes = root().join("vendor-notes");
    let entries = std::fs::read_dir(&notes).into_iter().flatten().flatten();
    let pages = entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".md")?.to_string()));
    let is_ours = |page: &String| root().join("src").join(page).join("Cargo.toml").exists();
    let pages: Vec<String> = pages.filter(|page| page != "README" && !is_ours(page)).collect();
    let findings = unmatched_notes(&pages, &init, &host);
    assert!(findings.is_empty(), "vendor-notes: {}", findings.join(", "));
}

#[test]
fn a_missing_or_stale_page_is_found() {
    let names = |list: &[&str]| list.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let (init, host) = (names(&["libc", "rustls"]), names(&["clap"]));
    assert_eq!(unmatched_notes(&names(&["libc", "rustls", "clap"]), &init, &host), Vec::<String>::new());
    assert_eq!(
        unmatched_notes(&names(&["libc", "hyper"]), &init, &host),
        ["rustls has no page", "hyper is no dependency"]
    );
}
