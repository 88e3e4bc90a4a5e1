//! One server that may have the image, the registry itself or a mirror: its scheme, tokens, redirects and errors.

use crate::files;
use crate::image::pure::auth::{self, Bearer, Way};
use crate::image::pure::authfile::Credentials;
use crate::image::pure::mirror::Mirror;
use crate::image::pure::reference::Remote;
use crate::image::registry::answer::{checked, explain, is_refusal};
use crate::image::registry::min_rate;
use crate::image::source::Error;
use crate::net::http::{Client, Method, Request, Response};
use crate::net::pure::http::{absolute, is_same_origin, origin};
use crate::net::pure::restricted::is_restricted_host;
use crate::pure::scrub;
use crate::sys::{io_text, machine};
use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

const REDIRECTS_MAX: usize = 5;
const TOKEN_ANSWER_MAX: u64 = 1 << 20;

/// How long a mirror that failed is skipped.
const DOWN_MS: u64 = 30_000;

/// A request.
pub struct Ask<'a> {
    pub method: Method,
    /// The path below the repository: `manifests/latest`.
    pub path: &'a str,
    pub accept: &'a str,
    /// The first byte requested; 0 for all.
    pub from: u64,
}

impl Ask<'_> {
    pub fn get<'a>(path: &'a str, accept: &'a str) -> Ask<'a> {
        Ask { method: Method::Get, path, accept, from: 0 }
    }

    fn verb(&self) -> &'static str {
        match self.method {
            Method::Head => "HEAD ",
            _ => "GET ",
        }
    }
}

/// A server, and the scheme, token and state that were learned of it.
pub struct Server {
    remote: Remote,
    mirror: Option<Mirror>,
    credentials: Option<Credentials>,
    state: Mutex<State>,
    /// Held while a token is requested, so that other threads wait for it.
    login: Mutex<()>,
}

struct State {
    /// The schemes to try, in order; one is left after the first answer.
    schemes: Vec<&'static str>,
    /// The value of `Authorization`.
    authorization: Option<String>,
    /// It failed: other servers are used until then.
    down_until_ms: u64,
    /// The ways to log in of the API's root, once they were asked for.
    root_ways: Option<Vec<Way>>,
}

impl Server {
    pub fn registry(remote: &Remote, tls_verify: bool, credentials: Option<Credentials>) -> Server {
        Server::new(remote, None, schemes(&remote.host, tls_verify), credentials)
    }

    pub fn mirror(remote: &Remote, mirror: &Mirror, credentials: Option<Credentials>) -> Server {
        Server::new(remote, Some(mirror.clone()), vec![mirror.scheme], credentials)
    }

    fn new(
        remote: &Remote,
        mirror: Option<Mirror>,
        schemes: Vec<&'static str>,
        credentials: Option<Credentials>,
    ) -> Server {
        let state = Mutex::new(State { schemes, authorization: None, down_until_ms: 0, root_ways: None });
        Server { remote: remote.clone(), mirror, credentials, state, login: Mutex::new(()) }
    }

    /// A mirror's name; the registry itself has none.
    pub fn mirror_name(&self) -> Option<String> {
        self.mirror.as_ref().map(|mirror| [mirror.scheme, "://", &mirror.host, &mirror.prefix].concat())
    }

    pub fn is_down(&self) -> bool {
        machine::uptime_ms() < self.lock().down_until_ms
    }

