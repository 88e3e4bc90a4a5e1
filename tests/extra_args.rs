//! Extra arguments from real servers, good and bad, over real connections; the texts of the failures are golden. Keys
//! and signatures are openssl's.
#![cfg(feature = "host")]

use ocinit::boot::extra_args::{Limits, Server};
use ocinit::boot::options::Sources;
use ocinit::boot::pure::cmdline;
use ocinit::boot::pure::extra_args::{without_user, ExtraArgs};
use ocinit::boot::pure::options::Config;
use ocinit::host::image::sha256;
use ocinit::net::dns::Resolver;
use ocinit::net::http::{Client, Tls};
use ocinit::net::pure::proxy::Proxies;
use ocinit::report::{Failure, Report};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const OPTIONS: &str = "# of the gateway\r\nb2c.pipefail b2c.hostname=dut-7\r\nb2c.run=\"-ti img echo a\"\r\n";
/// A body may take this long: short, so that a slow one is told soon.
const LIMITS: Limits = Limits { body_ms: 400, total_ms: 60_000 };

/// What a path answers: a document, or what a script writes.
type Answer = Box<dyn Fn(&mut TcpStream, &str) + Send + Sync>;

/// A server of the gateway's documents, by path.
struct Gateway {
    address: String,
    /// The heads of the requests.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Gateway {
    fn start(address: &str, answer: Answer) -> Gateway {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (seen.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || {
                    let Some(head) = head(&mut stream) else { return };
                    let path = head.split(' ').nth(1).unwrap_or_default().to_string();
                    log.lock().unwrap().push(head);
                    answer(&mut stream, &path);
                });
            }
        });
        Gateway { address, seen }
    }

    /// A gateway with every kind of document.
    fn usual() -> Gateway {
        Gateway::start("127.0.0.5", Box::new(usual))
    }

    /// What becomes of the document at that path.
    fn get(&self, path: &str, extra: &ExtraArgs) -> Result<Vec<u8>, String> {
        self.get_as("", path, extra)
    }

    /// The same with a user in the URL; an error as `WHAT; HINT`, with `GATEWAY` for the address.
    fn get_as(&self, user: &str, path: &str, extra: &ExtraArgs) -> Result<Vec<u8>, String> {
        let (url, authorization) = without_user(&format!("http://{user}{}{path}", self.address)).unwrap();
        let tls = Tls { verify: true, cert_dirs: Vec::new(), home: String::new() };
        let client = Client::new(Arc::new(Resolver::from_host()), Proxies::none(), tls);
        let report = Report::on_host();
        let server = Server { client, url, authorization, limits: LIMITS, report: &report };
        server.document(extra).map_err(|failure| text(&failure).replace(&self.address, "GATEWAY"))
    }

    fn requests(&self, path: &str) -> usize {
        let start = format!("GET {path} ");
        self.seen.lock().unwrap().iter().filter(|head| head.starts_with(&start)).count()
    }
}

fn text(failure: &Failure) -> String {
    assert_eq!(failure.step, "options");
    [failure.what.as_str(), failure.hint.as_deref().unwrap_or_default()].join("; ").trim_end_matches("; ").into()
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
    String::from_utf8(head).ok()
}

/// A client that goes away is a part of these tests.
fn send(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}connection: close\r\n\r\n", body.len());
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
}

