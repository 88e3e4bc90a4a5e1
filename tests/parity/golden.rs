//! podman's recorded answers: under software emulation a `podman run` takes some seconds, and the whole table half an
//! hour, which is too long for `./dev test`. `PARITY_PODMAN=1 cargo test --features host --test parity` records them
//! anew: all, those of the combinations named (`PARITY_PODMAN=tty,init`), or the missing ones (`PARITY_PODMAN=new`).

use super::compare::difference;
use super::guest::Answer;
use super::more;
use super::table::Combination;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "tests/parity/podman";
/// The combinations that others are told against, the one with the fewest differences: a file shows what its flags
/// change. `nothing` is no line at all.
pub const BASES: [&str; 5] = ["nothing", "plain", "unprivileged", "user-name", "unprivileged-user"];

fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{name}.txt"))
}

/// What was run, as one would type it.
fn command(row: &Combination) -> String {
    let network = if format!(" {}", row.flags).contains(" --net") { "" } else { "--network=host" };
    let words = ["podman run --rm --privileged", network, row.flags, row.image, row.command];
    words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(" ")
}

/// Keeps the answers of `names`, whose lines are normal already, under a heading of versions. The others are there to
/// be told against.
pub fn write(answers: &BTreeMap<String, Answer>, names: &[&str], heading: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(DIRECTORY)?;
    let none = Vec::new();
    let base = |name: &str| answers.get(name).map_or(&none, |answer| &answer.lines);
    for row in more::all().into_iter().filter(|row| names.contains(&row.name)) {
        let Some(answer) = answers.get(row.name) else { continue };
        // A base is told against those before it only.
        let before = BASES.iter().take_while(|name| **name != row.name);
        let changes = before.filter(|name| **name == "nothing" || answers.contains_key(**name));
        let changes = changes.map(|name| (*name, difference(base(name), &answer.lines)));
        let least = changes.min_by_key(|(_, (gone, more))| gone.len() + more.len());
        let Some((name, (gone, more))) = least else { continue };
        let mut text = format!("# {heading}\n# {}\n", command(row));
        answer.errors.iter().for_each(|line| text.push_str(&format!("! {line}\n")));
        text.push_str(&format!("status {}\nlike {name}\n", answer.status));
        gone.iter().for_each(|line| text.push_str(&format!("- {line}\n")));
        more.iter().for_each(|line| text.push_str(&format!("+ {line}\n")));
        std::fs::write(path(row.name), text)?;
    }
    Ok(())
}

/// Whether podman was asked.
pub fn is_known(name: &str) -> bool {
    path(name).is_file()
}

/// What was kept, for every combination but those of `without`: one that has no file, or another command in it, is an
/// error.
pub fn read(without: &[&str]) -> Result<BTreeMap<String, Answer>, String> {
    let mut answers = BTreeMap::new();
    answers.insert("nothing".to_string(), Answer { status: 0, lines: Vec::new(), errors: Vec::new() });
    // The bases first.
    for row in more::all().into_iter().filter(|row| !without.contains(&row.name)) {
        let text = std::fs::read_to_string(path(row.name));
        let text = text.map_err(|error| format!("{}: {error}: PARITY_PODMAN={} asks podman", row.name, row.name))?;
        if text.lines().nth(1) != Some(&format!("# {}", command(row))) {
            return Err(format!("{}: its flags are others now: PARITY_PODMAN={} asks podman", row.name, row.name));
        }
        let answer = expand(&text, &answers).ok_or_else(|| format!("{}: cannot be read", row.name))?;
        answers.insert(row.name.to_string(), answer);
    }
    answers.remove("nothing");
    Ok(answers)
}

/// The answer of a file, from the one that it is told against.
fn expand(text: &str, known: &BTreeMap<String, Answer>) -> Option<Answer> {
    let status = text.lines().find_map(|line| line.strip_prefix("status "))?.parse().ok()?;
    let like = text.lines().find_map(|line| line.strip_prefix("like "))?;
    let mut lines = known.get(like)?.lines.clone();
    for line in text.lines().filter_map(|line| line.strip_prefix("- ")) {
        lines.remove(lines.iter().position(|other| other == line)?);
    }
    lines.extend(text.lines().filter_map(|line| line.strip_prefix("+ ")).map(String::from));
    lines.sort();
    let errors = text.lines().filter_map(|line| line.strip_prefix("! ")).map(String::from).collect();
    Some(Answer { status, lines, errors })
}
