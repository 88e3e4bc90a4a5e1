//! The HTTP client against servers that are scripted byte by byte, and its TLS
//! against openssl's.

use ocinit::net::dns::{self, Resolver};
use ocinit::net::http::{Client, Error, Kind, Method, Request, Response, Tls};
use ocinit::net::pure::proxy::Proxies;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Answers in the script's order and hears what is asked.
struct Server {
    port: u16,
    /// `CONNECTION REQUEST`, the head of each request as it came.
    seen: Arc<Mutex<Vec<String>>>,
}

/// Instead of an answer: the connection ends.
const HANG_UP: &str = "";

impl Server {
    /// For each connection its answers; behind the last one it ends, and behind the last connection nobody listens.
    fn start(script: &'static [&'static [&'static str]]) -> Server {
        let listener = TcpListener::bind("127.0.0.5:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        std::thread::spawn(move || {
            for (number, answers) in script.iter().enumerate() {
                let (mut stream, _) = listener.accept().unwrap();
                for answer in *answers {
                    let Some(head) = head(&mut stream) else { break };
                    log.lock().unwrap().push(format!("{number} {head}"));
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            }
        });
        Server { port, seen }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.5:{}{path}", self.port)
    }

    /// The connection's number and the request line of each request.
    fn lines(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|head| head.lines().next().unwrap().to_string()).collect()
    }
}

/// A request's head; none where the connection ends.
fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}

fn client(proxies: &str, verify: bool, cert_dirs: &[&Path]) -> Client {
    let proxies = Proxies::parse(&[proxies.to_string()]).unwrap();
    let cert_dirs = cert_dirs.iter().map(|dir| dir.to_path_buf()).collect();
    Client::new(Arc::new(Resolver::from_host()), proxies, Tls { verify, cert_dirs, home: String::new() })
}

/// One that pulls from that server.
fn client_of(home: &str, verify: bool, cert_dir: &Path) -> Client {
    let tls = Tls { verify, cert_dirs: vec![cert_dir.into()], home: home.into() };
    Client::new(Arc::new(Resolver::from_host()), Proxies::none(), tls)
}

fn plain() -> Client {
    client("", true, &[])
}

fn get(client: &Client, url: &str) -> Result<Response, Error> {
    client.send(&Request { method: Method::Get, url, headers: &[("accept", "a/b")] })
}

/// Status and body; or the error that the body ends with.
fn read(response: Response) -> (u16, Result<String, String>) {
    let (status, mut body, mut text) = (response.status, response.body, String::new());
    let outcome = body.read_to_string(&mut text).map_err(|error| error.to_string());
    (status, outcome.map(|_| text))
}

fn ok(text: &str) -> (u16, Result<String, String>) {
    (200, Ok(text.into()))
}

fn failed(outcome: Result<Response, Error>) -> Error {
    outcome.err().expect("an error")
}

const ONE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none";
const TWO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo";

