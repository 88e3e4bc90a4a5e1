//! The registry client against servers that misbehave: each fault is injected
//! by a small server of its own. The well-behaved registry is Debian's, in
//! tests/host.rs and tests/qemu.

use ocinit::host::image::{self, sha256, Entry, Image};
use ocinit::proto::flags::{self, Container};
use ocinit::proto::mirror::Mirrors;
use ocinit::proto::proxy::Proxies;
use ocinit::report::{Failure, Report};
use ocinit::steps::layer::Layer;
use ocinit::steps::pull::{self, Access};
use ocinit::steps::resolver::Resolver;
use ocinit::steps::store::Store;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tiny_http::{Header, Request, Response, Server};

type Answer = Response<std::io::Cursor<Vec<u8>>>;
/// Gets the request's number, its path and its Authorization; `None` answers as a good registry does.
type Fault = Box<dyn Fn(usize, &str, Option<&str>) -> Option<Answer> + Send>;

/// A registry with one image of one layer, and a fault.
struct Fake {
    port: u16,
    server: Arc<Server>,
    /// `PATH AUTHORIZATION` of every request.
    seen: Arc<Mutex<Vec<String>>>,
    folder: tempfile::TempDir,
}

impl Fake {
    fn start(fault: impl FnOnce(u16, &Blobs) -> Fault) -> Fake {
        let folder = tempfile::tempdir().unwrap();
        let layer = image::tar(&[Entry::directory("etc/", 0o755), Entry::file("etc/hello", 0o644, "hello")]);
        let layout = folder.path().join("layout");
        image::write(&layout, &[Image::new(vec![layer], serde_json::json!({"Entrypoint": ["/hello"]}))]).unwrap();
        let blobs = Blobs::read(&layout);
        let server = Arc::new(Server::http("127.0.0.1:0").unwrap());
        let port = server.server_addr().to_ip().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let fault = fault(port, &blobs);
        let (requests, log) = (server.clone(), seen.clone());
        std::thread::spawn(move || {
            for (number, request) in requests.incoming_requests().enumerate() {
                serve(number, request, &blobs, &fault, &log);
            }
        });
        Fake { port, server, seen, folder }
    }

    fn store(&self) -> Store {
        let quiet = Report { quiet: true, ..Report::on_host() };
        Store::open(&self.folder.path().join("store"), false, &quiet).unwrap()
    }

    fn pull(&self) -> Result<pull::Image, Failure> {
        self.pull_from(self.port)
    }

    fn pull_from(&self, port: u16) -> Result<pull::Image, Failure> {
        let name = format!("127.0.0.1:{port}/demo");
        let report = Report { quiet: true, ..Report::on_host() };
        pull::image(&container(&["--tls-verify=false", "--retry=2", &name]), &self.store(), &access(), &report)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// What the store holds of layers, complete or half done.
    fn layers(&self) -> usize {
        let count = |name: &str| std::fs::read_dir(self.folder.path().join("store").join(name)).unwrap().count();
        count("layers") + count("tmp")
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.unblock();
    }
}

/// A container line.
fn container(words: &[&str]) -> Container {
    let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
    flags::parse(&words, &|_| None).unwrap()
}

fn access() -> Access {
    let resolver = Resolver::from_host().into();
    Access { resolver, proxies: Proxies::none(), mirrors: Mirrors::default(), keys: Vec::new() }
}

/// The image's documents and blobs.
struct Blobs {
    manifest: Vec<u8>,
    config: Vec<u8>,
    layer: Vec<u8>,
}

impl Blobs {
    fn read(layout: &Path) -> Blobs {
        let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
        let blob = |digest: &serde_json::Value| {
            let hex = digest.as_str().unwrap().trim_start_matches("sha256:");
            std::fs::read(layout.join("blobs/sha256").join(hex)).unwrap()
        };
        let index = json(&std::fs::read(layout.join("index.json")).unwrap());
        let manifest = blob(&index["manifests"][0]["digest"]);
        let parsed = json(&manifest);
        let (config, layer) = (blob(&parsed["config"]["digest"]), blob(&parsed["layers"][0]["digest"]));
        Blobs { manifest, config, layer }
    }
}

fn serve(number: usize, request: Request, blobs: &Blobs, fault: &Fault, log: &Mutex<Vec<String>>) {
    let path = request.url().to_string();
    let authorization = request.headers().iter().find(|header| header.field.equiv("authorization"));
    let authorization = authorization.map(|header| header.value.to_string());
    log.lock().unwrap().push(format!("{path} {}", authorization.as_deref().unwrap_or("-")));
    let answer = fault(number, &path, authorization.as_deref()).unwrap_or_else(|| {
        if path.starts_with("/v2/demo/manifests/") {
            Response::from_data(blobs.manifest.clone())
        } else if path.ends_with(&sha256(&blobs.config)) {
            Response::from_data(blobs.config.clone())
        } else if path.ends_with(&sha256(&blobs.layer)) {
            Response::from_data(blobs.layer.clone())
        } else {
            Response::from_data("not found").with_status_code(404)
        }
    });
    // A client that has gone away is part of some tests.
    let _ = request.respond(answer);
}

fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).unwrap()
}

