//! What answers, and failures to get one, mean for a pull: whether to retry, what to say, and what to do.

use crate::image::pure::distribution;
use crate::image::source::{Error, Kind, Retries};
use crate::net::dns;
use crate::net::http::{self, Response};
use crate::net::pure::http::retry_after;
use crate::report::Hint;
use crate::sys::machine;

const UNAUTHORIZED: Hint = Hint {
    at_boot:
        "if an image of that name exists: use --creds=USER:PASSWORD, --authfile=FILE, or /etc/ocinit/auth.json in \
              the initramfs",
    on_host: "if an image of that name exists: use --creds=USER:PASSWORD, --authfile=FILE, or /etc/ocinit/auth.json",
};
const DENIED: Hint = Hint::new("the user may not pull this image, or no image has that name");
const TOO_MANY: Hint = Hint {
    at_boot: "credentials may allow more pulls (--creds), and a caching mirror needs fewer (b2c.registry_mirror)",
    on_host: "credentials may allow more pulls (--creds), and a caching registry needs fewer",
};

/// Whether the answer may be another with credentials.
pub fn is_refusal(response: &Response) -> bool {
    matches!(response.status, 401 | 403 | 404)
}

/// Whether an answer to plain http may be one of a server of TLS: it is no registry's.
pub fn is_doubtful(response: &Response) -> bool {
    let shows = |name| response.headers.get(name).is_some();
    matches!(response.status, 400 | 403 | 404 | 426)
        && !shows("docker-distribution-api-version")
        && !shows("www-authenticate")
}

/// Whether an answer where `accept` was asked for is a page for people: where to log in.
pub fn is_page(response: &Response, accept: &str) -> bool {
    accept != "*/*" && response.headers.get("content-type").is_some_and(|kind| kind.starts_with("text/html"))
}

/// Returns a successful answer, or an error with the meaning of its status.
pub fn checked(response: Response, is_part: bool, has_credentials: bool) -> Result<Response, Error> {
    let status = response.status;
    let (reason, hint) = match status {
        200 => return Ok(response),
        206 | 416 if is_part => return Ok(response),
        401 if has_credentials => ("rejects the credentials", Some(UNAUTHORIZED)),
        401 => ("authentication required", Some(UNAUTHORIZED)),
        403 => ("access denied", Some(DENIED)),
        404 => ("no such image or tag", None),
        429 => ("too many requests", Some(TOO_MANY)),
        500..=599 => ("server error", None),
        _ => ("unexpected answer", None),
    };
    let retry_after_s = retry_after_s(&response);
    let page = response.body.refusal();
    if status == 400 && distribution::wants_tls(&page) {
        let kind = Kind::Unreachable { retries: Retries::None, status: Some(status) };
        return Err(Error::new(kind, "speaks TLS, and was asked in plain http (400): write https://"));
    }
    let mut text = [reason, " (", &status.to_string(), ")"].concat();
    if let Some(why) = distribution::refusal(&page) {
        text.push_str(": ");
        text.push_str(&why);
    }
    let mut error = Error::new(kind_of(status), &text).hint(hint);
    error.retry_after_s = retry_after_s;
    Err(error)
}

/// What a status that is no success means for a retry.
pub fn kind_of(status: u16) -> Kind {
    let unreachable = |retries| Kind::Unreachable { retries, status: Some(status) };
    match status {
        // What a proxy says of a server that is not there yet, and a server that is starting.
        502..=504 => unreachable(Retries::Patient),
        // 501 (not implemented) is final: a retry would not help.
        501 => Kind::Status(status),
        429 | 500..=599 => unreachable(Retries::Few),
        _ => Kind::Status(status),
    }
}

/// The seconds of the answer's `Retry-After`.
pub fn retry_after_s(response: &Response) -> Option<u64> {
    response.headers.get("retry-after").and_then(|text| retry_after::retry_after_s(text, machine::realtime().0))
}

/// The error of a request without an answer.
pub fn explain(error: http::Error) -> Error {
    let retries = match error.kind {
        http::Kind::Request => return Error::refused(&error.text).hint(error.hint),
        // A wrong clock, certificate or password is not healed by a retry, but a stored image may be used.
        http::Kind::Tls { .. } | http::Kind::SpeaksTls => Retries::None,
        http::Kind::Proxy(502..=504) => Retries::Patient,
        http::Kind::Proxy(status) if status < 500 => Retries::None,
        // A retry finds no name server either.
        http::Kind::Resolve(dns::Kind::NoNameserver) => Retries::None,
        http::Kind::Resolve(dns::Kind::NoAnswer) | http::Kind::Connect | http::Kind::Timeout | http::Kind::Closed => {
            Retries::Patient
        }
        _ => Retries::Few,
    };
    let kind = Kind::Unreachable { retries, status: None };
    Error::new(kind, &error.text).hint(error.hint)
}
