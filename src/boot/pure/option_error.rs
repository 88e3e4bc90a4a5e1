//! A wrong option: why, where it is, and what to do about it.

use crate::boot::pure::cmdline::Word;
use crate::container::pure::spec::parse;

/// A wrong option: its name, and the reason; and where it is, with what to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Error(pub String, pub String);

impl Error {
    /// Adds where the word is. `source` is its number among the sources.
    pub fn at(mut self, word: &Word, source: usize) -> Error {
        let name = SOURCES.get(source).copied().unwrap_or_default();
        let cure = match &word.value {
            _ if !self.1.is_empty() => std::mem::take(&mut self.1),
            Some(value) if value.starts_with(QUOTES) || self.0.ends_with(parse::NO_IMAGE) => WHOLE_WORD.into(),
            _ => String::new(),
        };
        let colon = if cure.is_empty() { "" } else { ": " };
        self.1 = [&word.at.text(), " of ", name, colon, &cure].concat();
        self
    }
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
