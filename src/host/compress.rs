//! Compression of the initramfs: the smallest stream that the kernel's decoders accept.

use liblzma::stream::{Action, Check, Filters, LzmaOptions, Status, Stream};

/// The kernel allocates the dictionary: with the 64 MiB of `xz -9` a small guest
/// cannot unpack its initramfs, and panics with 'Unable to mount root fs'.
const DICT_MAX_BYTES: u32 = 2 << 20;
const DICT_MIN_BYTES: u32 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
    Xz(Effort),
}

/// How many settings of xz are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// One run, with the settings that usually give the fewest bytes.
    Quick,
    /// A search over the settings; the same input gives the same bytes.
    Best,
}

/// The settings of one xz stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Xz {
    /// The branch filter for x86 code (`CONFIG_XZ_DEC_X86`, on in every distribution's
    /// x86 kernel): it makes the calls of one function equal strings of bytes.
    x86: bool,
    lc: u32,
    lp: u32,
    pb: u32,
}

/// Compresses `data`; also returns the settings as text.
pub fn compress(data: &[u8], how: Compression) -> Result<(Vec<u8>, String), String> {
    compress_telling(data, how, &mut |_, _| {})
}

/// As [`compress`]; `tell` is called with the number of finished runs of xz, and with the least bytes so far.
pub fn compress_telling(
    data: &[u8],
    how: Compression,
    tell: &mut dyn FnMut(usize, usize),
) -> Result<(Vec<u8>, String), String> {
    match how {
        Compression::None => Ok((data.to_vec(), "none".into())),
        Compression::Gzip => Ok((gzip(data), "gzip -9".into())),
        Compression::Zstd => {
            // Not 22: the kernel's decoder refuses windows over 128 MB, and 22 saves nothing here.
            let bytes = zstd::bulk::compress(data, 19).map_err(|error| format!("zstd: {error}"))?;
            Ok((bytes, "zstd -19".into()))
        }
        Compression::Xz(Effort::Quick) => {
            let x86 = has_x86_code(data);
            let settings = Xz { x86, lc: if x86 { 4 } else { 3 }, lp: 0, pb: if x86 { 1 } else { 2 } };
            Ok((xz(data, settings)?, words(settings)))
        }
        Compression::Xz(Effort::Best) => smallest(data, tell),
    }
}

/// gzip without a file name or time, so that the same input gives the same bytes.
pub fn gzip(data: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::best());
    // Writing into a Vec cannot fail.
    let _ = encoder.write_all(data);
    encoder.finish().unwrap_or_default()
}

/// Decompresses gzip, xz and zstd, which are recognized by their first bytes; other data is returned as it is.
pub fn expand(data: Vec<u8>) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let mut out = Vec::new();
    match data.as_slice() {
        [0xfd, b'7', b'z', ..] => liblzma::read::XzDecoder::new_multi_decoder(&data[..]).read_to_end(&mut out),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            return zstd::stream::decode_all(&data[..]).map_err(|error| format!("zstd: {error}"));
        }
        [0x1f, 0x8b, ..] => flate2::read::MultiGzDecoder::new(&data[..]).read_to_end(&mut out),
        _ => return Ok(data),
    }
    .map_err(|error| error.to_string())?;
    Ok(out)
}

/// Changes one setting at a time as long as that saves a byte. Of equally small
/// results the first is kept, so the same input gives the same bytes. This takes a
/// third of the runs that all combinations need, and comes within some bytes of them.
fn smallest(data: &[u8], tell: &mut dyn FnMut(usize, usize)) -> Result<(Vec<u8>, String), String> {
    let code = has_x86_code(data);
    let mut best: Option<(Vec<u8>, Xz)> = None;
    let mut tried = Vec::new();
    loop {
        let at = best.as_ref().map_or(Xz { x86: code, lc: 3, lp: 0, pb: 2 }, |(_, settings)| *settings);
        let mut round = vec![at];
        if code {
            round.push(Xz { x86: !at.x86, ..at });
        }
        round.extend((0..=2).map(|pb| Xz { pb, ..at }));
        round.extend((0..=4).map(|lc| Xz { lc, ..at }));
        round.extend((0..=2).map(|lp| Xz { lp, ..at }));
        // The kernel's decoder, like liblzma, takes no more than four bits of both.
        round.retain(|settings| settings.lc + settings.lp <= 4 && !tried.contains(settings));
        if round.is_empty() {
            break;
        }
        let before = tried.len();
        tried.extend_from_slice(&round);
        let mut least = best.as_ref().map_or(usize::MAX, |(bytes, _)| bytes.len());
        let mut tell_one = |done: usize, bytes: usize| {
            least = least.min(bytes);
            tell(before + done, least);
        };
        for (bytes, settings) in all(data, &round, &mut tell_one)? {
            if best.as_ref().is_none_or(|(least, _)| bytes.len() < least.len()) {
                best = Some((bytes, settings));
            }
        }
    }
    best.map(|(bytes, settings)| (bytes, words(settings))).ok_or_else(|| "nothing to compress".into())
}

