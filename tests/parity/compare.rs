//! Compares two answers to the same combination line by line; differences are looked up in the table of reasons.

use super::guest::Answer;
use super::reasons::REASONS;
use std::collections::BTreeMap;

/// What a runtime makes for each container; the last two are where links of an image lead.
const MADE: &[&str] = &[
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/localtime",
    "/run/.containerenv",
    "/data/hosts",
    "/data/resolv.conf",
];

/// All verdicts, in the order in which they are counted.
pub const WORDS: [&str; 3] = ["same", "explained", "UNEXPLAINED"];

/// What came of a comparison.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Same,
    /// Every difference has a reason: these, each once.
    Explained(Vec<&'static str>),
    /// These lines have none: `- LINE` is podman's alone, `+ LINE` ours.
    Unexplained(Vec<String>),
}

impl Verdict {
    /// As the table and the counts have it.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Same => "same",
            Verdict::Explained(_) => "explained",
            Verdict::Unexplained(_) => "UNEXPLAINED",
        }
    }

    /// Reasons or differences.
    pub fn details(&self) -> Vec<&str> {
        match self {
            Verdict::Same => Vec::new(),
            Verdict::Explained(reasons) => reasons.clone(),
            Verdict::Unexplained(lines) => lines.iter().map(String::as_str).collect(),
        }
    }
}

/// What a guest has of packages that a distribution updates: no verdict may depend on it.
pub struct Updated {
    /// As uname(2) tells it.
    pub kernel: String,
    /// The size of the zone's file, which tzdata brings.
    pub zone_bytes: String,
}

/// The lines, sorted, without what depends on the host, on the run, and on versions of packages.
pub fn normal(answer: &Answer, host: &Answer, updated: &Updated) -> Vec<String> {
    let of_host = |start: &str| host.lines.iter().find_map(|line| line.strip_prefix(start));
    // Both follow from the memory that is left beside the initramfs.
    let pending = of_host("rlimit pending signals ").and_then(|line| line.split(' ').next()).unwrap_or_default();
    let root = of_host("mount / ").and_then(|line| line.rsplit(' ').next()).unwrap_or_default();
    let line = |line: &String| {
        let fields: Vec<&str> = line.split(' ').collect();
        let word = |word: &&str| match (fields[0], *word) {
            ("ns", word) => whose(word, host.lines.contains(line)),
            ("rlimit", word) if word == pending => "the-host's".into(),
            ("mount", word) if word == root => "the-host's".into(),
            ("mount", word) if fields.get(2) == Some(&"devtmpfs") => without_sizes(word),
            ("place", word) if fields.get(1) == Some(&"/etc/localtime") && word == updated.zone_bytes => {
                "the-zone's".into()
            }
            (_, word) => general(word).replace(&updated.kernel, "THE-KERNEL'S-RELEASE"),
        };
        fields.iter().map(word).collect::<Vec<_>>().join(" ")
    };
    let mut lines: Vec<String> = answer.lines.iter().map(line).collect();
    lines.sort();
    lines
}

/// A namespace's number, `pid:[4026531836]`, says only whether it is the host's.
fn whose(word: &str, is_machines: bool) -> String {
    match word.split_once(":[") {
        Some((name, _)) => [name, if is_machines { " the host's" } else { " its own" }].concat(),
        None => word.into(),
    }
}

/// Options of a mount, without those that follow from the host's memory.
fn without_sizes(options: &str) -> String {
    let kept = options.split(',').filter(|option| !option.starts_with("size=") && !option.starts_with("nr_inodes="));
    kept.collect::<Vec<_>>().join(",")
}

/// A container's number, long or short, is told by its form.
fn general(word: &str) -> &str {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, value),
        None => ("", word),
    };
    let hex = value.len() == 12 || value.len() == 64;
    if hex && value.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
        if name == "HOSTNAME" {
            "HOSTNAME=A-NUMBER"
        } else {
            "A-NUMBER"
        }
    } else {
        word
    }
}

