//! The table of verdicts: whole into a file, its counts and what is open to the console.

use super::compare::{differences, judge, reason, Verdict, WORDS};
use super::guest::Answer;
use super::more;
use super::reasons::REASONS;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// Lines of a difference that the console shows.
const SHOWN_MAX: usize = 6;

/// A verdict for each combination, in the table's order.
pub struct Table {
    pub rows: Vec<(&'static str, Verdict)>,
    /// Whether a line of any combination needs that row of [`REASONS`].
    needed: Vec<bool>,
}

impl Table {
    pub fn new(theirs: &BTreeMap<String, Answer>, ours: &BTreeMap<String, Answer>) -> Table {
        let mut needed = vec![false; REASONS.len()];
        let mut row = |name: &'static str| {
            let (Some(theirs), Some(ours)) = (theirs.get(name), ours.get(name)) else {
                return (name, Verdict::Unexplained(vec!["no answer".into()]));
            };
            let differences = differences(theirs, ours);
            differences.iter().filter_map(|line| reason(name, line)).for_each(|at| needed[at] = true);
            (name, judge(name, differences))
        };
        Table { rows: more::all().iter().map(|combination| row(combination.name)).collect(), needed }
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

    /// Rows of [`REASONS`] that explain nothing.
    pub fn idle(&self) -> Vec<String> {
        let idle = REASONS.iter().zip(&self.needed).filter(|(_, needed)| !**needed);
        idle.map(|(reason, _)| reason.to_string()).collect()
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
                Verdict::Same | Verdict::Explained(_) => {}
            }
        }
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}
