//! gzip around a layer, and layers that unpack to more than the disk holds (docs/inputs.md#gzip-members,
//! docs/inputs.md#bombs).

use crate::builder::{Member, Tar};
use crate::world::{apply, ready, World};
use ocinit::inflate::Inflate;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// `gzip -n`, a second opinion on the format.
fn gzip(raw: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip").arg("-nc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(raw).unwrap());
        let mut out = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
        child.wait().unwrap();
        out
    })
}

/// The content of the layer's file `f`.
fn unpack_gzip(world: &mut World, mut source: &[u8]) -> Result<Vec<u8>, String> {
    let layer = world.layer();
    apply(&mut Inflate::new(&mut source, &mut |_| Ok(())), &layer, &[], &mut |_| {})?;
    Ok(std::fs::read(layer.join("f")).unwrap())
}

/// Promise: gzip
/// Input: gzip-members
#[test]
fn members_and_trailers() {
    if !ready() {
        return;
    }
    let mut world = World::new();
    let text: Vec<u8> = (0..400_000u32).flat_map(|i| (i / 7).wrapping_mul(i).to_le_bytes()).collect();
    let tar = Tar::new().file("f", &text).end();
    assert!(unpack_gzip(&mut world, &gzip(&tar)).unwrap() == text);
    let (left, right) = tar.split_at(1000);
    let members = [gzip(left), gzip(b""), gzip(right), vec![0; 1000]].concat();
    assert!(unpack_gzip(&mut world, &members).unwrap() == text);
    let whole = gzip(&tar);
    for (spoiled, text) in [
        ([&whole[..], b"x"].concat(), "gzip: other bytes after the end"),
        ([&whole[..], &[0; 8], b"x"].concat(), "gzip: other bytes after the end"),
        (whole[..whole.len() - 1].to_vec(), "gzip: truncated"),
        (whole[..whole.len() / 2].to_vec(), "gzip: truncated"),
        (flip(&whole, whole.len() - 1), "gzip: bad length"),
        (flip(&whole, whole.len() - 5), "gzip: bad checksum"),
    ] {
        assert_eq!(unpack_gzip(&mut world, &spoiled), Err(text.into()));
    }
}

fn flip(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 0x55;
    bytes
}

/// Promise: bombs
/// Input: bombs
#[test]
fn a_bomb_meets_the_space_that_is_left() {
    if !ready() {
        return;
    }
    let mut world = World::new();
    let small = world.layer();
    let target = std::ffi::CString::new(small.to_str().unwrap()).unwrap();
    // SAFETY: the flag is a number; only this thread gets the new namespace.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
    ocinit::sys::mount::propagation(c"/", ocinit::sys::mount::MS_REC | ocinit::sys::mount::MS_PRIVATE).unwrap();
    ocinit::sys::mount::mount(c"none", &target, c"tmpfs", 0, c"size=8m").unwrap();
    for (size, count) in [(1u64 << 30, 1), (4 << 20, 300)] {
        let mut source = Zeros { headers: count, size, left: 0, pending: Vec::new() };
        let error = apply(&mut source, &small, &[], &mut |_| {}).unwrap_err();
        assert!(error.ends_with(": write: no space left on device"), "{error}");
        // The big one is refused before its first byte.
        assert_eq!(std::fs::read_dir(&small).unwrap().count() == 0, count == 1);
    }
    // No limit, no budget: what the file system does not count is not refused.
    ocinit::sys::mount::mount(c"none", &target, c"ramfs", 0, c"").unwrap();
    let mut source = Zeros { headers: 1, size: 17 << 20, left: 0, pending: Vec::new() };
    apply(&mut source, &small, &[], &mut |_| {}).unwrap();
    assert_eq!((source.headers, source.left), (0, 0));
    ocinit::sys::mount::umount(&target, ocinit::sys::mount::MNT_DETACH).unwrap();
    ocinit::sys::mount::umount(&target, ocinit::sys::mount::MNT_DETACH).unwrap();
}

/// An archive of zeros, made as it is read.
struct Zeros {
    headers: u32,
    size: u64,
    left: u64,
    pending: Vec<u8>,
}

impl Read for Zeros {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.pending.is_empty() && self.left == 0 && self.headers > 0 {
            let name = format!("f{}", self.headers);
            self.pending = Member { size: Some(self.size), ..Member::new(&name, b'0') }.header().to_vec();
            (self.headers, self.left) = (self.headers - 1, self.size);
        }
        if !self.pending.is_empty() {
            let n = self.pending.len().min(buffer.len());
            buffer[..n].copy_from_slice(&self.pending[..n]);
            self.pending.drain(..n);
            return Ok(n);
        }
        let n = self.left.min(buffer.len() as u64) as usize;
        buffer[..n].fill(0);
        self.left -= n as u64;
        Ok(n)
    }
}