    /// Skips this server for a while.
    pub fn mark_down(&self) {
        self.lock().down_until_ms = machine::uptime_ms() + DOWN_MS;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The URL of `object`, which begins with the repository's path; of the API's root, if it is empty.
    fn url(&self, scheme: &str, object: &str) -> String {
        match &self.mirror {
            // A mirror gets containerd's name for Docker Hub, not the host name of its API.
            Some(mirror) => mirror.url(&self.remote.host, object),
            None => [scheme, "://", self.remote.server(), "/v2/", object].concat(),
        }
    }

    /// Sends a request; any status but success is an error.
    pub fn ask(&self, client: &Client, ask: &Ask) -> Result<Response, Error> {
        self.ask_each_way(client, ask).map_err(|error| Error { text: self.scrubbed(&error.text), ..error })
    }

    /// Removes credentials from a text: a server's message is printed, and may repeat what it was sent.
    fn scrubbed(&self, text: &str) -> String {
        let mut secrets = self.credentials.as_ref().map(Credentials::secrets).unwrap_or_default();
        let shown = self.lock().authorization.clone();
        secrets.extend(shown.as_deref().and_then(|shown| Some(shown.split_once(' ')?.1.into())));
        scrub::scrub(text, &secrets)
    }

    fn ask_each_way(&self, client: &Client, ask: &Ask) -> Result<Response, Error> {
        let schemes = self.lock().schemes.clone();
        let mut first_error = None;
        // The first error is of plain http to a server of TLS: what TLS fails for is the reason.
        let mut is_tls = false;
        for scheme in &schemes {
            let url = self.url(scheme, &[&self.remote.path, "/", ask.path].concat());
            match self.authorized(client, scheme, &url, ask) {
                // A TLS server's answer to plain HTTP (nginx, Go's net/http), or a real answer.
                Ok(response) if response.status == 400 && *scheme == "http" && schemes.len() > 1 => {
                    let error = self.checked(response, ask).err();
                    is_tls = error.as_ref().is_some_and(Error::is_unreachable);
                    first_error = error.map(|error| in_request(error, ask, &url));
                }
                Ok(response) => {
                    self.lock().schemes = vec![scheme];
                    return self.checked(response, ask).map_err(|error| in_request(error, ask, &url));
                }
                // A server that refuses does speak that scheme.
                Err(error) if !error.is_unreachable() => return Err(in_request(error, ask, &url)),
                Err(error) => {
                    let speaks_tls = *scheme == "http" && !error.may_heal();
                    if first_error.is_none() || is_tls {
                        first_error = Some(in_request(error, ask, &url));
                    }
                    is_tls = speaks_tls;
                }
            }
        }
        Err(first_error.unwrap_or_else(|| Error::refused("neither https nor http can be used")))
    }

    fn checked(&self, response: Response, ask: &Ask) -> Result<Response, Error> {
        checked(response, ask.from > 0, self.credentials.is_some())
    }

    /// Sends a request, and again with credentials or a token if the server requires them or they have expired. Some
    /// servers answer 403 or 404 to those who have not shown theirs.
    fn authorized(&self, client: &Client, scheme: &str, url: &str, ask: &Ask) -> Result<Response, Error> {
        let before = self.lock().authorization.clone();
        let response = following(client, url, ask, before.as_deref())?;
        if !(response.status == 401 || (is_refusal(&response) && before.is_none())) {
            return Ok(response);
        }
        let _one = self.login.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.lock().authorization.clone().filter(|now| before.as_ref() != Some(now));
        let Some(now) = now else { return self.log_in(client, scheme, url, ask, response) };
        // Another thread has logged in already.
        response.body.discard();
        let response = following(client, url, ask, Some(&now))?;
        match response.status {
            401 => self.log_in(client, scheme, url, ask, response),
            _ => Ok(response),
        }
    }

    /// Answers the challenges of `refused` one after the other until one satisfies the server; returns its last answer.
    fn log_in(
        &self,
        client: &Client,
        scheme: &str,
        url: &str,
        ask: &Ask,
        refused: Response,
    ) -> Result<Response, Error> {
        let mut ways = self.ways(&refused);
        if ways.is_empty() {
            ways = self.ways_of_root(client, scheme);
        }
        let (mut response, mut failed, mut is_answered) = (refused, None, false);
        let mut rejected_by = None;
        for way in &ways {
            // Servers count wrong passwords: another scope does not make it right.
            if matches!(way, Way::Token(bearer, _) if rejected_by == Some(&bearer.realm)) {
                continue;
            }
            let value = match way {
                Way::Token(bearer, scope) => self.token(client, scheme, url, bearer, scope),
                Way::Basic => self.password().ok_or_else(|| Error::refused("no password")),
            };
            let value = match value {
                Ok(value) => value,
                // Of two scopes of a token server, the first says what is wrong.
                Err(error) => {
                    if let (Way::Token(bearer, _), Some(401)) = (way, error.status()) {
                        rejected_by = Some(&bearer.realm);
                    }
                    failed.get_or_insert(error);
                    continue;
                }
            };
            response.body.discard();
            response = following(client, url, ask, Some(&value))?;
            is_answered = true;
            if response.status != 401 {
                self.lock().authorization = Some(value);
            }
            if !is_refusal(&response) {
                return Ok(response);
            }
        }
        match failed {
            // A token server that cannot be reached does not say what the registry would.
            Some(error) if error.is_unreachable() || (response.status == 401 && !is_answered) => Err(error),
            _ => Ok(response),
        }
    }

    fn password(&self) -> Option<String> {
        self.credentials.as_ref().and_then(Credentials::basic)
    }

    fn ways(&self, response: &Response) -> Vec<Way> {
        let headers: Vec<&str> = response.headers.get_all("www-authenticate").collect();
        auth::ways(&headers, &self.remote.path, self.password().is_some())
    }

    /// The ways to log in that the API's root offers, where podman asks for them. A mirror is not asked for the sake of
    /// a token for anybody: it is expected to answer 404 for many images.
    fn ways_of_root(&self, client: &Client, scheme: &str) -> Vec<Way> {
        let known = self.lock().root_ways.clone();
        let is_expected = self.mirror.is_some() && self.credentials.is_none();
        if let Some(ways) = known.or_else(|| is_expected.then(Vec::new)) {
            return ways;
        }
        let root = following(client, &self.url(scheme, ""), &Ask::get("", "*/*"), None);
        let ways = root.map(|root| self.ways(&root)).unwrap_or_default();
        self.lock().root_ways = Some(ways.clone());
        ways
    }

    fn token(&self, client: &Client, scheme: &str, url: &str, bearer: &Bearer, scope: &str) -> Result<String, Error> {
        let realm = bearer.realm.split('?').next().unwrap_or_default();
        let host = origin(url).map_or("", |(_, host)| host);
        if !bearer.may_follow(scheme, host) {
            return Err(Error::refused(&["refers to the token server ", realm, ", which is not safe"].concat()));
        }
        let accept = ("accept", "application/json");
        let response = match &self.credentials {
            Some(Credentials::IdentityToken(token)) => {
                let form = bearer.refresh_form(scope, token, "ocinit");
                let kind = ("content-type", "application/x-www-form-urlencoded");
                client.post(&bearer.realm, &[accept, kind], form.as_bytes()).map_err(explain)
            }
            _ => {
                let ask = Ask::get("", "application/json");
                following(client, &bearer.token_url(scope), &ask, self.password().as_deref())
            }
        };
        let in_context = |error: Error| Error { text: ["token server ", realm, ": ", &error.text].concat(), ..error };
        let response = response.and_then(|response| checked(response, false, self.credentials.is_some()));
        let answer = read_limited(response.map_err(in_context)?, TOKEN_ANSWER_MAX).map_err(in_context)?;
        let token = auth::token(&answer).ok_or_else(|| in_context(Error::refused("the answer holds no token")))?;
        Ok(["Bearer ", &token].concat())
    }
}

/// Prefixes the error with the request, without the URL's query, which may hold a secret.
fn in_request(error: Error, ask: &Ask, url: &str) -> Error {
    let url = url.split('?').next().unwrap_or_default();
    Error { text: [ask.verb(), url, ": ", &error.text].concat(), ..error }
}

/// Sends a request and follows its redirects: never from https to http. `Authorization` is sent to the server's own
/// scheme, host and port only.
fn following(client: &Client, url: &str, ask: &Ask, authorization: Option<&str>) -> Result<Response, Error> {
    let mut target = url.to_string();
    let range = ["bytes=", &ask.from.to_string(), "-"].concat();
    for _ in 0..=REDIRECTS_MAX {
        let at_home = is_same_origin(&target, url);
        let mut headers = vec![("accept", ask.accept)];
        headers.extend(Some(("range", range.as_str())).filter(|_| ask.from > 0));
        headers.extend(authorization.filter(|_| at_home).map(|value| ("authorization", value)));
        // An error of another server names that server.
        let in_redirect = |error: Error| match at_home {
            true => error,
            false => {
                let host = origin(&target).map_or("", |(_, host)| host);
                Error { text: ["redirects to ", host, ": ", &error.text].concat(), ..error }
            }
        };
        let response = send(client, ask.method, &target, &headers).map_err(in_redirect)?;
        match response.status {
            301 | 302 | 303 | 307 | 308 => {}
            // A challenge of another server is an error: our credentials are not for it.
            400.. if !at_home => return checked(response, ask.from > 0, false).map_err(in_redirect),
            _ => return Ok(response),
        }
        let next = response.headers.get("location").and_then(|next| absolute(&target, next));
        response.body.discard();
        target =
            next.filter(|next| is_safe(url, next)).ok_or_else(|| Error::refused("redirects without a safe target"))?;
    }
    Err(Error::refused("redirects more than 5 times"))
}

/// Fetches a URL from a byte on.
pub fn fetch(client: &Client, url: &str, from: u64) -> Result<Response, Error> {
    let ask = Ask { from, ..Ask::get("", "*/*") };
    let response = following(client, url, &ask, None);
    response.and_then(|response| checked(response, from > 0, false)).map_err(|error| in_request(error, &ask, url))
}

/// Whether a registry may send us to `target`: not to a link-local address or a cloud's metadata service, unless the
/// registry itself is there.
fn is_safe(home: &str, target: &str) -> bool {
    let host = |url| origin(url).map_or("", |(_, host)| host);
    host(home) == host(target) || !is_restricted_host(host(target))
}

fn send(client: &Client, method: Method, url: &str, headers: &[(&str, &str)]) -> Result<Response, Error> {
    client.send(&Request { method, url, headers }).map_err(explain)
}

/// The schemes to try. With verification that is https only. Without, both are tried, as in podman; http first for a
/// host with a port of its own, which in most labs is a plain http server.
fn schemes(host: &str, tls_verify: bool) -> Vec<&'static str> {
    let port = host.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        _ if tls_verify => vec!["https"],
        Some(port) if port != 443 => vec!["http", "https"],
        _ => vec!["https", "http"],
    }
}

