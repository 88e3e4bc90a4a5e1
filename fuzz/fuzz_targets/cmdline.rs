//! Oracle: words that were read, written back in quotes, are read as the same words.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocinit::boot::pure::cmdline::parse;

fuzz_target!(|line: &[u8]| {
    let Ok(words) = parse(line) else { return };
    let mut again = String::new();
    for word in &words {
        assert!(!word.key.contains(['"', '=']), "{word:?}");
        let text = match &word.value {
            Some(value) => format!("{}={value}", word.key),
            None => word.key.clone(),
        };
        again.push_str(&format!("\"{text}\" "));
    }
    assert_eq!(parse(again.as_bytes()).as_ref(), Ok(&words));
});