fn status(code: u16) -> Answer {
    Response::from_data("").with_status_code(code)
}

fn good() -> impl FnOnce(u16, &Blobs) -> Fault {
    |_, _| Box::new(|_, _, _| None)
}

#[test]
fn the_fake_without_a_fault_is_a_registry() {
    let fake = Fake::start(good());
    let image = fake.pull().unwrap();
    let Layer::Folder(folder) = &image.layers[0] else { panic!("a tar is unpacked") };
    assert_eq!(std::fs::read_to_string(folder.join("etc/hello")).unwrap(), "hello");
    assert_eq!(fake.seen().len(), 3);
    // The second time only the manifest is asked for: by HEAD, and, since this one tells no digest, by GET.
    fake.pull().unwrap();
    assert_eq!(fake.seen().len(), 5);
}

#[test]
fn a_wrong_byte_is_asked_for_again_and_never_kept() {
    let fake = Fake::start(|_, blobs| {
        let (mut wrong, digest) = (blobs.layer.clone(), sha256(&blobs.layer));
        *wrong.last_mut().unwrap() ^= 1;
        Box::new(move |_, path, _| path.ends_with(&digest).then(|| Response::from_data(wrong.clone())))
    });
    let failure = fake.pull().err().unwrap();
    assert!(failure.what.contains("layer 1/1") && failure.what.contains("has the digest"), "{}", failure.what);
    assert_eq!(fake.seen().iter().filter(|line| line.contains("/blobs/")).count(), 1 + 3, "config once, layer thrice");
    assert_eq!(fake.layers(), 0);
}

#[test]
fn a_short_body_heals_when_the_next_try_is_whole() {
    let fake = Fake::start(|_, blobs| {
        let (short, digest) = (blobs.layer[..blobs.layer.len() / 2].to_vec(), sha256(&blobs.layer));
        Box::new(move |number, path, _| {
            (number == 2 && path.ends_with(&digest)).then(|| Response::from_data(short.clone()))
        })
    });
    fake.pull().unwrap();
    assert_eq!(fake.seen().len(), 4);
}

#[test]
fn a_body_that_is_longer_than_its_descriptor_is_refused() {
    let fake = Fake::start(|_, blobs| {
        let (long, digest) = ([&blobs.layer[..], &[0; 70_000]].concat(), sha256(&blobs.layer));
        Box::new(move |_, path, _| path.ends_with(&digest).then(|| Response::from_data(long.clone())))
    });
    let failure = fake.pull().err().unwrap();
    assert!(failure.what.contains("longer than its descriptor"), "{}", failure.what);
    assert_eq!(fake.layers(), 0);
}

#[test]
fn a_wrong_configuration_is_refused() {
    let fake = Fake::start(|_, blobs| {
        let digest = sha256(&blobs.config);
        Box::new(move |_, path, _| path.ends_with(&digest).then(|| Response::from_data("{}")))
    });
    assert!(fake.pull().err().unwrap().what.contains("configuration sha256:"));
}

#[test]
fn documents_over_their_limit_are_refused() {
    let fake = Fake::start(|_, _| {
        Box::new(|_, path, _| path.contains("/manifests/").then(|| Response::from_data(vec![b' '; (4 << 20) + 1])))
    });
    assert!(fake.pull().err().unwrap().what.contains("larger than 4 MiB"));
}