fn usual(stream: &mut TcpStream, path: &str) {
    match path.split('?').next().unwrap_or_default() {
        "/good" => send(stream, "200 OK", "content-type: text/html; charset=utf-8\r\n", OPTIONS.as_bytes()),
        "/page" => send(stream, "200 OK", "", b"\n<!doctype html><title>Log in</title>"),
        "/login" => send(stream, "200 OK", "content-type: text/html\r\n", b"Who are you?"),
        "/large" => send(stream, "200 OK", "", &[b'b'; 2 << 20]),
        "/endless" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            while stream.write_all(b"8\r\nb2c.run \r\n").is_ok() {}
        }
        "/slow" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n");
            // A byte now and then: nothing comes in until the client goes away.
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            while stream.write_all(b"b").is_ok() && !matches!(stream.read(&mut [0]), Ok(0)) {}
        }
        "/cut" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nb2c.run=img");
        }
        "/busy" => send(stream, "503 Service Unavailable", "", b""),
        "/home" => send(stream, "302 Found", "location: good?x=y\r\n", b""),
        "/circle" => send(stream, "302 Found", "location: /circle\r\n", b""),
        "/away" => send(stream, "302 Found", "location: http://evil.example/options?token=SECRET\r\n", b""),
        "/metadata" => send(stream, "302 Found", "location: http://169.254.169.254/options\r\n", b""),
        "/file" => send(stream, "302 Found", "location: file:///etc/shadow\r\n", b""),
        "/user" => send(stream, "401 Unauthorized", "www-authenticate: Basic\r\n", b""),
        _ => send(stream, "404 Not Found", "content-type: text/html\r\n", b"<html>no such job</html>"),
    }
}

fn none() -> ExtraArgs {
    ExtraArgs::default()
}

fn pinned(digest: &str) -> ExtraArgs {
    let mut extra = none();
    extra.set("b2c.extra_args_sha256", digest).unwrap();
    extra
}

/// Promise: extra-arguments
#[test]
fn a_document_and_a_redirect_on_its_host() {
    let gateway = Gateway::usual();
    assert_eq!(gateway.get("/good", &none()).unwrap(), OPTIONS.as_bytes());
    assert_eq!(gateway.get_as("lab:p%40ss@", "/home", &none()).unwrap(), OPTIONS.as_bytes());
    assert_eq!(gateway.requests("/good?x=y"), 1);
    let seen = gateway.seen.lock().unwrap();
    assert!(
        seen.last().unwrap().contains("authorization: Basic bGFiOnBAc3M=\r\n") && !seen[0].contains("authorization")
    );
}

/// Promise: extra-arguments, failures-are-told
/// Input: extra-arguments
#[test]
fn documents_that_are_none() {
    let gateway = Gateway::usual();
    let page = "a page of HTML, and no options; it may ask for a password, or tell that something is not there: open \
                the URL in a browser";
    for (path, why) in [
        ("/missing", "GET http://GATEWAY/missing: no such document (404)"),
        ("/user", "GET http://GATEWAY/user: authentication required (401); write USER:PASSWORD@ before the host in the URL"),
        ("/page", &format!("http://GATEWAY/page: {page}")),
        ("/login", &format!("http://GATEWAY/login: {page}")),
        ("/large", "GET http://GATEWAY/large: the document is larger than 256 KiB"),
        ("/endless", "GET http://GATEWAY/endless: the document is larger than 256 KiB"),
        ("/circle", "GET http://GATEWAY/circle: redirects more than 9 times"),
        ("/file", "GET http://GATEWAY/file: redirects without a safe target"),
        (
            "/away",
            "GET http://GATEWAY/away: redirects to another host, evil.example, which is not followed; write that URL, or \
             say what must come from there: b2c.extra_args_sha256= or b2c.extra_args_key=",
        ),
    ] {
        let start = Instant::now();
        assert_eq!(gateway.get(path, &none()).unwrap_err(), why);
        // None of them is better a second time.
        assert!(path == "/circle" || gateway.requests(path) == 1, "{path}");
        assert!(start.elapsed() < Duration::from_secs(10), "{path}");
    }
}

/// What a second try may heal: three in all, as nothing here says that the server is only starting.
/// Promise: extra-arguments
/// Input: extra-arguments
#[test]
fn bodies_that_are_cut_or_slow() {
    let gateway = Gateway::usual();
    for (path, why) in [
        ("/slow", "GET http://GATEWAY/slow: the body arrives too slowly"),
        ("/cut", "GET http://GATEWAY/cut: the body ended after 11 of 100 bytes"),
        ("/busy", "GET http://GATEWAY/busy: server error (503)"),
    ] {
        assert_eq!(gateway.get(path, &none()).unwrap_err(), why);
        assert_eq!(gateway.requests(path), 3, "{path}");
    }
}

