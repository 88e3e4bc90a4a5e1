//! A layer's tar stream into its own directory, with overlayfs's whiteouts and opaque marks. Every path stays inside
//! the directory.
//!
//! While members arrive, the directory holds only what the layer itself brings. What must not depend on their order
//! (whiteouts, opaque marks, the times of directories) is deferred until the archive has ended.

mod deferred;
mod error;
mod hardlink;
mod lower;
mod lower_lookup;
mod members;
mod queue;
mod resolve;
mod tree;

use crate::layer::pure::tar::Parser;
use crate::layer::unpack::deferred::Deferred;
pub use crate::layer::unpack::error::Error;
pub use crate::layer::unpack::lower::Lower;
use crate::layer::unpack::members::Members;
use crate::layer::unpack::queue::Finalizing;
pub use crate::layer::unpack::queue::LayerQueue;
use crate::layer::unpack::tree::Tree;
use std::io::{BufRead, ErrorKind};
use std::os::fd::OwnedFd;

/// Unpacks the tar stream `source` into the empty directory `layer` (open for reading, not `O_PATH`), and reads
/// `source` to its end, so that its digest covers every byte. What depends on the layers below is left to
/// [`PendingLayer::finalize`], except for hardlinks to their files.
///
/// After an error the directory is to be removed. Needs `/proc`, and the rights to make device nodes and to set
/// `trusted.*` attributes.
pub fn read(
    source: &mut dyn BufRead,
    layer: OwnedFd,
    queue: &mut dyn LayerQueue,
    warn: &mut dyn FnMut(&str),
) -> Result<PendingLayer, Error> {
    let mut parser = Parser::new();
    let mut members = Members::new(Tree::new(layer, queue, Deferred::default()), warn);
    loop {
        let mut input = match source.fill_buf() {
            Ok(input) => input,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::Source(error)),
        };
        let count = input.len();
        if count == 0 {
            break;
        }
        loop {
            let result = match parser.next(&mut input) {
                Ok(None) => break,
                Ok(Some(event)) => members.event(event),
                Err(error) => Err(error.into()),
            };
            result.map_err(|reason| Error::member(parser.name(), reason))?;
        }
        source.consume(count);
    }
    parser.finish().map_err(|error| Error::member(parser.name(), error.into()))?;
    let (deferred, has_root) = members.into_deferred();
    Ok(PendingLayer { deferred, has_root })
}

/// A layer whose archive has been read. Hundreds may wait, so it holds no descriptor.
pub struct PendingLayer {
    deferred: Deferred,
    has_root: bool,
}

impl PendingLayer {
    /// Memory that it holds, in bytes: the last amount that was reserved.
    pub fn bytes(&self) -> usize {
        self.deferred.reserved()
    }

    /// Finishes the layer in `layer`, the directory that it was unpacked into: `lowers` are the finished directories of
    /// the layers below, topmost first. From them come the attributes (mode, owner, extended attributes, times) of
    /// parents that the layer implies, and which whiteouts hide something. They are never written to.
    pub fn finalize(self, layer: OwnedFd, lowers: Vec<Lower>) -> Result<(), Error> {
        Tree::new(layer, &mut Finalizing, self.deferred).finalize(self.has_root, lowers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self as std_fs, File};

    struct Alone;

    impl LayerQueue for Alone {
        fn lowers(&mut self) -> Option<Vec<Lower>> {
            Some(Vec::new())
        }

        fn reserve(&mut self, _: usize) -> bool {
            true
        }
    }

    #[test]
    fn layers_that_wait_hold_no_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let mut source = vec![0; 512];
        source[..3].copy_from_slice(b"d/f");
        source[124..136].copy_from_slice(b"00000000000\0");
        source[148..156].fill(b' ');
        let sum: u32 = source.iter().map(|byte| u32::from(*byte)).sum();
        source[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let read = || read(&mut &source[..], File::open(&dir).unwrap().into(), &mut Alone, &mut |_| {}).unwrap();
        let pending: Vec<_> = (0..3).map(|_| read()).collect();
        // Other tests have theirs elsewhere.
        let open =
            std_fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| std_fs::read_link(fd.unwrap().path()).ok());
        assert_eq!(open.filter(|path| path.starts_with(dir.path())).count(), 0);
        for layer in pending {
            layer.finalize(File::open(&dir).unwrap().into(), Vec::new()).unwrap();
        }
        assert!(dir.path().join("d/f").is_file());
    }
}
