//! The rules for Rust sources: each takes one source and returns its findings.

use super::tokens::{attributes, find, is_for_tests, lines_of, names_at, Source, Token};
use super::wording;
use syn::visit::Visit;

pub const FUNCTION_LINES_MAX: usize = 70;
pub const LONG_FUNCTION_LINES: usize = 60;
pub const LONG_FUNCTIONS_MAX: usize = 5;
pub const PARAMETERS_MAX: usize = 5;
pub const FILE_LINES_MAX: usize = 420;

pub type Rule = fn(&Source) -> Vec<String>;

/// Every rule for one source.
pub const RULES: [Rule; 16] = [
    purity,
    unsafe_place,
    safety_comments,
    function_length,
    file_length,
    tests_last,
    no_panic,
    no_debug_format,
    no_sleep,
    no_silent_skip,
    module_docs,
    item_docs,
    no_host,
    parameters,
    wording::words,
    wording::plain_ascii,
];

fn finding(source: &Source, line: usize, text: &str) -> String {
    format!("{}:{line}: {text}", source.path)
}

/// Code below a `pure/` uses no file, socket, clock, process, environment variable or libc.
pub fn purity(source: &Source) -> Vec<String> {
    if !source.is_pure() {
        return Vec::new();
    }
    let tokens = &source.product;
    let mut seen: Vec<&Token> = Vec::new();
    for name in find(tokens, &["std", ":", ":"]).into_iter().flat_map(|at| names_at(tokens, at)) {
        if ["fs", "env", "process", "thread", "os"].contains(&name.text.as_str()) {
            seen.push(name);
        }
    }
    let types = ["TcpStream", "TcpListener", "UdpSocket", "Instant", "SystemTime", "libc", "rustls"];
    seen.extend(tokens.iter().filter(|token| types.contains(&token.text.as_str())));
    seen.into_iter().map(|name| finding(source, name.line, &format!("pure code uses {}", name.text))).collect()
}

/// `unsafe` is allowed in src/sys only, and in tests/, where a test may have to call the kernel itself.
pub fn unsafe_place(source: &Source) -> Vec<String> {
    if source.layer() == "sys" || !source.path.starts_with("src/") {
        return Vec::new();
    }
    let all = source.product.iter().chain(&source.tests).filter(|token| token.text == "unsafe");
    all.map(|token| finding(source, token.line, "unsafe outside src/sys")).collect()
}

/// Each `unsafe` has its reason in a SAFETY comment in the lines just above it.
pub fn safety_comments(source: &Source) -> Vec<String> {
    const ABOVE_MAX: usize = 4;
    let lines: Vec<&str> = source.text.lines().collect();
    let has_reason = |line: usize| {
        let above = lines.get(line.saturating_sub(ABOVE_MAX + 1)..line).unwrap_or_default();
        above.iter().any(|text| text.trim_start().starts_with("// SAFETY: "))
    };
    let all = source.product.iter().chain(&source.tests).filter(|token| token.text == "unsafe");
    let bare = all.filter(|token| !has_reason(token.line));
    bare.map(|token| finding(source, token.line, "unsafe without a // SAFETY: line")).collect()
}

/// A function is at most 70 lines.
pub fn function_length(source: &Source) -> Vec<String> {
    let long = functions(source).into_iter().filter(|(_, _, lines)| *lines > FUNCTION_LINES_MAX);
    long.map(|(name, at, lines)| finding(source, at, &format!("{name} has {lines} lines"))).collect()
}

/// Of all functions only a few are longer than 60 lines: beyond that number each of them is told.
pub fn long_functions(sources: &[Source]) -> Vec<String> {
    let of = |source: &Source| {
        let long = functions(source).into_iter().filter(|(_, _, lines)| *lines > LONG_FUNCTION_LINES);
        let told = long.map(|(name, at, lines)| finding(source, at, &format!("{name} has {lines} lines")));
        told.collect::<Vec<_>>()
    };
    let all: Vec<String> = sources.iter().flat_map(of).collect();
    if all.len() > LONG_FUNCTIONS_MAX {
        all
    } else {
        Vec::new()
    }
}