/// What is checked may come from anywhere, but for a cloud's own services.
/// Promise: extra-arguments
/// Input: extra-arguments
#[test]
fn a_digest_and_another_host() {
    let other = Gateway::start("127.0.0.6", Box::new(usual));
    let location = format!("location: http://{}/good\r\n", other.address);
    let gateway = Gateway::start(
        "127.0.0.5",
        Box::new(move |stream, path| match path {
            "/moved" => send(stream, "307 Temporary Redirect", &location, b""),
            _ => usual(stream, path),
        }),
    );
    let digest = sha256(OPTIONS.as_bytes());
    let good = pinned(&digest.to_uppercase());
    assert_eq!(gateway.get_as("u:p@", "/moved", &good).unwrap(), OPTIONS.as_bytes());
    assert!(!other.seen.lock().unwrap()[0].contains("authorization"));
    assert!(gateway.get("/moved", &none()).unwrap_err().contains("redirects to another host, 127.0.0.6:"));
    assert!(gateway
        .get("/metadata", &good)
        .unwrap_err()
        .contains("another host, 169.254.169.254, which is not followed"));
    let zeros = "0".repeat(64);
    let why =
        format!("http://GATEWAY/good: SHA-256 {digest} instead of {zeros}; b2c.extra_args_sha256 names the second one");
    assert_eq!(gateway.get("/good", &pinned(&zeros)).unwrap_err(), why);
}

fn openssl(dir: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output().expect("openssl");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A key of openssl's, and the signature of the document by it.
fn signed(kind: &str) -> (tempfile::TempDir, ExtraArgs, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("options"), OPTIONS).unwrap();
    // As docs/extra-arguments.md has it.
    match kind {
        "p256" => {
            openssl(dir.path(), "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key");
            openssl(dir.path(), "dgst -sha256 -sign key -out options.sig options");
        }
        _ => {
            openssl(dir.path(), "genpkey -algorithm ed25519 -out key");
            openssl(dir.path(), "pkeyutl -sign -rawin -inkey key -in options -out options.sig");
        }
    }
    openssl(dir.path(), "pkey -in key -pubout -out key.pub");
    let mut extra = none();
    extra.set("b2c.extra_args_key", dir.path().join("key.pub").to_str().unwrap()).unwrap();
    let signature = std::fs::read(dir.path().join("options.sig")).unwrap();
    (dir, extra, signature)
}

/// Promise: extra-arguments, signatures
/// Input: extra-arguments
#[test]
fn signatures_of_openssl() {
    for kind in ["p256", "ed25519"] {
        let (_dir, extra, signature) = signed(kind);
        let (_other_dir, other, _) = signed(kind);
        let base64 = ocinit::pure::base64::encode(&signature);
        let (line, rest) = base64.split_at(64);
        let lines = [line, "\n", rest, "\n"].concat();
        let gateway = Gateway::start(
            "127.0.0.5",
            Box::new(move |stream, path| match path {
                "/good.sig" => send(stream, "200 OK", "", &signature),
                "/good.sig?lines" => send(stream, "200 OK", "", lines.as_bytes()),
                "/good.sig?large" => send(stream, "200 OK", "", &[b'A'; 5000]),
                "/good.sig?none" => send(stream, "404 Not Found", "", b""),
                "/good.sig?empty" => send(stream, "200 OK", "", b""),
                _ => usual(stream, path),
            }),
        );
        for path in ["/good", "/good?lines"] {
            assert_eq!(gateway.get(path, &extra).unwrap(), OPTIONS.as_bytes(), "{kind} {path}");
        }
        let wrong = "is no signature of it by the key of b2c.extra_args_key";
        let sign =
            "openssl pkeyutl -sign -rawin -inkey KEY -in FILE -out FILE.sig makes a signature by Ed25519, openssl \
                    dgst -sha256 -sign one by P-256";
        for (path, extra, why) in [
            ("/good", &other, format!("http://GATEWAY/good: http://GATEWAY/good.sig {wrong}")),
            ("/good?empty", &extra, format!("http://GATEWAY/good?empty: http://GATEWAY/good.sig?empty {wrong}")),
            ("/good?none", &extra, "GET http://GATEWAY/good.sig?none: no such document (404)".into()),
            ("/good?large", &extra, "GET http://GATEWAY/good.sig?large: the document is larger than 4 KiB".into()),
        ] {
            assert_eq!(gateway.get(path, extra).unwrap_err(), format!("{why}; {sign}"), "{kind} {path}");
        }
        // Another document with that signature.
        let why = gateway.get("/page", &extra).unwrap_err();
        assert!(why.starts_with("GET http://GATEWAY/page.sig: no such document (404)"), "{why}");
    }
    let mut missing = none();
    missing.set("b2c.extra_args_key", "/nowhere/key.pub").unwrap();
    let why = "b2c.extra_args_key: /nowhere/key.pub: no such file or directory; the file is one of the initramfs: \
               ocinit-host build --add";
    assert_eq!(Gateway::usual().get("/good", &missing).unwrap_err(), why);
}

