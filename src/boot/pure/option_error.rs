//! Wrong options: why, where they are, and what to do about it.

use crate::boot::pure::cmdline::{Position, UnmatchedQuote, Word};
use crate::boot::pure::misspelt;
use crate::boot::pure::option_table::{Row, TABLE};
use crate::container::pure::spec::parse;

/// A wrong option: its name, and the reason; and where it is, with what to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Error(pub String, pub String);

impl Error {
    /// Adds where the word is. `source` is its number among the sources.
    pub fn at(mut self, word: &Word, source: usize) -> Error {
        let cure = match &word.value {
            _ if !self.1.is_empty() => std::mem::take(&mut self.1),
            Some(value) if value.starts_with(QUOTES) || self.0.ends_with(parse::NO_IMAGE) => WHOLE_WORD.into(),
            _ => String::new(),
        };
        let colon = if cure.is_empty() { "" } else { ": " };
        self.1 = [&place(&word.at, source), colon, &cure].concat();
        self
    }
}

/// `word 6, column 59 of the kernel's line`
pub fn place(at: &Position, source: usize) -> String {
    [&at.text(), " of ", SOURCES.get(source).copied().unwrap_or_default()].concat()
}

/// What follows a mistake. A later one has more weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    Warning,
    /// Fatal if nothing is to run.
    Doubt,
    /// Fatal if no container of the pipeline is to run.
    PipelineDoubt,
    Fatal,
}

/// What is wrong with one word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The number of its source, and that of the word there, counted from 0.
    pub at: (usize, usize),
    pub weight: Weight,
    pub text: String,
    /// Where it is, and what to do; empty for what is a warning in any case.
    pub hint: String,
}

impl Mistake {
    pub fn is_fatal(&self) -> bool {
        self.weight == Weight::Fatal
    }
}

/// The most mistakes that are kept, so that a source of a stranger cannot fill the memory.
const MISTAKES_MAX: usize = 1000;

/// Adds a mistake in the order of their places. Where there are too many, those of less weight make room.
pub fn add(mistakes: &mut Vec<Mistake>, mistake: Mistake) {
    if mistakes.len() >= MISTAKES_MAX {
        let lightest = mistakes.iter().enumerate().rev().min_by_key(|(_, other)| other.weight as u8);
        match lightest {
            Some((at, other)) if (other.weight as u8) < mistake.weight as u8 => drop(mistakes.remove(at)),
            _ => return,
        }
    }
    let before = mistakes.iter().rposition(|other| other.at <= mistake.at);
    mistakes.insert(before.map_or(0, |at| at + 1), mistake);
}

/// The words of a source that can be read: of one with an unmatched quote those before it.
pub fn readable(words: Result<Vec<Word>, UnmatchedQuote>, source: usize, mistakes: &mut Vec<Mistake>) -> Vec<Word> {
    words.unwrap_or_else(|quote| {
        let text = ["an unmatched double quote: ", &shown(quote.word.trim_end())].concat();
        let hint = [&place(&quote.at, source), ": ", WHOLE_WORD].concat();
        add(mistakes, Mistake { at: (source, quote.before.len()), weight: Weight::Fatal, text, hint });
        quote.before
    })
}

/// A word that cannot be read whole, as it may be shown: of options other than container lines, the name alone.
fn shown(word: &str) -> String {
    let name = misspelt::shown(word);
    match word.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
        Some(line) if Row::named(name).is_some_and(Row::is_container_line) => {
            [name, "=", &parse::logged(line)].concat()
        }
        Some(_) => [name, "="].concat(),
        None => name.into(),
    }
}

/// What to say of a word that seems to be meant as an option, or to hold one, and how much that weighs. It is an
/// error in any case if it must not be ignored.
pub fn doubt(word: &Word, row: Option<&Row>) -> Result<Option<(Error, Weight)>, Error> {
    let found = match row {
        Some(row) if row.is_container_line() => None,
        Some(_) => misspelt::enclosed(word),
        None => misspelt::find(&TABLE.iter().map(|row| row.name).collect::<Vec<_>>(), word),
    };
    let Some(found) = found else { return Ok(None) };
    if found.must_not_be_ignored {
        return Err(Error(
            found.text,
            "without it data would be lost or unprotected: correct it, or take it out".into(),
        ));
    }
    let cure = match word.key.starts_with(QUOTES) {
        true => WHOLE_WORD,
        false => "no word that can be read asks for a container of the pipeline",
    };
    let weight = if found.is_pipeline { Weight::PipelineDoubt } else { Weight::Doubt };
    Ok(Some((Error(found.text, cure.into()), weight)))
}

