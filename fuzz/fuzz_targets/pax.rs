//! Oracle: a PAX header means what a second, plainer reader of its records says,
//! where that one understands it; what that one refuses is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocinit::layer::pure::tar::{Entry, Event, Parser};

fuzz_target!(|input: &[u8]| {
    let entry = member(input);
    let Some(records) = records(input) else {
        assert!(entry.is_none(), "took malformed records: {entry:?}");
        return;
    };
    let Some(entry) = entry else { return };
    // The last one counts, and an empty one takes it back.
    let last = |key: &[u8]| records.iter().rev().find(|(k, _)| *k == key).map(|(_, v)| *v).filter(|v| !v.is_empty());
    let number = |key: &[u8]| last(key).and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
    if last(b"GNU.sparse.name").is_none() {
        assert_eq!(entry.path, last(b"path").unwrap_or(b"name"));
    }
    assert_eq!(u64::from(entry.uid), number(b"uid").unwrap_or(0o11));
    assert_eq!(u64::from(entry.gid), number(b"gid").unwrap_or(0o22));
    if !records.iter().any(|(key, _)| key.starts_with(b"GNU.sparse.")) {
        assert_eq!((entry.size, entry.data), (number(b"size").unwrap_or(0), entry.size));
    }
    assert!(entry.mtime.nanoseconds < 1_000_000_000 && !entry.path.contains(&0), "{entry:?}");
    for (name, value) in &entry.xattrs {
        let plain = [&b"SCHILY.xattr."[..], name].concat();
        let encoded = |(key, _): &(&[u8], &[u8])| key.starts_with(b"LIBARCHIVE.xattr.");
        assert!(!name.is_empty() && !name.contains(&0), "{entry:?}");
        let told = records.iter().rev().find(|(key, _)| *key == plain).is_some_and(|(_, v)| v == value);
        assert!(told || records.iter().any(encoded), "{entry:?}");
    }
});

/// `LENGTH KEY=VALUE\n`, again and again (POSIX, 'pax Extended Header').
fn records(mut text: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut found = Vec::new();
    while !text.is_empty() {
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let length: usize = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
        let (record, rest) = text.split_at_checked(length)?;
        let record = record.get(digits..)?.strip_prefix(b" ")?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if key.is_empty() || key.contains(&0) {
            return None;
        }
        found.push((key, value));
        text = rest;
    }
    Some(found)
}

/// The file that has these records, if the parser takes it.
fn member(records: &[u8]) -> Option<Entry> {
    let mut archive = header(b'x', records.len()).to_vec();
    archive.extend_from_slice(records);
    archive.resize(archive.len().next_multiple_of(512), 0);
    archive.extend_from_slice(&header(b'0', 0));
    // A sparse map may be in the body; one block of it is there.
    archive.extend_from_slice(&[b'0'; 512]);
    let (mut parser, mut input) = (Parser::new(), &archive[..]);
    loop {
        match parser.next(&mut input) {
            Ok(Some(Event::Entry(entry))) => return Some(entry),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

fn header(kind: u8, size: usize) -> [u8; 512] {
    let mut block = [0; 512];
    let size = format!("{size:011o}\0");
    let fields: [(usize, &[u8]); 8] = [
        (0, b"name"),
        (100, b"0000644\0"),
        (108, b"0000011\0"),
        (116, b"0000022\0"),
        (124, size.as_bytes()),
        (148, b"        "),
        (156, &[kind]),
        (257, b"ustar\x0000"),
    ];
    for (at, bytes) in fields {
        block[at..at + bytes.len()].copy_from_slice(bytes);
    }
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}
