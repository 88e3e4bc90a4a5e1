//! Hostile and odd answers of a registry (docs/inputs.md, "Registries").

use crate::support::fake::{body, challenge, good, header, part, redirect, status, stream, Blobs, Fake};
use crate::support::relay::Fault as Wire;
use crate::{large, small, Trial};
use ocinit::host::image::{sha256, tar, Entry};
use serde_json::{json, Value};
use std::io::Cursor;
use std::sync::Arc;
use tiny_http::ResponseBox;

/// Pulls where the layer is always `change` of what it should be.
fn changed(name: &str, change: fn(&[u8]) -> Vec<u8>, why: &str) {
    let trial = Trial::new(name, small(), |_, blobs| {
        let (digest, changed) = (sha256(&blobs.layers[0]), change(&blobs.layers[0]));
        Box::new(move |ask| ask.path.ends_with(&digest).then(|| body(changed.clone())))
    });
    let Some(trial) = trial else { return };
    trial.refused(why);
    let asked = trial.fake.seen().iter().filter(|ask| trial.fake.blobs.is_layer(&ask.path)).count();
    assert!(asked > 1, "{why}: it may have been an accident: asked {asked} times");
    assert!(trial.client.stored("layers").is_empty() && trial.client.stored("images").is_empty());
}

/// Promise: never-cached
/// Input: wrong-bodies
#[test]
fn bodies_that_are_not_the_blob() {
    changed("wrong", |layer| layer.iter().rev().copied().collect(), "layer 1/1");
    changed("byte", |layer| [&layer[..layer.len() - 1], b"x"].concat(), "has the digest");
    changed("short", |layer| layer[..layer.len() / 2].into(), "ends after");
    changed("long", |layer| [layer, &[0; 512]].concat(), "longer than its descriptor");
}

/// Promise: never-cached
/// Input: wrong-bodies
#[test]
fn what_is_not_cached_is_fetched_whole_the_next_time() {
    let trial = Trial::new("next", small(), |_, blobs| {
        let (digest, short) = (sha256(&blobs.layers[0]), blobs.layers[0][..700].to_vec());
        Box::new(move |ask| (ask.path.ends_with(&digest) && ask.number < 8).then(|| body(short.clone())))
    });
    let Some(trial) = trial else { return };
    while trial.fake.seen().len() < 8 {
        trial.pull(&["--retry=0"]);
    }
    trial.done(&[]);
}

/// Pulls an image whose manifest is `manifest`.
fn with_manifest(name: &str, manifest: &Value) -> Option<Trial> {
    let bytes = manifest.to_string().into_bytes();
    Trial::new(name, small(), |_, _| Box::new(move |ask| ask.path.contains("/manifests/").then(|| body(bytes.clone()))))
}

fn manifest_of(blobs: &Blobs) -> Value {
    serde_json::from_slice(&blobs.manifest).unwrap()
}

