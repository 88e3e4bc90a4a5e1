//! gzip and zstd streams of other compressors are decompressed to the bytes that went in, read in pieces of any size;
//! damaged streams are refused (docs/inputs.md#damaged-streams).

use ocinit::inflate::Inflate;
use std::io::{self, Read, Write};
use zstd::stream::raw::CParameter;

/// Reads of at most `step` bytes.
struct Short<'a>(&'a [u8], usize);

impl Read for Short<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = buffer.len().min(self.1);
        self.0.read(&mut buffer[..n])
    }
}

/// The raw bytes, and the largest window that was asked for.
fn inflate(stream: &[u8], step: usize) -> Result<(Vec<u8>, u64), String> {
    let (mut out, mut window) = (Vec::new(), 0);
    let mut reserve = |bytes: u64| {
        window = window.max(bytes);
        if bytes > 8 << 20 {
            Err(io::Error::other("too large"))
        } else {
            Ok(())
        }
    };
    match Inflate::new(&mut Short(stream, step), &mut reserve).read_to_end(&mut out) {
        Ok(_) => Ok((out, window)),
        Err(error) => Err(error.to_string()),
    }
}

fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// Noise, runs, text, machine code of this very program, and matches from far back.
fn samples() -> Vec<Vec<u8>> {
    let mut seed = 7;
    let noise: Vec<u8> = (0..70_000).map(|_| random(&mut seed) as u8).collect();
    let runs: Vec<u8> = (0..300u64).flat_map(|i| vec![i as u8; random(&mut seed) as usize % 2000]).collect();
    let words = ["overlay", "layer", " of ", "the ", "\n", "registry", "a", "mount "];
    let text: Vec<u8> = (0..60_000).flat_map(|_| words[random(&mut seed) as usize % 8].bytes()).collect();
    let code = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let code = code[code.len() / 3..][..1 << 20].to_vec();
    let far = [&noise[..], &text, &noise, &runs, &text[..100_000]].concat();
    vec![Vec::new(), vec![b'x'], vec![0; 1 << 20], noise, runs, text, code, far]
}

fn gzip(raw: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(raw).unwrap();
    encoder.finish().unwrap()
}

fn zstd(raw: &[u8], level: i32, parameters: &[CParameter]) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), level).unwrap();
    for parameter in parameters {
        encoder.set_parameter(*parameter).unwrap();
    }
    encoder.write_all(raw).unwrap();
    encoder.finish().unwrap()
}

fn assert_same(raw: &[u8], stream: &[u8], what: &str) {
    for step in [usize::MAX, 4093, 7, 1] {
        if step == 1 && stream.len() > 100_000 {
            continue;
        }
        let (out, _) = inflate(stream, step).unwrap_or_else(|error| panic!("{what}, steps of {step}: {error}"));
        assert!(out == raw, "{what}, steps of {step}");
    }
}

#[test]
fn gzip_of_every_level() {
    for (n, raw) in samples().iter().enumerate() {
        for level in 0..=9 {
            assert_same(raw, &gzip(raw, level), &format!("sample {n}, level {level}"));
        }
    }
}

/// Promise: zstd
#[test]
fn zstd_of_many_levels() {
    for (n, raw) in samples().iter().enumerate() {
        for level in [-5, 1, 3, 9, 19] {
            let plain = zstd(raw, level, &[]);
            let checked = zstd(raw, level, &[CParameter::ChecksumFlag(true), CParameter::WindowLog(17)]);
            assert_same(raw, &plain, &format!("sample {n}, level {level}"));
            assert_same(raw, &checked, &format!("sample {n}, level {level}, with a checksum"));
            // The encoder that knows the size writes another header.
            let sized = zstd::bulk::compress(raw, level).unwrap();
            assert_same(raw, &sized, &format!("sample {n}, level {level}, of known size"));
        }
    }
}

