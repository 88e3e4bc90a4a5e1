//! What is wrong with an archive, in words.

/// Why an archive is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    Checksum,
    Number,
    Truncated,
    AfterEnd,
    Type,
    Record,
    NulInName,
    ExtensionTooLong,
    TooManyExtensions,
    NamesDisagree,
    Sparse,
    SparseVersion,
    TooManyXattrs,
}

impl Error {
    pub fn text(self) -> &'static str {
        match self {
            Error::Checksum => "bad header checksum",
            Error::Number => "bad number in the header",
            Error::Truncated => "the archive is truncated",
            Error::AfterEnd => "a member after an end block",
            Error::Type => "unknown member type",
            Error::Record => "malformed pax record",
            Error::NulInName => "NUL in a pax name",
            Error::ExtensionTooLong => "extended header over 1 MiB",
            Error::TooManyExtensions => "more than 16 extended headers in a row",
            Error::NamesDisagree => "pax and gnu headers disagree on the name",
            Error::Sparse => "bad sparse map",
            Error::SparseVersion => "unknown sparse format",
            Error::TooManyXattrs => "more than 1024 extended attributes",
        }
    }
}
