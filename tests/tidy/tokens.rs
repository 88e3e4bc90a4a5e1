//! A source file as the rules read it: its text, its items, and flat lists of the tokens of product and tests.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::spanned::Spanned;

/// One token and the line it stands on.
pub struct Token {
    pub text: String,
    pub line: usize,
}

pub struct Source {
    /// From the root of the repository: `src/layer/pure/tar.rs`.
    pub path: String,
    pub text: String,
    pub items: Vec<syn::Item>,
    pub has_inner_doc: bool,
    /// The whole file is for tests: `#![cfg(test)]`.
    pub of_tests: bool,
    /// The tokens of the product, and below those of the tests.
    pub product: Vec<Token>,
    pub tests: Vec<Token>,
}

impl Source {
    /// Parses `text`; an error is a finding of its own.
    pub fn parse(path: &str, text: &str) -> Result<Source, String> {
        let file = syn::parse_file(text).map_err(|error| format!("{path}: {error}"))?;
        let has_inner_doc = file.attrs.iter().any(|attribute| attribute.path().is_ident("doc"));
        let (mut product, mut tests) = (Vec::new(), Vec::new());
        let of_tests = file.attrs.iter().any(is_cfg_test);
        let all_tests = of_tests || path.starts_with("tests/") || path.starts_with("benches/");
        for item in &file.items {
            let into = if all_tests || is_for_tests(item) { &mut tests } else { &mut product };
            flatten(item.to_token_stream(), into);
        }
        Ok(Source { path: path.into(), text: text.into(), items: file.items, has_inner_doc, of_tests, product, tests })
    }

    /// `net` of src/net/…, `main` of src/main.rs, `tests` of tests/….
    pub fn layer(&self) -> &str {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path);
        path.split(['/', '.']).next().unwrap_or(path)
    }

    /// Whether it lies below a `pure/`.
    pub fn is_pure(&self) -> bool {
        self.path.starts_with("src/") && self.path.split('/').any(|part| part == "pure")
    }

    /// Whether it is part of the binary that runs as PID 1.
    pub fn is_init(&self) -> bool {
        self.path.starts_with("src/") && !matches!(self.layer(), "host" | "bin")
    }
}

/// `#[cfg(test)]`, as it is written in this repository.
pub fn is_for_tests(item: &syn::Item) -> bool {
    attributes(item).iter().any(is_cfg_test)
}

fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
}

/// The attributes of an item that can have a name or be left out of a build.
pub fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    use syn::Item::*;
    match item {
        Const(item) => &item.attrs,
        Enum(item) => &item.attrs,
        Fn(item) => &item.attrs,
        Impl(item) => &item.attrs,
        Macro(item) => &item.attrs,
        Mod(item) => &item.attrs,
        Static(item) => &item.attrs,
        Struct(item) => &item.attrs,
        Trait(item) => &item.attrs,
        Type(item) => &item.attrs,
        Use(item) => &item.attrs,
        _ => &[],
    }
}

/// First and last line of something parsed.
pub fn lines_of(node: &impl Spanned) -> (usize, usize) {
    (node.span().start().line, node.span().end().line)
}

/// Appends all tokens of a stream, those in groups and in the arguments of macros included.
pub fn flatten(stream: TokenStream, into: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    proc_macro2::Delimiter::Parenthesis => ("(", ")"),
                    proc_macro2::Delimiter::Brace => ("{", "}"),
                    proc_macro2::Delimiter::Bracket => ("[", "]"),
                    proc_macro2::Delimiter::None => ("", ""),
                };
                into.push(Token { text: open.into(), line });
                flatten(group.stream(), into);
                into.push(Token { text: close.into(), line: group.span_close().start().line });
            }
            other => into.push(Token { text: other.to_string(), line }),
        }
    }
}

/// Every place in `tokens` where `pattern` stands, by the index after it.
pub fn find(tokens: &[Token], pattern: &[&str]) -> Vec<usize> {
    let matches = |window: &[Token]| window.iter().zip(pattern).all(|(token, text)| token.text == *text);
    let starts = tokens.windows(pattern.len()).enumerate().filter(|(_, window)| matches(window));
    starts.map(|(index, _)| index + pattern.len()).collect()
}

/// The names that follow a `prefix::` at `index`: one, or those of a `{…}` group.
pub fn names_at(tokens: &[Token], index: usize) -> Vec<&Token> {
    let Some(first) = tokens.get(index) else { return Vec::new() };
    if first.text != "{" {
        return vec![first];
    }
    let (mut names, mut depth) = (Vec::new(), 0);
    for (offset, token) in tokens[index..].iter().enumerate() {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        let before = tokens[index + offset].text.as_str();
        let follows = offset == 0 || matches!(before, "{" | ",");
        if follows && depth == 1 {
            names.extend(tokens.get(index + offset + 1));
        }
    }
    names
}