/// Promise: zstd
/// Input: zstd-frames
#[test]
fn zstd_frames_and_what_lies_between() {
    let skippable = |bytes: &[u8]| [&0x184d_2a53u32.to_le_bytes(), &(bytes.len() as u32).to_le_bytes(), bytes].concat();
    let (a, b) = (zstd(b"one, ", 3, &[]), zstd(b"two", 3, &[CParameter::ChecksumFlag(true)]));
    let all = [skippable(b"first"), a.clone(), skippable(b""), b.clone(), skippable(&[7; 300_000])].concat();
    assert_same(b"one, two", &all, "skippable frames");
    assert_same(b"", &skippable(b"nothing else"), "one alone");
    for (spoiled, text) in [
        ([&a[..], b"x"].concat(), "zstd: other bytes after the end"),
        ([&a[..], b"\0\0\0\0"].concat(), "zstd: other bytes after the end"),
        (a[..a.len() - 1].to_vec(), "zstd: truncated"),
        (b[..b.len() - 4].to_vec(), "zstd: truncated"),
        (skippable(b"cut")[..9].to_vec(), "zstd: truncated"),
        ([&b[..b.len() - 1], &[b[b.len() - 1] ^ 1]].concat(), "zstd: bad checksum"),
    ] {
        assert_eq!(inflate(&spoiled, 5), Err(text.into()));
    }
}

/// Promise: zstd
/// Input: zstd-frames
#[test]
fn a_zstd_window_is_asked_for_before_it_is_taken() {
    let raw: Vec<u8> = samples().concat().repeat(3);
    let window = |log| inflate(&zstd(&raw, 3, &[CParameter::WindowLog(log)]), 1 << 16).map(|(_, window)| window);
    assert_eq!(window(20), Ok(1 << 20));
    assert_eq!(window(23), Ok(8 << 20));
    assert_eq!(window(24), Err("too large".into()));
    // A frame that is smaller than its window takes no more than it holds.
    let sized = zstd::bulk::compress(&raw[..100_000], 19).unwrap();
    assert_eq!(inflate(&sized, 100).unwrap().1, 100_000);
}

/// 1000 literals and a match from 900 back in a frame that promises 256 bytes, and has memory for no more.
/// Input: zstd-frames
#[test]
fn a_zstd_frame_of_more_than_its_content_is_refused() {
    let frame = b"\x28\xb5\x2f\xfd\x40\x50\x00\x00\x5d\x00\x00\x85\x3e\x41\x01\x54\x1c\x09\x00\xe8\x0f\x07";
    assert_eq!(inflate(frame, 50), Err("zstd: bad compressed data".into()));
    let run = |length: u8| [b"\x28\xb5\x2f\xfd\x40\x50\x00\x00".as_slice(), &[3 | length << 3, 8, 0, b'A']].concat();
    assert_eq!(inflate(&run(1), 50), Err("zstd: bad content size".into()));
    assert_eq!(inflate(&run(0), 50).unwrap().0, [b'A'; 256]);
}

/// A checksum over the content: whatever is changed, nothing else comes out of it.
/// Promise: damaged-streams
/// Input: damaged-streams
#[test]
fn damage_never_passes() {
    let raw = &samples()[5][..3000];
    let streams = [gzip(raw, 6), gzip(raw, 1), zstd(raw, 3, &[CParameter::ChecksumFlag(true)])];
    for (n, good) in streams.iter().enumerate() {
        let mut refused = 0;
        for at in 0..good.len() {
            for flip in [1, 0x10, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                match inflate(&bad, 50) {
                    Ok((out, _)) => assert!(out == raw || out == bad, "stream {n}, byte {at} ^ {flip}"),
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(refused > good.len() * 3, "stream {n}: {refused} refused");
    }
}

/// Weights of literals that are all even: the fuzzer's. A code that could be shorter is none.
#[test]
fn a_code_of_zstd_literals_without_a_longest_is_refused() {
    let frame = |weight: u8| {
        let head = b"\x28\xb5\x2f\xfd\x20\x16\x8d\x00\x00\x62\x41\x03\x08\xe0\xe9\x00\xa0\x40";
        [head.as_slice(), &[weight], b"\x95\x02\xff\xf0\xf3\x0f\x00"].concat()
    };
    assert_eq!(inflate(&frame(0x5d), 50).unwrap().0.len(), 22);
    assert_eq!(inflate(&frame(0xa1), 50), Err("zstd: bad compressed data".into()));
}
