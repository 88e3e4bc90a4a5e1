//! The size of a block, and how much of an archive's extensions is read.

/// Every header, and the padding of every body, is a multiple of this.
pub const BLOCK_BYTES: usize = 512;
/// A PAX block, a GNU long name or a GNU long link may be this long.
pub const MAX_EXTENSION_BYTES: u64 = 1 << 20;
/// Extension headers before one member.
pub const MAX_EXTENSIONS: u32 = 16;
/// Extended attributes of one member; Linux lists 64 KiB of names.
pub const MAX_XATTRS: usize = 1024;
/// Data segments of one sparse file: at 16 bytes each, a map takes 1 MiB.
pub const MAX_SEGMENTS: usize = 1 << 16;
