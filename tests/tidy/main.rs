//! The house rules as tests. A rule that finds nothing may be broken, so each has a bad sample in which it must find
//! something, and a good one in which it must not.

mod imports;
mod repository;
mod rules;
mod tokens;
mod wording;

use rules::{Rule, RULES};
use tokens::Source;

/// A rule, the path of a sample, a text that breaks the rule and one that keeps it.
type Sample = (Rule, &'static str, &'static str, &'static str);

/// Promise: no-panic-in-code
#[test]
fn the_sources_keep_the_rules() {
    let mut findings = Vec::new();
    let sources = repository::files(&["rs"]);
    assert!(sources.len() > 20, "only {} sources found", sources.len());
    let mut parsed = Vec::new();
    for (path, text) in sources {
        match Source::parse(&path, &text) {
            Ok(source) => parsed.push(source),
            Err(error) => findings.push(error),
        }
    }
    findings.extend(parsed.iter().flat_map(|source| RULES.iter().flat_map(|rule| rule(source))));
    findings.extend(rules::long_functions(&parsed));
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

fn check(samples: &[Sample]) {
    for (rule, path, bad, good) in samples {
        let findings = |text: &str| rule(&Source::parse(path, text).unwrap());
        assert!(!findings(bad).is_empty(), "passed in {path}: {bad}");
        assert_eq!(findings(good), Vec::<String>::new(), "refused in {path}: {good}");
    }
}

#[test]
fn the_rooms_keep_their_order() {
    let sources: Vec<Source> = repository::files(&["rs"])
        .into_iter()
        .filter(|(path, _)| path.starts_with("src/"))
        .map(|(path, text)| Source::parse(&path, &text).unwrap())
        .collect();
    let imports = imports::imports(&sources);
    assert!(imports.len() > 300, "only {} imports found", imports.len());
    let findings = [imports::against_the_order(&imports), imports::circles(&imports)].concat();
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

/// The findings of the rules of imports in these files.
fn of_files(files: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<Source> = files.iter().map(|(path, text)| Source::parse(path, text).unwrap()).collect();
    let imports = imports::imports(&sources);
    [imports::against_the_order(&imports), imports::circles(&imports)].concat()
}

#[test]
fn imports_against_the_order_are_found() {
    let others = [
        ("src/sys/fs.rs", ""),
        ("src/pure/digest.rs", ""),
        ("src/report.rs", ""),
        ("src/net/dns.rs", ""),
        ("src/net/pure/dns.rs", ""),
        ("src/store/layers.rs", ""),
        ("src/boot/cli.rs", ""),
    ];
    let findings = |path: &'static str, text: &'static str| {
        let others = others.iter().filter(|(other, _)| *other != path).copied();
        of_files(&others.chain([(path, text)]).collect::<Vec<_>>()).len()
    };
    for (path, bad, good) in [
        ("src/net/dns.rs", "use crate::store::layers::Store;", "use crate::report::Report;"),
        ("src/net/dns.rs", "use crate::{boot::cli, report};", "use crate::{pure::digest, sys::fs};"),
        ("src/store/layers.rs", "fn f() { g!(crate::boot::cli::x()) }", "fn f() { g!(crate::net::dns::x()) }"),
        ("src/store/layers.rs", "use super::super::boot::cli;", "#[cfg(test)] mod t { use crate::boot::cli; }"),
        ("src/report.rs", "use crate::net::dns;", "use crate::sys::fs;"),
        ("src/sys/fs.rs", "use crate::pure::digest;", "use super::fs;"),
        ("src/pure/digest.rs", "use crate::sys::fs;", "use std::fmt;"),
        ("src/net/pure/dns.rs", "use crate::net::dns::Resolver;", "use crate::pure::digest::Digest;"),
        ("src/net/pure/dns.rs", "use crate::report;", "use std::fmt;"),
    ] {
        assert_eq!(findings(path, bad), 1, "{path}: {bad}");
        assert_eq!(findings(path, good), 0, "{path}: {good}");
    }
}

#[test]
fn circles_are_found() {
    let circle = |a, b, c| of_files(&[("src/net/a.rs", a), ("src/net/b.rs", b), ("src/net/b/c.rs", c)]).len();
    assert_eq!(circle("use super::b::X;", "", ""), 0);
    assert_eq!(circle("use super::b::X;", "use crate::net::a;", ""), 1);
    assert_eq!(circle("use super::b::c::X;", "mod c; pub use c::X;", "use crate::net::a::{self, Y};"), 1);
    assert_eq!(circle("", "mod c; fn f() { c::g() }", ""), 0);
    assert_eq!(circle("", "mod c; fn f() { c::g() }", "use super::H;"), 1);
    assert_eq!(circle("", "mod c; fn f() { c::g() }", "#[cfg(test)] mod t { use super::super::H; }"), 0);
}

#[test]
fn the_host_tool_stays_outside() {
    check(&[(rules::no_host, "src/main.rs", "use ocinit::host::cpio;", "use ocinit::{net, boot};")]);
}

#[test]
fn pure_is_pure() {
    let path = "src/net/pure/a.rs";
    check(&[
        (rules::purity, path, "use std::fs::File;", "use std::fmt;"),
        (rules::purity, "src/pure/a.rs", "use std::{fmt, env};", "use std::{fmt, mem};"),
        (rules::purity, path, "use std::time::{Duration, Instant};", "use std::time::Duration;"),
        (rules::purity, path, "use std::net::UdpSocket;", "use std::net::Ipv4Addr;"),
        (rules::purity, path, "const E: i32 = libc::EIO;", "#[cfg(test)] mod t { use std::fs; }"),
    ]);
    let driver = Source::parse("src/net/a.rs", "use std::fs::File;").unwrap();
    assert_eq!(rules::purity(&driver), Vec::<String>::new());
}

/// Promise: no-panic-in-code
#[test]
fn unsafe_has_its_place_and_reason() {
    let good = "fn f() {\n    // SAFETY: takes nothing.\n    unsafe { g() }\n}";
    check(&[
        (rules::unsafe_place, "src/net/a.rs", good, "#![forbid(unsafe_code)]\n// unsafe\nconst A: &str = \"unsafe\";"),
        (rules::unsafe_place, "src/main.rs", good, "fn f() {}"),
        (rules::safety_comments, "src/sys/a.rs", "fn f() {\n    // Calls g.\n    unsafe { g() }\n}", good),
    ]);
    assert_eq!(rules::unsafe_place(&Source::parse("src/sys/a.rs", good).unwrap()), Vec::<String>::new());
}

#[test]
fn lengths_are_counted() {
    let function = |lines: usize| format!("impl A {{\nfn f() {{\n{}}}\n}}", "    g();\n".repeat(lines - 2));
    let tests = "#[cfg(test)]\nmod tests {\n    fn f() {}\n}\n";
    let file = |lines: usize| "const A: u8 = 1;\n".repeat(lines) + tests;
    let of = |rule: Rule, text: &str| rule(&Source::parse("src/host/a.rs", text).unwrap()).len();
    assert_eq!(of(rules::function_length, &function(rules::FUNCTION_LINES_MAX)), 0);
    assert_eq!(of(rules::function_length, &function(rules::FUNCTION_LINES_MAX + 1)), 1);
    assert_eq!(of(rules::file_length, &file(rules::FILE_LINES_MAX)), 0);
    assert_eq!(of(rules::file_length, &file(rules::FILE_LINES_MAX + 1)), 1);
}

#[test]
fn long_functions_are_few_and_parameters_are_counted() {
    let function = format!("fn f() {{\n{}}}\n", "    g();\n".repeat(rules::LONG_FUNCTION_LINES - 1));
    let of = |count: usize| {
        let text = function.repeat(count) + "fn short() {\n}\n";
        rules::long_functions(&[Source::parse("src/host/a.rs", &text).unwrap()]).len()
    };
    assert_eq!(of(rules::LONG_FUNCTIONS_MAX), 0);
    assert_eq!(of(rules::LONG_FUNCTIONS_MAX + 1), rules::LONG_FUNCTIONS_MAX + 1);
    check(&[
        (
            rules::parameters,
            "src/net/a.rs",
            "pub fn f(a: A, b: A, c: A, d: A, e: A, f: A) {}",
            "fn f(a: A, b: A, c: A, d: A, e: A, f: A) {}",
        ),
        (
            rules::parameters,
            "src/net/a.rs",
            "impl A { pub fn f(a: A, b: A, c: A, d: A, e: A, f: A) {} }",
            "impl A { pub fn f(&self, b: A, c: A, d: A, e: A, f: A) {} }",
        ),
    ]);
}

#[test]
fn names_are_the_fields_words() {
    let spec = "src/container/pure/spec/a.rs";
    check(&[
        (wording::words, "src/net/a.rs", "struct Place;", "struct Target; fn f() { g(Place) }"),
        (wording::words, "src/net/a.rs", "fn hurry() {}", "fn f(hurry: bool) {}"),
        (wording::words, "src/net/a.rs", "mod halt;", "mod cancel; fn halt() {}"),
        (wording::words, "src/image/a.rs", "trait T { fn another(&self); }", "fn f() { let another = 1; }"),
        (wording::words, "src/net/a.rs", "struct A { looks: u8 }", "struct A { attributes: u8 }"),
        (wording::words, "src/net/a.rs", "enum A { Birth }", "enum A { InheritedAttrs }"),
        (wording::words, "src/net/a.rs", "fn f() { let sub_folder = 1; }", "fn f() { let sub_directory = 1; }"),
        (
            wording::words,
            "src/net/a.rs",
            "impl A { const FOLDERS: u8 = 1; }",
            "#[cfg(test)] mod t { const FOLDERS: u8 = 1; }",
        ),
        (wording::words, spec, "struct Container;", "struct ContainerSpec; enum A { Container }"),
        (wording::words, spec, "fn f(around: &A) {}", "fn f(host_context: &A) {}"),
    ]);
    assert_eq!(wording::words(&Source::parse("src/net/a.rs", "struct Container;").unwrap()), Vec::<String>::new());
}

#[test]
fn texts_for_the_console_are_ascii() {
    let path = "src/net/a.rs";
    check(&[
        (
            wording::plain_ascii,
            path,
            "const A: &str = \"no such file: \u{ab}a\u{bb}\";",
            "const A: &str = \"no such file: 'a'\";",
        ),
        (
            wording::plain_ascii,
            path,
            "// Says \u{ab}a\u{bb}.\nfn f() {}",
            "fn f() {}\n#[cfg(test)]\nmod t {\n    const A: &str = \"\u{ab}\";\n}",
        ),
        (
            wording::plain_ascii,
            path,
            "fn f() { g!(\"at most \u{2026}\") }",
            "/// At most \u{2026}\nfn f() { g!(\"at most ...\") }",
        ),
        (wording::plain_ascii, path, "const ROWS: &str = \"\u{2026}\";", "const TABLE: [&str; 1] = [\"\u{2026}\"];"),
        (wording::plain_ascii, path, "const A: char = '\u{b5}';", "const A: &str = \"\u{b5}s\";"),
        (wording::plain_ascii, "src/host/a.rs", "// \u{ab}a\u{bb}", "const A: &str = \"\u{2026}\";"),
    ]);
}

#[test]
fn tests_and_docs_are_where_they_belong() {
    let path = "src/net/a.rs";
    check(&[
        (
            rules::tests_last,
            path,
            "#[cfg(test)]\nmod tests { fn f() {} }\nfn g() {}",
            "#[cfg(test)]\nfn help() {}\nfn g() {}\n#[cfg(test)]\nmod tests { fn f() {} }",
        ),
        (rules::module_docs, path, "fn f() {}\nfn g() {}", "//! What it is.\nfn f() {}\nfn g() {}"),
        (rules::item_docs, path, "pub fn f() {}", "/// What it does.\npub fn f() {}\nfn g() {}\npub(crate) fn h() {}"),
        (rules::item_docs, path, "#[derive(Clone)]\npub struct A;", "/// What it is.\npub struct A;"),
    ]);
}

/// Promise: no-panic-in-code, skips
#[test]
fn the_init_cannot_panic_and_tests_cannot_sleep() {
    let path = "src/net/a.rs";
    check(&[
        (rules::no_panic, path, "fn f() { g().unwrap(); }", "fn f() { g().unwrap_or(1); }"),
        (rules::no_panic, path, "fn f() { h!(\"{}\", g().unwrap()); }", "#![cfg(test)] fn f() { g().unwrap(); }"),
        (rules::no_panic, path, "fn f() { g().expect(\"why\"); }", "fn f() { reader.expect(b'x'); }"),
        (rules::no_panic, path, "fn f() { panic!(\"why\") }", "fn f() { let panic = 1; }"),
        (rules::no_panic, "src/main.rs", "fn f() { todo!() }", "fn f() {}"),
        (rules::no_panic, "src/report.rs", "fn f() { unreachable!() }", "fn f() {}"),
        (rules::no_debug_format, path, "fn f() { g!(\"{a:?}\"); }", "fn f() { g!(\"{a}?\"); h!(a, \":?\"); }"),
        (
            rules::no_debug_format,
            "src/main.rs",
            "fn f() { g!(\"{:?}\", a); }",
            "#[cfg(test)] mod t { fn f() { g!(\"{a:?}\"); } }",
        ),
        (rules::no_sleep, path, "#[cfg(test)] mod t { fn f() { std::thread::sleep(D); } }", "fn f() { sleep(D); }"),
        (rules::no_sleep, "tests/a.rs", "fn f() { sleep(D); }", "const A: &str = \"sleep(1)\";"),
        (
            rules::no_silent_skip,
            "tests/a.rs",
            "fn f() { println!(\"skipped: no {a}\"); }",
            "fn f() { skip!(\"no {a}\"); println!(\"{a} skipped\"); }",
        ),
        (
            rules::no_silent_skip,
            path,
            "#[cfg(test)] mod t { fn f() { eprintln!(\"skipping {}\", a); } }",
            "fn f() { println!(\"skipped: {a}\"); }",
        ),
        (
            rules::no_silent_skip,
            "tests/a.rs",
            "fn f() { skip!(tolerated: \"a\"); }",
            "fn f() { skip!(\"tolerated: a\"); }",
        ),
    ]);
    let host = Source::parse("src/host/a.rs", "fn f() { g().unwrap(); }").unwrap();
    assert_eq!(rules::no_panic(&host), Vec::<String>::new());
}
