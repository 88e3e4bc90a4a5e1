//! Oracle: how an archive is cut into pieces changes nothing, and a file's data
//! are in rising order, inside its size, and as many bytes as its header says.
#![no_main]

#[path = "../common/checksums.rs"]
mod checksums;

use libfuzzer_sys::fuzz_target;
use ocinit::layer::pure::tar::{Entry, Error, Event, Parser};

/// What was seen, independent of pieces: a file's data joined.
#[derive(Debug, PartialEq)]
enum Seen {
    Entry(Entry),
    Data(u64, Vec<u8>),
    End,
    Refused(Error),
}

fuzz_target!(|input: &[u8]| {
    let Some((&step, archive)) = input.split_first() else { return };
    let mut archive = archive.to_vec();
    checksums::repair(&mut archive);
    let whole = read(&archive, archive.len().max(1));
    check(&whole);
    assert_eq!(whole, read(&archive, usize::from(step) + 1));
});

fn read(archive: &[u8], step: usize) -> Vec<Seen> {
    let (mut parser, mut seen) = (Parser::new(), Vec::new());
    for mut piece in archive.chunks(step) {
        loop {
            match parser.next(&mut piece) {
                Ok(Some(event)) => add(&mut seen, event),
                Ok(None) => break,
                Err(error) => {
                    seen.push(Seen::Refused(error));
                    return seen;
                }
            }
        }
        assert!(piece.is_empty(), "left {} bytes", piece.len());
    }
    seen.extend(parser.finish().err().map(Seen::Refused));
    seen
}

fn add(seen: &mut Vec<Seen>, event: Event) {
    match event {
        Event::Entry(entry) => seen.push(Seen::Entry(entry)),
        Event::End => seen.push(Seen::End),
        Event::Data { at, bytes } => match seen.last_mut() {
            Some(Seen::Data(start, data)) if *start + data.len() as u64 == at => data.extend_from_slice(bytes),
            _ => seen.push(Seen::Data(at, bytes.to_vec())),
        },
    }
}

fn check(seen: &[Seen]) {
    let mut file: Option<&Entry> = None;
    let (mut end, mut stored) = (0, 0);
    for part in seen {
        match part {
            Seen::Entry(entry) => (file, end, stored) = (Some(entry), 0, 0),
            Seen::Data(at, data) => {
                let file = file.expect("data after an entry");
                assert!(*at >= end, "data at {at} after {end}");
                end = at + data.len() as u64;
                stored += data.len() as u64;
                assert!(end <= file.size, "data up to {end} of {}", file.size);
            }
            Seen::End => assert_eq!(Some(stored), file.map(|file| file.data), "bytes of {file:?}"),
            Seen::Refused(_) => {}
        }
    }
}
