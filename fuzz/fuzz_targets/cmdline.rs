//! Oracle: words that were read, written back in quotes, are read as the same words.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocinit::boot::pure::cmdline::{parse, parse_file, UnmatchedQuote, Word};

fn check(words: Result<Vec<Word>, UnmatchedQuote>) {
    let Ok(words) = words else { return };
    let mut again = String::new();
    for word in &words {
        assert!(!word.key.contains(['"', '=']), "{word:?}");
        let text = match &word.value {
            Some(value) => format!("{}={value}", word.key),
            None => word.key.clone(),
        };
        // A quote behind ` b2c.run=` in another program's word is taken to open that option's value.
        if text.contains(char::is_whitespace) && text.ends_with('=') && !text.starts_with("b2c.") {
            return;
        }
        again.push_str(&format!("\"{text}\" "));
    }
    let pairs = |words: Vec<Word>| words.into_iter().map(|word| (word.key, word.value)).collect::<Vec<_>>();
    assert_eq!(parse(again.as_bytes()).map(pairs), Ok(pairs(words)));
}

fuzz_target!(|line: &[u8]| {
    check(parse(line));
    check(parse_file(line));
});