/// A public function has at most 5 parameters, not counting self; more of them are a struct.
pub fn parameters(source: &Source) -> Vec<String> {
    struct Signatures<'a>(Vec<&'a syn::Signature>);
    impl<'a> Visit<'a> for Signatures<'a> {
        fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
            if matches!(function.vis, syn::Visibility::Public(_)) {
                self.0.push(&function.sig);
            }
            syn::visit::visit_item_fn(self, function);
        }
        fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
            if matches!(function.vis, syn::Visibility::Public(_)) {
                self.0.push(&function.sig);
            }
            syn::visit::visit_impl_item_fn(self, function);
        }
    }
    let mut signatures = Signatures(Vec::new());
    source.items.iter().for_each(|item| signatures.visit_item(item));
    let count = |signature: &syn::Signature| {
        signature.inputs.iter().filter(|input| matches!(input, syn::FnArg::Typed(_))).count()
    };
    let many = signatures.0.into_iter().filter(|signature| count(signature) > PARAMETERS_MAX);
    let told = |signature: &syn::Signature| format!("{} has {} parameters", signature.ident, count(signature));
    many.map(|signature| finding(source, lines_of(signature).0, &told(signature))).collect()
}

/// Name, line and number of lines of each function, those in functions included.
fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    struct Functions(Vec<(String, usize, usize)>);
    impl Functions {
        fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
            let (start, end) = (lines_of(signature).0, lines_of(block).1);
            self.0.push((signature.ident.to_string(), start, end + 1 - start));
        }
    }
    impl<'a> Visit<'a> for Functions {
        fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
            self.add(&function.sig, &function.block);
            syn::visit::visit_item_fn(self, function);
        }
        fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
            self.add(&function.sig, &function.block);
            syn::visit::visit_impl_item_fn(self, function);
        }
    }
    let mut functions = Functions(Vec::new());
    source.items.iter().for_each(|item| functions.visit_item(item));
    functions.0
}

/// A file has at most 420 lines without its tests.
pub fn file_length(source: &Source) -> Vec<String> {
    let tests = source.items.iter().find(|item| is_for_tests(item)).map(|item| lines_of(item).0 - 1);
    let lines = tests.unwrap_or(source.text.lines().count());
    if source.path.starts_with("src/") && !source.of_tests && lines > FILE_LINES_MAX {
        return vec![finding(source, FILE_LINES_MAX, &format!("{lines} lines without tests"))];
    }
    Vec::new()
}

/// The module of tests is at the end of its file.
pub fn tests_last(source: &Source) -> Vec<String> {
    let is_tests = |item: &syn::Item| is_for_tests(item) && matches!(item, syn::Item::Mod(m) if m.content.is_some());
    let after = source.items.iter().skip_while(|item| !is_tests(item)).find(|item| !is_for_tests(item));
    after.map(|item| finding(source, lines_of(item).0, "stands after the tests")).into_iter().collect()
}

/// The init has no call that panics on some input.
pub fn no_panic(source: &Source) -> Vec<String> {
    if !source.is_init() {
        return Vec::new();
    }
    let tokens = &source.product;
    let mut findings = Vec::new();
    for pattern in [[".", "unwrap", "(", ")"], [".", "unwrap_err", "(", ")"]] {
        findings
            .extend(find(tokens, &pattern).iter().map(|at| finding(source, tokens[at - 1].line, "unwrap in the init")));
    }
    let with_text = |at: &&usize| tokens.get(**at).is_some_and(|token| token.text.starts_with('"'));
    let expects = find(tokens, &[".", "expect", "("]);
    findings.extend(expects.iter().filter(with_text).map(|at| finding(source, tokens[*at].line, "expect in the init")));
    for name in ["panic", "todo", "unimplemented", "unreachable"] {
        let calls = find(tokens, &[name, "!"]);
        findings.extend(calls.iter().map(|at| finding(source, tokens[at - 1].line, &format!("{name}! in the init"))));
    }
    findings
}

