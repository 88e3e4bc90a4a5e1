//! A registry over HTTP: manifests, blobs, tokens (OCI distribution spec 1.1).

use super::http::{self, Client, Kind, Method, Request, Response, Tls, CERTS_DIR};
use super::resolver::Resolver;
use super::source::{Error, Fetched, Source};
use crate::proto::digest::Digest;
use crate::proto::http::{absolute, origin};
use crate::proto::oci::{self, Descriptor};
use crate::proto::proxy::Proxies;
use crate::proto::reference::Remote;
use crate::proto::{auth, http_date};
use crate::sys::{io_text, machine};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

/// Pauses before the second and the third try.
const BACKOFF_MS: [u64; 2] = [500, 1000];
/// Up to so much more, by chance.
const JITTER_MS: u64 = 250;
/// A document is to be here in 30 s, a blob to bring 1 KiB/s, over a minute.
const DOCUMENT_PACE: Pace = Pace::new(30_000, u64::MAX);
const BLOB_PACE: Pace = Pace::new(60_000, 60 << 10);
/// The longest wait that a `Retry-After` may ask for.
const RETRY_AFTER_MAX_S: u64 = 30;
const REDIRECTS_MAX: usize = 5;
const TOKEN_ANSWER_MAX: u64 = 1 << 20;

/// One image's registry.
#[derive(Clone)]
pub struct Registry {
    remote: Remote,
    client: Client,
    /// What to try, in order; one is left after the first answer.
    schemes: Vec<&'static str>,
    token: Option<String>,
}

impl Registry {
    pub fn new(remote: &Remote, tls_verify: bool, resolver: &Arc<Resolver>) -> Registry {
        let tls = Tls { verify: tls_verify, cert_dirs: vec![CERTS_DIR.into()] };
        let client = Client::new(resolver.clone(), Proxies::none(), tls);
        Registry { remote: remote.clone(), client, schemes: schemes(&remote.host, tls_verify), token: None }
    }

    /// Does `attempt` again where that may help.
    fn again<T>(&mut self, attempt: &mut dyn FnMut(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let mut pauses = BACKOFF_MS.iter();
        loop {
            let error = match attempt(self) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let Some(pause_ms) = pauses.next().filter(|_| error.retry) else {
                // Whoever asked us need not try again as often.
                return Err(Error { retry: false, ..error });
            };
            let asked_ms = error.retry_after_s.unwrap_or(0).min(RETRY_AFTER_MAX_S) * 1000;
            std::thread::sleep(Duration::from_millis(asked_ms.max(*pause_ms) + jitter_ms()));
        }
    }

    /// A document in whole: one that is cut is asked for again.
    fn whole(&mut self, path: &str, accept: &str) -> Result<Vec<u8>, Error> {
        self.again(&mut |registry| read_limited(registry.get_any_scheme(path, accept)?, oci::DOCUMENT_MAX))
    }

    fn get_any_scheme(&mut self, path: &str, accept: &str) -> Result<Response, Error> {
        let mut first_error = None;
        for scheme in self.schemes.clone() {
            match self.get_authorized(scheme, path, accept) {
                // What a TLS server says to plain text (nginx, Go's net/http).
                Ok(response) if response.status == 400 && scheme == "http" && self.schemes.len() > 1 => {}
                Ok(response) => {
                    self.schemes = vec![scheme];
                    return checked(response);
                }
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.unwrap_or_else(|| Error::refused("answers 400 to plain http")))
    }

    /// One request, and once more with a token where the registry wants one.
    fn get_authorized(&mut self, scheme: &str, path: &str, accept: &str) -> Result<Response, Error> {
        let server = self.remote.server().to_string();
        let url = [scheme, "://", &server, "/v2/", &self.remote.path, "/", path].concat();
        let response = self.get_following(&url, accept)?;
        if response.status != 401 {
            return Ok(response);
        }
        let challenge = response.headers.get_all("www-authenticate").find_map(auth::bearer);
        response.body.discard();
        let bearer = challenge.ok_or_else(|| Error::refused("wants a user and a password: not there yet"))?;
        if !bearer.may_follow(scheme, &server) {
            return Err(Error::refused(&["sends us for a token to ", &bearer.realm, ", which is not safe"].concat()));
        }
        let answer = checked(self.send(&bearer.url(), "application/json", false)?)?;
        let answer = read_limited(answer, TOKEN_ANSWER_MAX)?;
        let token = auth::token(&answer).ok_or_else(|| Error::refused("the token server's answer holds no token"))?;
        self.token = Some(token);
        self.get_following(&url, accept)
    }

    /// Follows redirects ourselves: never from https to http, and the token
    /// stays with the registry's own scheme, host and port.
    fn get_following(&mut self, url: &str, accept: &str) -> Result<Response, Error> {
        let mut target = url.to_string();
        for _ in 0..=REDIRECTS_MAX {
            let response = self.send(&target, accept, origin(&target) == origin(url))?;
            if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let next = response.headers.get("location").and_then(|next| absolute(&target, next));
            response.body.discard();
            target = next.ok_or_else(|| Error::refused("redirects to nowhere that we may follow"))?;
        }
        Err(Error::refused("redirects more than 5 times"))
    }

    fn send(&mut self, url: &str, accept: &str, authorized: bool) -> Result<Response, Error> {
        let token = self.token.as_ref().filter(|_| authorized);
        let authorization = token.map(|token| ["Bearer ", token].concat());
        let mut headers = vec![("accept", accept)];
        headers.extend(authorization.as_ref().map(|value| ("authorization", value.as_str())));
        self.client.send(&Request { method: Method::Get, url, headers: &headers }).map_err(explain)
    }
}

impl Source for Registry {
    fn manifest(&mut self, digest: Option<&Digest>) -> Result<Vec<u8>, Error> {
        let version = digest.map_or_else(|| self.remote.version(), Digest::text);
        self.whole(&["manifests/", &version].concat(), oci::ACCEPT)
    }

    fn wanted(&self) -> Option<Digest> {
        self.remote.digest
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        self.whole(&["blobs/", &descriptor.digest.text()].concat(), "*/*")
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<Fetched, Error> {
        let path = ["blobs/", &descriptor.digest.text()].concat();
        let response = self.again(&mut |registry| registry.get_any_scheme(&path, "*/*"))?;
        Ok(Box::new(paced(response, BLOB_PACE)))
    }

    fn another(&self) -> Box<dyn Source> {
        Box::new(self.clone())
    }
}

/// With verification, https and nothing else. Without, both are tried, as
/// podman does; a port of its own is a plain http server in most labs, so that
/// comes first there.
fn schemes(host: &str, tls_verify: bool) -> Vec<&'static str> {
    let port = host.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        _ if tls_verify => vec!["https"],
        Some(port) if port != 443 => vec!["http", "https"],
        _ => vec!["https", "http"],
    }
}

/// An answer that is not 200 in words.
fn checked(response: Response) -> Result<Response, Error> {
    let status = response.status;
    let reason = match status {
        200 => return Ok(response),
        401 => "wants a user and a password: not there yet (401)",
        403 => "refuses access (403)",
        404 => "has no such image or tag (404)",
        429 => "says that we ask too often (429)",
        500..=599 => "has an error of its own",
        _ => "gives an answer that we do not understand",
    };
    let retry_after_s =
        response.headers.get("retry-after").and_then(|text| http_date::retry_after_s(text, machine::realtime().0));
    let text: String = if reason.ends_with(')') { reason.into() } else { format!("{reason} ({status})") };
    let busy = status == 429 || (500..=599).contains(&status);
    Err(Error { retry: busy, unreachable: busy, retry_after_s, ..Error::refused(&text) })
}

fn read_limited(response: Response, max: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let reader = paced(response, DOCUMENT_PACE);
    reader.take(max + 1).read_to_end(&mut bytes).map_err(|error| Error::temporary(&io_text(&error)))?;
    if bytes.len() as u64 > max {
        return Err(Error::refused("the document is larger than 4 MiB"));
    }
    Ok(bytes)
}

fn paced(response: Response, pace: Pace) -> impl Read + Send {
    Paced { inner: response.body, pace }
}

/// What a body has to bring in each stretch of waiting for it.
#[derive(Clone, Copy)]
struct Pace {
    stretch_ms: u64,
    floor_bytes: u64,
    waited_ms: u64,
    bytes: u64,
}

impl Pace {
    const fn new(stretch_ms: u64, floor_bytes: u64) -> Pace {
        Pace { stretch_ms, floor_bytes, waited_ms: 0, bytes: 0 }
    }

