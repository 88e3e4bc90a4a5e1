//! An HTTP/1.1 client: one request, one answer, over connections that are kept.
//! Its caller follows redirects, authorizes and retries.

mod body;
mod connect;
mod connection;
mod error;
mod pool;
mod tls;

use crate::net::cancel::CancelToken;
use crate::net::dns::Resolver;
use crate::net::http::connection::{Connection, Socket};
use crate::net::http::error::failed;
use crate::net::http::pool::Pool;
use crate::net::pure::http::{self, Head, HeadReader, Headers, Target, Url};
use crate::net::pure::proxy::{Proxies, Proxy};
use crate::report::Hint;
use crate::sys::machine;
use std::io::{ErrorKind, Read};
use std::sync::atomic::Ordering;
use std::sync::Arc;

pub use crate::net::http::body::Body;
pub use crate::net::http::error::{Error, Kind};
pub use crate::net::http::tls::{Tls, CERTS_DIR};
pub use crate::net::pure::http::Method;

/// The limit for a connection: all addresses of the name, and TLS.
const CONNECT_MS: u64 = 10_000;
/// A server that has said nothing to TLS's first message for this long is asked in plain http.
const MUTE_MS: u64 = 700;
/// The limits for that answer, and for a proxy's on the way.
const PROBE_MS: u64 = 2000;
/// The limit for the head of an answer; a proxy's takes longer, since the proxy has to connect first.
const ANSWER_MS: u64 = 30_000;
/// What is read of an answer before its body.
const HEAD_BUFFER: usize = 4 << 10;
const PROXY_HINT: Hint = Hint {
    at_boot: "b2c.proxy=https=http://USER:PASSWORD@HOST:PORT,no=LIST sets the proxy, and the hosts that are asked \
              directly",
    on_host: "https_proxy=http://USER:PASSWORD@HOST:PORT sets the proxy, and no_proxy=LIST the hosts that are asked \
              directly",
};
const USER_AGENT: &str = concat!("ocinit/", env!("CARGO_PKG_VERSION"));

/// A request. `host`, `user-agent` and a proxy's authorization are added.
pub struct Request<'a> {
    pub method: Method,
    pub url: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
}

/// An answer. When its body is read to the end, the connection is kept for the
/// next request.
pub struct Response {
    pub status: u16,
    pub headers: Headers,
    pub body: Body,
}

/// The client. Clones are cheap and share their connections.
#[derive(Clone)]
pub struct Client {
    resolver: Arc<Resolver>,
    proxies: Arc<Proxies>,
    configs: Arc<tls::Configs>,
    pool: Arc<Pool>,
    cancel: CancelToken,
}

impl Client {
    pub fn new(resolver: Arc<Resolver>, proxies: Proxies, tls: Tls) -> Client {
        let configs = Arc::new(tls::Configs::new(tls));
        Client { resolver, proxies: Arc::new(proxies), configs, pool: Arc::default(), cancel: CancelToken::default() }
    }

    /// Cancels the requests of this client and of its clones.
    pub fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    /// One request, one answer, of whatever status.
    pub fn send(&self, request: &Request) -> Result<Response, Error> {
        self.send_with(request, &[])
    }

