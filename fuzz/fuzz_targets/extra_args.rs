//! Oracle: the words of a document, written back in quotes, are the same words and lead to the same options; none of
//! them changes what decides about the document itself, and none is shown with a secret or a control character.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocinit::boot::pure::cmdline::{parse, parse_file, Word};
use ocinit::boot::pure::extra_args::{is_page, shown, signature_url, without_user};
use ocinit::boot::pure::interpolate::{expand, Form};
use ocinit::boot::pure::options::Config;
use ocinit::net::pure::dns::hostname;
use ocinit::pure::scrub::clean;

const KERNEL: &[u8] = b"b2c.extra_args_url=http://h/x b2c.extra_args_key=/k b2c.verify_key=/k b2c.insmods=a.ko b2c.run=one";

/// The options, or what is wrong with them, without the places.
fn config(extra: Vec<Word>) -> Result<Config, Vec<String>> {
    let kernel = parse(KERNEL).expect("a line of ours");
    let read = Config::read(&[kernel, Vec::new(), extra]);
    read.map_err(|mistakes| mistakes.into_iter().map(|mistake| mistake.text).collect())
}

fn written(words: &[Word]) -> String {
    let text = |word: &Word| match &word.value {
        Some(value) => format!("\"{}={value}\"\n", word.key),
        None => format!("\"{}\"\n", word.key),
    };
    words.iter().map(text).collect()
}

fuzz_target!(|document: &[u8]| {
    let text = String::from_utf8_lossy(document);
    let values = &mut |_: &str| Some(text.to_string());
    if let Ok(name) = expand("a-${serial}", Form::HostName, values) {
        assert!(name.len() > 64 || hostname(&name).is_ok(), "{name:?}");
    }
    if let Ok(url) = expand("http://h/${mac}", Form::Url, values) {
        assert!(url.bytes().all(|byte| byte.is_ascii_graphic()) && !url["http://h/".len()..].contains(['/', '?', '#']));
    }
    if let Ok((url, Some(_))) = without_user(&text) {
        assert!(url.len() < text.len());
    }
    assert!(signature_url(&text).contains(".sig"));
    let _ = is_page(&text, document);

    let Ok(words) = parse_file(document) else { return };
    for word in &words {
        let line = clean(&shown(word));
        assert!(!line.chars().any(char::is_control), "{line:?}");
        if let Some(value) = line.strip_prefix("b2c.volume=") {
            assert!(!value.contains('='), "{line:?}");
        }
    }
    let pairs = |words: &[Word]| words.iter().map(|word| (word.key.clone(), word.value.clone())).collect::<Vec<_>>();
    let again = parse(written(&words).as_bytes()).expect("words in quotes");
    assert_eq!(pairs(&again), pairs(&words));
    match (config(words), config(again)) {
        (Ok(one), Ok(other)) => {
            assert_eq!((&one.run, &one.hostname, one.on_fail), (&other.run, &other.hostname, other.on_fail));
            assert_eq!(one.run.first().map(String::as_str), Some("one"));
            assert_eq!((one.verify_keys.len(), &one.insmods[..]), (1, &["a.ko".to_string()][..]));
            assert_eq!(one.extra_args.url.as_deref(), Some("http://h/x"));
            assert!(one.extra_args.key.is_some() && one.extra_args.sha256.is_none());
        }
        (one, other) => assert_eq!(one.err(), other.err()),
    }
});