/// The release is built with `-Zfmt-debug=shallow`: there `{:?}` prints no more than a type's name.
pub fn no_debug_format(source: &Source) -> Vec<String> {
    let tokens = match source.path.as_str() {
        "tests/payload/payload.rs" => &source.tests,
        _ if source.is_init() => &source.product,
        _ => return Vec::new(),
    };
    let texts = tokens.iter().filter(|token| token.text.starts_with('"') && token.text.contains(":?}"));
    texts.map(|text| finding(source, text.line, "{:?} prints no more than a name in the release")).collect()
}

/// A test waits for an event, not for a time. The payload that tests run in containers may sleep: it is asked to.
pub fn no_sleep(source: &Source) -> Vec<String> {
    if source.path.starts_with("tests/payload/") {
        return Vec::new();
    }
    let calls = find(&source.tests, &["sleep", "("]);
    calls.iter().map(|at| finding(source, source.tests[at - 1].line, "sleep in a test")).collect()
}

/// A test that cannot run says so by `skip!`, which is counted. Only the vectors of other suites may be missing in CI.
pub fn no_silent_skip(source: &Source) -> Vec<String> {
    let tokens = &source.tests;
    let mut findings = Vec::new();
    for name in ["println", "eprintln", "print", "eprint"].iter().filter(|_| source.path != "tests/support/skip.rs") {
        let is_skip = |at: &usize| tokens.get(*at).is_some_and(|text| text.text.starts_with("\"skip"));
        let printed = find(tokens, &[name, "!", "("]).into_iter().filter(is_skip);
        findings.extend(printed.map(|at| finding(source, tokens[at].line, "a skip that is not counted: skip!(…)")));
    }
    if source.path != "tests/layers/oracles.rs" {
        let tolerated = find(tokens, &["skip", "!", "(", "tolerated", ":"]);
        findings.extend(tolerated.iter().map(|at| finding(source, tokens[at - 1].line, "a skip that never fails")));
    }
    findings
}

/// A file with more than one item has a `//!` comment that says what it is.
pub fn module_docs(source: &Source) -> Vec<String> {
    if source.has_inner_doc || source.items.len() < 2 {
        return Vec::new();
    }
    vec![finding(source, 1, "no //! line at the top")]
}

/// Public functions, structs and traits have a doc comment; the names of constants and enums mostly say enough.
pub fn item_docs(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for item in source.items.iter().filter(|item| !is_for_tests(item)) {
        let (visibility, name) = match item {
            syn::Item::Struct(item) => (&item.vis, &item.ident),
            syn::Item::Trait(item) => (&item.vis, &item.ident),
            // A system call's own name is its documentation (its manual page).
            syn::Item::Fn(item) if source.layer() != "sys" => (&item.vis, &item.sig.ident),
            _ => continue,
        };
        let documented = attributes(item).iter().any(|attribute| attribute.path().is_ident("doc"));
        if matches!(visibility, syn::Visibility::Public(_)) && !documented {
            findings.push(finding(source, lines_of(item).0, &format!("pub {name} has no doc line")));
        }
    }
    findings
}

/// The init imports nothing of the host tool.
pub fn no_host(source: &Source) -> Vec<String> {
    if !source.is_init() || source.layer() == "lib" {
        return Vec::new();
    }
    let tokens = &source.product;
    let prefixes = [["crate", ":", ":"], ["ocinit", ":", ":"]];
    let names = prefixes.iter().flat_map(|prefix| find(tokens, prefix)).flat_map(|at| names_at(tokens, at));
    names.filter(|name| name.text == "host").map(|name| finding(source, name.line, "the init imports host")).collect()
}