#[test]
fn a_connection_is_used_again_after_each_kind_of_body() {
    let server = Server::start(&[&[
        ONE,
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nchun\r\n3;x\r\nked\r\n0\r\na: b\r\n\r\n",
        "HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n",
        TWO,
    ]]);
    let client = plain();
    assert_eq!(read(get(&client, &server.url("/one?n=1")).unwrap()), ok("one"));
    // A clone shares the connections.
    let client = client.clone();
    assert_eq!(read(get(&client, &server.url("/2")).unwrap()), ok("chunked"));
    assert_eq!(read(get(&client, &server.url("/3")).unwrap()), (404, Ok(String::new())));
    assert_eq!(read(get(&client, &server.url("/4")).unwrap()), (204, Ok(String::new())));
    let url = server.url("/5");
    let response =
        client.send(&Request { method: Method::Head, url: &url, headers: &[("range", "bytes=1-")] }).unwrap();
    assert_eq!(response.headers.length(), Ok(Some(1000)));
    assert_eq!(read(response), ok(""));
    assert_eq!(read(get(&client, &server.url("/6")).unwrap()), ok("two"));
    let seen = server.seen.lock().unwrap();
    let head = format!(
        "0 GET /one?n=1 HTTP/1.1\r\nhost: 127.0.0.5:{}\r\nuser-agent: ocinit/{}\r\naccept: a/b\r\n\r\n",
        server.port,
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(seen[0], head);
    assert!(
        seen[4].starts_with("0 HEAD /5 HTTP/1.1\r\n") && seen[4].contains("\r\nrange: bytes=1-\r\n"),
        "{}",
        seen[4]
    );
    let sent: usize = seen.iter().map(|head| head.len() - "0 ".len()).sum();
    assert_eq!(client.bytes().0, sent as u64);
}

#[test]
fn bytes_are_counted() {
    let server = Server::start(&[&[ONE]]);
    let client = plain();
    assert_eq!(read(get(&client, &server.url("/")).unwrap()), ok("one"));
    assert_eq!(client.bytes().1, ONE.len() as u64);
}

/// Promise: answers-in-pieces
#[test]
fn what_is_not_kept_is_not_used_again() {
    for first in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\none",
        "HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\none",
        // What came too much could be taken for the next answer.
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\noneHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\nevil",
    ] {
        // The server would answer on the first connection too.
        let answers: &'static [&'static str] = Box::leak(Box::new([first, "HTTP/1.1 500 Wrong\r\n\r\n"]));
        let server = Server::start(Box::leak(Box::new([answers, &[TWO]])));
        let client = plain();
        assert_eq!(read(get(&client, &server.url("/")).unwrap()), ok("one"), "{first}");
        assert_eq!(read(get(&client, &server.url("/")).unwrap()), ok("two"), "{first}");
        assert_eq!(server.lines(), ["0 GET / HTTP/1.1", "1 GET / HTTP/1.1"]);
    }
    let server = Server::start(&[&["HTTP/1.1 200 OK\r\n\r\nall of it"], &[TWO]]);
    let client = plain();
    assert_eq!(read(get(&client, &server.url("/")).unwrap()), ok("all of it"));
    assert_eq!(read(get(&client, &server.url("/")).unwrap()), ok("two"));
}

#[test]
fn a_kept_connection_that_dies_is_replaced_once() {
    let server = Server::start(&[&[ONE, HANG_UP], &[TWO]]);
    let client = plain();
    assert_eq!(read(get(&client, &server.url("/1")).unwrap()), ok("one"));
    assert_eq!(read(get(&client, &server.url("/2")).unwrap()), ok("two"));
    assert_eq!(server.lines(), ["0 GET /1 HTTP/1.1", "0 GET /2 HTTP/1.1", "1 GET /2 HTTP/1.1"]);
    let server = Server::start(&[&[ONE, HANG_UP], &[HANG_UP], &[TWO]]);
    assert_eq!(read(get(&client, &server.url("/1")).unwrap()), ok("one"));
    let error = failed(get(&client, &server.url("/2")));
    assert_eq!((error.kind, error.text.as_str()), (Kind::Closed, "closed the connection without an answer"));
    // A fresh connection's end is told at once.
    let server = Server::start(&[&[HANG_UP], &[TWO]]);
    assert_eq!(failed(get(&client, &server.url("/"))).kind, Kind::Closed);
    assert_eq!(server.lines().len(), 1);
}

#[test]
fn a_body_that_is_cut_says_where_and_keeps_saying_so() {
    let server = Server::start(&[
        &["HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort"],
        &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n"],
        &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n"],
        &["HTTP/1.1 200 OK\r\ncontent-le"],
        &["SSH-2.0-OpenSSH\r\n"],
    ]);
    let client = plain();
    let mut body = get(&client, &server.url("/")).unwrap().body;
    let mut bytes = [0; 16];
    assert_eq!(body.read(&mut bytes).unwrap(), 5);
    for _ in 0..2 {
        assert_eq!(body.read(&mut bytes).unwrap_err().to_string(), "the body ended after 5 of 10 bytes");
    }
    let (_, outcome) = read(get(&client, &server.url("/")).unwrap());
    assert_eq!(outcome, Err("the body ended after 5 bytes, in the middle of it".into()));
    assert_eq!(read(get(&client, &server.url("/")).unwrap()).1, Err("a malformed chunk in the answer's body".into()));
    for text in ["the connection ended in the middle of the answer's head", "does not answer in HTTP/1"] {
        let error = failed(get(&client, &server.url("/")));
        assert_eq!((error.kind, error.text.as_str()), (Kind::Protocol, text));
    }
}

