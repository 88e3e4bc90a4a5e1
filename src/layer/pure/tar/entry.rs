//! What a parsed archive consists of.

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    Hardlink,
    Fifo,
    CharDevice,
    BlockDevice,
}

/// Seconds and nanoseconds since 1970; negative times count up from below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Time {
    pub seconds: i64,
    pub nanoseconds: u32,
}

/// One member's header, all extensions applied. Names are the archive's bytes:
/// not checked, not normalized (`whiteout::target` does that).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub path: Vec<u8>,
    pub kind: Kind,
    /// The twelve permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    /// The target of a symlink or hardlink, else empty.
    pub link: Vec<u8>,
    /// Major and minor number of a device, else zeros.
    pub device: (u32, u32),
    pub xattrs: Vec<Xattr>,
    /// A file's size, holes included.
    pub size: u64,
    /// The bytes of it that the archive holds: what the file takes on a disk.
    pub data: u64,
}

/// An extended attribute: name and value.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// What the parser found. A file's `Entry` is followed by its `Data` in rising order, with holes between, and by `End`;
/// other members have neither.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'i> {
    Entry(Entry),
    /// Bytes of the file at offset `at`.
    Data {
        at: u64,
        bytes: &'i [u8],
    },
    End,
}
