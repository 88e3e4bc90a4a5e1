//! The order in which rooms may import each other, and that no file imports itself by way of others.

use super::tokens::{Source, Token};
use std::collections::{BTreeMap, BTreeSet};

/// A room imports itself and those before it.
const ROOMS: [&str; 13] = [
    "sys",
    "pure",
    "files",
    "report",
    "inflate",
    "kernel",
    "net",
    "disk",
    "layer",
    "store",
    "image",
    "container",
    "boot",
];

/// Rooms that import no other room, not even one before them.
const ALONE: [&str; 2] = ["sys", "pure"];

/// One import of a file of the init by another; both are module paths, `["net", "dns"]`.
pub struct Import {
    pub from: Vec<String>,
    pub to: Vec<String>,
    pub line: usize,
}

/// The imports between the files of the init, without those of tests.
pub fn imports(sources: &[Source]) -> Vec<Import> {
    let in_rooms = |source: &&Source| source.is_init() && room_number(source.layer()).is_some();
    let files: BTreeMap<Vec<String>, &Source> = sources.iter().filter(in_rooms).map(|s| (module(&s.path), s)).collect();
    let mut found = Vec::new();
    for (from, source) in &files {
        for (path, line) in paths(&source.product, from, &files) {
            let to = (1..=path.len()).rev().map(|length| path[..length].to_vec()).find(|path| files.contains_key(path));
            found.extend(to.filter(|to| to != from).map(|to| Import { from: from.clone(), to, line }));
        }
    }
    found
}

fn module(path: &str) -> Vec<String> {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(String::from).collect()
}

fn room_number(room: &str) -> Option<usize> {
    ROOMS.iter().position(|name| *name == room)
}

/// Every path in `tokens` that leads from the crate's root, from a parent or to a child, as from the root.
fn paths(tokens: &[Token], own: &[String], files: &BTreeMap<Vec<String>, &Source>) -> Vec<(Vec<String>, usize)> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let follows_path = |at: usize| at >= 2 && text(at - 1) == ":" && text(at - 2) == ":";
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if follows_path(at) || text(at + 1) != ":" || text(at + 2) != ":" {
            continue;
        }
        let child: Vec<String> = own.iter().cloned().chain([token.text.clone()]).collect();
        let (mut base, mut next) = (own.to_vec(), at + 3);
        match token.text.as_str() {
            "crate" | "ocinit" => base.clear(),
            "self" => {}
            "super" => {
                base.pop();
                while text(next) == "super" {
                    base.pop();
                    next += 3;
                }
            }
            _ if files.contains_key(&child) => base = child,
            _ => continue,
        }
        tree(tokens, &mut next, &base, &mut found);
    }
    found
}

/// Reads what follows a `::`: a name, names with `::` between them, or a group of such.
fn tree(tokens: &[Token], at: &mut usize, base: &[String], found: &mut Vec<(Vec<String>, usize)>) {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let line = tokens.get(*at).map_or(0, |token| token.line);
    if text(*at) != "{" {
        let path: Vec<String> = base.iter().cloned().chain([text(*at).to_string()]).collect();
        *at += 1;
        if text(*at) == ":" && text(*at + 1) == ":" {
            *at += 2;
            return tree(tokens, at, &path, found);
        }
        if text(*at) == "as" {
            *at += 2;
        }
        let itself = path.last().is_some_and(|name| name == "self");
        return found.push((if itself { base.to_vec() } else { path }, line));
    }
    *at += 1;
    while !matches!(text(*at), "}" | "") {
        match text(*at) {
            "," => *at += 1,
            _ => tree(tokens, at, base, found),
        }
    }
    *at += 1;
}

fn is_pure(module: &[String]) -> bool {
    module.iter().any(|name| name == "pure")
}

/// Imports of a later room, and of what is not pure from what is.
pub fn against_the_order(imports: &[Import]) -> Vec<String> {
    let number = |module: &[String]| module.first().and_then(|room| room_number(room));
    let wrong = |import: &&Import| {
        let other = import.from.first() != import.to.first();
        let alone = import.from.first().is_some_and(|room| ALONE.contains(&room.as_str())) && other;
        alone || number(&import.from) < number(&import.to) || is_pure(&import.from) && !is_pure(&import.to)
    };
    let told = |import: &Import| {
        format!("{}:{}: imports {}, against the order", import.from.join("/"), import.line, import.to.join("/"))
    };
    imports.iter().filter(wrong).map(told).collect()
}

/// Files that reach themselves by what they import, a line for each group of them.
pub fn circles(imports: &[Import]) -> Vec<String> {
    let mut next: BTreeMap<&[String], BTreeSet<&[String]>> = BTreeMap::new();
    for import in imports {
        next.entry(&import.from).or_default().insert(&import.to);
    }
    let reach = |start: &'_ [String]| {
        let mut seen: BTreeSet<Vec<String>> = BTreeSet::new();
        let mut pending = vec![start.to_vec()];
        while let Some(module) = pending.pop() {
            for to in next.get(module.as_slice()).into_iter().flatten() {
                if seen.insert(to.to_vec()) {
                    pending.push(to.to_vec());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> =
        next.keys().map(|module| (module.to_vec(), reach(module))).collect();
    let mut groups: BTreeSet<Vec<String>> = BTreeSet::new();
    for (module, seen) in reached.iter().filter(|(module, seen)| seen.contains(*module)) {
        let mutual = seen.iter().filter(|other| reached.get(*other).is_some_and(|back| back.contains(module)));
        groups.insert(mutual.map(|module| module.join("/")).collect());
    }
    groups.into_iter().map(|group| format!("a circle of imports: {}", group.join(" "))).collect()
}
