//! Answers that are wrong, late, or another server's, one fault a test.

use crate::support::fake::{body, challenge, good, header, redirect, status, Blobs};
use crate::Lab;
use ocinit::host::image::{self, sha256, Entry};
use ocinit::layer::packed::Layer;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use tiny_http::ResponseBox;

#[test]
fn the_fake_without_a_fault_is_a_registry() {
    let lab = Lab::start(good());
    let image = lab.pull().unwrap();
    let Layer::Directory(directory) = &image.layers[0] else { panic!("a tar is unpacked") };
    assert_eq!(std::fs::read_to_string(directory.join("etc/hello")).unwrap(), "hello");
    assert_eq!(lab.fake.seen().len(), 3);
    // The second time only the manifest is asked for.
    lab.pull().unwrap();
    assert_eq!(lab.fake.seen().len(), 4);
}

/// Promise: digests
#[test]
fn a_wrong_byte_is_asked_for_again_and_never_kept() {
    let lab = Lab::start(|_, blobs| {
        let (mut wrong, digest) = (blobs.layers[0].to_vec(), sha256(&blobs.layers[0]));
        *wrong.last_mut().unwrap() ^= 1;
        Box::new(move |ask| ask.path.ends_with(&digest).then(|| body(wrong.clone())))
    });
    let failure = lab.pull().err().unwrap();
    assert!(failure.what.contains("layer 1/1") && failure.what.contains("has the digest"), "{}", failure.what);
    let asked = lab.fake.seen().iter().filter(|ask| ask.path.contains("/blobs/")).count();
    assert_eq!(asked, 1 + 3, "config once, layer thrice");
    assert_eq!(lab.layers(), 0);
}

/// Promise: cut-bodies
#[test]
fn a_short_body_heals_when_the_next_try_is_whole() {
    let lab = Lab::start(|_, blobs| {
        let (short, digest) = (blobs.layers[0][..blobs.layers[0].len() / 2].to_vec(), sha256(&blobs.layers[0]));
        Box::new(move |ask| (ask.number == 2 && ask.path.ends_with(&digest)).then(|| body(short.clone())))
    });
    lab.pull().unwrap();
    assert_eq!(lab.fake.seen().len(), 4);
}

/// Promise: digests
#[test]
fn a_body_that_is_longer_than_its_descriptor_is_refused() {
    let lab = Lab::start(|_, blobs| {
        let (long, digest) = ([&blobs.layers[0][..], &[0; 70_000]].concat(), sha256(&blobs.layers[0]));
        Box::new(move |ask| ask.path.ends_with(&digest).then(|| body(long.clone())))
    });
    let failure = lab.pull().err().unwrap();
    assert!(failure.what.contains("longer than its descriptor"), "{}", failure.what);
    assert_eq!(lab.layers(), 0);
}

/// Promise: digests
#[test]
fn a_wrong_configuration_is_refused() {
    let lab = Lab::start(|_, blobs| {
        let digest = sha256(&blobs.config);
        Box::new(move |ask| ask.path.ends_with(&digest).then(|| body("{}")))
    });
    assert!(lab.pull().err().unwrap().what.contains("configuration sha256:"));
}

/// Promise: document-limits
#[test]
fn documents_over_their_limit_are_refused() {
    let lab =
        Lab::start(|_, _| Box::new(|ask| ask.path.contains("/manifests/").then(|| body(vec![b' '; (4 << 20) + 1]))));
    assert!(lab.pull().err().unwrap().what.contains("larger than 4 MiB"));
}

