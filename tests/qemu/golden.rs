//! The last lines of a failure are part of the product's interface: each failure has a file of them in golden/.
//! `UPDATE_GOLDEN=1` writes the files anew.

use crate::lab::Seen;
use std::path::Path;

impl Seen {
    /// Compares the lines from the first warning or failure on with `golden/NAME.txt`.
    pub fn golden(&self, name: &str) {
        self.compare(name, &|line| line.contains("WARN ") || line.contains("FAIL "));
    }

    /// As [`Seen::golden`], from the first line with `first` on: of a boot in which nothing is to be warned of.
    pub fn golden_from(&self, name: &str, first: &str) {
        self.compare(name, &|line| line.contains(first));
    }

    fn compare(&self, name: &str, is_first: &dyn Fn(&str) -> bool) {
        let lines: Vec<String> = self.lines().filter_map(normal).collect();
        let start = lines.iter().position(|line| is_first(line)).expect("a first line for the golden file");
        let text = lines[start..].join("\n") + "\n";
        let file = Path::new("tests/qemu/golden").join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, text).unwrap();
            return;
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(kept == text, "{} says\n{kept}\nthe console says\n{text}", file.display());
    }
}

/// A line without what differs from run to run: times, ports, digests, hardware addresses. Lines of the kernel are left
/// out, except its last one.
fn normal(line: &str) -> Option<String> {
    let line = line.trim_end();
    if line.is_empty() {
        return None;
    }
    // The machine's own, which depend on where it runs.
    const MACHINE: [&str; 6] =
        ["Linux version: ", "Boot2container version: ", "Architecture: ", "CPU: ", "RAM: ", "Block devices: "];
    if MACHINE.iter().any(|name| line.starts_with(name.trim_end())) {
        return None;
    }
    let told = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
    if let Some((_, text)) = told.filter(|(time, _)| time.parse::<f64>().is_ok()) {
        return Some(format!("[TIME]: {text}"));
    }
    let line = match line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((time, rest)) if time.trim().parse::<f64>().is_ok() => {
            // The drivers depend on the kernel, and the lines of a pull that succeeds are no part of a failure: those
            // of its progress are there on a slow host only.
            let is_pull = (rest.contains(" in ") && rest.ends_with(" ms")) || rest.ends_with(" s left");
            if rest.starts_with("drivers ") || (rest.starts_with("pull  ") && is_pull) {
                return None;
            }
            // Six digits after the point: the kernel.
            if time.rsplit('.').next().is_some_and(|digits| digits.len() == 6) && !rest.starts_with("reboot: ") {
                return None;
            }
            format!("[TIME] {rest}")
        }
        _ => line.to_string(),
    };
    let words: Vec<&str> = line.split(' ').collect();
    let unit = |at: usize| words.get(at + 1).copied().unwrap_or_default().trim_end_matches(',');
    let counted = |at: usize| at > 0 && words[at - 1] == "sent:";
    let is_wait = |at: usize| at > 1 && words[at - 2..at] == ["retry", "in"];
    // `lease 10 s, 1 try`: a card may lose its first frame while its queues are not ready.
    let is_try = |at: usize| at > 0 && words[at - 1] == "s," && matches!(unit(at), "try" | "tries");
    let is_measure = |at: usize| matches!(unit(at), "ms" | "kB" | "MB") || counted(at) || is_wait(at) || is_try(at);
    let normal = words.iter().enumerate().map(|(at, text)| match at {
        _ if is_measure(at) => "N".into(),
        1.. if is_try(at - 1) => "tries".into(),
        _ => word(text),
    });
    Some(normal.collect::<Vec<_>>().join(" "))
}

/// Blank-separated words that carry a number of this run.
fn word(word: &str) -> String {
    let mut out = String::new();
    let mut rest = word;
    for (prefix, mark, is_part) in [
        ("10.0.2.2:", "PORT", char::is_ascii_digit as fn(&char) -> bool),
        ("sha256:", "DIGEST", |c: &char| c.is_ascii_hexdigit() || *c == '…'),
        ("0x", "ADDRESS", char::is_ascii_hexdigit),
    ] {
        if let Some((before, after)) = rest.split_once(prefix) {
            out.push_str(before);
            out.push_str(prefix);
            out.push_str(mark);
            rest = after.trim_start_matches(|c: char| is_part(&c));
        }
    }
    if is_mac(rest) {
        rest = "MAC";
    }
    out.push_str(rest);
    out
}

fn is_mac(word: &str) -> bool {
    word.len() == 17
        && word.split(':').filter(|part| part.len() == 2 && u8::from_str_radix(part, 16).is_ok()).count() == 6
}

#[test]
fn what_differs_from_run_to_run_is_left_out() {
    let normal = |line| super::golden::normal(line).unwrap_or_default();
    assert_eq!(
        normal("[   1.02] FAIL pull  10.0.2.2:43211/x:latest: gone"),
        "[TIME] FAIL pull  10.0.2.2:PORT/x:latest: gone"
    );
    assert_eq!(normal("[12.34]: Execution is over"), "[TIME]: Execution is over");
    assert_eq!(normal("layer 1/2 sha256:0123456789ab…: short"), "layer 1/2 sha256:DIGEST: short");
    assert_eq!(normal("[   1.02] network    eth0, lease 10 s, 1 try"), "[TIME] network    eth0, lease 10 s, N tries");
    assert_eq!(normal("[  30.02] pull       41 kB of 200 kB, 20 %, 92 kB/s, 6 s left"), "");
    assert_eq!(normal("eth0 52:54:00:12:34:56 up"), "eth0 MAC up");
    assert_eq!(normal("[    0.512345] Run /init"), "");
    assert_eq!(normal("[    9.512345] reboot: Power down"), "[TIME] reboot: Power down");
}
