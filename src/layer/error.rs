//! What all that uses layers fails with.

use crate::sys;
use std::ops::Deref;

/// Why a layer, or a root made of several layers, cannot be used. In a box, since each function that passes it on would
/// copy it.
pub struct Error(Box<Reason>);

/// What an [`Error`] tells.
pub struct Reason {
    pub text: String,
    /// What a system call answered, where that is the reason.
    pub errno: Option<i32>,
    pub hint: Option<&'static str>,
}

impl Deref for Error {
    type Target = Reason;

    fn deref(&self) -> &Reason {
        &self.0
    }
}

impl Error {
    pub fn new(text: &str) -> Error {
        Error(Box::new(Reason { text: text.into(), errno: None, hint: None }))
    }

    /// Puts a text in front, such as the name of what the error is about.
    pub fn context(mut self, text: &str) -> Error {
        self.0.text = [text, ": ", &self.text].concat();
        self
    }

    pub fn hint(mut self, hint: Option<&'static str>) -> Error {
        self.0.hint = hint;
        self
    }
}

impl From<sys::Error> for Error {
    fn from(error: sys::Error) -> Error {
        let (text, errno) = (error.to_string(), Some(error.errno));
        Error(Box::new(Reason { text, errno, hint: None }))
    }
}