/// The words of a document among those of the other sources.
fn applied(kernel: &str, document: &[u8]) -> Result<Config, String> {
    let mut report = Report::on_host();
    let mut config = Config::default();
    let mut sources = Sources::new(vec![cmdline::parse(kernel.as_bytes()).unwrap(), Vec::new()], None);
    sources.evaluate(&mut config, &report).map_err(|failure| text(&failure))?;
    sources.add(document, &mut config, &mut report).map_err(|failure| text(&failure))?;
    sources.evaluate(&mut config, &report).map_err(|failure| text(&failure))?;
    Ok(config)
}

const LINE: &str = "b2c.extra_args_url=http://h/x b2c.log=plain b2c.hostname=kernel";

/// Promise: extra-arguments
/// Input: extra-arguments
#[test]
fn documents_as_servers_send_them() {
    let utf16: Vec<u8> = format!("\u{feff}{OPTIONS}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bom = ["\u{feff}", OPTIONS].concat().into_bytes();
    for document in
        [OPTIONS.as_bytes(), OPTIONS.replace("\r\n", "\n").as_bytes(), OPTIONS.trim_end().as_bytes(), &utf16, &bom]
    {
        let config = applied(LINE, document).unwrap();
        assert_eq!(
            (config.run, config.hostname.as_str(), config.pipefail),
            (vec!["-ti img echo a".into()], "dut-7", true)
        );
    }
    assert!(applied(LINE, b"").is_ok_and(|config| !config.runs_something()), "an empty one is none");
}

/// Promise: extra-arguments, faulty-values
/// Input: extra-arguments
#[test]
fn mistakes_in_a_document() {
    let quotes = "write double quotes around the whole word, such as \"b2c.run=IMAGE COMMAND\"";
    for (document, why) in [
        (
            "b2c.pipefail\r\nb2c.run=\"-ti img\r\n",
            &*format!("an unmatched double quote: b2c.run=-ti img; word 2, line 2, column 9 of the extra arguments: {quotes}"),
        ),
        (
            "b2c.run=--nmae=x",
            "b2c.run: --nmae is not a known flag: did you mean --name?; word 1, column 1 of the extra arguments",
        ),
        (
            "{\"error\": \"no such job\"}",
            "none of the 2 words of the extra arguments is an option; options begin with b2c.",
        ),
        (
            "b2c.minio=a,http://h,KEY,SECRET",
            "b2c.minio is not supported yet, and cannot be ignored; word 1, column 1 of the extra arguments: take it out, \
             and copy what is needed in a container",
        ),
    ] {
        assert_eq!(applied(LINE, document.as_bytes()).err().as_deref(), Some(why));
    }
    // The policy that they give holds all the same.
    let (mut config, mut report) = (Config::default(), Report::on_host());
    let mut sources = Sources::new(vec![cmdline::parse(LINE.as_bytes()).unwrap(), Vec::new()], None);
    sources.evaluate(&mut config, &report).unwrap();
    sources.add(b"b2c.onfail=hang b2c.run=\"", &mut config, &mut report).unwrap();
    sources.evaluate(&mut config, &report).unwrap_err();
    assert_eq!(config.on_fail, ocinit::boot::pure::options::OnFail::Hang);
}
