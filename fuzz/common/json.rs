//! Documents that another implementation reads as ours does.

use ocinit::pure::json::{self, Value};

/// The document as serde_json reads it. None where the readers differ on purpose: texts that are no Unicode and numbers
/// beyond any float, keys that are repeated or differ in case only (serde_json keeps neither nulls nor the order), and
/// keys that differ in case from one of `known`.
pub fn usual(input: &[u8], known: &[&str]) -> Option<serde_json::Value> {
    json::parse(input).filter(|value| is_usual(value, known))?;
    serde_json::from_slice(input).ok()
}

fn is_usual(value: &Value, known: &[&str]) -> bool {
    let items = value.as_array().unwrap_or_default();
    let members = value.members().unwrap_or_default();
    let mut keys: Vec<String> = members.iter().map(|(key, _)| folded(key)).collect();
    keys.sort();
    let is_named = |key: &String| known.iter().all(|name| name == key || folded(name) != folded(key));
    keys.windows(2).all(|pair| pair[0] != pair[1])
        && members.iter().all(|(key, value)| is_named(key) && is_usual(value, known))
        && items.iter().all(|item| is_usual(item, known))
}

fn folded(key: &str) -> String {
    key.replace('\u{17f}', "s").replace('\u{212a}', "k").to_ascii_lowercase()
}