#[test]
fn a_body_that_nobody_wants_does_not_cost_the_connection() {
    let server = Server::start(&[&["HTTP/1.1 307 -\r\nlocation: /x\r\ncontent-length: 5\r\n\r\nthere", ONE], &[TWO]]);
    let client = plain();
    get(&client, &server.url("/1")).unwrap().body.discard();
    // This one is dropped in its middle.
    drop(get(&client, &server.url("/2")).unwrap());
    assert_eq!(read(get(&client, &server.url("/3")).unwrap()), ok("two"));
    assert_eq!(server.lines(), ["0 GET /1 HTTP/1.1", "0 GET /2 HTTP/1.1", "1 GET /3 HTTP/1.1"]);
}

#[test]
fn what_cannot_be_asked_is_not_sent() {
    let server = Server::start(&[&[ONE]]);
    let header = [("authorization", "a\r\nb: c")];
    let url = server.url("/");
    let request = Request { method: Method::Get, url: &url, headers: &header };
    assert_eq!(failed(plain().send(&request)).kind, Kind::Request);
    assert_eq!(failed(get(&plain(), "ftp://127.0.0.5/")).kind, Kind::Request);
    assert_eq!(failed(get(&plain(), "http://a..b/")).kind, Kind::Resolve(dns::Kind::InvalidName));
    assert_eq!(server.lines(), Vec::<String>::new());
}

/// Promise: proxy-password
#[test]
fn plain_http_goes_to_its_proxy_in_absolute_form() {
    let proxy = Server::start(&[&[ONE, "HTTP/1.1 407 -\r\ncontent-length: 0\r\n\r\n"]]);
    let direct = Server::start(&[&[TWO]]);
    let options = format!("http=http://u:p@127.0.0.5:{},no=127.0.0.5:{}", proxy.port, direct.port);
    let client = client(&options, true, &[]);
    assert_eq!(read(get(&client, "http://registry.invalid:5000/v2/?x").unwrap()), ok("one"));
    assert_eq!(read(get(&client, &direct.url("/direct")).unwrap()), ok("two"));
    let error = failed(get(&client, "http://registry.invalid:5000/v2/"));
    assert_eq!(error.kind, Kind::Proxy(407));
    let text = format!("the proxy 127.0.0.5:{} rejects the user or the password (407)", proxy.port);
    assert_eq!(error.text, text);
    let seen = proxy.seen.lock().unwrap();
    assert!(seen[0].starts_with("0 GET http://registry.invalid:5000/v2/?x HTTP/1.1\r\nhost: registry.invalid:5000\r\n"));
    assert!(seen[0].contains("\r\nproxy-authorization: Basic dTpw\r\n"), "{}", seen[0]);
    assert!(!direct.seen.lock().unwrap()[0].contains("proxy-authorization"), "the password went elsewhere");
    assert_eq!(direct.lines(), ["0 GET /direct HTTP/1.1"]);
}

#[test]
fn a_proxy_that_makes_no_tunnel_is_named() {
    let proxy = Server::start(&[
        &["HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"],
        &["HTTP/1.1 503 Service Unavailable\r\n\r\n"],
        &[HANG_UP],
        &["HTTP/1.1 200 OK\r\n\r\nand more"],
    ]);
    let name = format!("127.0.0.5:{}", proxy.port);
    let client = client(&format!("https={name}"), true, &[]);
    let next = || failed(get(&client, "https://registry.invalid/v2/"));
    let error = next();
    assert_eq!(error.text, format!("the proxy {name} requires authentication (407)"));
    assert!(error.hint.is_some_and(|hint| hint.at_boot.contains("b2c.proxy") && !hint.on_host.contains("b2c.")));
    let error = next();
    assert_eq!(error.kind, Kind::Proxy(503));
    assert_eq!(error.text, format!("the proxy {name} refuses to connect to registry.invalid (503)"));
    assert_eq!(next().text, format!("the proxy {name}: closed the connection without an answer"));
    assert_eq!(next().kind, Kind::Protocol);
    let seen = proxy.seen.lock().unwrap();
    let head = format!(
        "0 CONNECT registry.invalid:443 HTTP/1.1\r\nhost: registry.invalid:443\r\nuser-agent: ocinit/{}\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(seen[0], head);
}

#[test]
fn a_proxy_that_is_away_is_named() {
    let name = TcpListener::bind("127.0.0.5:0").unwrap().local_addr().unwrap().to_string();
    let client = client(&format!("https={name},http={name}"), true, &[]);
    for url in ["https://registry.invalid/", "http://registry.invalid/"] {
        let error = failed(get(&client, url));
        assert_eq!((error.kind, error.text.clone()), (Kind::Connect, format!("the proxy {name}: connection refused")));
    }
}

/// Promise: answers-in-pieces
#[test]
fn bytes_that_wait_behind_a_body_are_no_answer() {
    // More than what is read with the head, so that the rest stays in the socket.
    let long = "x".repeat(9000);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n{long}HTTP/1.1 404 Evil\r\n\r\n");
    let answers: &'static [&'static str] = Box::leak(Box::new([&*answer.leak()]));
    let server = Server::start(Box::leak(Box::new([answers, &[TWO]])));
    let client = plain();
    assert_eq!(read(get(&client, &server.url("/")).unwrap()), ok(&long));
    assert_eq!(read(get(&client, &server.url("/")).unwrap()), ok("two"));
}

