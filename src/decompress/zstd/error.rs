//! Why a stream cannot be decoded.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    Reserved,
    Dictionary,
    Window,
    Data,
    Checksum,
    Size,
    Garbage,
    Truncated,
}

impl Error {
    pub fn text(self) -> &'static str {
        match self {
            Error::Reserved => "zstd: reserved bits are set",
            Error::Dictionary => "zstd: needs a dictionary",
            Error::Window => "zstd: the window is too large for this machine",
            Error::Data => "zstd: bad compressed data",
            Error::Checksum => "zstd: bad checksum",
            Error::Size => "zstd: bad content size",
            Error::Garbage => "zstd: other bytes after the end",
            Error::Truncated => "zstd: truncated",
        }
    }
}
