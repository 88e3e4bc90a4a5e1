//! Why there is no answer.

use crate::net::dns;
use crate::net::pure::http;
use crate::sys::io_text;
use std::io::ErrorKind;

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request itself is wrong: it was not sent.
    Request,
    Resolve(dns::Kind),
    Connect,
    /// `plain`: most likely a server without TLS.
    Tls {
        plain: bool,
    },
    /// The proxy refused with that status.
    Proxy(u16),
    Timeout,
    /// An answer that is not HTTP, or malformed.
    Protocol,
    /// The connection ended before the answer began.
    Closed,
}

/// Why there is no answer.
#[derive(Debug)]
pub struct Error {
    pub kind: Kind,
    pub text: String,
    pub hint: Option<&'static str>,
}

impl Error {
    pub fn new(kind: Kind, text: String) -> Error {
        Error { kind, text, hint: None }
    }

    pub fn protocol(error: http::Error) -> Error {
        Error::new(Kind::Protocol, error.text())
    }
}

/// The error of a connection before the body.
pub fn failed(error: &std::io::Error) -> Error {
    if let Some(reason) = tls_reason(error) {
        return of_tls(reason);
    }
    match error.kind() {
        ErrorKind::TimedOut => Error::new(Kind::Timeout, "no answer in time".into()),
        _ => Error::new(Kind::Closed, io_text(error)),
    }
}

/// The TLS error that an I/O error holds, if it does.
fn tls_reason(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// The error of a TLS session.
pub fn of_tls(error: &rustls::Error) -> Error {
    let plain = matches!(error, rustls::Error::InvalidMessage(_));
    let hint = if plain {
        "most likely a server of plain http: --tls-verify=false allows that"
    } else {
        "a wrong clock (b2c.ntp_peer=) makes certificates invalid; a lab's own authority goes into the \
         initramfs with --ca; --tls-verify=false trusts anybody"
    };
    Error { kind: Kind::Tls { plain }, hint: Some(hint), ..tls_error(error.to_string()) }
}

/// A failure of TLS itself.
pub fn tls_error(text: String) -> Error {
    Error::new(Kind::Tls { plain: false }, ["TLS: ", &text].concat())
}
