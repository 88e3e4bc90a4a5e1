//! The kernel command line and the file of the initramfs: words, keys and values.
//!
//! A text is split at white space outside double quotes, as the kernel splits its line for its own parameters. A double
//! quote may open anywhere in a word, and is not part of it. Everything after the first `=` is the value.

/// One word: `b2c.run="-ti img"` is the key `b2c.run` with the value `-ti img`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    pub key: String,
    pub value: Option<String>,
    pub at: Position,
}

impl Word {
    /// Whether the word has the prefix of boot2container's options.
    pub fn is_option(&self) -> bool {
        self.key.starts_with(PREFIX)
    }
}

/// Where something is in a text: the number of its word, its line, and its column in bytes, each counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub word: usize,
    pub line: usize,
    pub column: usize,
}

impl Position {
    /// `word 3, column 24`, or `word 3, line 2, column 4`.
    pub fn text(&self) -> String {
        let line = match self.line {
            1 => String::new(),
            line => ["line ", &line.to_string(), ", "].concat(),
        };
        ["word ", &self.word.to_string(), ", ", &line, "column ", &self.column.to_string()].concat()
    }
}

/// An option with an unmatched quote, the only error there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmatchedQuote {
    /// The start of the option's word.
    pub word: String,
    /// Where the quote is.
    pub at: Position,
    /// The words before it.
    pub before: Vec<Word>,
}

/// What the names of options begin with.
const PREFIX: &str = "b2c.";
/// The longest line that the kernel of this architecture keeps (Linux, arch/*/include/uapi/asm/setup.h,
/// COMMAND_LINE_SIZE without the NUL).
pub const LINE_MAX: usize = if cfg!(any(target_arch = "arm", target_arch = "riscv64")) { 1023 } else { 2047 };
/// How much of a word an error shows, in bytes.
const EXCERPT: usize = 60;

/// Splits the kernel's line into words. Bytes that are not UTF-8 become U+FFFD and are no error: keys are ASCII, and
/// words of other programs must not stop the boot.
pub fn parse(line: &[u8]) -> Result<Vec<Word>, UnmatchedQuote> {
    split(line, false)
}

/// As [`parse`], for a file: a `#` at the start of a word begins a comment, which ends with the line. What editors put
/// at the start of a file to tell its encoding is left out.
pub fn parse_file(bytes: &[u8]) -> Result<Vec<Word>, UnmatchedQuote> {
    let (utf16, unit): (_, fn([u8; 2]) -> u16) = match bytes {
        [0xef, 0xbb, 0xbf, text @ ..] => return split(text, true),
        [0xff, 0xfe, text @ ..] => (text, u16::from_le_bytes),
        [0xfe, 0xff, text @ ..] => (text, u16::from_be_bytes),
        text => return split(text, true),
    };
    let units = utf16.chunks_exact(2).map(|pair| unit(pair.try_into().unwrap_or_default()));
    split(String::from_utf16_lossy(&units.collect::<Vec<u16>>()).as_bytes(), true)
}

/// An unmatched quote of another program's word must not stop the boot, nor hide the options after it. So where quotes
/// do not match, those in words that are no options mean nothing.
fn split(text: &[u8], comments: bool) -> Result<Vec<Word>, UnmatchedQuote> {
    split_by(text, comments, false).or_else(|error| {
        let is_option = error.word.starts_with(PREFIX);
        split_by(text, comments, true).map_err(|other| if is_option { error } else { other })
    })
}