/// Compresses with each of `round` on all processors; the results are in the order of `round`. `tell` is called after
/// each run with their number and the bytes of that one.
fn all(data: &[u8], round: &[Xz], tell: &mut dyn FnMut(usize, usize)) -> Result<Vec<(Vec<u8>, Xz)>, String> {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    let (sender, finished) = std::sync::mpsc::channel();
    let share = |slot: &[Xz], sender: std::sync::mpsc::Sender<usize>| -> Result<Vec<(Vec<u8>, Xz)>, String> {
        let one = |settings: &Xz| {
            let bytes = xz(data, *settings)?;
            // Nobody listens any more where another run has failed.
            let _ = sender.send(bytes.len());
            Ok((bytes, *settings))
        };
        slot.iter().map(one).collect()
    };
    let share = &share;
    std::thread::scope(|scope| {
        let slots = round.chunks(round.len().div_ceil(threads));
        let start = |slot| {
            let sender = sender.clone();
            scope.spawn(move || share(slot, sender))
        };
        let running: Vec<_> = slots.map(start).collect();
        drop(sender);
        for (number, bytes) in finished.iter().enumerate() {
            tell(number + 1, bytes);
        }
        let mut done = Vec::new();
        for thread in running {
            done.extend(thread.join().unwrap_or_else(|_| Err("xz: a thread panicked".into()))?);
        }
        Ok(done)
    })
}

fn words(settings: Xz) -> String {
    let Xz { x86, lc, lp, pb } = settings;
    format!("xz --check=crc32{} --lzma2=preset=9e,lc={lc},lp={lp},pb={pb}", if x86 { " --x86" } else { "" })
}

fn xz(data: &[u8], settings: Xz) -> Result<Vec<u8>, String> {
    let text = |error: liblzma::stream::Error| format!("xz: {error}");
    let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let dict = size.clamp(DICT_MIN_BYTES, DICT_MAX_BYTES).next_power_of_two();
    // Presets 6 and 9 differ only in the dictionary, which is set below; bit 31 is xz's --extreme.
    let mut options = LzmaOptions::new_preset(9 | (1 << 31)).map_err(text)?;
    options.dict_size(dict).literal_context_bits(settings.lc).literal_position_bits(settings.lp);
    options.position_bits(settings.pb);
    let mut filters = Filters::new();
    if settings.x86 {
        filters.x86();
    }
    filters.lzma2(&options);
    let mut stream = Stream::new_stream_encoder(&filters, Check::Crc32).map_err(text)?;
    let mut out = Vec::with_capacity(data.len() / 2 + 4096);
    loop {
        let consumed = stream.total_in() as usize;
        let status = stream.process_vec(&data[consumed..], &mut out, Action::Finish).map_err(text)?;
        if status == Status::StreamEnd {
            return Ok(out);
        }
        out.reserve(out.capacity().max(4096));
    }
}

/// Whether there is a linked ELF file for x86 in `data`: type 2 or 3 at byte 16,
/// machine 3 or 62 at byte 18. Kernel modules (type 1) do not count: their calls are
/// still to be relocated, and the filter makes them larger.
fn has_x86_code(data: &[u8]) -> bool {
    data.windows(20).any(|w| {
        let (kind, machine) = (u16::from_le_bytes([w[16], w[17]]), u16::from_le_bytes([w[18], w[19]]));
        w.starts_with(b"\x7fELF") && matches!(kind, 2 | 3) && matches!(machine, 3 | 62)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut data = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0".to_vec();
        for n in 0u32..3000 {
            data.extend_from_slice(&[0xe8]);
            data.extend_from_slice(&(90_000 - 7 * n).to_le_bytes());
            data.extend_from_slice(b"\x48\x89");
        }
        data
    }

    #[test]
    fn every_way_comes_back_whole() {
        let data = sample();
        for how in [
            Compression::None,
            Compression::Gzip,
            Compression::Zstd,
            Compression::Xz(Effort::Quick),
            Compression::Xz(Effort::Best),
        ] {
            let (bytes, words) = compress(&data, how).unwrap();
            assert_eq!(expand(bytes.clone()).unwrap(), data, "{words}");
            assert_eq!(compress(&data, how).unwrap().0, bytes, "{words}");
        }
    }

    #[test]
    fn the_best_is_no_larger_than_a_quick_try() {
        let data = sample();
        let quick = compress(&data, Compression::Xz(Effort::Quick)).unwrap().0.len();
        let best = compress(&data, Compression::Xz(Effort::Best)).unwrap().0.len();
        assert!(best <= quick, "{best} > {quick}");
    }

    #[test]
    fn a_search_tells_how_far_it_is() {
        let (mut told, data) = (Vec::new(), sample());
        let best = compress_telling(&data, Compression::Xz(Effort::Best), &mut |done, least| told.push((done, least)));
        assert!(told.len() > 8 && told.iter().enumerate().all(|(at, (done, _))| *done == at + 1), "{told:?}");
        assert!(told.is_sorted_by(|one, other| one.1 >= other.1), "{told:?}");
        assert_eq!(told.last().unwrap().1, best.unwrap().0.len());
    }

    #[test]
    fn a_broken_file_is_an_error() {
        let mut bytes = compress(&sample(), Compression::Xz(Effort::Quick)).unwrap().0;
        bytes.truncate(bytes.len() / 2);
        assert!(expand(bytes).is_err());
    }

    #[test]
    fn code_is_known_by_its_header() {
        assert!(has_x86_code(&sample()));
        assert!(!has_x86_code(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0"));
        assert!(!has_x86_code(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\x3e\0"));
        assert!(!has_x86_code(b"text"));
    }
}