    /// After `waited_ms` more for `bytes`: whether that is fast enough.
    fn keeps(&mut self, waited_ms: u64, bytes: u64) -> bool {
        self.waited_ms += waited_ms;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.waited_ms < self.stretch_ms {
            return true;
        }
        let keeps = self.bytes >= self.floor_bytes;
        (self.waited_ms, self.bytes) = (0, 0);
        keeps
    }
}

/// A body that is given up where it is too slow: one byte now and then is no
/// silence, and would keep a machine for days. What we do with the bytes
/// ourselves takes none of its time.
struct Paced<R> {
    inner: R,
    pace: Pace,
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start_ms = machine::uptime_ms();
        let count = self.inner.read(buffer)?;
        let waited_ms = machine::uptime_ms().saturating_sub(start_ms);
        if count > 0 && !self.pace.keeps(waited_ms, count as u64) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the body comes too slowly"));
        }
        Ok(count)
    }
}

/// Machines that were started together should not ask again together.
fn jitter_ms() -> u64 {
    let mut byte = [0; 1];
    // Early in a boot there may be no random bytes: the clock's last digits do.
    match machine::random(&mut byte) {
        Ok(()) => u64::from(byte[0]) % JITTER_MS,
        Err(_) => machine::uptime_ms() % JITTER_MS,
    }
}

fn explain(error: http::Error) -> Error {
    // The clock, a certificate, a password: asking again is in vain, what is here already is good.
    let retry = match error.kind {
        Kind::Tls { .. } => false,
        Kind::Proxy(status) => status >= 500,
        Kind::Request => return Error::refused(&error.text),
        _ => true,
    };
    Error { retry, hint: error.hint, ..Error::temporary(&error.text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_never_falls_back_where_it_is_verified() {
        assert_eq!(schemes("a.b:5000", true), ["https"]);
        assert_eq!(schemes("a.b:5000", false), ["http", "https"]);
        assert_eq!(schemes("a.b", false), ["https", "http"]);
        assert_eq!(schemes("[::1]:443", false), ["https", "http"]);
    }

    #[test]
    fn a_body_of_a_byte_now_and_then_is_too_slow() {
        let mut blob = BLOB_PACE;
        // 2 KiB/s for an hour, then 0.5 KiB/s: the next full minute tells.
        assert!((0..3600).all(|_| blob.keeps(1000, 2048)));
        let mut seconds = (1..).skip_while(|_| blob.keeps(1000, 512));
        assert_eq!(seconds.next(), Some(60));
        let mut document = DOCUMENT_PACE;
        assert!(document.keeps(29_999, 1 << 20) && !document.keeps(1, 1 << 20));
    }
}
