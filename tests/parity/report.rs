//! The table of verdicts: whole into a file, its counts and what is open to the console.

use super::compare::{judge, Verdict, WORDS};
use super::guest::Answer;
use super::reasons::GAPS;
use super::table::TABLE;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// Lines of a difference that the console shows.
const SHOWN_MAX: usize = 6;

/// A verdict for each combination, in the table's order.
pub struct Table {
    pub rows: Vec<(&'static str, Verdict)>,
}

impl Table {
    pub fn new(theirs: &BTreeMap<String, Answer>, ours: &BTreeMap<String, Answer>) -> Table {
        let row = |name: &'static str| {
            let verdict = match (theirs.get(name), ours.get(name)) {
                (Some(theirs), Some(ours)) => judge(name, theirs, ours),
                _ => Verdict::Unexplained(vec!["no answer".into()]),
            };
            (name, verdict)
        };
        Table { rows: TABLE.iter().map(|combination| row(combination.name)).collect() }
    }

    /// How many have this verdict.
    pub fn count(&self, word: &str) -> usize {
        self.rows.iter().filter(|(_, verdict)| verdict.word() == word).count()
    }

    pub fn unexplained(&self) -> usize {
        self.count("UNEXPLAINED")
    }

    fn counts(&self) -> String {
        let counts: Vec<String> = WORDS.iter().map(|word| format!("{} {word}", self.count(word))).collect();
        format!("parity: {} combinations: {}", self.rows.len(), counts.join(", "))
    }

    /// Gaps that no combination shows any more; while a difference has no reason, verdicts do not tell their gaps.
    fn closed(&self) -> Vec<&'static str> {
        if self.unexplained() > 0 {
            return Vec::new();
        }
        let is_seen = |why: &str| self.rows.iter().any(|(_, verdict)| verdict.details().contains(&why));
        let mut closed: Vec<&str> = GAPS.iter().map(|gap| gap.why).filter(|why| !is_seen(why)).collect();
        closed.dedup();
        closed
    }

    /// Everything, with each difference and each reason.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let mut text = self.counts() + "\n\n";
        for (name, verdict) in &self.rows {
            let _ = writeln!(text, "{name:32} {}", verdict.word());
            verdict.details().iter().for_each(|line| text.extend(["    ", line, "\n"]));
        }
        std::fs::write(path, text)
    }

    /// Past the tests' own output, which is not shown where they pass.
    pub fn show(&self, seconds: f64) {
        let mut text = format!("\n{} ({seconds:.0} s)\n", self.counts());
        for (name, verdict) in &self.rows {
            let details = verdict.details();
            match verdict {
                Verdict::Unexplained(lines) => {
                    let _ = writeln!(text, "{name:32} {}: {} lines", verdict.word(), lines.len());
                    details.iter().take(SHOWN_MAX).for_each(|line| text.extend(["    ", line, "\n"]));
                }
                Verdict::Gaps(_) | Verdict::NotThereYet(_) => {
                    let first = details.first().copied().unwrap_or_default();
                    let _ = writeln!(text, "{name:32} {}: {first} ({} in all)", verdict.word(), details.len());
                }
                Verdict::Same | Verdict::Explained(_) => {}
            }
        }
        for why in self.closed() {
            let _ = writeln!(text, "no longer missing, so its row in GAPS can go: {why}");
        }
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}
