//! Finds the fastest decoder that is installed.

use super::images::{output, Image};
use super::measure::LIBRARIES;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const TRIES: u32 = 2;

/// Shell commands that decompress standard input to standard output.
const GZIP: &[&str] = &["igzip -dc", "libdeflate-gzip -dc", "pigz -dc", "gzip -dc"];
const ZSTD: &[&str] = &["zstd -dcq"];

/// A decoder, and its speed with the largest layer.
pub struct Decoder {
    pub words: &'static str,
    /// Compressed bytes, in 10^6 each second.
    pub mb_per_s: f64,
}

/// Tries each decoder on the largest layer, in a directory of `scratch`; those that are not installed are skipped.
pub fn fastest(image: &Image, scratch: &Path) -> Result<Decoder, String> {
    let size = |blob: &&PathBuf| blob.metadata().map_or(0, |meta| meta.len());
    let blob = image.blobs.iter().max_by_key(size).ok_or("no layers")?;
    let mb = size(&blob) as f64 / 1e6;
    let mut best: Option<Decoder> = None;
    for words in if image.zstd { ZSTD } else { GZIP } {
        let seconds = (0..TRIES).filter_map(|_| once(words, blob, scratch)).min_by(f64::total_cmp);
        let Some(mb_per_s) = seconds.map(|seconds| mb / seconds) else { continue };
        eprintln!("{}: {words}: {mb_per_s:.0} MB/s", image.name);
        if best.as_ref().is_none_or(|best| best.mb_per_s < mb_per_s) {
            best = Some(Decoder { words, mb_per_s });
        }
    }
    best.ok_or_else(|| format!("{}: no decoder", image.name))
}

/// Seconds with a pipe into tar, as in the floor: a decoder that writes all its output at the end is fast by itself,
/// but keeps tar waiting.
fn once(words: &str, blob: &Path, scratch: &Path) -> Option<f64> {
    let dir = scratch.join("decoder");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).ok()?;
    let script = format!("set -o pipefail; {words} < \"$0\" | tar -xf - -C \"$1\"");
    let mut command = Command::new("bash");
    command
        .args(["-c", &script])
        .arg(blob)
        .arg(&dir)
        .env("LD_LIBRARY_PATH", Path::new(LIBRARIES).canonicalize().unwrap_or_default());
    let start = Instant::now();
    let outcome = output(&mut command);
    let seconds = start.elapsed().as_secs_f64();
    let _ = std::fs::remove_dir_all(&dir);
    outcome.ok().map(|_| seconds)
}
