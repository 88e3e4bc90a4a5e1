//! Oracle: what is read from an index, a manifest or a configuration keeps its
//! limits, and the same document written by another writer is read as the same.
#![no_main]

#[path = "../common/json.rs"]
mod json;

use libfuzzer_sys::fuzz_target;
use ocinit::image::pure::oci::{choose, document, image_config, Descriptor, Document, Error, LAYERS_MAX};

fuzz_target!(|input: &[u8]| {
    let (found, config) = (document(input), image_config(input));
    match &found {
        Ok(Document::Manifest { config, layers }) => {
            assert!(layers.len() <= LAYERS_MAX, "{} layers", layers.len());
            layers.iter().chain([config]).for_each(check);
        }
        Ok(Document::Index(choices)) => {
            choices.iter().flat_map(|choice| &choice.descriptor).for_each(check);
            let chosen = choose(choices, "amd64", "v1");
            assert!(chosen.is_none_or(|choice| matches!(choice.architecture.as_str(), "amd64" | "")), "{chosen:?}");
        }
        Err(_) => {}
    }
    if let Ok(config) = &config {
        assert!(config.diff_ids.len() <= LAYERS_MAX, "{} diff IDs", config.diff_ids.len());
    }
    let refused = |error: &Error| matches!(error, Error::Json | Error::TooManyValues);
    if found.as_ref().is_err_and(refused) || config.as_ref().is_err_and(refused) {
        assert!(found.is_err() && config.is_err(), "one reader's JSON is none for the other");
        return;
    }
    let Some(value) = json::usual(input, &[]) else { return };
    for again in [value.to_string(), format!("{value:#}")] {
        assert_eq!(document(again.as_bytes()), found);
        assert_eq!(image_config(again.as_bytes()), config);
    }
});

/// Its digest is a file's name in the store.
fn check(descriptor: &Descriptor) {
    let text = descriptor.digest.text();
    let hex = text.strip_prefix("sha256:").expect("sha256");
    assert!(hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{text}");
}