    /// A POST request with `body`.
    pub fn post(&self, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response, Error> {
        let length = body.len().to_string();
        let headers: Vec<_> = headers.iter().copied().chain([("content-length", length.as_str())]).collect();
        self.send_with(&Request { method: Method::Post, url, headers: &headers }, body)
    }

    fn send_with(&self, request: &Request, body: &[u8]) -> Result<Response, Error> {
        let refused = |error: http::Error| Error::new(Kind::Request, error.text());
        let url = Url::parse(request.url).map_err(refused)?;
        let proxy = self.proxies.of(&url);
        let target = if proxy.is_some() && !url.https { Target::Absolute } else { Target::Origin };
        let mut headers = vec![("user-agent", USER_AGENT)];
        headers.extend_from_slice(request.headers);
        headers.extend(proxy.filter(|_| !url.https).and_then(authorization));
        let mut bytes = http::request(request.method, target, &url, &headers).map_err(refused)?;
        bytes.extend_from_slice(body);
        let route = route(&url, proxy);
        // RFC 9112, section 9.3.1: a server may close a kept connection at any time,
        // also while it is asked; that is no answer to the request.
        let kept = self.pool.take(&route).map(|connection| self.exchange(connection, request.method, &bytes));
        let is_closed = |outcome: &Result<_, Error>| outcome.as_ref().is_err_and(|error| error.kind == Kind::Closed);
        let response = match kept.filter(|outcome| !is_closed(outcome)) {
            None => {
                let mut connection = self.open(&url, proxy, route, ANSWER_MS)?;
                if url.https {
                    self.secure(&mut connection, &url, proxy)?;
                }
                self.exchange(connection, request.method, &bytes)?
            }
            Some(outcome) => outcome?,
        };
        match proxy {
            Some(proxy) if response.status == 407 => Err(refused_by(proxy, 407, "")),
            _ => Ok(response),
        }
    }

    /// A connection to the server of `url`, before TLS; a proxy's answer takes `answer_ms` at most.
    fn open(&self, url: &Url, proxy: Option<&Proxy>, route: String, answer_ms: u64) -> Result<Connection, Error> {
        let (host, port) = proxy.map_or((url.host, url.port), |proxy| (&proxy.host, proxy.port));
        let context = |error: Error| match proxy {
            Some(proxy) => error.context(&["the proxy ", &proxy.name()]),
            None => error,
        };
        let addresses = connect::addresses(&self.resolver, host, port).map_err(context)?;
        let end_ms = machine::uptime_ms() + CONNECT_MS.min(answer_ms);
        let stream = connect::race(&addresses, end_ms).map_err(context)?;
        let socket = Socket::new(stream, self.pool.traffic.clone(), self.cancel.clone());
        let mut connection = Connection { socket, tls: None, route };
        if let (true, Some(proxy)) = (url.https, proxy) {
            connection.socket.end_by(machine::uptime_ms() + answer_ms);
            tunnel(&mut connection, url, proxy)?;
        }
        Ok(connection)
    }

    /// Makes `connection` one of TLS. A server of plain http may wait for the end of a line that does not come in TLS's
    /// first message, so the wait is interrupted to find that out.
    fn secure(&self, connection: &mut Connection, url: &Url, proxy: Option<&Proxy>) -> Result<(), Error> {
        let mut session = self.configs.session(url)?;
        let socket = &mut connection.socket;
        socket.end_by(machine::uptime_ms() + MUTE_MS);
        // A proxy's answer is not the server's.
        socket.has_received = false;
        let mut outcome = tls::handshake(&mut session, socket);
        let failed = outcome.as_ref().err().map(|error| error.kind);
        // Where plain http is tried as well, only the wait counts.
        let is_doubtful = match failed {
            Some(Kind::Timeout) => !socket.has_received,
            Some(Kind::Closed) => !socket.has_received && self.configs.tls.verify,
            Some(Kind::Tls { plain }) => plain && self.configs.tls.verify,
            _ => false,
        };
        if is_doubtful && self.is_plain(url, proxy) {
            return Err(error::plain_http());
        }
        if failed == Some(Kind::Timeout) {
            socket.end_by(machine::uptime_ms() + CONNECT_MS);
            outcome = tls::handshake(&mut session, socket);
        }
        connection.tls = Some(session);
        outcome.map_err(|error| match error.kind {
            Kind::Closed => error.context(&["TLS handshake"]),
            _ => error,
        })
    }

    /// Whether the server of `url` answers plain http. Only the answer's status counts: a TLS server may answer 400 or
    /// a redirect to https in plain http, too. The request shows nothing that TLS's first message does not, but for its
    /// path.
    fn is_plain(&self, url: &Url, proxy: Option<&Proxy>) -> bool {
        let probe = Url { path: "/v2/", ..*url };
        let ask = || {
            let mut connection = self.open(&probe, proxy, String::new(), PROBE_MS)?;
            connection.socket.end_by(machine::uptime_ms() + PROBE_MS);
            let request = http::request(Method::Get, Target::Origin, &probe, &[]).map_err(Error::protocol)?;
            connection.send(&request).map_err(|error| failed(&error))?;
            read_head(&mut connection)
        };
        ask().is_ok_and(|(head, _)| head.status != 400 && !(300..400).contains(&head.status))
    }

    fn exchange(&self, mut connection: Connection, method: Method, request: &[u8]) -> Result<Response, Error> {
        connection.socket.end_by(machine::uptime_ms() + ANSWER_MS);
        let sent = connection.send(request);
        let (head, rest) = match (read_head(&mut connection), sent) {
            // A server may refuse before it has read all: a failure to send counts only where there is no answer.
            (Err(none), Err(error)) if none.kind == Kind::Closed => return Err(failed(&error)),
            (outcome, _) => outcome?,
        };
        let framing = head.framing(method).map_err(Error::protocol)?;
        let pool = head.keeps_alive().then(|| self.pool.clone());
        Ok(Response { status: head.status, headers: head.headers, body: Body::new(framing, rest, connection, pool) })
    }

    /// Bytes on the wire so far: sent, received.
    pub fn bytes(&self) -> (u64, u64) {
        let traffic = &self.pool.traffic;
        (traffic.sent.load(Ordering::Relaxed), traffic.received.load(Ordering::Relaxed))
    }
}

/// The server that a connection leads to, and its proxy: only requests of the same route may share it.
fn route(url: &Url, proxy: Option<&Proxy>) -> String {
    let host = url.host.to_ascii_lowercase();
    let proxy = proxy.map(Proxy::name).unwrap_or_default();
    [url.scheme(), " ", &host, " ", &url.port.to_string(), " ", &proxy].concat()
}

fn authorization(proxy: &Proxy) -> Option<(&str, &str)> {
    proxy.authorization.as_ref().map(|value| ("proxy-authorization", value.as_str()))
}

/// Asks the proxy for a connection to the server of `url` (RFC 9110, section 9.3.6).
fn tunnel(connection: &mut Connection, url: &Url, proxy: &Proxy) -> Result<(), Error> {
    let mut headers = vec![("user-agent", USER_AGENT)];
    headers.extend(authorization(proxy));
    let request = http::request(Method::Get, Target::Connect, url, &headers).map_err(Error::protocol)?;
    connection.send(&request).map_err(|error| failed(&error))?;
    let (head, rest) = read_head(connection).map_err(|error| error.context(&["the proxy ", &proxy.name()]))?;
    match head.status {
        // A TLS server waits for the client to begin: bytes that come before are not the server's.
        200..=299 if rest.is_empty() => Ok(()),
        200..=299 => Err(Error::protocol(http::Error::NotHttp)),
        status => Err(refused_by(proxy, status, url.host)),
    }
}

fn refused_by(proxy: &Proxy, status: u16, host: &str) -> Error {
    let what = match (status, &proxy.authorization) {
        (407, None) => " requires authentication".into(),
        (407, Some(_)) => " rejects the user or the password".into(),
        _ => [" refuses to connect to ", host].concat(),
    };
    let text = ["the proxy ", &proxy.name(), &what, " (", &status.to_string(), ")"].concat();
    Error::new(Kind::Proxy(status), text).hint(Some(PROXY_HINT))
}

/// The head of the answer, and the bytes of the body that came with it.
fn read_head(connection: &mut Connection) -> Result<(Head, Vec<u8>), Error> {
    let mut reader = HeadReader::default();
    let mut buffer = [0; HEAD_BUFFER];
    loop {
        let count = match connection.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
            outcome => outcome.map_err(|error| failed(&error))?,
        };
        let input = buffer.get(..count).unwrap_or_default();
        if input.is_empty() {
            return Err(match reader.is_empty() {
                true => Error::new(Kind::Closed, "closed the connection without an answer".into()),
                false => Error::protocol(http::Error::HeadEnded),
            });
        }
        if let (consumed, Some(head)) = reader.feed(input).map_err(Error::protocol)? {
            return Ok((head, input.get(consumed..).unwrap_or_default().to_vec()));
        }
    }
}