/// Keys and certificates by openssl: an authority, a server's for 127.0.0.5, a client's.
struct Certificates(tempfile::TempDir);

impl Certificates {
    fn make() -> Certificates {
        let made = Certificates(tempfile::tempdir().unwrap());
        let subject = |name: &str| format!("/CN={name}");
        made.openssl(&["req", "-x509", "-subj", &subject("lab"), "-keyout", "ca.key", "-out", "ca.crt"]);
        for (name, extension) in [("server", "subjectAltName=IP:127.0.0.5"), ("client", "extendedKeyUsage=clientAuth")]
        {
            let (key, out, subject) = (format!("{name}.key"), format!("{name}.pem"), subject(name));
            let request =
                ["req", "-x509", "-CA", "ca.crt", "-CAkey", "ca.key", "-subj", &subject, "-addext", extension];
            let plain = ["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &key, "-out", &out];
            made.openssl(&[&request[..], &plain].concat());
        }
        made
    }

    fn openssl(&self, args: &[&str]) {
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2"];
        let output = Command::new("openssl").args(args).args(key).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A new directory with copies of these files under new names.
    fn directory(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let dir = self.path(name);
        std::fs::create_dir_all(&dir).unwrap();
        for (from, to) in files {
            std::fs::copy(self.path(from), dir.join(to)).unwrap();
        }
        dir
    }

    fn server(&self, args: &[&str]) -> TlsServer {
        let (server, lines) = self.start(&[&["-www"], args].concat());
        // Reads on, so that the server never waits for its log; ends with it.
        std::thread::spawn(move || lines.for_each(drop));
        server
    }

    /// Also gives what the server says behind its port.
    fn start(&self, args: &[&str]) -> (TlsServer, impl Iterator<Item = String> + Send + use<>) {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", "127.0.0.5:0", "-cert", "server.pem", "-key", "server.key"]);
        command.args(args).current_dir(self.0.path()).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let line = lines.find(|line| line.starts_with("ACCEPT ")).expect("a port");
        let port = line.rsplit_once(':').unwrap().1.parse().unwrap();
        (TlsServer { port, child }, lines)
    }
}

struct TlsServer {
    port: u16,
    child: Child,
}

impl TlsServer {
    fn get(&self, client: &Client) -> Result<Response, Error> {
        get(client, &format!("https://127.0.0.5:{}/", self.port))
    }

    fn serves(&self, client: &Client) {
        let (status, text) = read(self.get(client).unwrap_or_else(|error| panic!("{}", error.text)));
        assert!(status == 200 && text.as_ref().is_ok_and(|text| text.contains("Ciphers supported")), "{text:?}");
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn is_tls(error: &Error) -> bool {
    error.kind == Kind::Tls { plain: false } && error.text.starts_with("TLS: ")
}

#[test]
fn an_authority_of_ones_own_counts_where_it_lies() {
    let made = Certificates::make();
    for version in ["-tls1_2", "-tls1_3"] {
        let server = made.server(&[version]);
        let error = failed(server.get(&plain()));
        assert!(is_tls(&error) && error.text.contains("UnknownIssuer") && error.hint.is_some(), "{}", error.text);
        server.serves(&client("", false, &[]));
        server.serves(&client("", true, &[&made.directory("all", &[("ca.crt", "ca.crt")])]));
        let dir = format!("{version}/127.0.0.5:{}", server.port);
        made.directory(&dir, &[("ca.crt", "lab.crt")]);
        server.serves(&client("", true, &[&made.path(version)]));
        made.directory("host/127.0.0.5", &[("ca.crt", "lab.crt")]);
        server.serves(&client("", true, &[&made.path("host")]));
        made.directory("other/127.0.0.5:1", &[("ca.crt", "ca.crt")]);
        assert!(is_tls(&failed(server.get(&client("", true, &[&made.path("other")])))));
        // The same address by a name that the certificate is not for.
        let url = format!("https://[::ffff:127.0.0.5]:{}/", server.port);
        let error = failed(get(&client("", true, &[&made.path("all")]), &url));
        assert!(is_tls(&error), "{}", error.text);
    }
}

#[test]
fn a_client_certificate_is_shown_where_it_is_wanted() {
    let made = Certificates::make();
    for version in ["-tls1_2", "-tls1_3"] {
        let server = made.server(&[version, "-Verify", "1", "-verify_return_error", "-CAfile", "ca.crt"]);
        let without = client("", true, &[&made.directory("without", &[("ca.crt", "ca.crt")])]);
        let error = failed(server.get(&without));
        assert!(is_tls(&error), "{version}: {}", error.text);
        let files = [("ca.crt", "ca.crt"), ("client.pem", "me.cert"), ("client.key", "me.key")];
        let home = format!("127.0.0.5:{}", server.port);
        server.serves(&client_of(&home, true, &made.directory("with", &files)));
        server.serves(&client_of(&home, false, &made.path("with")));
        // Another server is only shown what lies in a directory of its name.
        assert!(is_tls(&failed(server.get(&client_of("registry.lab", true, &made.path("with"))))));
        made.directory(&format!("named/{home}"), &files);
        server.serves(&client_of("registry.lab", true, &made.path("named")));
        let error = failed(server.get(&client_of(&home, true, &made.directory("half", &files[..2]))));
        assert!(error.text.contains("me.key: no such file"), "{}", error.text);
        std::fs::write(made.directory("bad", &files).join("me.key"), "none").unwrap();
        let error = failed(server.get(&client_of(&home, true, &made.path("bad"))));
        assert!(error.text.contains("me.key: holds no private key"), "{}", error.text);
    }
}

#[test]
fn a_server_of_plain_http_is_told_from_a_bad_certificate() {
    let listener = TcpListener::bind("127.0.0.5:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let error = failed(get(&plain(), &url));
    assert_eq!(error.kind, Kind::Tls { plain: true });
    assert!(error.hint.is_some_and(|hint| hint.at_boot.contains("plain http")));
}

/// A proxy for one tunnel to 127.0.0.5:PORT: its name, and what it is asked.
fn tunnel(port: u16) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.5:0").unwrap();
    let name = listener.local_addr().unwrap().to_string();
    let proxy = std::thread::spawn(move || {
        let (mut near, _) = listener.accept().unwrap();
        let asked = head(&mut near).unwrap();
        near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
        let mut far = TcpStream::connect(("127.0.0.5", port)).unwrap();
        let (mut from, mut to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        let upward = std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            to.shutdown(Shutdown::Both)
        });
        let _ = std::io::copy(&mut far, &mut near);
        // Either side may have ended it, and the other has to know.
        let _ = near.shutdown(Shutdown::Both);
        let _ = upward.join();
        asked
    });
    (name, proxy)
}

#[test]
fn tls_goes_through_a_tunnel_to_the_server_itself() {
    let made = Certificates::make();
    let server = made.server(&[]);
    let (name, proxy) = tunnel(server.port);
    server.serves(&client(&format!("https={name}"), true, &[&made.directory("all", &[("ca.crt", "ca.crt")])]));
    assert!(proxy.join().unwrap().starts_with(&format!("CONNECT 127.0.0.5:{} HTTP/1.1\r\n", server.port)));
}

/// Promise: proxy-password
#[test]
fn a_proxys_password_ends_at_the_proxy() {
    let made = Certificates::make();
    // This server shows what it gets, and sends what it is given.
    let (mut server, lines) = made.start(&[]);
    server.child.stdin.as_mut().unwrap().write_all(ONE.as_bytes()).unwrap();
    let (name, proxy) = tunnel(server.port);
    let client = client(&format!("https=http://u:p@{name}"), false, &[]);
    assert_eq!(read(server.get(&client).unwrap()), ok("one"));
    drop(client);
    assert!(proxy.join().unwrap().contains("\r\nproxy-authorization: Basic dTpw\r\n"));
    let request: Vec<String> =
        lines.skip_while(|line| !line.starts_with("GET /")).take_while(|line| !line.is_empty()).collect();
    assert!(request.iter().any(|line| line.starts_with("accept: a/b")), "{request:?}");
    assert!(!request.iter().any(|line| line.contains("authorization")), "{request:?}");
}

/// Reads lines, as most servers do, and so waits for the end of one that TLS's first message does not have; `answer` is
/// sent to a request. Each connection has a thread. The request lines, and all heads.
fn plain_server(answer: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.5:0").unwrap();
    let name = listener.local_addr().unwrap().to_string();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = seen.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let log = log.clone();
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let mut byte = [0];
                while !bytes.ends_with(b"\r\n\r\n") {
                    if stream.read(&mut byte).unwrap_or(0) == 0 {
                        return;
                    }
                    bytes.push(byte[0]);
                }
                log.lock().unwrap().push(String::from_utf8_lossy(&bytes).into_owned());
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
    (name, seen)
}

/// Promise: plain-http-is-told
#[test]
fn a_server_of_plain_http_that_waits_for_the_end_of_a_line() {
    for answer in [ONE, "HTTP/1.1 401 -\r\ncontent-length: 0\r\n\r\n", "HTTP/1.0 404 Not Found\r\n\r\n"] {
        let (name, seen) = plain_server(answer);
        let start = Instant::now();
        let url = format!("https://{name}/v2/x?secret");
        let request = Request { method: Method::Get, url: &url, headers: &[("authorization", "Basic S3CRET")] };
        let error = failed(plain().send(&request));
        assert_eq!((error.kind, error.text.as_str()), (Kind::Tls { plain: true }, "TLS: the server speaks plain http"));
        assert!(error.hint.is_some_and(|hint| hint.at_boot.contains("--tls-verify=false")));
        // Sooner than any limit for a connection; a busy host may need more than the second that it takes.
        assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
        let seen = seen.lock().unwrap();
        assert_eq!(*seen, [format!("GET /v2/ HTTP/1.1\r\nhost: {name}\r\n\r\n")], "asked once, and shown nothing");
    }
}

/// The same through a proxy's tunnels.
/// Promise: plain-http-is-told
#[test]
fn a_server_of_plain_http_behind_a_tunnel() {
    let (name, _) = plain_server(ONE);
    let listener = TcpListener::bind("127.0.0.5:0").unwrap();
    let proxy = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut near in listener.incoming().map_while(Result::ok) {
            let asked = head(&mut near).unwrap();
            near.write_all(b"HTTP/1.1 200 -\r\n\r\n").unwrap();
            let far = TcpStream::connect(asked.split(' ').nth(1).unwrap()).unwrap();
            for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    let client = client(&format!("https={proxy}"), true, &[]);
    let error = failed(get(&client, &format!("https://{name}/")));
    assert_eq!(error.kind, Kind::Tls { plain: true }, "{}", error.text);
}

/// The benign twin: a TLS server that is slower than our patience, and says 400 to plain http as nginx does. What holds
/// TLS's first message back here is the question in plain http itself.
/// Promise: plain-http-is-told
#[test]
fn a_slow_server_of_tls_is_no_server_of_plain_http() {
    let made = Certificates::make();
    for answer in
        ["HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 308 -\r\nlocation: https://x/\r\n\r\n", "\x15\x03\x01", ""]
    {
        let server = made.server(&[]);
        let listener = TcpListener::bind("127.0.0.5:0").unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        let port = server.port;
        let front = std::thread::spawn(move || {
            let (near, _) = listener.accept().unwrap();
            let (mut plain, _) = listener.accept().unwrap();
            assert!(head(&mut plain).unwrap().starts_with("GET /v2/ "));
            plain.write_all(answer.as_bytes()).unwrap();
            drop(plain);
            let far = TcpStream::connect(("127.0.0.5", port)).unwrap();
            for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        });
        let client = client("", true, &[&made.directory("all", &[("ca.crt", "ca.crt")])]);
        let (status, text) = read(get(&client, &url).unwrap_or_else(|error| panic!("{answer}: {}", error.text)));
        assert!(status == 200 && text.is_ok_and(|text| text.contains("Ciphers supported")), "{answer}");
        front.join().unwrap();
    }
}

/// The reverse, as OpenSSL's servers end it and as others do, by an alert.
/// Promise: plain-http-is-told
#[test]
fn a_server_of_tls_that_is_asked_in_plain_http() {
    let server = Server::start(&[&["\x15\x03\x01\0\x02\x02\x46"]]);
    let error = failed(get(&plain(), &server.url("/")));
    assert_eq!(error.kind, Kind::SpeaksTls);
    assert_eq!(error.text, "speaks TLS, and was asked in plain http: write https://");
}