/// What only the first has, and what only the second has; a line as often as it is there more often.
pub fn difference(first: &[String], second: &[String]) -> (Vec<String>, Vec<String>) {
    let mut counts: BTreeMap<&String, i32> = BTreeMap::new();
    first.iter().for_each(|line| *counts.entry(line).or_default() += 1);
    second.iter().for_each(|line| *counts.entry(line).or_default() -= 1);
    let of = |sign: i32| {
        let lines = counts.iter().filter(move |(_, count)| **count * sign > 0);
        lines.flat_map(|(line, count)| vec![line.to_string(); count.unsigned_abs() as usize]).collect()
    };
    (of(1), of(-1))
}

/// What a runtime said, without the time and the container's number.
pub fn without_numbers(line: &str) -> String {
    let line = line.find(" level=").filter(|_| line.starts_with("time=")).map_or(line, |at| &line[at + 1..]);
    line.split(' ').map(general).collect::<Vec<_>>().join(" ")
}

/// What a runtime makes for a container is in its own store: podman's on `/run`, ours on the guest's root. Which of
/// these two tmpfs it is says nothing about the container.
fn anywhere(lines: &[String]) -> Vec<String> {
    let is_made = |line: &str| MADE.iter().any(|path| line.starts_with(&format!("mount {path} tmpfs - ")));
    let without = |line: &String| match line.rsplit_once(' ') {
        Some((rest, "inode64,rw" | "the-host's")) if is_made(line) => format!("{rest} of-the-store"),
        _ => line.clone(),
    };
    lines.iter().map(without).collect()
}

/// What differs; theirs first, both normal already.
pub fn differences(theirs: &Answer, ours: &Answer) -> Vec<String> {
    let (gone, more) = difference(&anywhere(&theirs.lines), &anywhere(&ours.lines));
    let mut differences = Vec::new();
    if theirs.status != ours.status {
        differences.push(format!("- status {}", theirs.status));
        differences.push(format!("+ status {}", ours.status));
    }
    // A container that never ran leaves no line to compare: its words are enough.
    if theirs.lines.is_empty() == ours.lines.is_empty() {
        differences.extend(gone.iter().map(|line| format!("- {line}")));
        differences.extend(more.iter().map(|line| format!("+ {line}")));
    } else {
        differences.extend(ours.errors.iter().map(|line| format!("+ ! {line}")));
    }
    differences
}

/// The place in [`REASONS`] of what explains a line.
pub fn reason(name: &str, line: &str) -> Option<usize> {
    REASONS.iter().position(|reason| reason.covers(name, line))
}

/// Looks every difference up.
pub fn judge(name: &str, differences: Vec<String>) -> Verdict {
    let (mut reasons, mut open) = (Vec::new(), Vec::new());
    for line in differences {
        match reason(name, &line).and_then(|at| REASONS.get(at)) {
            Some(reason) if reasons.contains(&reason.why) => {}
            Some(reason) => reasons.push(reason.why),
            None => open.push(line),
        }
    }
    match (open.is_empty(), reasons.is_empty()) {
        (false, _) => Verdict::Unexplained(open),
        (true, false) => Verdict::Explained(reasons),
        (true, true) => Verdict::Same,
    }
}

/// Whether `text` is what `pattern` says, in which `*` is any text.
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let end = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match text.find(piece) {
            Some(at) => text = &text[at + piece.len()..],
            None => return false,
        }
    }
    text.ends_with(end)
}

