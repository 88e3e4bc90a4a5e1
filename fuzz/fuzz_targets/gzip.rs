//! Oracle: what we make of a gzip stream is what another decoder makes of it, and
//! how it arrives changes nothing. The deflate streams are the fuzzer's; headers and
//! trailers are right, or random would never come past them.
#![no_main]

use flate2::{Decompress, FlushDecompress, Status};
use libfuzzer_sys::fuzz_target;

#[path = "../common/inflate.rs"]
mod inflate;

/// More than a window, less than what makes a run slow.
const OUTPUT_MAX: usize = 1 << 20;

fuzz_target!(|input: &[u8]| {
    let Some((&[flags, step, spoil], streams)) = input.split_first_chunk() else { return };
    let (mut gzip, mut expected) = (Vec::new(), Some(Vec::new()));
    for stream in streams.split(|byte| *byte == 0xa5).take(3) {
        header(&mut gzip, flags);
        let (used, raw) = reference(stream);
        gzip.extend_from_slice(&stream[..used.unwrap_or(stream.len())]);
        let mut sum = flate2::Crc::new();
        sum.update(&raw);
        gzip.extend_from_slice(&sum.sum().to_le_bytes());
        gzip.extend_from_slice(&(raw.len() as u32).to_le_bytes());
        match (&mut expected, used) {
            (Some(all), Some(_)) => all.extend_from_slice(&raw),
            _ => expected = None,
        }
    }
    let whole = inflate::whole(&gzip, gzip.len());
    assert_eq!(whole, inflate::whole(&gzip, usize::from(step) + 1), "in pieces");
    match &expected {
        Some(expected) => assert!(whole.as_ref() == Ok(expected), "{:?}, not {} bytes", whole, expected.len()),
        // The stream may end in what we took for its trailer, never in the right one.
        None => assert!(whole.is_err(), "took what another decoder refuses"),
    }
    // A changed trailer is noticed, and a cut one.
    if expected.is_some() {
        let at = gzip.len() - 1 - usize::from(spoil % 8);
        assert!(inflate::whole(&gzip[..at], 4096).is_err(), "cut at {at} of {}", gzip.len());
        gzip[at] ^= spoil | 1;
        assert!(inflate::whole(&gzip, 4096).is_err(), "spoiled at {at} of {}", gzip.len());
    }
});

/// A header with the parts that `flags` asks for (RFC 1952).
fn header(gzip: &mut Vec<u8>, flags: u8) {
    let start = gzip.len();
    let flags = flags & 0x1f;
    gzip.extend_from_slice(&[0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 255]);
    for (flag, part) in [(4, &b"\x03\0abc"[..]), (8, b"name\0"), (16, b"comment\0")] {
        gzip.extend_from_slice(if flags & flag != 0 { part } else { b"" });
    }
    if flags & 2 != 0 {
        let mut sum = flate2::Crc::new();
        sum.update(&gzip[start..]);
        gzip.extend_from_slice(&(sum.sum() as u16).to_le_bytes());
    }
}

/// How many bytes of a deflate stream there are, if it ends, and what it holds.
fn reference(stream: &[u8]) -> (Option<usize>, Vec<u8>) {
    let (mut decoder, mut raw) = (Decompress::new(false), Vec::with_capacity(OUTPUT_MAX));
    match decoder.decompress_vec(stream, &mut raw, FlushDecompress::Finish) {
        Ok(Status::StreamEnd) => (Some(decoder.total_in() as usize), raw),
        _ => (None, raw),
    }
}
