//! What all that uses layers fails with.

use crate::sys;

/// Why a layer, or a root made of several layers, cannot be used.
pub struct Error {
    pub text: String,
    /// What a system call answered, where that is the reason.
    pub errno: Option<i32>,
    pub hint: Option<&'static str>,
}

impl Error {
    pub fn new(text: &str) -> Error {
        Error { text: text.into(), errno: None, hint: None }
    }

    /// Puts a text in front, such as the name of what the error is about.
    pub fn context(self, text: &str) -> Error {
        Error { text: [text, ": ", &self.text].concat(), ..self }
    }

    pub fn hint(self, hint: Option<&'static str>) -> Error {
        Error { hint, ..self }
    }
}

impl From<sys::Error> for Error {
    fn from(error: sys::Error) -> Error {
        Error { errno: Some(error.errno), ..Error::new(&error.to_string()) }
    }
}