#[test]
fn patterns() {
    for (pattern, text) in [("a", "a"), ("*", ""), ("a*", "ab"), ("*b", "ab"), ("a*c*e", "abcde"), ("a**", "a")] {
        assert!(matches(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in [("a", "b"), ("a*", "ba"), ("*b", "ba"), ("a*c*e", "abcd"), ("ab*b", "ab"), ("", "a")] {
        assert!(!matches(pattern, text), "{pattern} {text}");
    }
}

#[cfg(test)]
fn answer(status: i32, lines: &[&str], errors: &[&str]) -> Answer {
    let own = |list: &[&str]| list.iter().map(|line| line.to_string()).collect();
    Answer { status, lines: own(lines), errors: own(errors) }
}

#[test]
fn what_differs_is_found() {
    let judged = |theirs: &Answer, ours: &Answer| judge("x", differences(theirs, ours));
    let seen = answer(0, &["fd 0 a", "fd 0 a", "fd 1 b"], &[]);
    assert_eq!(judged(&seen, &answer(0, &["fd 0 a", "fd 0 a", "fd 1 b"], &["a warning"])), Verdict::Same);
    let open = |lines: &[&str]| Verdict::Unexplained(lines.iter().map(|line| line.to_string()).collect());
    assert_eq!(judged(&seen, &answer(0, &["fd 0 a", "fd 1 c"], &[])), open(&["- fd 0 a", "- fd 1 b", "+ fd 1 c"]));
    let refused = answer(125, &[], &["--x is not a known flag"]);
    assert_eq!(judged(&answer(125, &[], &["Error"]), &refused), Verdict::Same);
    let broken = answer(125, &[], &["mount: no"]);
    assert_eq!(judged(&seen, &broken), open(&["- status 0", "+ status 125", "+ ! mount: no"]));
    let bound = |path: &str, flags: &str, of: &str| answer(0, &[&format!("mount {path} tmpfs - {flags} {of}")], &[]);
    let here = bound("/etc/hosts", "rw private", "the-host's");
    assert_eq!(judged(&bound("/etc/hosts", "rw private", "inode64,rw"), &here), Verdict::Same);
    for other in [bound("/etc/hosts", "ro private", "inode64,rw"), bound("/etc/hosts", "rw private", "rw,size=1k")] {
        assert!(matches!(judged(&other, &here), Verdict::Unexplained(_)));
    }
    let volume = bound("/mnt", "rw private", "the-host's");
    assert!(matches!(judged(&bound("/mnt", "rw private", "inode64,rw"), &volume), Verdict::Unexplained(_)));
    assert_eq!(judged(&answer(126, &[], &[]), &answer(127, &[], &[])), open(&["- status 126", "+ status 127"]));
}

#[test]
fn numbers_of_the_run_are_left_out() {
    let of_machine = ["ns net:[1]", "ns pid:[2]", "rlimit pending signals 77 77 signals", "mount / tmpfs / rw size=9"];
    let machine = answer(0, &of_machine, &[]);
    let updated = Updated { kernel: "6.1.0-1-cloud".into(), zone_bytes: "2298".into() };
    let seen = [
        "ns net:[1]",
        "ns pid:[3]",
        "rlimit processes 77 78 x",
        "env A=77",
        "env HOSTNAME=0123456789ab",
        "mount /a tmpfs / rw size=9",
        "mount /b tmpfs / rw size=8",
        "mount /c devtmpfs / rw mode=1,nr_inodes=2,size=3",
    ];
    let normal = normal(&answer(0, &seen, &[]), &machine, &updated);
    let expected = [
        "env A=77",
        "env HOSTNAME=A-NUMBER",
        "mount /a tmpfs / rw the-host's",
        "mount /b tmpfs / rw size=8",
        "mount /c devtmpfs / rw mode=1",
        "ns net the host's",
        "ns pid its own",
        "rlimit processes the-host's 78 x",
    ];
    assert_eq!(normal, expected);
    assert_eq!(without_numbers("time=\"2\" level=warning msg=\"x\""), "level=warning msg=\"x\"");
}

/// The same container on a kernel and with a tzdata of another version is the same, and of another size it is not.
/// Promise: no-outside-versions
#[test]
fn versions_of_packages_decide_nothing() {
    let of = |kernel: &str, zone_bytes: &str, localtime_bytes: &str| {
        let updated = Updated { kernel: kernel.into(), zone_bytes: zone_bytes.into() };
        let hello = format!("kernel {kernel}, host name parity, process 1");
        let place = format!("place /etc/localtime file 0644 0:0 writable {localtime_bytes} bytes");
        let lines = [hello.as_str(), &place, "place /etc/hosts file 0644 0:0 writable 2298 bytes"];
        normal(&answer(0, &lines, &[]), &answer(0, &[], &[]), &updated)
    };
    let kept = of("6.1.0-56-cloud-amd64", "2298", "2298");
    assert_eq!(of("6.1.0-57-cloud-amd64", "2298", "2298"), kept);
    assert_eq!(of("7.0.1+deb14-amd64", "705", "705"), kept);
    assert_ne!(of("6.1.0-56-cloud-amd64", "2298", "45"), kept);
    assert!(kept.iter().any(|line| line.contains("/etc/hosts") && line.contains("2298")), "{kept:?}");
    assert!(kept.iter().all(|line| !line.contains("6.1.0")), "{kept:?}");
}
