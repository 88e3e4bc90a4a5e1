//! Options from a URL: the gateway of a lab serves them to a machine, well and badly.

use crate::lab::{lab, Seen, OVER, POWER_DOWN, SAFE};
use crate::support;
use ocinit::host::image::sha256;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// A server at which guests find documents; each answer is a whole one of HTTP.
pub struct Gateway {
    pub port: u16,
    /// The request lines.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Gateway {
    /// One that answers `200` with `document` at every path.
    pub fn of(document: &str) -> Gateway {
        let answer = ok(document);
        Gateway::start(move |stream, _| stream.write_all(&answer))
    }

    pub fn start(answer: impl Fn(&mut TcpStream, &str) -> std::io::Result<()> + Send + Sync + 'static) -> Gateway {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || {
                    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                    let Some(request) = lines.next() else { return };
                    lines.find(String::is_empty);
                    log.lock().unwrap().push(request.clone());
                    // A guest that closes first is a part of some tests.
                    let _ = answer(&mut stream, request.split(' ').nth(1).unwrap_or_default());
                });
            }
        });
        Gateway { port, seen }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://10.0.2.2:{}{path}", self.port)
    }

    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}connection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn ok(document: &str) -> Vec<u8> {
    answer("200 OK", "content-type: text/plain\r\n", document.as_bytes())
}

/// A boot that ends before its pipeline, with its golden lines.
fn fails(name: &str, gateway: &Gateway, words: &str) -> Option<Seen> {
    let lab = lab()?;
    let url = gateway.url("/job/extra-args");
    let seen = lab.boot(name, &format!("b2c.extra_args_url={url} {words}"), |_| ());
    seen.ends(POWER_DOWN);
    seen.never(OVER);
    seen.at(SAFE);
    seen.golden(name);
    Some(seen)
}

/// Promise: extra-arguments, failures-are-told
/// Input: extra-arguments
#[test]
fn documents_that_cannot_be_used() {
    for (name, document) in [
        ("extra-args-missing", answer("404 Not Found", "content-type: text/html\r\n", b"<html>no such job</html>")),
        ("extra-args-page", answer("200 OK", "content-type: text/html\r\n", b"<!doctype html><title>Log in</title>")),
        ("extra-args-large", answer("200 OK", "", &[b'b'; 2 << 20])),
        ("extra-args-away", answer("302 Found", "location: http://evil.example/options?token=SECRET\r\n", b"")),
        ("extra-args-quote", ok("b2c.pipefail\r\nb2c.run=\"-ti img\r\n")),
        ("extra-args-value", ok("b2c.pipefail\r\nb2c.poweroff_delay=soon\r\n")),
    ] {
        let gateway = Gateway::start(move |stream, _| stream.write_all(&document));
        let Some(seen) = fails(name, &gateway, r#"b2c.run="pull:payload echo not this""#) else { return };
        seen.never("SECRET");
        seen.never("not this");
        assert_eq!(gateway.requests(), ["GET /job/extra-args HTTP/1.1"], "{name}");
    }
}

/// Promise: extra-arguments
/// Input: extra-arguments
#[test]
fn a_document_without_end() {
    let gateway = Gateway::start(|stream, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        loop {
            stream.write_all(b"8\r\nb2c.run \r\n")?;
        }
    });
    fails("extra-args-endless", &gateway, "");
}

/// Promise: extra-arguments
/// Input: extra-arguments
#[test]
fn a_document_of_another_digest() {
    let gateway = Gateway::of("b2c.run=\"image of-somebody-else\"\n");
    fails("extra-args-digest", &gateway, &format!("b2c.extra_args_sha256={}", "0".repeat(64)));
}

/// The server, or what is in front of it, comes up beside the machine.
/// Promise: extra-arguments
#[test]
fn a_gateway_that_starts_late() {
    let Some(lab) = lab() else { return };
    let document = "b2c.run=\"--tls-verify=false docker://REGISTRY/payload echo served late\"";
    let document = ok(&document.replace("REGISTRY", &lab.registry.for_guest()));
    let tries = Mutex::new(0);
    let gateway = Gateway::start(move |stream, _| {
        let mut tries = tries.lock().unwrap();
        *tries += 1;
        stream.write_all(&if *tries < 4 { answer("503 Service Unavailable", "", b"") } else { document.clone() })
    });
    let seen = lab.boot("extra_args_late", &format!("b2c.extra_args_url={}", gateway.url("/x")), |_| ());
    seen.over(0, POWER_DOWN);
    seen.at("served late");
    assert_eq!(seen.count("server error (503); retry in "), 3);
}

