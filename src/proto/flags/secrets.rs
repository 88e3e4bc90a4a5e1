//! A line as it may be shown: without what `--creds` is given.

use crate::proto::authfile::{self, Credentials};

/// `line` as it may be shown, to people and to the containers behind it, whether
/// it can be read or not.
pub fn shown(line: &str) -> String {
    let raw = raw_words(line);
    let bare: Vec<String> = raw.iter().map(|word| word.replace(['\'', '"', '\\'], "")).collect();
    let secrets = secrets(&bare);
    if secrets.is_empty() {
        return line.into();
    }
    let mut out = Vec::new();
    let mut is_value = false;
    for (raw, bare) in raw.iter().zip(&bare) {
        out.push(match bare.split_once("--creds=") {
            _ if is_value => authfile::MASK.into(),
            Some((before, _)) => [before, "--creds=", authfile::MASK].concat(),
            None => authfile::scrub(raw, &secrets),
        });
        is_value = !is_value && bare.ends_with("--creds");
    }
    out.join(" ")
}

/// The words of `line` as they stand there, with their quotes; the last takes
/// the rest where a quote is not closed.
fn raw_words(line: &str) -> Vec<&str> {
    let (mut quote, mut escaped) = (None, false);
    let is_end = |c: char| {
        match (c, quote) {
            _ if escaped => escaped = false,
            ('\\', None | Some('"')) => escaped = true,
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (c, None) => return c.is_ascii_whitespace(),
            _ => {}
        }
        false
    };
    line.split(is_end).filter(|word| !word.is_empty()).collect()
}

/// What `--creds` is given, in lines too that cannot be read.
pub(super) fn secrets(words: &[String]) -> Vec<String> {
    let mut secrets = Vec::new();
    for (index, word) in words.iter().enumerate() {
        // Not only at its start: a line that cannot be read may be no list of words.
        let value = match word.split_once("--creds") {
            Some((_, "")) => words.get(index + 1).map(String::as_str),
            Some((_, rest)) => rest.strip_prefix('='),
            None => None,
        };
        let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
        match Credentials::parse(value) {
            Some(credentials) => secrets.extend(credentials.secrets()),
            None => secrets.push(value.into()),
        }
    }
    secrets
}
