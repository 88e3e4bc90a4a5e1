//! A registry over HTTP: manifests, blobs, tokens (OCI distribution spec 1.1).

use super::resolver::Resolver;
use super::source::{Error, Fetched, Source};
use crate::proto::auth;
use crate::proto::digest::Digest;
use crate::proto::oci::{self, Descriptor};
use crate::proto::reference::Remote;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{HeaderMap, Response, Uri};
use ureq::tls::{parse_pem, Certificate, PemItem, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver as UreqResolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A registry that sends nothing for this long has failed.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// Pauses before the second and the third try.
const BACKOFF_MS: [u64; 2] = [500, 1000];
/// The longest wait that a `Retry-After` may ask for.
const RETRY_AFTER_MAX_S: u64 = 30;
const REDIRECTS_MAX: usize = 5;
const TOKEN_ANSWER_MAX: u64 = 1 << 20;
/// A lab's own certificate authorities, put there by `ocinit-host build --ca`.
const CA_FILE: &str = "/etc/ocinit/ca.pem";

/// One image's registry.
pub struct Registry {
    remote: Remote,
    tls_verify: bool,
    resolver: Arc<Resolver>,
    agent: Agent,
    /// The lab's own roots are asked where the public ones do not know the issuer.
    lab_agent: Option<Agent>,
    /// What to try, in order; one is left after the first answer.
    schemes: Vec<&'static str>,
    token: Option<String>,
}

impl Registry {
    pub fn new(remote: &Remote, tls_verify: bool, resolver: &Arc<Resolver>) -> Registry {
        Registry {
            remote: remote.clone(),
            tls_verify,
            resolver: resolver.clone(),
            agent: agent(resolver, TlsConfig::builder().disable_verification(!tls_verify).build()),
            lab_agent: None,
            schemes: schemes(&remote.host, tls_verify),
            token: None,
        }
    }

    /// GET of `path` below the repository, tried again where that may help.
    fn get(&mut self, path: &str, accept: &str) -> Result<Response<Body>, Error> {
        let mut pauses = BACKOFF_MS.iter();
        loop {
            let error = match self.get_any_scheme(path, accept) {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let Some(pause_ms) = pauses.next().filter(|_| error.temporary) else { return Err(error) };
            let asked_ms = error.retry_after_s.unwrap_or(0).min(RETRY_AFTER_MAX_S) * 1000;
            std::thread::sleep(Duration::from_millis(asked_ms.max(*pause_ms)));
        }
    }

    fn get_any_scheme(&mut self, path: &str, accept: &str) -> Result<Response<Body>, Error> {
        let mut first_error = None;
        for scheme in self.schemes.clone() {
            match self.get_authorized(scheme, path, accept) {
                // What a TLS server says to plain text (nginx, Go's net/http).
                Ok(response) if response.status() == 400 && scheme == "http" && self.schemes.len() > 1 => {}
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
    fn get_authorized(&mut self, scheme: &str, path: &str, accept: &str) -> Result<Response<Body>, Error> {
        let server = self.remote.server().to_string();
        let url = [scheme, "://", &server, "/v2/", &self.remote.path, "/", path].concat();
        let response = self.get_following(&url, accept)?;
        if response.status() != 401 {
            return Ok(response);
        }
        let challenge = header(response.headers(), "www-authenticate").and_then(auth::bearer);
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
    fn get_following(&mut self, url: &str, accept: &str) -> Result<Response<Body>, Error> {
        let mut target = url.to_string();
        for _ in 0..=REDIRECTS_MAX {
            let response = self.send(&target, accept, origin(&target) == origin(url))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let next = header(response.headers(), "location").and_then(|next| absolute(&target, next));
            target = next.ok_or_else(|| Error::refused("redirects to nowhere that we may follow"))?;
        }
        Err(Error::refused("redirects more than 5 times"))
    }

    fn send(&mut self, url: &str, accept: &str, authorized: bool) -> Result<Response<Body>, Error> {
        let token = self.token.as_ref().filter(|_| authorized);
        let authorization = token.map(|token| ["Bearer ", token].concat());
        let call = |agent: &Agent| {
            let request = agent.get(url).header("accept", accept);
            match &authorization {
                Some(value) => request.header("authorization", value).call(),
                None => request.call(),
            }
        };
        let mut error = match call(self.lab_agent.as_ref().unwrap_or(&self.agent)) {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        if is_tls(&error) && self.tls_verify && self.lab_agent.is_none() {
            if let Some(roots) = lab_roots() {
                let agent = agent(&self.resolver, TlsConfig::builder().root_certs(roots).build());
                match call(&agent) {
                    Ok(response) => {
                        self.lab_agent = Some(agent);
                        return Ok(response);
                    }
                    Err(of_the_lab) => error = of_the_lab,
                }
            }
        }
        Err(explain(&error))
    }
}

impl Source for Registry {
    fn manifest(&mut self, digest: Option<&Digest>) -> Result<Vec<u8>, Error> {
        let version = digest.map_or_else(|| self.remote.version(), Digest::text);
        let response = self.get(&["manifests/", &version].concat(), oci::ACCEPT)?;
        read_limited(response, oci::DOCUMENT_MAX)
    }

    fn wanted(&self) -> Option<Digest> {
        self.remote.digest
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<Fetched, Error> {
        let response = self.get(&["blobs/", &descriptor.digest.text()].concat(), "*/*")?;
        Ok(Box::new(response.into_body().into_with_config().limit(u64::MAX).reader()))
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

fn agent(resolver: &Arc<Resolver>, tls: TlsConfig) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(ANSWER_TIMEOUT))
        .timeout_per_read(Some(SILENCE_TIMEOUT))
        .user_agent(concat!("ocinit/", env!("CARGO_PKG_VERSION")))
        .proxy(None)
        .tls_config(tls)
        .build();
    Agent::with_parts(config, DefaultConnector::default(), Names(resolver.clone()))
}

/// Our resolver in ureq's clothes.
#[derive(Debug)]
struct Names(Arc<Resolver>);

impl UreqResolver for Names {
    fn resolve(&self, uri: &Uri, _: &ureq::config::Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?.trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let addresses = self.0.resolve(host).map_err(|reason| ureq::Error::Io(io::Error::other(reason)))?;
        let mut answer = self.empty();
        for address in addresses.into_iter().take(16) {
            answer.push(SocketAddr::new(address, port));
        }
        if answer.is_empty() {
            return Err(ureq::Error::HostNotFound);
        }
        Ok(answer)
    }
}

fn lab_roots() -> Option<RootCerts> {
    let pem = std::fs::read(CA_FILE).ok()?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    Some(RootCerts::Specific(Arc::new(certificates)))
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    Some((scheme, rest.split(['/', '?', '#']).next()?))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// RFC 3986, section 5.2, for what registries send: a URL, or an absolute path.
/// `None` where that would leave https.
fn absolute(base: &str, target: &str) -> Option<String> {
    let (scheme, host) = origin(base)?;
    if target.starts_with("https://") || (target.starts_with("http://") && scheme == "http") {
        return Some(target.into());
    }
    (target.starts_with('/') && !target.starts_with("//")).then(|| [scheme, "://", host, target].concat())
}

/// An answer that is not 200 in words.
fn checked(response: Response<Body>) -> Result<Response<Body>, Error> {
    let status = response.status().as_u16();
    let reason = match status {
        200 => return Ok(response),
        401 => "wants a user and a password: not there yet (401)",
        403 => "refuses access (403)",
        404 => "has no such image or tag (404)",
        429 => "says that we ask too often (429)",
        500..=599 => "has an error of its own",
        _ => "gives an answer that we do not understand",
    };
    let retry_after_s = header(response.headers(), "retry-after").and_then(|text| text.parse().ok());
    let text = if reason.ends_with(')') { reason.into() } else { format!("{reason} ({status})") };
    Err(Error { temporary: status == 429 || status >= 500, retry_after_s, text, hint: None })
}

fn read_limited(response: Response<Body>, max: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let reader = response.into_body().into_with_config().limit(u64::MAX).reader();
    reader.take(max + 1).read_to_end(&mut bytes).map_err(|error| Error::temporary(&error.to_string()))?;
    if bytes.len() as u64 > max {
        return Err(Error::refused("the document is larger than 4 MiB"));
    }
    Ok(bytes)
}

/// Whether TLS itself failed. Its errors reach us through the connection's
/// reads, as InvalidData with the reason inside.
fn is_tls(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Rustls(_) => true,
        ureq::Error::Io(error) => error.kind() == io::ErrorKind::InvalidData && error.get_ref().is_some(),
        _ => false,
    }
}

fn explain(error: &ureq::Error) -> Error {
    let mut explained = Error::temporary("");
    explained.text = match error {
        error if is_tls(error) => {
            let reason = error.to_string();
            let is_plain = reason.contains("corrupt message");
            explained.temporary = false;
            explained.hint = Some(if is_plain {
                "most likely a server of plain http: --tls-verify=false allows that"
            } else {
                "a wrong clock (b2c.ntp_peer=) makes certificates invalid; a lab's own authority goes into the \
                 initramfs with --ca; --tls-verify=false trusts anybody"
            });
            ["TLS: ", reason.trim_start_matches("rustls: ").trim_start_matches("io: ")].concat()
        }
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Timeout(_) => "no answer in time".into(),
        ureq::Error::HostNotFound => "no such host".into(),
        other => other.to_string(),
    };
    explained
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
    fn redirects_never_leave_https() {
        assert_eq!(absolute("https://a/v2/x", "https://b/y").as_deref(), Some("https://b/y"));
        assert_eq!(absolute("https://a/v2/x", "http://b/y"), None);
        assert_eq!(absolute("http://a/v2/x", "http://b/y").as_deref(), Some("http://b/y"));
        assert_eq!(absolute("https://a:1/v2/x", "/y?z").as_deref(), Some("https://a:1/y?z"));
        assert_eq!(absolute("https://a/v2/x", "//b/y"), None);
        assert_eq!(absolute("https://a/v2/x", "file:///etc/passwd"), None);
    }
}
