//! Why there is no answer.

use crate::net::dns;
use crate::net::pure::http;
use crate::net::pure::sntp::Time;
use crate::report::Hint;
use crate::sys::io_text;
use rustls::pki_types::UnixTime;
use rustls::CertificateError::{ExpiredContext, NotValidYetContext};
use std::io::ErrorKind;
use std::ops::Deref;

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

/// Why there is no answer. In a box, since each function that passes it on would copy it.
#[derive(Debug)]
pub struct Error(Box<Reason>);

/// What an [`Error`] tells.
#[derive(Debug)]
pub struct Reason {
    pub kind: Kind,
    pub text: String,
    pub hint: Option<Hint>,
}

impl Deref for Error {
    type Target = Reason;

    fn deref(&self) -> &Reason {
        &self.0
    }
}

impl Error {
    pub fn new(kind: Kind, text: String) -> Error {
        Error(Box::new(Reason { kind, text, hint: None }))
    }

    pub fn hint(mut self, hint: Option<Hint>) -> Error {
        self.0.hint = hint;
        self
    }

    /// Puts what `parts` make, and a colon, before the text.
    pub fn context(mut self, parts: &[&str]) -> Error {
        self.0.text = [&*parts.concat(), ": ", &self.text].concat();
        self
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
    let (early, limit, now) = match error {
        rustls::Error::InvalidCertificate(NotValidYetContext { time, not_before }) => (true, not_before, time),
        rustls::Error::InvalidCertificate(ExpiredContext { time, not_after }) => (false, not_after, time),
        _ => return of_session(error),
    };
    let text = |time: &UnixTime| Time { seconds: time.as_secs() as i64, nanoseconds: 0 }.text();
    let what = if early { "the certificate is valid from " } else { "the certificate was valid until " };
    let told = [what, &text(limit), " UTC, and the clock says ", &text(now)].concat();
    let hint = if early { CLOCK_HINT } else { TLS_HINT };
    tls_error(told).hint(Some(hint))
}

fn of_session(error: &rustls::Error) -> Error {
    let plain = matches!(error, rustls::Error::InvalidMessage(_));
    let hint = if plain { PLAIN_HINT } else { TLS_HINT };
    Error::new(Kind::Tls { plain }, error.to_string()).context(&["TLS"]).hint(Some(hint))
}

/// The error of a server that is known to speak plain http.
pub fn plain_http() -> Error {
    Error::new(Kind::Tls { plain: true }, "TLS: the server speaks plain http".into()).hint(Some(PLAIN_HINT))
}

const PLAIN_HINT: Hint = Hint::new("for a registry of plain http, write --tls-verify=false before the image");
const TLS_HINT: Hint = Hint {
    at_boot: "a wrong clock (b2c.ntp_peer=) makes certificates invalid; a lab's own authority goes into the initramfs \
              with --ca; --tls-verify=false trusts anybody",
    on_host: "a wrong clock makes certificates invalid; --cert-dir=DIR has a lab's own authority in a file *.crt; \
              --tls-verify=false trusts anybody",
};
/// A server rarely has a certificate of the future, and a board without a battery always a clock of the past.
const CLOCK_HINT: Hint = Hint {
    at_boot: "the clock of this machine is wrong, most likely: b2c.ntp_peer=HOST sets it by a time server",
    on_host: "the clock of this machine is wrong, most likely",
};

/// A failure of TLS itself.
pub fn tls_error(text: String) -> Error {
    Error::new(Kind::Tls { plain: false }, text).context(&["TLS"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::Error::InvalidCertificate;
    use std::time::Duration;

    /// Promise: clock-told
    #[test]
    fn a_certificate_of_the_future_is_the_clocks_fault() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let error = of_tls(&InvalidCertificate(NotValidYetContext { time: at(12), not_before: at(1_795_569_201) }));
        assert_eq!(
            error.text,
            "TLS: the certificate is valid from 2026-11-25 01:13:21 UTC, and the clock says 1970-01-01 00:00:12"
        );
        assert!(error.hint.is_some_and(|hint| hint.at_boot.contains("b2c.ntp_peer=")), "the clock is to be set");
        let error = of_tls(&InvalidCertificate(ExpiredContext { time: at(1_795_569_201), not_after: at(0) }));
        assert_eq!(
            error.text,
            "TLS: the certificate was valid until 1970-01-01 00:00:00 UTC, and the clock says 2026-11-25 01:13:21"
        );
    }
}