/// Reads a document to its end.
pub fn read_limited(mut response: Response, max: u64) -> Result<Vec<u8>, Error> {
    let mut pace = min_rate::DOCUMENT;
    let mut paced = Paced { pace: &mut pace, inner: &mut response.body };
    let read = files::read_stream(&mut paced, max).map_err(|error| Error::temporary(&io_text(&error)))?;
    read.ok_or_else(|| Error::refused(&["the document is ", &files::too_large(max)].concat()))
}

struct Paced<'a> {
    pace: &'a mut min_rate::Pace,
    inner: &'a mut dyn Read,
}

impl Read for Paced<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pace.read(self.inner, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: no-fallback-to-http
    /// Input: https-stays
    #[test]
    fn https_never_falls_back_where_it_is_verified() {
        assert_eq!(schemes("a.b:5000", true), ["https"]);
        assert_eq!(schemes("a.b:5000", false), ["http", "https"]);
        assert_eq!(schemes("a.b", false), ["https", "http"]);
        assert_eq!(schemes("[::1]:443", false), ["https", "http"]);
    }

    #[test]
    fn nobody_sends_us_into_the_machines_own_surroundings() {
        assert!(is_safe("https://a/x", "https://b/x") && is_safe("http://169.254.1.1:80/x", "http://169.254.1.1:80/y"));
        assert!(!is_safe("http://a/x", "http://169.254.169.254/latest") && !is_safe("http://a/", "http://[fe80::1]/"));
    }
}