#[test]
fn a_token_is_fetched_and_goes_to_the_registry_only() {
    let fake = Fake::start(|port, _| {
        Box::new(move |_, path, authorization| {
            if path.starts_with("/token?service=s&scope=repository%3Ademo%3Apull") {
                return Some(Response::from_data(r#"{"token":"secret"}"#));
            }
            if authorization.is_none() && path.starts_with("/v2/") {
                let realm = format!(
                    "Bearer realm=\"http://127.0.0.1:{port}/token\",service=\"s\",scope=\"repository:demo:pull\""
                );
                return Some(status(401).with_header(header("www-authenticate", &realm)));
            }
            // The layer lies elsewhere: by name the same server, but another host.
            path.starts_with("/v2/demo/blobs/").then(|| {
                let elsewhere = format!("http://localhost:{port}{}", path.replace("/v2/demo", "/elsewhere"));
                status(307).with_header(header("location", &elsewhere))
            })
        })
    });
    fake.pull().unwrap();
    let seen = fake.seen();
    let elsewhere: Vec<&String> = seen.iter().filter(|line| line.starts_with("/elsewhere")).collect();
    assert_eq!(elsewhere.len(), 2, "{seen:?}");
    assert!(elsewhere.iter().all(|line| line.ends_with(" -")), "the token went elsewhere: {seen:?}");
    assert_eq!(seen.iter().filter(|line| line.starts_with("/token")).count(), 1, "{seen:?}");
}

#[test]
fn an_expired_token_is_fetched_anew() {
    let fake = Fake::start(|port, blobs| {
        let digest = sha256(&blobs.layer);
        Box::new(move |number, path, authorization| {
            if path.starts_with("/token") {
                return Some(Response::from_data(format!(r#"{{"access_token":"t{number}"}}"#)));
            }
            // The layer wants a newer token than the first, which request 1 fetched.
            let good = authorization.is_some_and(|value| !path.ends_with(&digest) || value != "Bearer t1");
            let realm = format!("Bearer realm=\"http://127.0.0.1:{port}/token\"");
            (!good).then(|| status(401).with_header(header("www-authenticate", &realm)))
        })
    });
    fake.pull().unwrap();
}

#[test]
fn a_realm_on_a_link_local_address_gets_no_visit() {
    let fake = Fake::start(|_, _| {
        Box::new(|_, _, _| {
            Some(status(401).with_header(header("www-authenticate", r#"Bearer realm="http://169.254.169.254/token""#)))
        })
    });
    assert!(fake.pull().err().unwrap().what.contains("not safe"));
}

#[test]
fn a_registry_that_is_busy_is_asked_again() {
    let fake = Fake::start(|_, _| {
        Box::new(|number, _, _| (number < 2).then(|| status(503).with_header(header("retry-after", "0"))))
    });
    fake.pull().unwrap();
    assert_eq!(fake.seen().len(), 2 + 3);
}

#[test]
fn a_registry_that_stays_busy_is_a_failure_or_the_earlier_image() {
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let switch = broken.clone();
    let fake = Fake::start(move |_, _| {
        Box::new(move |_, _, _| switch.load(std::sync::atomic::Ordering::SeqCst).then(|| status(500)))
    });
    assert!(fake.pull().err().unwrap().what.contains("error of its own (500)"));
    broken.store(false, std::sync::atomic::Ordering::SeqCst);
    let first = fake.pull().unwrap();
    broken.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(fake.pull().unwrap().layers, first.layers);
}

#[test]
fn an_image_that_is_gone_is_a_failure_even_where_an_older_one_is_here() {
    let gone = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let switch = gone.clone();
    let fake = Fake::start(move |_, _| {
        Box::new(move |_, _, _| switch.load(std::sync::atomic::Ordering::SeqCst).then(|| status(404)))
    });
    fake.pull().unwrap();
    gone.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(fake.pull().err().unwrap().what.contains("no such image or tag (404)"));
}

#[test]
fn redirects_in_a_circle_end() {
    let fake = Fake::start(|port, _| {
        Box::new(move |_, path, _| {
            let location = format!("http://127.0.0.1:{port}{path}");
            Some(status(302).with_header(header("location", &location)))
        })
    });
    assert!(fake.pull().err().unwrap().what.contains("redirects more than 5 times"));
}

#[test]
fn an_index_in_a_circle_is_refused() {
    let fake = Fake::start(|_, _| {
        Box::new(|_, path, _| {
            let index = |digest: &str| {
                format!(
                    r#"{{"schemaVersion":2,"manifests":[{{"digest":"sha256:{digest}","size":1,
                    "platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#
                )
            };
            let inner = index(&"a".repeat(64));
            path.contains("/manifests/").then(|| {
                let is_inner = path.ends_with(&sha256(inner.as_bytes()));
                Response::from_data(if is_inner { inner.clone() } else { index(&sha256(inner.as_bytes())) })
            })
        })
    });
    // The digests of a true circle cannot be made; a false one is refused where it stops matching.
    assert!(fake.pull().err().unwrap().what.contains("has the digest"));
}

#[test]
fn a_wrong_configuration_is_asked_for_again() {
    let fake = Fake::start(|_, blobs| {
        let digest = sha256(&blobs.config);
        Box::new(move |number, path, _| (number < 3 && path.ends_with(&digest)).then(|| Response::from_data("{}")))
    });
    fake.pull().unwrap();
    assert_eq!(fake.seen().len(), 1 + 3 + 1);
}

/// Answers each connection once with a length and less than that, then as the registry `to` does.
fn cutting(to: u16, cut: &'static str) -> u16 {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut cuts = 0;
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                request.push(byte[0]);
            }
            let request = String::from_utf8(request).unwrap();
            let path = request.split(' ').nth(1).unwrap_or("/").to_string();
            if path.contains(cut) && cuts < 2 {
                cuts += 1;
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\nconnection: close\r\n\r\n{").unwrap();
                continue;
            }
            let answer = format!(
                "HTTP/1.1 307 -\r\nlocation: http://127.0.0.1:{to}{path}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            // A client that has gone away is none of this server's business.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

#[test]
fn a_document_that_is_cut_is_asked_for_again() {
    for cut in ["/manifests/", "/blobs/"] {
        let fake = Fake::start(good());
        let front = cutting(fake.port, cut);
        fake.pull_from(front).unwrap();
        assert_eq!(fake.seen().len(), 3, "{cut}");
    }
}

/// The tag moves to a second image, whose layer has an answer of its own.
fn moved_to_second(layer_answer: fn() -> Answer) -> (Fake, Arc<std::sync::atomic::AtomicBool>) {
    let moved = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let switch = moved.clone();
    let fake = Fake::start(move |_, _| {
        let folder = tempfile::tempdir().unwrap();
        let layer = image::tar(&[Entry::file("second", 0o644, "second")]);
        let layout = folder.path().join("layout");
        image::write(&layout, &[Image::new(vec![layer], serde_json::json!({}))]).unwrap();
        let second = Blobs::read(&layout);
        Box::new(move |_, path, _| {
            if !switch.load(std::sync::atomic::Ordering::SeqCst) {
                None
            } else if path.contains("/manifests/") {
                Some(Response::from_data(second.manifest.clone()))
            } else if path.ends_with(&sha256(&second.config)) {
                Some(Response::from_data(second.config.clone()))
            } else {
                Some(layer_answer())
            }
        })
    });
    (fake, moved)
}

#[test]
fn blobs_that_are_away_are_a_reason_to_take_the_earlier_image() {
    let (fake, moved) = moved_to_second(|| status(503).with_header(header("retry-after", "0")));
    let first = fake.pull().unwrap();
    moved.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(fake.pull().unwrap().layers, first.layers);
    assert_eq!(fake.layers(), 1);
}

#[test]
fn blobs_that_are_gone_are_not() {
    let (fake, moved) = moved_to_second(|| status(404));
    fake.pull().unwrap();
    moved.store(true, std::sync::atomic::Ordering::SeqCst);
    let failure = fake.pull().err().unwrap();
    assert!(failure.what.contains("layer 1/1") && failure.what.contains("(404)"), "{}", failure.what);
}

#[test]
fn a_registry_whose_tls_fails_is_away() {
    let fake = Fake::start(good());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // What answers is no certificate, which is as good as one that is not valid yet.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            use std::io::{Read, Write};
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let pull = |port: u16, tls_verify: bool, store: &str| {
        let name = format!("127.0.0.1:{port}/demo");
        let line = container(&[&format!("--tls-verify={tls_verify}"), &name]);
        let report = Report { quiet: true, ..Report::on_host() };
        let store = Store::open(&fake.folder.path().join(store), false, &report).unwrap();
        pull::image(&line, &store, &access(), &report)
    };
    let first = pull(fake.port, false, "store").unwrap();
    // As if the first pull had been from the port where TLS fails now.
    let images = fake.folder.path().join("store/images");
    let record = std::fs::read_dir(&images).unwrap().next().unwrap().unwrap();
    let moved = record.file_name().to_str().unwrap().replace(&fake.port.to_string(), &port.to_string());
    std::fs::rename(record.path(), images.join(moved)).unwrap();
    assert_eq!(pull(port, true, "store").unwrap().layers, first.layers);
    let failure = pull(port, true, "empty").err().unwrap();
    assert!(failure.what.contains("TLS: ") && failure.hint.is_some(), "{}", failure.what);
}