/// Promise: document-limits
/// Input: document-limits
#[test]
fn documents_over_their_limits() {
    let Some(trial) = Trial::new("manifest", small(), |_, _| {
        Box::new(|ask| ask.path.contains("/manifests/").then(|| body(vec![b' '; (4 << 20) + 1])))
    }) else {
        return;
    };
    trial.refused("larger than 4 MiB");
    trial.nothing_is_kept();
    // A configuration that says so, and one that does not.
    let mut manifest = manifest_of(&small());
    manifest["config"]["size"] = ((4 << 20) + 1).into();
    let Some(trial) = with_manifest("config", &manifest) else { return };
    trial.refused("4 MiB");
    assert_eq!(trial.fake.seen().len(), 1, "it is not even asked for");
    let Some(trial) = Trial::new("liar", small(), |_, blobs| {
        let digest = sha256(&blobs.config);
        Box::new(move |ask| ask.path.ends_with(&digest).then(|| body(vec![b' '; (4 << 20) + 1])))
    }) else {
        return;
    };
    trial.refused("configuration sha256:");
    trial.nothing_is_kept();
    let Some(trial) = Trial::new("token", small(), |own, _| {
        let own = own.to_string();
        Box::new(move |ask| match ask.path.starts_with("/token") {
            true => Some(body(format!(r#"{{"token":"t",{}"x":1}}"#, " ".repeat(1 << 20)))),
            false => Some(challenge(&format!("Bearer realm=\"http://{own}/token\""))),
        })
    }) else {
        return;
    };
    trial.refused("larger than 1 MiB");
}

/// Promise: refused-manifests
/// Input: two-kinds-of-manifest
#[test]
fn manifests_that_are_refused_in_words() {
    let good = manifest_of(&small());
    let both = {
        let mut both = good.clone();
        both["manifests"] = json!([]);
        both
    };
    let schema_1 = json!({"schemaVersion": 1, "name": "demo", "tag": "latest", "fsLayers": [], "history": []});
    let more = {
        let mut more = good.clone();
        let layer = more["layers"][0].clone();
        more["layers"].as_array_mut().unwrap().push(layer);
        more
    };
    for (name, manifest, why) in [
        ("both", both, "manifest: "),
        ("schema-1", schema_1, "schema"),
        ("number", more, "a different number of layers"),
    ] {
        let Some(trial) = with_manifest(name, &manifest) else { return };
        trial.refused(why);
        assert_eq!((trial.client.stored("layers").len(), trial.client.stored("images").len()), (0, 0));
    }
}

/// An index of one image, for this host's architecture.
fn index(of: &[u8]) -> Vec<u8> {
    let digest = format!("sha256:{}", sha256(of));
    let (arch, _) = ocinit::image::pure::oci::platform(std::env::consts::ARCH);
    let platform = json!({"os": "linux", "architecture": arch});
    let entry = json!({
        "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest, "size": of.len(), "platform": platform,
    });
    let kind = "application/vnd.oci.image.index.v1+json";
    json!({"schemaVersion": 2, "mediaType": kind, "manifests": [entry]}).to_string().into_bytes()
}

/// Promise: document-limits
/// Input: nested-index
#[test]
fn an_index_in_an_index() {
    for (depth, is_good) in [(1, true), (2, true), (3, false)] {
        let trial = Trial::new(&format!("index-{depth}"), small(), move |_, blobs| {
            let mut documents = vec![blobs.manifest.clone()];
            for level in 0..depth {
                documents.push(index(&documents[level]));
            }
            Box::new(move |ask| {
                let top = documents.last().filter(|_| ask.path.ends_with("/latest"));
                let named = || documents.iter().find(|bytes| ask.path.ends_with(&sha256(bytes)));
                top.or_else(named).map(|bytes| body(bytes.clone()))
            })
        });
        let Some(trial) = trial else { return };
        match is_good {
            true => drop(trial.done(&[])),
            false => drop(trial.refused("indexes are nested")),
        }
    }
}

/// Promise: index-entries
/// Input: index-entries
#[test]
fn entries_of_an_index_that_are_not_chosen() {
    let (arch, _) = ocinit::image::pure::oci::platform(std::env::consts::ARCH);
    let hex = "a".repeat(64);
    let odd = [
        json!({"digest": format!("sha512:{hex}{hex}"), "size": 3}),
        json!({"digest": format!("blake3:{hex}"), "size": 3, "mediaType": "application/x-unknown"}),
        json!({"digest": format!("sha256:{hex}")}),
        json!({"digest": format!("sha256:{hex}"), "size": -1}),
        json!({"digest": "../../etc/passwd", "size": "3"}),
        json!({"digest": null, "size": null, "mediaType": null}),
        json!({}),
    ];
    for (number, entry) in odd.into_iter().enumerate() {
        for (name, is_good) in [("other", true), ("bare", true), ("own", false), ("alone", false)] {
            let mut entry = entry.clone();
            let trial = Trial::new(&format!("entry-{number}-{name}"), small(), move |_, blobs| {
                let good: Value = serde_json::from_slice(&index(&blobs.manifest)).unwrap();
                let good = good["manifests"][0].clone();
                let machine = if name == "own" { arch } else { "s390x" };
                if name != "bare" && name != "alone" {
                    entry["platform"] = json!({"os": "linux", "architecture": machine});
                }
                let manifests = match name {
                    "other" => json!([entry, good]),
                    "bare" => json!([null, entry, 7, good, {"platform": null}]),
                    _ => json!([entry]),
                };
                let index = json!({"schemaVersion": 2, "MANIFESTS": manifests}).to_string().into_bytes();
                Box::new(move |ask| ask.path.ends_with("/latest").then(|| body(index.clone())))
            });
            let Some(trial) = trial else { return };
            match is_good {
                true => drop(trial.done(&[])),
                false => {
                    trial.refused("the index's entry for this machine: ");
                    trial.nothing_is_kept();
                    assert_eq!(trial.fake.seen().len(), 1, "nothing else is asked for");
                }
            }
        }
    }
}

/// Promise: json-as-go
/// Input: json-keys, null-documents
#[test]
fn answers_whose_keys_are_in_another_case() {
    let trial = Trial::new("cased-token", small(), |own, _| {
        let own = own.to_string();
        Box::new(move |ask| match (ask.path.starts_with("/token"), &ask.authorization) {
            (true, _) => Some(body(r#"{"token":null,"Access_Token":"abc","expires_in":null}"#)),
            (false, Some(shown)) if shown == "Bearer abc" => None,
            (false, _) => Some(challenge(&format!("Bearer realm=\"http://{own}/token\""))),
        })
    });
    let Some(trial) = trial else { return };
    trial.done(&[]);
    let manifest = manifest_of(&small());
    let cased = json!({"CONFIG": manifest["config"], "Layers": manifest["layers"], "manifests": null});
    let Some(trial) = with_manifest("cased-manifest", &cased) else { return };
    trial.done(&[]);
    let none = json!({"config": manifest["config"], "layers": null});
    let Some(trial) = with_manifest("no-layers", &none) else { return };
    trial.refused("a different number of layers");
    for (number, empty) in [json!({}), json!({"manifests": null}), json!({"manifests": []})].iter().enumerate() {
        let Some(trial) = with_manifest(&format!("empty-{number}"), empty) else { return };
        trial.refused("neither a manifest nor an index with images");
    }
}

/// Promise: sha256-only
/// Input: digests
#[test]
fn a_digest_that_is_none_reaches_no_path() {
    let hex = "a".repeat(64);
    for (number, digest) in [
        format!("sha512:{hex}{hex}"),
        format!("sha256:{}", "A".repeat(64)),
        "sha256:../../../../etc/passwd".into(),
        format!("sha256:{}", "a".repeat(63)),
        format!("sha256:{hex}0"),
        format!("../sha256:{hex}"),
        String::new(),
    ]
    .into_iter()
    .enumerate()
    {
        for of in ["config", "layers"] {
            let mut manifest = manifest_of(&small());
            match of {
                "config" => manifest["config"]["digest"] = digest.clone().into(),
                _ => manifest["layers"][0]["digest"] = digest.clone().into(),
            }
            let Some(trial) = with_manifest(&format!("digest-{number}-{of}"), &manifest) else { return };
            let pulled = trial.refused("manifest: ");
            if digest.starts_with("sha512") {
                assert!(pulled.text.contains("sha256"), "says what is there: {}", pulled.text);
            }
            assert_eq!(trial.fake.seen().len(), 1, "{digest}: nothing else is asked for");
            trial.nothing_is_kept();
        }
    }
}

/// Promise: token-realms
/// Input: token-realms
#[test]
fn realms_that_get_no_visit() {
    for (number, realm) in [
        "http://169.254.169.254/token",
        "http://[fe80::1]/token",
        "file:///etc/passwd",
        "ftp://127.0.0.1/token",
        "//127.0.0.1/token",
        "http://registry@127.0.0.1:9/token",
    ]
    .into_iter()
    .enumerate()
    {
        let text = format!("Bearer realm=\"{realm}\"");
        let trial = Trial::new(&format!("realm-{number}"), small(), |_, _| Box::new(move |_| Some(challenge(&text))));
        let Some(trial) = trial else { return };
        let pulled = trial.client.pull(&trial.words(&["--creds=a:b"], &trial.image()));
        assert!(pulled.code == 125 && pulled.text.contains("not safe"), "{realm}: {}", pulled.text);
        assert!(trial.fake.seen().iter().all(|ask| ask.authorization.is_none()), "{realm}");
    }
}

/// Promise: no-foreign-requests
/// Input: descriptor-urls
#[test]
fn urls_in_a_descriptor_are_not_contacted() {
    let elsewhere = Fake::start(small(), good());
    let mut manifest = manifest_of(&small());
    let urls = json!([format!("http://{}/v2/demo/blobs/{}", elsewhere.address, manifest["layers"][0]["digest"])]);
    manifest["layers"][0]["urls"] = urls.clone();
    manifest["config"]["urls"] = urls;
    let bytes = manifest.to_string().into_bytes();
    let trial = Trial::new("urls", small(), |_, blobs| {
        let digest = sha256(&blobs.layers[0]);
        Box::new(move |ask| {
            let missing = ask.path.ends_with(&digest).then(|| status(404));
            missing.or_else(|| ask.path.contains("/manifests/").then(|| body(bytes.clone())))
        })
    });
    let Some(trial) = trial else { return };
    trial.refused("(404)");
    assert!(elsewhere.seen().is_empty(), "{:?}", elsewhere.seen());
}

/// Promise: no-foreign-requests
/// Input: link-local
#[test]
fn redirects_into_the_machines_own_surroundings() {
    for location in ["http://169.254.169.254/latest/meta-data", "http://[fe80::1]/x", "http://[::ffff:169.254.1.1]/x"] {
        let trial = Trial::new("surroundings", small(), |_, blobs| {
            let digest = sha256(&blobs.layers[0]);
            Box::new(move |ask| ask.path.ends_with(&digest).then(|| redirect(307, location)))
        });
        let Some(trial) = trial else { return };
        trial.refused("redirects without a safe target");
    }
}

/// Promise: expired-token
/// Input: expired-tokens
#[test]
fn an_expired_token_is_fetched_once() {
    let trial = Trial::new("expired", small(), |own, blobs| {
        let (digest, own) = (sha256(&blobs.layers[0]), own.to_string());
        Box::new(move |ask| {
            if ask.path.starts_with("/token") {
                return Some(body(format!(r#"{{"token":"t{}","expires_in":3600}}"#, ask.number)));
            }
            // The layer wants a newer token than the first, which request 1 fetched.
            let token = ask.authorization.as_deref();
            let good = token.is_some_and(|value| !ask.path.ends_with(&digest) || value != "Bearer t1");
            (!good).then(|| challenge(&format!("Bearer realm=\"http://{own}/token\",error=\"invalid_token\"")))
        })
    });
    let Some(trial) = trial else { return };
    trial.done(&[]);
    let tokens = trial.fake.seen().iter().filter(|ask| ask.path.starts_with("/token")).count();
    assert_eq!((tokens, trial.fake.seen().len()), (2, 3 + 2 + 2), "each 401 is answered by one token");
    // One that never satisfies the registry is not fetched for ever.
    let trial = Trial::new("never", small(), |own, _| {
        let own = own.to_string();
        Box::new(move |ask| match ask.path.starts_with("/token") {
            true => Some(body(r#"{"token":"t"}"#)),
            false => Some(challenge(&format!("Bearer realm=\"http://{own}/token\""))),
        })
    });
    let Some(trial) = trial else { return };
    trial.refused("(401)");
    assert!(trial.fake.seen().len() <= 4, "{:?}", trial.fake.seen());
}

/// An answer to who wants the layer from a byte on.
type Part = fn(&Arc<[u8]>, usize) -> ResponseBox;

/// The layer's connection is reset in the middle; what is asked for then is answered by `resumed`.
fn resumed(name: &str, resumed: Part) -> Option<Trial> {
    let fault = move |_: &str, blobs: &Blobs| -> crate::Fault {
        let layer = blobs.layers[0].clone();
        Box::new(move |ask| ask.range.map(|from| resumed(&layer, from)))
    };
    let plan = |number| if number == 0 { Wire::Reset(1 << 20) } else { Wire::None };
    let trial = Trial::by(name, large(3), fault, plan)?;
    trial.done(&[]);
    assert!(trial.fake.seen().iter().any(|ask| ask.range.is_some_and(|from| from > 1000)), "asks for the rest");
    Some(trial)
}

/// Promise: ranges
/// Input: wrong-ranges
#[test]
fn a_part_that_is_not_the_one() {
    // Another place than was asked for, honest about it; it must not be taken for the rest.
    let Some(trial) = resumed("place", |layer, from| part(layer, Some(from / 2))) else { return };
    trial.tell("206 with a wrong range", "done");
    let last = trial.fake.seen().pop().unwrap();
    assert_eq!(last.range, None, "starts anew");
    // Another length of the whole, no length, no range at all.
    let lies: [Part; 3] = [
        |layer, from| part(&Arc::from(&layer[..layer.len() - 1]), Some(from)),
        |layer, from| relabeled(layer, from, "bytes */*"),
        |layer, from| relabeled(layer, from, ""),
    ];
    for lie in lies {
        resumed("lies", lie);
    }
}

/// The right part, with another `Content-Range`.
fn relabeled(layer: &[u8], from: usize, label: &str) -> ResponseBox {
    body(&layer[from..]).with_status_code(206).with_header(header("content-range", label))
}

/// Promise: ranges
/// Input: wrong-ranges
#[test]
fn the_whole_instead_of_a_part() {
    let Some(trial) = resumed("whole", |layer, _| part(layer, None)) else { return };
    trial.tell("200 to a range", "done");
    // Bounded: what comes before is passed over once, and no more is read than the whole.
    assert!(trial.relay.counts().down <= 5 << 20, "{:?}", trial.relay.counts());
    assert_eq!(trial.fake.seen().len(), 4);
}

/// Promise: ranges
/// Input: wrong-ranges
#[test]
fn nothing_left_to_send() {
    // The body has no length, and its last chunk does not come: `0 CRLF CRLF`.
    let streamed = |_: &str, blobs: &Blobs| -> crate::Fault {
        let (digest, layer) = (sha256(&blobs.layers[0]), blobs.layers[0].to_vec());
        Box::new(move |ask| {
            let is_first = ask.range.is_none() && ask.path.ends_with(&digest);
            is_first.then(|| stream(Cursor::new(layer.clone())))
        })
    };
    let Some(trial) = Trial::by("good", large(1), streamed, |_| Wire::None) else { return };
    trial.done(&[]);
    let (total, asked) = (trial.relay.counts().down, trial.fake.seen().len());
    let plan = move |number| if number == 0 { Wire::Close(total - 5) } else { Wire::None };
    let Some(trial) = Trial::by("416", large(1), streamed, plan) else { return };
    trial.done(&[]);
    trial.tell("the end of a complete layer is cut off", "done");
    // Whether it asks, and is told 416, or knows: the layer does not come twice.
    assert!(trial.fake.seen().len() <= asked + 1 && trial.relay.counts().down <= total + 1000);
}

/// The benign twin of these: many layers, an odd name, a redirect in the registry's own house.
/// Input: redirects
#[test]
fn a_good_registry_with_redirects_of_its_own() {
    let layers = (0..5).map(|number| tar(&[Entry::file(&format!("file-{number}"), 0o644, vec![7; 9000])])).collect();
    let trial = Trial::new("own", Blobs::new(layers), |own, _| {
        let own = own.to_string();
        Box::new(move |ask| {
            let is_blob = ask.path.starts_with("/v2/demo/blobs/");
            is_blob.then(|| redirect(302, &format!("http://{own}{}", ask.path.replace("/v2/demo", "/cdn"))))
        })
    });
    let Some(trial) = trial else { return };
    trial.done(&[]);
    assert_eq!(trial.client.stored("layers").len(), 5);
}