fn split_by(text: &[u8], comments: bool, options_only: bool) -> Result<Vec<Word>, UnmatchedQuote> {
    let (mut words, mut word) = (Vec::new(), Vec::new());
    // Where the word, and where an open quote begins.
    let (mut start, mut quote) = (None, None);
    let mut in_comment = false;
    let mut here = Position { word: 1, line: 1, column: 1 };
    for (at, byte) in text.iter().enumerate() {
        let is_blank = byte.is_ascii_whitespace() || matches!(byte, 0 | 0x0b);
        if in_comment {
            in_comment = *byte != b'\n';
        } else if is_blank && quote.is_none() {
            words.extend(start.take().map(|start| word_of(&word, start)));
            word.clear();
            here.word = words.len() + 1;
        } else if *byte == b'#' && comments && start.is_none() {
            in_comment = true;
        } else {
            start.get_or_insert(here);
            if *byte != b'"' {
                word.push(*byte);
            } else if !options_only && quote.is_some() && opens_option(&word) {
                // The quotes of a word before are stray: this one does not close, but opens.
                break;
            } else if !options_only || is_option(&word, text.get(at..).unwrap_or_default()) {
                quote = if quote.is_none() { Some(here) } else { None };
            }
        }
        here.column += 1;
        if *byte == b'\n' {
            here = Position { line: here.line + 1, column: 1, ..here };
        }
    }
    if let Some(at) = quote {
        word.truncate(EXCERPT);
        return Err(UnmatchedQuote { word: String::from_utf8_lossy(&word).into_owned(), at, before: words });
    }
    words.extend(start.map(|start| word_of(&word, start)));
    Ok(words)
}

/// Whether another program's word, which is read as far as `word`, ends in an option that waits for its value.
fn opens_option(word: &[u8]) -> bool {
    let piece = word.rsplit(u8::is_ascii_whitespace).next().unwrap_or_default();
    let name = piece.strip_prefix(PREFIX.as_bytes()).and_then(|rest| rest.strip_suffix(b"="));
    let is_name = |name: &[u8]| name.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    piece.len() < word.len() && !word.starts_with(PREFIX.as_bytes()) && name.is_some_and(is_name)
}

/// The words without a quote of a line in which a quote is unmatched.
pub fn unquoted(line: &[u8]) -> Vec<Word> {
    let at = Position { word: 1, line: 1, column: 1 };
    let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.contains(&b'"'));
    words.map(|word| word_of(word, at)).collect()
}

/// Whether a word that is read as far as `word`, with `rest` before us, is an option.
fn is_option(word: &[u8], rest: &[u8]) -> bool {
    let letters = word.iter().chain(rest.iter().filter(|byte| **byte != b'"'));
    letters.take(PREFIX.len()).eq(PREFIX.as_bytes())
}

