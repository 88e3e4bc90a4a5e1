//! A small document at a URL that the user has named: fetched whole, with the retries of a registry.

use crate::image::pure::retry::Policy;
use crate::image::registry::answer::{explain, kind_of, retry_after_s};
use crate::image::registry::document::read_paced;
use crate::image::registry::min_rate::Pace;
use crate::image::registry::retry_state::RetryState;
use crate::image::source::Error;
use crate::net::http::{self, Client, Method, Request, Response};
use crate::net::pure::http::{basic, is_same_origin, origin, redirect, Url};
use crate::net::pure::restricted::is_restricted_host;
use crate::report::{Hint, Report};
use crate::sys::machine;

const REDIRECTS_MAX: usize = 9;
/// The longest wait that a `Retry-After` may ask for: it is for a server of images.
const RETRY_AFTER_MAX_S: u64 = 30;

const OTHER_HOST: Hint =
    Hint::new("write that URL, or say what must come from there: b2c.extra_args_sha256= or b2c.extra_args_key=");
const LOGIN: Hint = Hint::new("write USER:PASSWORD@ before the host in the URL");
const TLS: Hint = Hint::new(
    "a wrong clock makes certificates invalid (b2c.ntp_peer= on the kernel's line); a lab's own authority goes into the \
     initramfs with --ca",
);
const PLAIN: Hint = Hint::new("for a server of plain http, write http://");

/// What is fetched, and its limits.
pub struct UrlDocument<'a> {
    pub step: &'static str,
    pub url: &'a str,
    /// The value of `Authorization`, for the URL's own server.
    pub authorization: Option<&'a str>,
    /// Redirects to other hosts are followed, since what comes is checked.
    pub from_any_host: bool,
    pub size_max: u64,
    /// The limits for one body, and for all tries; the last one may take longer by its own limits.
    pub body_ms: u64,
    pub total_ms: u64,
}

/// A document, and what kind its server says it is.
#[derive(Debug)]
pub struct Answer {
    pub bytes: Vec<u8>,
    pub content_type: String,
}

impl UrlDocument<'_> {
    /// Fetches it; what may heal is tried again.
    pub fn fetch(&self, client: &Client, report: &Report) -> Result<Answer, Error> {
        let mut retry_state = RetryState::new(Policy::default(), client.cancel_token().clone(), *report);
        retry_state.step = self.step;
        let end_ms = machine::uptime_ms() + self.total_ms;
        loop {
            let error = match self.fetch_once(client) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let mut error = error.context(&["GET ", self.url]);
            error.retry_after_s = error.retry_after_s.map(|asked_s| asked_s.min(RETRY_AFTER_MAX_S));
            if machine::uptime_ms() >= end_ms {
                return Err(error.last());
            }
            retry_state.wait(error)?;
        }
    }

    fn fetch_once(&self, client: &Client) -> Result<Answer, Error> {
        let response = self.follow(client)?;
        let content_type = response.headers.get("content-type").unwrap_or_default().into();
        let bytes = read_paced(response, self.size_max, Pace::new(self.body_ms, u64::MAX))?;
        Ok(Answer { bytes, content_type })
    }

    /// The answer of status 200, which may be another URL's. An error of another server names that server.
    fn follow(&self, client: &Client) -> Result<Response, Error> {
        let (mut target, mut user) = (self.url.to_string(), String::new());
        for _ in 0..=REDIRECTS_MAX {
            let at_home = is_same_origin(&target, self.url);
            let in_redirect = |error: Error| match at_home {
                true => error,
                false => error.context(&["redirects to ", host_of(&target)]),
            };
            let mut headers = vec![("accept", "*/*"), ("accept-encoding", "identity")];
            // As with Go's client, a redirect's own user counts.
            let given = (!user.is_empty()).then(|| basic(&user));
            let authorization = given.as_deref().or(self.authorization.filter(|_| at_home));
            headers.extend(authorization.map(|value| ("authorization", value)));
            let request = Request { method: Method::Get, url: &target, headers: &headers };
            let response = client.send(&request).map_err(|error| in_redirect(unanswered(error)))?;
            match response.status {
                200 => return Ok(response),
                301 | 302 | 303 | 307 | 308 => {}
                _ => return Err(in_redirect(self.refused(response))),
            }
            let next = response.headers.get("location").and_then(|next| redirect(&target, next, user));
            response.body.discard();
            let (next, its_user) = next.ok_or_else(|| Error::refused("redirects without a safe target"))?;
            (target, user) = (self.allowed(next)?, its_user);
        }
        Err(Error::refused("redirects more than 9 times"))
    }

    /// Whoever answers decides what the machine does, so a redirect stays on the host that the user has named. Not even
    /// what is checked is asked for at a link-local address.
    fn allowed(&self, next: String) -> Result<String, Error> {
        let name = |url| Url::parse(url).map_or(String::new(), |url| url.host.to_ascii_lowercase());
        let is_same_host = name(self.url) == name(&next);
        if is_same_host || (self.from_any_host && !is_restricted_host(host_of(&next))) {
            return Ok(next);
        }
        let text = ["redirects to another host, ", host_of(&next), ", which is not followed"].concat();
        Err(Error::refused(&text).hint(Some(OTHER_HOST)))
    }

    fn refused(&self, response: Response) -> Error {
        let status = response.status;
        let (reason, hint) = match status {
            401 if self.authorization.is_some() => ("rejects the user or the password", None),
            401 => ("authentication required", Some(LOGIN)),
            403 => ("access denied", None),
            404 | 410 => ("no such document", None),
            429 => ("too many requests", None),
            500..=599 => ("server error", None),
            _ => ("unexpected answer", None),
        };
        let text = [reason, " (", &status.to_string(), ")"].concat();
        let mut error = Error::new(kind_of(status), &text).hint(hint);
        error.retry_after_s = retry_after_s(&response);
        error
    }
}

fn host_of(url: &str) -> &str {
    origin(url).map_or("", |(_, host)| host)
}

/// The error of a request without an answer, with hints that are for options.
fn unanswered(error: http::Error) -> Error {
    let hint = match error.kind {
        http::Kind::Tls { plain: true } => Some(PLAIN),
        http::Kind::Tls { plain: false } => Some(TLS),
        _ => error.hint,
    };
    explain(error).hint(hint)
}
