//! The kernel command line: words, keys and values.
//!
//! The line is split at white space outside double quotes, as the kernel splits it for its own parameters. A double
//! quote may open anywhere in a word, and is not part of it. Everything after the first `=` is the value.

/// One word: `b2c.run="-ti img"` is the key `b2c.run` with the value `-ti img`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    pub key: String,
    pub value: Option<String>,
}

/// A command line with an unmatched quote, the only error there is. Holds the start of the word that has the quote.
#[derive(Debug, PartialEq, Eq)]
pub struct UnmatchedQuote(pub String);

/// How much of that word an error shows, in bytes.
const EXCERPT: usize = 60;

/// Splits `line` into words. Bytes that are not UTF-8 become U+FFFD and are no error: keys are ASCII, and words of
/// other programs must not stop the boot.
pub fn parse(line: &[u8]) -> Result<Vec<Word>, UnmatchedQuote> {
    let mut words = Vec::new();
    let mut word = Vec::new();
    let (mut quoted, mut started) = (false, false);
    for byte in line {
        match byte {
            b'"' => {
                quoted = !quoted;
                started = true;
            }
            byte if !quoted && (byte.is_ascii_whitespace() || *byte == 0) => {
                if started {
                    words.push(split(&word));
                }
                word.clear();
                started = false;
            }
            byte => {
                word.push(*byte);
                started = true;
            }
        }
    }
    if quoted {
        word.truncate(EXCERPT);
        return Err(UnmatchedQuote(String::from_utf8_lossy(&word).into_owned()));
    }
    if started {
        words.push(split(&word));
    }
    Ok(words)
}

/// The words without a quote of a line in which a quote is unmatched.
pub fn unquoted(line: &[u8]) -> Vec<Word> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.contains(&b'"')).map(split).collect()
}

fn split(word: &[u8]) -> Word {
    let text = String::from_utf8_lossy(word);
    match text.split_once('=') {
        Some((key, value)) => Word { key: key.into(), value: Some(value.into()) },
        None => Word { key: text.into_owned(), value: None },
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
    fn an_unmatched_quote_is_an_error_that_shows_its_word() {
        assert_eq!(parse(br#"a b2c.run="-ti img b"#), Err(UnmatchedQuote("b2c.run=-ti img b".into())));
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
            if let Ok(words) = parse(&line) {
                assert!(words.iter().all(|w| !w.key.contains('=')));
            }
        }
    }
}
