//! The header block: where its fields lie, its dialects and types, its checksum.

use crate::layer::pure::tar::entry::Kind;
use crate::layer::pure::tar::error::Error;
use crate::layer::pure::tar::field::{number, text};
use crate::layer::pure::tar::limits::BLOCK_BYTES;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    V7,
    Ustar,
    Star,
    Gnu,
}

type Range = std::ops::Range<usize>;
pub const NAME: Range = 0..100;
pub const MODE: Range = 100..108;
pub const UID: Range = 108..116;
pub const GID: Range = 116..124;
pub const SIZE: Range = 124..136;
pub const MTIME: Range = 136..148;
pub const CHECKSUM: Range = 148..156;
pub const TYPE: usize = 156;
pub const LINK: Range = 157..257;
pub const MAGIC: Range = 257..265;
pub const MAJOR: Range = 329..337;
pub const MINOR: Range = 337..345;
pub const PREFIX: Range = 345..500;
/// star keeps times in the last 24 bytes of the prefix.
pub const STAR_PREFIX: Range = 345..476;
pub const STAR_MAGIC: Range = 508..512;
/// Four segments; the byte after them says whether more blocks follow.
pub const OLD_SPARSE: Range = 386..482;
pub const REAL_SIZE: Range = 483..495;
/// 21 segments in each further block.
pub const OLD_SPARSE_MORE: Range = 0..504;

/// What follows a header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// A file's content. What has no content may have a size all the same.
    Usual,
    OldSparse,
    /// Always there, and not needed.
    Skipped,
}

/// What a type flag means.
pub fn kind_of(kind: u8, dialect: Dialect, path: &[u8]) -> Result<(Kind, Body), Error> {
    Ok(match kind {
        // v7 had no type for directories, and some writers still have none.
        b'0' | 0 | b'7' if path.last() == Some(&b'/') => (Kind::Directory, Body::Usual),
        b'0' | 0 | b'7' => (Kind::File, Body::Usual),
        b'S' if dialect == Dialect::Gnu => (Kind::File, Body::OldSparse),
        b'1' => (Kind::Hardlink, Body::Usual),
        b'2' => (Kind::Symlink, Body::Usual),
        b'3' => (Kind::CharDevice, Body::Usual),
        b'4' => (Kind::BlockDevice, Body::Usual),
        b'5' => (Kind::Directory, Body::Usual),
        b'6' => (Kind::Fifo, Body::Usual),
        // GNU's incremental dumps: a directory whose body is the list of its
        // names. In other dialects the letter means nothing.
        b'D' if dialect == Dialect::Gnu => (Kind::Directory, Body::Skipped),
        _ => return Err(Error::Type),
    })
}

/// Which dialect's fields a header has, by its magic.
pub fn dialect(block: &[u8; BLOCK_BYTES]) -> Dialect {
    match &block[MAGIC] {
        b"ustar  \0" => Dialect::Gnu,
        magic if magic.starts_with(b"ustar\0") && &block[STAR_MAGIC] == b"tar\0" => Dialect::Star,
        magic if magic.starts_with(b"ustar\0") => Dialect::Ustar,
        _ => Dialect::V7,
    }
}

/// The name of a ustar header: prefix and name.
pub fn header_name(block: &[u8; BLOCK_BYTES], dialect: Dialect) -> Vec<u8> {
    let prefix = match dialect {
        Dialect::Ustar => text(&block[PREFIX]),
        Dialect::Star => text(&block[STAR_PREFIX]),
        Dialect::V7 | Dialect::Gnu => b"",
    };
    let name = text(&block[NAME]);
    match prefix {
        b"" => name.to_vec(),
        _ => [prefix, b"/", name].concat(),
    }
}

/// A user or group number (32 bits).
pub fn id(field: &[u8]) -> Result<u32, Error> {
    number(field).and_then(|n| u32::try_from(n).ok()).ok_or(Error::Number)
}

/// POSIX sums the bytes unsigned; some old writers summed them signed.
pub fn checksum(block: &[u8; BLOCK_BYTES]) -> Result<(), Error> {
    let mut unsigned = 0u64;
    let mut signed = 0i64;
    for (i, byte) in block.iter().enumerate() {
        let byte = if CHECKSUM.contains(&i) { b' ' } else { *byte };
        unsigned += u64::from(byte);
        signed += i64::from(byte as i8);
    }
    match number(&block[CHECKSUM]) {
        Some(sum) if sum == unsigned || i64::try_from(sum) == Ok(signed) => Ok(()),
        _ => Err(Error::Checksum),
    }
}
