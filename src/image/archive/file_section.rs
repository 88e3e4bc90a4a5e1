//! Readers of an archive's members, and of an archive that is being fetched.

use crate::image::pure::archive::Body;
use crate::image::source::BlobReader;
use crate::sys::io_text;
use ring::digest::{Context, SHA256};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A reader of a member of the archive. It uses `pread`, as all readers share the archive's descriptor.
pub struct FileSection {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl FileSection {
    pub fn new(file: &Arc<File>, body: Body) -> FileSection {
        FileSection { file: file.clone(), at: body.at, left: body.size }
    }
}

impl Read for FileSection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// A reader that hashes the bytes it reads.
pub struct HashingReader {
    inner: BlobReader,
    pub context: Context,
    /// The first error of the source, as opposed to an error of those who use its bytes.
    pub error: Option<String>,
}

impl HashingReader {
    pub fn new(inner: BlobReader) -> HashingReader {
        HashingReader { inner, context: Context::new(&SHA256), error: None }
    }
}

impl Read for HashingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.inner.read(buffer) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                self.error.get_or_insert_with(|| io_text(&error));
                return Err(error);
            }
            result => result?,
        };
        self.context.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}