/// The place of the word that counts among those of the option `key`, if that takes one value: its source and its
/// number there.
pub fn last_place(sources: &[Vec<Word>], key: &str) -> Option<(usize, usize)> {
    PRECEDENCE.iter().rev().find_map(|source| {
        let number = sources.get(*source)?.iter().rposition(|word| word.key == key)?;
        Some((*source, number))
    })
}

/// An option that is wrong, and why.
pub fn wrong(key: &str, why: &str) -> Error {
    Error([key, ": ", why].concat(), String::new())
}

/// What the sources of options are called, in their order.
pub const SOURCES: [&str; 3] = ["the kernel's line", OWN_FILE, "the extra arguments"];
/// The number of the extra arguments among them.
pub const EXTRA: usize = 2;
/// The numbers of the sources in the order in which they give single values: a later one overrides. boot2container
/// appends the extra arguments to the kernel's line.
pub const PRECEDENCE: [usize; 3] = [1, 0, EXTRA];
/// Options in the initramfs, for boards whose boot loader cannot pass a long line (`build --cmdline`).
pub const OWN_FILE: &str = "/etc/ocinit/cmdline";
/// How a value with blanks in it is written.
pub const WHOLE_WORD: &str = "write double quotes around the whole word, such as \"b2c.run=IMAGE COMMAND\"";
/// Quotes that hold no words of the command line together, some of a word processor's among them.
pub const QUOTES: [char; 8] = ['\'', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}', '\u{201e}', '\u{ab}', '\u{bb}'];

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: no-secret-in-messages
    #[test]
    fn an_option_that_cannot_be_read_shows_its_name() {
        for (word, text) in [
            ("b2c.minio=a,http://h,key,SECRET", "b2c.minio="),
            ("b2c.minio:job,http://h,key,SECRET", "b2c.minio"),
            ("b2c.minio:job,http://h?a=b,key,SECRET", "b2c.minio"),
            ("b2c.filesystem=//u:SECRET@h/x", "b2c.filesystem="),
            ("b2c.run=--creds=u:SECRET img", "b2c.run=--creds=*** img"),
            ("b2c.run:--creds=u:SECRET img", "b2c.run"),
            ("b2c.runner_token=SECRET", "b2c.runner_token="),
            ("b2c.post_container=-xSECRET img", "b2c.post_container=-x*** img"),
            ("b2c.run_service=-ti -e A=SECRET img", "b2c.run_service=-ti -e A=*** img"),
            ("b2c.root=img", "b2c.root=img"),
        ] {
            assert_eq!(shown(word), text);
        }
    }

    fn mistake(at: (usize, usize), weight: Weight) -> Mistake {
        Mistake { at, weight, text: String::new(), hint: String::new() }
    }

    /// Promise: all-mistakes
    #[test]
    fn mistakes_are_in_order_and_not_without_end() {
        let mut all = Vec::new();
        for at in [(1, 5), (0, 3), (2, 0), (0, 4), (1, 5), (0, 0)] {
            add(&mut all, mistake(at, Weight::Warning));
        }
        assert_eq!(all.iter().map(|m| m.at).collect::<Vec<_>>(), [(0, 0), (0, 3), (0, 4), (1, 5), (1, 5), (2, 0)]);
        for word in 0..3 * MISTAKES_MAX {
            add(&mut all, mistake((2, word), Weight::Warning));
        }
        // What ends the boot is kept in any case, and so is what may end it.
        add(&mut all, mistake((2, 9000), Weight::PipelineDoubt));
        add(&mut all, mistake((1, 9000), Weight::Fatal));
        add(&mut all, mistake((2, 9001), Weight::Warning));
        assert_eq!(all.len(), MISTAKES_MAX);
        let heavy: Vec<_> = all.iter().filter(|m| m.weight != Weight::Warning).map(|m| m.at).collect();
        assert_eq!(heavy, [(1, 9000), (2, 9000)]);
    }
}
