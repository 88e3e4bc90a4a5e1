//! Oracle: however an archive is cut into pieces, its index is the same, and a
//! file's bytes are those that a reader finds who passes over nothing. What is read
//! of `manifest.json` keeps its limits, and our own manifest is read as it was meant.
#![no_main]

#[path = "../common/checksums.rs"]
mod checksums;
#[path = "../common/json.rs"]
mod json;

use libfuzzer_sys::fuzz_target;
use ocinit::image::pure::archive::{pick, Error, Index, Scan, MEMBERS_MAX, NAMES_BYTES_MAX};
use ocinit::image::pure::docker_archive::{images, manifest, LAYER};
use ocinit::image::pure::oci::{document, Descriptor, Document, LAYERS_MAX};
use ocinit::layer::pure::tar::{Event, Kind, Parser};
use ocinit::pure::digest::Digest;

fuzz_target!(|input: &[u8]| {
    docker(input);
    let Some((&step, archive)) = input.split_first() else { return };
    let mut archive = archive.to_vec();
    checksums::repair(&mut archive);
    let whole = index(&archive, archive.len().max(1));
    let pieces = index(&archive, usize::from(step) + 1);
    let (whole, pieces) = match (whole, pieces) {
        (Ok(whole), Ok(pieces)) => (whole, pieces),
        (whole, pieces) => {
            assert_eq!(whole.err(), pieces.err());
            return;
        }
    };
    let members = members(&archive);
    assert!(members.len() <= MEMBERS_MAX);
    assert!(members.iter().map(|(name, _)| name.len()).sum::<usize>() <= NAMES_BYTES_MAX);
    for (name, _) in &members {
        let found = whole.find(name);
        assert_eq!(found, pieces.find(name));
        let Ok(body) = found else { continue };
        let bytes = &archive[body.at as usize..][..body.size as usize];
        assert!(members.iter().any(|(_, data)| data.as_deref() == Some(bytes)), "{name:?} is no file's bytes");
    }
    if let Ok(body) = whole.find(b"manifest.json") {
        docker(&archive[body.at as usize..][..body.size as usize]);
    }
});

fn index(archive: &[u8], step: usize) -> Result<Index, Error> {
    let mut scan = Scan::new();
    while let Some(rest) = archive.get(scan.at() as usize..).filter(|rest| !rest.is_empty()) {
        let before = scan.at();
        scan.push(&rest[..rest.len().min(step)])?;
        assert!(scan.at() > before, "no step forward");
    }
    scan.finish(archive.len() as u64)
}

/// All members of an archive that has an index, and the bytes of files.
fn members(archive: &[u8]) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let (mut parser, mut rest, mut members) = (Parser::new(), archive, Vec::new());
    while let Some(event) = parser.next(&mut rest).expect("a member that was indexed") {
        match event {
            Event::Entry(entry) => members.push((entry.path, (entry.kind == Kind::File).then(Vec::new))),
            Event::Data { bytes, .. } => members.last_mut().unwrap().1.as_mut().unwrap().extend_from_slice(bytes),
            Event::End => {}
        }
    }
    parser.finish().expect("an end that was indexed");
    members
}

fn docker(list: &[u8]) {
    let Ok(all) = images(list) else { return };
    if let Some(value) = json::usual(list, &[]) {
        assert_eq!(images(value.to_string().as_bytes()).as_ref(), Ok(&all));
    }
    let names: Vec<_> = all.iter().map(|image| image.names.clone()).collect();
    assert_eq!(pick(&names, None).is_ok(), all.len() == 1);
    for (index, image) in all.iter().enumerate() {
        assert!(image.layers.len() <= LAYERS_MAX);
        assert_eq!(pick(&names, Some(&format!("@{index}"))), Ok(index));
        let blob = |name: &String| Descriptor {
            digest: Digest([name.len() as u8; 32]),
            size: name.len() as u64,
            media_type: LAYER.into(),
        };
        let layers: Vec<_> = image.layers.iter().map(blob).collect();
        let read = document(&manifest(&blob(&image.config), &layers));
        assert_eq!(read, Ok(Document::Manifest { config: blob(&image.config), layers }));
    }
}
