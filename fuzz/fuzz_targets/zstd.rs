//! Oracle: what we take as zstd is what the reference decoder makes of it, how it
//! arrives changes nothing, and what the reference encoder writes is taken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::Read;

#[path = "../common/inflate.rs"]
mod inflate;

/// Frames that ask for more are skipped: neither decoder's memory is the matter here.
const OUTPUT_MAX: u64 = 1 << 22;
/// Of an init that was built without it.
const NOT_THERE: &str = "zstd layers are not supported yet";

fuzz_target!(|input: &[u8]| {
    let Some((&[level, step, at, change], raw)) = input.split_first_chunk() else { return };
    // Any bytes at all in a frame, then a right one, then one with a byte changed.
    check(&[&b"\x28\xb5\x2f\xfd"[..], raw].concat(), step);
    let mut frame = zstd::bulk::compress(raw, i32::from(level % 20) - 1).expect("compresses");
    let ours = inflate::whole(&frame, 4096);
    if ours.as_ref().err().map(String::as_str) == Some(NOT_THERE) {
        return;
    }
    assert!(ours.as_deref() == Ok(raw), "{ours:?}, not {} bytes", raw.len());
    let skippable = [&b"\x51\x2a\x4d\x18\x02\0\0\0xx"[..], &frame, &frame].concat();
    assert!(inflate::whole(&skippable, 7) == Ok(raw.repeat(2)), "two frames after a skippable one");
    let at = usize::from(at) % frame.len();
    frame[at] ^= change;
    check(&frame, step);
});

fn check(stream: &[u8], step: u8) {
    let Some(reference) = reference(stream) else { return };
    let ours = inflate::whole(stream, stream.len());
    assert_eq!(ours, inflate::whole(stream, usize::from(step) + 1), "in pieces");
    if let (Ok(ours), true) = (ours, stream.starts_with(b"\x28\xb5\x2f\xfd")) {
        assert!(reference.as_ref() == Ok(&ours), "took {} bytes, the reference {reference:?}", ours.len());
    }
}

/// `None` where it would be too large.
fn reference(stream: &[u8]) -> Option<Result<Vec<u8>, ()>> {
    let mut raw = Vec::new();
    let Ok(decoder) = zstd::Decoder::new(stream) else { return Some(Err(())) };
    match decoder.take(OUTPUT_MAX).read_to_end(&mut raw) {
        Ok(_) if raw.len() as u64 == OUTPUT_MAX => None,
        Ok(_) => Some(Ok(raw)),
        Err(_) => Some(Err(())),
    }
}
