//! `Location` of a redirect in all forms of RFC 3986, and with what no URL may hold (docs/inputs.md#redirects).

use crate::support::fake::{body, challenge, redirect, Blobs, Fake};
use crate::{small, Lab, Trial};
use ocinit::host::image::sha256;
use ocinit::image::pure::mirror::Mirrors;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

/// A registry that sends to `location` for its layer; `HERE` is its own `HOST:PORT`. What it is asked then.
fn sent(name: &str, location: &'static str) -> Option<Vec<String>> {
    let trial = Trial::new(name, small(), move |own, blobs: &Blobs| {
        let (location, layer) = (location.replace("HERE", own), blobs.layers[0].to_vec());
        let digest = format!("/v2/demo/blobs/sha256:{}", sha256(&layer));
        Box::new(move |ask| match ask.path == digest {
            true => Some(redirect(307, &location)),
            false => (ask.number > 2).then(|| body(layer.clone())),
        })
    })?;
    trial.done(&[]);
    Some(trial.fake.seen().into_iter().skip(3).map(|ask| ask.path).collect())
}

/// Promise: redirects
/// Input: redirects
#[test]
fn a_location_is_any_reference() {
    for (name, location, path) in [
        ("absolute", "http://HERE/a/b?c=d#e", "/a/b?c=d"),
        ("scheme", "HTTP://HERE/a", "/a"),
        ("authority", "//HERE/a//b?c", "/a//b?c"),
        ("root", "/a/../b/./c", "/b/c"),
        ("parent", "../uploads/x", "/v2/demo/uploads/x"),
        ("far-parent", "../../../../../x/..", "/"),
        ("sibling", "x;y=z", "/v2/demo/blobs/x;y=z"),
        ("fragment", "/a#b?c", "/a"),
        ("blanks", "/a b  c?d e", "/a%20b%20%20c?d%20e"),
        ("encoded", "/a%20b%2fc?d=%3d", "/a%20b%2fc?d=%3d"),
        ("braces", "/{a}|b", "/%7Ba%7D%7Cb"),
    ] {
        let Some(paths) = sent(name, location) else { return };
        assert_eq!(paths, [path], "{location}");
    }
}

/// The same registry by a query, which no two requests share, and by itself, which ends.
/// Input: redirects
#[test]
fn a_location_of_the_same_path() {
    let trial = Trial::new("query", small(), |_, blobs: &Blobs| {
        let layer = blobs.layers[0].to_vec();
        Box::new(move |ask| match ask.path.split_once('?') {
            None if ask.path.contains("/blobs/") && ask.number > 1 => Some(redirect(302, "?signed=1")),
            None => None,
            Some(_) => Some(body(layer.clone())),
        })
    });
    let Some(trial) = trial else { return };
    trial.done(&[]);
    assert!(trial.fake.seen().last().unwrap().path.ends_with("?signed=1"));
    for (name, location) in [("empty", ""), ("top", "#top"), ("dot", "./demo")] {
        let trial = Trial::new(name, small(), move |_, blobs: &Blobs| {
            let layer = format!("sha256:{}", sha256(&blobs.layers[0]));
            Box::new(move |ask| ask.path.contains(&layer).then(|| redirect(302, location)))
        });
        let Some(trial) = trial else { return };
        let pulled = trial.pull(&["--retry=0"]);
        assert_eq!(pulled.code, 125, "{name}: {}", pulled.text);
        assert!(trial.fake.seen().len() <= 2 + 3 * 10, "{:?}", trial.fake.seen());
    }
}

/// The checks come after resolving: no form of a reference leads where an absolute URL may not.
/// Promise: no-foreign-requests
/// Input: redirects, link-local
#[test]
fn no_form_of_a_reference_leads_astray() {
    for location in [
        "//169.254.169.254/latest",
        "HTTP://169.254.169.254/latest",
        "//[FE80::1]/x",
        "http:///x",
        "http:x",
        "///x",
        "file:///etc/passwd",
        "//jane:secret@169.254.169.254/x",
        "//jane:%zz@127.0.0.1/x",
        "data:,x",
    ] {
        let trial = Trial::new("astray", small(), move |_, _| {
            Box::new(move |ask| ask.path.contains("/manifests/").then(|| redirect(302, location)))
        });
        let Some(trial) = trial else { return };
        trial.refused("redirects without a safe target");
        assert_eq!(trial.fake.seen().len(), 1, "{location}");
    }
}