/// Some servers pack what nobody asked to be packed: documents and tokens are unpacked, up to their limit.
/// Promise: document-limits
/// Input: document-limits
#[test]
fn documents_that_were_packed_on_the_way() {
    let packed = |bytes: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        body(gzip.finish().unwrap()).with_header(header("content-encoding", "gzip"))
    };
    let lab = Lab::start(move |own, blobs| {
        let (manifest, config) = (blobs.manifest.clone(), blobs.config.clone());
        let (text, digest) = (format!("Bearer realm=\"http://{own}/token\""), sha256(&config));
        Box::new(move |ask| match ask.authorization.as_deref() {
            _ if ask.path.starts_with("/token") => Some(packed(br#"{"token":"t"}"#)),
            None => Some(challenge(&text)),
            Some(_) if ask.path.contains("/manifests/") => Some(packed(&manifest)),
            // One that says so and is not.
            Some(_) if ask.path.ends_with(&digest) => {
                Some(body(config.clone()).with_header(header("content-encoding", "gzip")))
            }
            Some(_) => None,
        })
    });
    lab.pull().unwrap();
    let lab = Lab::start(move |_, _| {
        Box::new(move |ask| ask.path.contains("/manifests/").then(|| packed(&vec![b' '; (4 << 20) + 1])))
    });
    assert!(lab.pull().err().unwrap().what.contains("larger than 4 MiB"));
}

/// Promise: expired-token
#[test]
fn an_expired_token_is_fetched_anew() {
    let lab = Lab::start(|own, blobs| {
        let (digest, own) = (sha256(&blobs.layers[0]), own.to_string());
        Box::new(move |ask| {
            if ask.path.starts_with("/token") {
                return Some(body(format!(r#"{{"access_token":"t{}"}}"#, ask.number)));
            }
            // The layer wants a newer token than the first, which request 1 fetched.
            let token = ask.authorization.as_deref();
            let good = token.is_some_and(|value| !ask.path.ends_with(&digest) || value != "Bearer t1");
            (!good).then(|| challenge(&format!("Bearer realm=\"http://{own}/token\"")))
        })
    });
    lab.pull().unwrap();
}

/// Promise: token-realms
#[test]
fn a_realm_on_a_link_local_address_gets_no_visit() {
    let lab = Lab::start(|_, _| Box::new(|_| Some(challenge(r#"Bearer realm="http://169.254.169.254/token""#))));
    assert!(lab.pull().err().unwrap().what.contains("not safe"));
}

/// Promise: busy-registry
#[test]
fn a_registry_that_is_busy_is_asked_again() {
    let lab = Lab::start(|_, _| {
        Box::new(|ask| (ask.number < 2).then(|| status(503).with_header(header("retry-after", "0"))))
    });
    lab.pull().unwrap();
    assert_eq!(lab.fake.seen().len(), 2 + 3);
}

/// Promise: busy-registry
#[test]
fn a_registry_that_stays_busy_is_a_failure_or_the_earlier_image() {
    let broken = Arc::new(AtomicBool::new(true));
    let switch = broken.clone();
    let lab = Lab::start(move |_, _| Box::new(move |_| switch.load(Ordering::SeqCst).then(|| status(500))));
    assert!(lab.pull().err().unwrap().what.contains("server error (500)"));
    broken.store(false, Ordering::SeqCst);
    let first = lab.pull().unwrap();
    broken.store(true, Ordering::SeqCst);
    assert_eq!(lab.pull().unwrap().layers, first.layers);
}

#[test]
fn an_image_that_is_gone_is_a_failure_even_where_an_older_one_is_here() {
    let gone = Arc::new(AtomicBool::new(false));
    let switch = gone.clone();
    let lab = Lab::start(move |_, _| Box::new(move |_| switch.load(Ordering::SeqCst).then(|| status(404))));
    lab.pull().unwrap();
    gone.store(true, Ordering::SeqCst);
    assert!(lab.pull().err().unwrap().what.contains("no such image or tag (404)"));
}

/// Promise: document-limits
/// Input: redirects
#[test]
fn redirects_in_a_circle_end() {
    let lab = Lab::start(|own, _| {
        let own = own.to_string();
        Box::new(move |ask| Some(redirect(302, &format!("http://{own}{}", ask.path))))
    });
    assert!(lab.pull().err().unwrap().what.contains("redirects more than 9 times"));
}

/// Promise: document-limits
/// Input: nested-index
#[test]
fn an_index_in_a_circle_is_refused() {
    let lab = Lab::start(|_, _| {
        Box::new(|ask| {
            let index = |digest: &str| {
                format!(
                    r#"{{"schemaVersion":2,"manifests":[{{"digest":"sha256:{digest}","size":1,
                    "platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#
                )
            };
            let inner = index(&"a".repeat(64));
            ask.path.contains("/manifests/").then(|| {
                let is_inner = ask.path.ends_with(&sha256(inner.as_bytes()));
                body(if is_inner { inner.clone() } else { index(&sha256(inner.as_bytes())) })
            })
        })
    });
    // The digests of a true circle cannot be made; a false one is refused where it stops matching.
    assert!(lab.pull().err().unwrap().what.contains("has the digest"));
}

/// Promise: cut-documents
#[test]
fn a_wrong_configuration_is_asked_for_again() {
    let lab = Lab::start(|_, blobs| {
        let digest = sha256(&blobs.config);
        Box::new(move |ask| (ask.number < 3 && ask.path.ends_with(&digest)).then(|| body("{}")))
    });
    lab.pull().unwrap();
    assert_eq!(lab.fake.seen().len(), 1 + 3 + 1);
}

/// Answers each connection once with a length and less than that, then as the registry `to` does.
fn cutting(to: SocketAddr, cut: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
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
                "HTTP/1.1 307 -\r\nlocation: http://{to}{path}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            // A client that has gone away is none of this server's business.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

/// Promise: cut-documents
#[test]
fn a_document_that_is_cut_is_asked_for_again() {
    for cut in ["/manifests/", "/blobs/"] {
        let lab = Lab::start(good());
        let front = cutting(lab.fake.address, cut);
        lab.pull_by(&format!("127.0.0.1:{front}/demo"), false, "store").unwrap();
        assert_eq!(lab.fake.seen().len(), 3, "{cut}");
    }
}

/// The tag moves to a second image, whose layer has an answer of its own.
fn moved_to_second(layer_answer: fn() -> ResponseBox) -> (Lab, Arc<AtomicBool>) {
    let moved = Arc::new(AtomicBool::new(false));
    let switch = moved.clone();
    let lab = Lab::start(move |_, _| {
        let second = Blobs::new(vec![image::tar(&[Entry::file("second", 0o644, "second")])]);
        Box::new(move |ask| {
            let is_layer = second.is_layer(&ask.path);
            let answer = || if is_layer { layer_answer() } else { second.answer(ask) };
            switch.load(Ordering::SeqCst).then(answer)
        })
    });
    (lab, moved)
}

/// Promise: earlier-image
#[test]
fn blobs_that_are_away_are_a_reason_to_take_the_earlier_image() {
    let (lab, moved) = moved_to_second(|| status(503).with_header(header("retry-after", "0")));
    let first = lab.pull().unwrap();
    moved.store(true, Ordering::SeqCst);
    assert_eq!(lab.pull().unwrap().layers, first.layers);
    assert_eq!(lab.layers(), 1);
}

/// Promise: earlier-image
#[test]
fn blobs_that_are_gone_are_not() {
    let (lab, moved) = moved_to_second(|| status(404));
    lab.pull().unwrap();
    moved.store(true, Ordering::SeqCst);
    let failure = lab.pull().err().unwrap();
    assert!(failure.what.contains("layer 1/1") && failure.what.contains("(404)"), "{}", failure.what);
}

/// Promise: earlier-image
#[test]
fn a_registry_whose_tls_fails_is_away() {
    let lab = Lab::start(good());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = listener.local_addr().unwrap().to_string();
    // What answers is no certificate, which is as good as one that is not valid yet.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let first = lab.pull().unwrap();
    // As if the first pull had been from the place where TLS fails now.
    let images = lab.directory.path().join("store/images");
    let record = std::fs::read_dir(&images).unwrap().next().unwrap().unwrap();
    let moved = record.file_name().to_str().unwrap().replace(&lab.fake.address.to_string(), &name);
    std::fs::rename(record.path(), images.join(moved)).unwrap();
    let name = format!("{name}/demo");
    assert_eq!(lab.pull_by(&name, true, "store").unwrap().layers, first.layers);
    let failure = lab.pull_by(&name, true, "empty").err().unwrap();
    assert!(failure.what.contains("TLS: ") && failure.hint.is_some(), "{}", failure.what);
}