/// What the document says comes before all that it may change, and in the log without secrets.
/// Promise: extra-arguments, interpolation, no-secret-in-messages
#[test]
fn options_are_applied_before_all_else() {
    let Some(lab) = lab() else { return };
    let document = r#"b2c.log=sections b2c.hostname=dut-${mac} b2c.cache_device=none b2c.insmods=late.ko
b2c.filesystem=scratch,type=tmpfs,src=none,opts=size=1m|mode=700 # not its options
b2c.volume=v,filesystem=scratch
b2c.run="--creds=u:SECRET --tls-verify=false -v v:/v docker://REGISTRY/payload hostname" "#;
    let gateway = Gateway::of(&document.replace("REGISTRY", &lab.registry.for_guest()));
    let url = gateway.url("/${mac}/${ip}?key=SECRET");
    let words = format!("b2c.log=plain b2c.hostname=kernel b2c.cache_device=/dev/nothing b2c.extra_args_url={url}");
    let seen = lab.boot("extra_args_before", &words, |_| ());
    seen.over(0, POWER_DOWN);
    seen.at("dut-52-54-00-12-34-56");
    assert_eq!(gateway.requests(), ["GET /52:54:00:12:34:56/10.0.2.15?key=SECRET HTTP/1.1"]);
    seen.says(&format!("options    7 from http://10.0.2.2:{}/52:54:00:12:34:56/10.0.2.15?***", gateway.port));
    seen.says("options    b2c.hostname=dut-${mac}");
    seen.says("options    b2c.filesystem=scratch,***");
    seen.says("options    b2c.run=--creds=*** --tls-verify=false -v v:/v docker://");
    seen.says("options    WARN b2c.insmods in the extra arguments comes too late, as modules are loaded: ignored");
    assert!(seen.text().contains("section_start:") && !seen.text().contains("/dev/nothing: no"));
    seen.never("SECRET");
}

/// Promise: extra-arguments, signatures
#[test]
fn a_signed_document() {
    let Some(lab) = lab() else { return };
    let dir = support::scratch("extra-args-key");
    let document = "b2c.run=\"--tls-verify=false docker://REGISTRY/payload echo signed words\"\n";
    let document = document.replace("REGISTRY", &lab.registry.for_guest());
    std::fs::write(dir.join("options"), &document).unwrap();
    openssl(&dir, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key");
    openssl(&dir, "pkey -in key -pubout -out key.pub");
    openssl(&dir, "dgst -sha256 -sign key -out options.sig options");
    let signature = answer("200 OK", "", &std::fs::read(dir.join("options.sig")).unwrap());
    let digest = sha256(document.as_bytes());
    let good = ok(&document);
    let gateway =
        Gateway::start(move |stream, path| stream.write_all(if path.ends_with(".sig") { &signature } else { &good }));
    let initramfs = lab.build("extra-args-key", |spec| spec.added.push((dir.join("key.pub"), "etc/lab.pub".into())));
    let words = format!("b2c.extra_args_url={} b2c.extra_args_key=/etc/lab.pub", gateway.url("/x"));
    let words = format!("{words} b2c.extra_args_sha256={digest}");
    let seen = lab.boot("extra_args_signed", &words, |machine| machine.initrd = initramfs.clone());
    seen.over(0, POWER_DOWN);
    seen.at("signed words");
    seen.says("/x, signed");
    // The same signature of other words.
    let forged = Gateway::start({
        let signature = answer("200 OK", "", &std::fs::read(dir.join("options.sig")).unwrap());
        move |stream, path| {
            stream.write_all(if path.ends_with(".sig") {
                &signature
            } else {
                b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nb2c.run=mine"
            })
        }
    });
    let words = format!("b2c.extra_args_url={} b2c.extra_args_key=/etc/lab.pub", forged.url("/job/extra-args"));
    let seen = lab.boot("extra-args-forged", &words, |machine| machine.initrd = initramfs);
    seen.ends(POWER_DOWN);
    seen.golden("extra-args-forged");
}

fn openssl(dir: &Path, arguments: &str) {
    let status = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).status().expect("openssl");
    assert!(status.success(), "openssl {arguments}");
}
