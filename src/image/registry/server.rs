//! One server that may have the image, the registry itself or a mirror: its scheme, tokens, redirects and errors.

use crate::image::pure::auth::{self, Bearer, Way};
use crate::image::pure::authfile::Credentials;
use crate::image::pure::mirror::Mirror;
use crate::image::pure::reference::Remote;
use crate::image::registry::answer::{checked, explain, is_doubtful, is_page, is_refusal};
use crate::image::registry::document::read_limited;
use crate::image::source::Error;
use crate::net::http::{Client, Method, Request, Response};
use crate::net::pure::http::{basic, is_same_origin, origin, redirect, Url};
use crate::net::pure::restricted::is_restricted_host;
use crate::pure::scrub;
use crate::sys::machine;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// As many as Go follows.
const REDIRECTS_MAX: usize = 9;
const TOKEN_ANSWER_MAX: u64 = 1 << 20;
/// Digests and lengths are of the bytes as they are.
const IDENTITY: (&str, &str) = ("accept-encoding", "identity");

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
    /// A redirect from http to https on the same host is the answer, and not followed.
    pub stops_at_tls: bool,
}

impl Ask<'_> {
    pub fn get<'a>(path: &'a str, accept: &'a str) -> Ask<'a> {
        Ask { method: Method::Get, path, accept, from: 0, stops_at_tls: false }
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
    /// The ways to log in of the API's root, once they were asked for, and by which scheme.
    root_ways: Option<(&'static str, Vec<Way>)>,
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
        self.ask_each_way(client, ask).map_err(|mut error| {
            error.text = self.scrubbed(&error.text);
            error
        })
    }

    /// Removes credentials from a text: a server's message is printed, and may repeat what it was sent.
    fn scrubbed(&self, text: &str) -> String {
        let mut secrets = self.credentials.as_ref().map(Credentials::secrets).unwrap_or_default();
        let shown = self.lock().authorization.clone();
        secrets.extend(shown.as_deref().and_then(|shown| Some(shown.split_once(' ')?.1.into())));
        scrub::scrub(text, &secrets)
    }

    fn ask_each_way(&self, client: &Client, ask: &Ask) -> Result<Response, Error> {
        let mut schemes = self.lock().schemes.clone();
        let mut first_error = None;
        // The first error is of plain http to a server of TLS: what TLS fails for is the reason.
        let mut is_tls = false;
        let mut index = 0;
        while let Some(scheme) = schemes.get(index).copied() {
            index += 1;
            let url = self.url(scheme, &[&self.remote.path, "/", ask.path].concat());
            let is_before_https = index == 1 && schemes.len() > 1 && scheme == "http";
            match self.authorized(client, scheme, &url, &Ask { stops_at_tls: is_before_https, ..*ask }) {
                // What leads to https is followed where https itself is not there.
                Ok(response) if is_before_https && response.status < 400 && response.status >= 300 => {
                    schemes.push(scheme);
                }
                // A TLS server's answer to plain HTTP (nginx, Go's net/http), or a real answer.
                Ok(response)
                    if (response.status == 400 && scheme == "http" && schemes.len() > 1)
                        || (is_before_https && is_doubtful(&response)) =>
                {
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
                    let speaks_tls = scheme == "http" && !error.may_heal();
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
    /// servers answer 403 or 404 to those who have not shown theirs; or any failure, or a page where to log in.
    fn authorized(&self, client: &Client, scheme: &'static str, url: &str, ask: &Ask) -> Result<Response, Error> {
        let before = self.lock().authorization.clone();
        let outcome = following(client, url, ask, before.as_deref());
        let is_refused = match &outcome {
            Ok(response) if response.status == 401 => true,
            _ if before.is_some() => false,
            Ok(response) if is_refusal(response) => true,
            _ if self.credentials.is_none() => false,
            Ok(response) => response.status >= 300 || is_page(response, ask.accept),
            // A server that cannot be reached is not at its root either.
            Err(error) => error.status().is_some() || !error.is_unreachable(),
        };
        if !is_refused {
            return outcome;
        }
        let _one = self.login.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.lock().authorization.clone().filter(|now| before.as_ref() != Some(now));
        let Some(now) = now else { return self.log_in(client, scheme, url, ask, outcome) };
        // Another thread has logged in already.
        discard(outcome);
        let response = following(client, url, ask, Some(&now))?;
        match response.status {
            401 => self.log_in(client, scheme, url, ask, Ok(response)),
            _ => Ok(response),
        }
    }

    /// Answers the challenges of `refused` one after the other until one satisfies the server; returns its last answer.
    fn log_in(
        &self,
        client: &Client,
        scheme: &'static str,
        url: &str,
        ask: &Ask,
        refused: Result<Response, Error>,
    ) -> Result<Response, Error> {
        let mut ways = refused.as_ref().map(|response| self.ways(response)).unwrap_or_default();
        if ways.is_empty() {
            ways = self.ways_of_root(client, scheme);
        }
        let (mut outcome, mut failed, mut is_answered) = (refused, None, false);
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
            discard(outcome);
            let response = following(client, url, ask, Some(&value))?;
            is_answered = true;
            if response.status != 401 {
                self.lock().authorization = Some(value);
            }
            if !is_refusal(&response) {
                return Ok(response);
            }
            outcome = Ok(response);
        }
        // A page, and a redirect that led nowhere, say no more than a 401.
        let says_why = outcome.as_ref().is_ok_and(|response| response.status > 401);
        match failed {
            // A token server that cannot be reached does not say what the registry would.
            Some(error) if error.is_unreachable() || !(says_why || is_answered) => Err(error),
            _ => outcome,
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
    fn ways_of_root(&self, client: &Client, scheme: &'static str) -> Vec<Way> {
        let known = self.lock().root_ways.clone().filter(|(by, _)| *by == scheme).map(|(_, ways)| ways);
        let is_expected = self.mirror.is_some() && self.credentials.is_none();
        if let Some(ways) = known.or_else(|| is_expected.then(Vec::new)) {
            return ways;
        }
        let root = following(client, &self.url(scheme, ""), &Ask::get("", "*/*"), None);
        // A server that is busy says nothing of that.
        let is_busy = root.as_ref().map_or_else(Error::is_unreachable, |root| root.status >= 429);
        let ways = root.map(|root| self.ways(&root)).unwrap_or_default();
        if !is_busy {
            self.lock().root_ways = Some((scheme, ways.clone()));
        }
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
                client.post(&bearer.realm, &[accept, kind, IDENTITY], form.as_bytes()).map_err(explain)
            }
            _ => {
                let ask = Ask::get("", "application/json");
                following(client, &bearer.token_url(scope), &ask, self.password().as_deref())
            }
        };
        let in_context = |error: Error| error.context(&["token server ", realm]);
        let response = response.and_then(|response| checked(response, false, self.credentials.is_some()));
        let answer = read_limited(response.map_err(in_context)?, TOKEN_ANSWER_MAX).map_err(in_context)?;
        let token = auth::token(&answer).ok_or_else(|| in_context(Error::refused("the answer holds no token")))?;
        Ok(["Bearer ", &token].concat())
    }
}

/// Makes the connection of an answer ready for the next one.
fn discard(outcome: Result<Response, Error>) {
    if let Ok(response) = outcome {
        response.body.discard();
    }
}

/// Prefixes the error with the request, without the URL's query, which may hold a secret.
fn in_request(error: Error, ask: &Ask, url: &str) -> Error {
    error.context(&[ask.verb(), url.split('?').next().unwrap_or_default()])
}

/// Sends a request and follows its redirects: never from https to http. `Authorization` is sent to the server's own
/// scheme, host and port only; elsewhere what the redirect's own URL says is, as Go's client does it.
fn following(client: &Client, url: &str, ask: &Ask, authorization: Option<&str>) -> Result<Response, Error> {
    let mut target = url.to_string();
    // Of the URL of the last redirect.
    let mut user = String::new();
    let range = ["bytes=", &ask.from.to_string(), "-"].concat();
    for _ in 0..=REDIRECTS_MAX {
        let at_home = is_same_origin(&target, url);
        let mut headers = vec![("accept", ask.accept), IDENTITY];
        headers.extend(Some(("range", range.as_str())).filter(|_| ask.from > 0));
        let of_url = if user.is_empty() { String::new() } else { basic(&user) };
        let shown = authorization.filter(|_| at_home).unwrap_or(&of_url);
        if !shown.is_empty() {
            headers.push(("authorization", shown));
        }
        let host = if at_home { "" } else { origin(&target).map_or("", |(_, host)| host) };
        let response = send(client, ask.method, &target, &headers).map_err(|error| in_redirect(error, host, &user))?;
        match response.status {
            301 | 302 | 303 | 307 | 308 => {}
            // A challenge of another server is an error: our credentials are not for it.
            400.. if !at_home || !user.is_empty() => {
                let checked = checked(response, ask.from > 0, false);
                return checked.map_err(|error| in_redirect(error, host, &user));
            }
            _ => return Ok(response),
        }
        let next = response.headers.get("location").and_then(|next| redirect(&target, next, user));
        if ask.stops_at_tls && next.as_ref().is_some_and(|(next, _)| is_to_tls(&target, next)) {
            return Ok(response);
        }
        response.body.discard();
        let next = next.filter(|(next, _)| is_safe(url, next));
        (target, user) = next.ok_or_else(|| Error::refused("redirects without a safe target"))?;
    }
    Err(Error::refused("redirects more than 9 times"))
}

/// An error of another server names that server, its `host`, and does not repeat what it was shown.
fn in_redirect(mut error: Error, host: &str, user: &str) -> Error {
    let password = user.split_once(':').map_or("", |(_, password)| password);
    let text = scrub::scrub(&error.text, &[user.into(), password.into()]);
    error.text = if host.is_empty() { text } else { ["redirects to ", host, ": ", &text].concat() };
    error
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

/// Whether a redirect leads from http to https on the same host, by whatever port.
fn is_to_tls(from: &str, to: &str) -> bool {
    let (Ok(from), Ok(to)) = (Url::parse(from), Url::parse(to)) else { return false };
    !from.https && to.https && from.host.eq_ignore_ascii_case(to.host)
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