fn word_of(word: &[u8], at: Position) -> Word {
    let text = String::from_utf8_lossy(word);
    match text.split_once('=') {
        Some((key, value)) => Word { key: key.into(), value: Some(value.into()), at },
        None => Word { key: text.into_owned(), value: None, at },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(line: &str) -> Vec<(String, Option<String>)> {
        parse(line.as_bytes()).unwrap().into_iter().map(|w| (w.key, w.value)).collect()
    }

    fn pair(key: &str, value: &str) -> (String, Option<String>) {
        (key.into(), Some(value.into()))
    }

    #[test]
    fn a_quote_may_open_anywhere() {
        assert_eq!(pairs(r#"b2c.run="-ti img""#), [pair("b2c.run", "-ti img")]);
        assert_eq!(pairs(r#""b2c.run=-ti img""#), [pair("b2c.run", "-ti img")]);
        assert_eq!(pairs(r#"b2c.run=-t" "i"mg""#), [pair("b2c.run", "-t img")]);
    }

    /// Input: command-line
    #[test]
    fn everything_after_the_first_equals_sign_is_the_value() {
        assert_eq!(pairs("a=b=c"), [pair("a", "b=c")]);
        assert_eq!(pairs("a= b"), [pair("a", ""), ("b".into(), None)]);
    }

    #[test]
    fn white_space_of_every_kind_separates() {
        assert_eq!(pairs(" a\t\tb\r\nc \n").len(), 3);
        assert_eq!(pairs(r#""" x"#).len(), 2);
        assert_eq!(pairs("").len(), 0);
    }

    /// Input: command-line
    #[test]
    fn an_unmatched_quote_is_an_error_that_shows_its_word_and_its_place() {
        for (line, word, place) in [
            (r#"a b2c.run="-ti img b"#, "b2c.run=-ti img b", "word 2, column 11"),
            (r#"a "b" "b2c.run=-ti img"#, "b2c.run=-ti img", "word 3, column 7"),
            ("b2c.hostname=a\n\nx b2c.run=\"img", "b2c.run=img", "word 3, line 3, column 11"),
            (r#"foo="a b" b2c.run="img x"y" z"#, "b2c.run=img xy z", "word 2, column 27"),
        ] {
            let error = parse(line.as_bytes()).unwrap_err();
            assert_eq!((error.word.as_str(), error.at.text().as_str()), (word, place));
        }
    }

    /// Words of other programs: the options behind their quotes are read, and quotes that match mean what they mean.
    /// Promise: foreign-words
    /// Input: command-line
    #[test]
    fn quotes_of_other_words_never_stop_the_boot() {
        let run = pair("b2c.run", "-ti img");
        for line in [
            r#"foo="bar b2c.run="-ti img""#,
            r#"foo=bar" b2c.run="-ti img""#,
            r#""foo=bar "b2c.run=-ti img""#,
            r#"b2c.run="-ti img" foo="bar"#,
            r#"b2c.run="-ti img" ""#,
            r#"a=it's b2c.run="-ti img" dyndbg="file x +p" y=5""#,
            r#"a="x b2c.run="-ti img" b=y""#,
            r#"a=x" b2c.run="-ti img" b="y"#,
        ] {
            assert!(pairs(line).contains(&run), "{line}: {:?}", pairs(line));
        }
        assert_eq!(pairs(r#"foo="a b2c.run=x" c"#), [pair("foo", "a b2c.run=x"), ("c".into(), None)]);
        assert_eq!(pairs(r#"foo="a b2c.run=x b" c"#), [pair("foo", "a b2c.run=x b"), ("c".into(), None)]);
        // No option has such a name, so this quote closes.
        assert_eq!(pairs(r#"foo="a b2c.r-2c.n=x=" c"#), [pair("foo", "a b2c.r-2c.n=x="), ("c".into(), None)]);
    }

    /// Promise: cmdline-file
    /// Input: cmdline-file
    #[test]
    fn a_file_as_editors_write_it() {
        let want = [pair("b2c.run", "img sh -c 'echo # x'"), pair("b2c.hostname", "dut#7")];
        let read = |bytes: &[u8]| -> Vec<_> {
            parse_file(bytes).unwrap().into_iter().map(|word| (word.key, word.value)).collect()
        };
        let text = "# it's \"here\nb2c.run=\"img sh -c 'echo # x'\" # \"quoted\n\t#b2c.run=none\nb2c.hostname=dut#7\n";
        let text = text.to_string();
        let utf16 =
            |unit: fn(u16) -> [u8; 2]| format!("\u{feff}{text}").encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        for bytes in [
            text.clone().into_bytes(),
            text.trim_end().into(),
            text.replace('\n', "\r\n").into_bytes(),
            format!("\u{feff}{text}").into_bytes(),
            format!("{text}\0").into_bytes(),
            format!("{text}#").into_bytes(),
            format!("{text}\n# \"").into_bytes(),
            format!("{text}\n\x0b\x0c\n").into_bytes(),
            utf16(u16::to_le_bytes),
            utf16(u16::to_be_bytes),
        ] {
            assert_eq!(read(&bytes), want, "{}", String::from_utf8_lossy(&bytes));
        }
        for empty in [&b""[..], b"\xef\xbb\xbf", b"\xff\xfe", b"\xff\xfe#", b"#", b"# b2c.run=x"] {
            assert_eq!(read(empty), []);
        }
        // The kernel's line knows no comments.
        assert_eq!(pairs("a # b").len(), 3);
        let error = parse_file(b"# \"\r\n\r\n b2c.run=\"x # y\r\n").unwrap_err();
        assert_eq!(error.at.text(), "word 1, line 3, column 10");
    }

    /// Input: command-line
    #[test]
    fn words_beside_an_unmatched_quote() {
        let line = br#"b2c.log=plain b2c.run="-ti img b2c.onfail=hang"#;
        let keys: Vec<String> = unquoted(line).into_iter().map(|word| word.key).collect();
        assert_eq!(keys, ["b2c.log", "img", "b2c.onfail"]);
    }

    /// Promise: command-line-of-anything
    /// Input: command-line
    #[test]
    fn four_kilobytes_of_anything_do_not_panic() {
        let mut seed = 1u32;
        for _ in 0..200 {
            let line: Vec<u8> = (0..4096)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (seed >> 24) as u8
                })
                .collect();
            for words in [parse(&line), parse_file(&line)].into_iter().flatten() {
                assert!(words.iter().all(|word| !word.key.contains(['=', '"'])));
            }
        }
    }
}
