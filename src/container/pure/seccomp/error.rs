//! Why there is no filter.

use crate::image::pure::oci;

/// Why a profile is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    Json(oci::Error),
    /// A member is missing or of another type.
    Member(&'static str),
    /// A word that stands where only certain others can.
    Unknown(&'static str, String),
    /// The JSON has `architectures` and `archMap`: podman takes one.
    TwoArchitectures,
    /// Somebody would have to listen.
    Notify,
    /// More than the kernel takes.
    TooLong,
}

impl Error {
    pub fn text(&self) -> String {
        match self {
            Error::Json(error) => error.text(),
            Error::Member(name) => ["'", name, "' is missing or of another type"].concat(),
            Error::Unknown(what, word) => ["'", word, "' is no ", what].concat(),
            Error::TwoArchitectures => "both 'architectures' and 'archMap' are there: one or the other".into(),
            Error::Notify => "SCMP_ACT_NOTIFY needs a listener, and there is none".into(),
            Error::TooLong => "more than 4096 instructions, the kernel's limit".into(),
        }
    }
}
