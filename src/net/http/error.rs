//! Why there is no answer.

use crate::net::dns;
use crate::net::pure::http;
use crate::report::Hint;
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
    /// An answer in TLS to plain http.
    SpeaksTls,
    /// The connection ended before the answer began.
    Closed,
}

/// Why there is no answer.
#[derive(Debug)]
pub struct Error {
    pub kind: Kind,
    pub text: String,
    pub hint: Option<Hint>,
}

impl Error {
    pub fn new(kind: Kind, text: String) -> Error {
        Error { kind, text, hint: None }
    }

    pub fn protocol(error: http::Error) -> Error {
        let kind = if error == http::Error::Tls { Kind::SpeaksTls } else { Kind::Protocol };
        Error::new(kind, error.text())
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
    let hint = if plain { PLAIN_HINT } else { TLS_HINT };
    Error { kind: Kind::Tls { plain }, hint: Some(hint), ..tls_error(error.to_string()) }
}

/// The error of a server that is known to speak plain http.
pub fn plain_http() -> Error {
    let text = "TLS: the server speaks plain http".into();
    Error { kind: Kind::Tls { plain: true }, text, hint: Some(PLAIN_HINT) }
}

const PLAIN_HINT: Hint = Hint::new("for a registry of plain http, write --tls-verify=false before the image");
const TLS_HINT: Hint = Hint {
    at_boot: "a wrong clock (b2c.ntp_peer=) makes certificates invalid; a lab's own authority goes into the initramfs \
              with --ca; --tls-verify=false trusts anybody",
    on_host: "a wrong clock makes certificates invalid; --cert-dir=DIR has a lab's own authority in a file *.crt; \
              --tls-verify=false trusts anybody",
};

/// A failure of TLS itself.
pub fn tls_error(text: String) -> Error {
    Error::new(Kind::Tls { plain: false }, ["TLS: ", &text].concat())
}