/// Credentials follow to the same server however it is written, and to no other.
/// Promise: credentials
/// Input: credentials-stay
#[test]
fn credentials_follow_no_form_of_a_reference_to_another_host() {
    let elsewhere = Fake::start(small(), |_, _| Box::new(|_| None));
    let other = elsewhere.address.to_string();
    for (location, is_home) in [
        (format!("//{other}/v2/"), false),
        (format!("HTTP://{other}/v2/"), false),
        ("//HERE/v2/".into(), true),
        ("HTTP://HERE/v2/".into(), true),
        ("../../../v2/".into(), true),
    ] {
        let lab = Lab::start(move |own, _| {
            let location = location.replace("HERE", own);
            Box::new(move |ask| match ask.authorization.as_deref() {
                None => Some(challenge("Basic realm=\"x\"")),
                Some(_) => {
                    let blob = ask.path.strip_prefix("/v2/demo/blobs/")?;
                    Some(redirect(307, &format!("{location}moved/blobs/{blob}")))
                }
            })
        });
        let words = ["--tls-verify=false", "--creds=jane:secret", &lab.fake.image()];
        lab.pull_line(&words, Mirrors::default(), "store").map(drop).unwrap();
        let moved =
            |fake: &Fake| fake.seen().into_iter().filter(|ask| ask.path.contains("/moved/")).collect::<Vec<_>>();
        let seen = if is_home { moved(&lab.fake) } else { moved(&elsewhere) };
        assert!(!seen.is_empty() && seen.iter().all(|ask| ask.authorization.is_some() == is_home), "{seen:?}");
    }
}

/// As Go's client has it: basic authentication for this request, for what a path alone leads to from there, and for
/// nobody else.
/// Promise: redirects, no-secret-in-messages
/// Input: redirects
#[test]
fn a_user_in_a_location_is_shown_there_and_not_printed() {
    // Of `jane:s3:cr/et`, by coreutils' base64.
    const SHOWN: &str = "Basic amFuZTpzMzpjci9ldA==";
    for is_let_in in [true, false] {
        let beyond = Fake::start(small(), |_, _| Box::new(|_| None));
        let there = beyond.address.to_string();
        let elsewhere = Fake::start(small(), move |_, _| {
            Box::new(move |ask| match (is_let_in, ask.authorization.as_deref(), ask.path.strip_prefix("/first")) {
                (true, Some(SHOWN), Some(path)) => Some(redirect(307, &format!("/second{path}"))),
                (true, Some(SHOWN), None) => {
                    Some(redirect(307, &format!("http://{there}{}", ask.path.trim_start_matches("/second"))))
                }
                // What was shown, in a message.
                (_, shown, _) => {
                    let text = format!("no: {} jane:s3:cr/et s3:cr/et", shown.unwrap_or_default());
                    let body = serde_json::json!({"errors": [{"code": "DENIED", "message": text}]}).to_string();
                    Some(tiny_http::Response::from_string(body).with_status_code(403).boxed())
                }
            })
        });
        let to = elsewhere.address;
        let trial = Trial::new("user", small(), move |_, _| {
            Box::new(move |ask| {
                let moved = format!("http://jane:s3:cr%2Fet@{to}/first{}", ask.path);
                ask.path.contains("/blobs/").then(|| redirect(307, &moved))
            })
        });
        let Some(trial) = trial else { return };
        let pulled = trial.pull(&["--retry=0"]);
        assert_eq!(pulled.code, if is_let_in { 0 } else { 125 }, "{}", pulled.text);
        for secret in ["s3", "amFuZTpz", "jane"] {
            assert!(!pulled.text.contains(secret), "{}", pulled.text);
        }
        assert_eq!(pulled.text.contains("no: Basic ***"), !is_let_in, "{}", pulled.text);
        assert!(trial.fake.seen().iter().chain(&beyond.seen()).all(|ask| ask.authorization.is_none()));
        let seen = elsewhere.seen();
        assert!(seen.iter().all(|ask| ask.authorization.as_deref() == Some(SHOWN)), "{seen:?}");
        assert_eq!(seen.iter().any(|ask| ask.path.starts_with("/second/")), is_let_in, "{seen:?}");
        assert_eq!(beyond.seen().is_empty(), !is_let_in);
    }
}

/// A header with bytes beyond ASCII, which tiny_http does not send.
/// Promise: redirects
/// Input: redirects
#[test]
fn a_location_in_utf_8() {
    let fake = Fake::start(small(), |_, blobs: &Blobs| {
        let layer = blobs.layers[0].to_vec();
        Box::new(move |ask| (ask.path == "/%C3%A9%20%F0%9F%A6%80?%C3%BC").then(|| body(layer.clone())))
    });
    let layer = format!("sha256:{}", sha256(&fake.blobs.layers[0]));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (front, to) = (listener.local_addr().unwrap(), fake.address);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let line = BufReader::new(&stream).lines().next().unwrap().unwrap();
            let path = line.split(' ').nth(1).unwrap_or_default();
            let path = if path.ends_with(&layer) { "/\u{e9} \u{1f980}?\u{fc}" } else { path };
            let head = "HTTP/1.1 307 -\r\ncontent-length: 0\r\nconnection: close\r\nlocation: ";
            let _ = stream.write_all(format!("{head}http://{to}{path}\r\n\r\n").as_bytes());
        }
    });
    let lab = Lab::start(|_, _| Box::new(|_| None));
    lab.pull_by(&format!("{front}/demo"), false, "store").map(drop).unwrap();
}
