//! Registries that hide their challenge, name odd scopes, or offer several ways to log in (docs/inputs.md#challenges).

use crate::support::fake::{body, challenge, header, redirect, status, Ask, Blobs, Fake};
use crate::{small, Lab, Trial};
use ocinit::image::pure::mirror::Mirrors;
use tiny_http::ResponseBox;

const CREDS: &str = "--creds=jane:corr:ect horse";
/// The same by coreutils' base64 (RFC 7617).
const BASIC: &str = "Basic amFuZTpjb3JyOmVjdCBob3JzZQ==";
const OURS: &str = "scope=repository%3Ademo%3Apull";

/// 401 with several headers.
fn challenges(texts: &[String]) -> ResponseBox {
    texts.iter().fold(status(401), |answer, text| answer.with_header(header("www-authenticate", text)))
}

fn paths(fake: &Fake, part: &str) -> Vec<String> {
    fake.seen().into_iter().map(|ask| ask.path).filter(|path| path.contains(part)).collect()
}

/// A registry that answers `refused` to those who have not logged in, and has its challenge at the API's root only. Its
/// token server takes whom it knows.
fn hiding(name: &str, refused: u16, by_token: bool) -> Option<Trial> {
    Trial::new(name, small(), move |own, _| {
        let text = match by_token {
            true => format!("Bearer realm=\"http://{own}/token\",scope=\"registry:catalog:*\""),
            false => "Basic realm=\"x\"".into(),
        };
        let wanted = if by_token { "Bearer t" } else { BASIC };
        Box::new(move |ask| match (ask.path.as_str(), ask.authorization.as_deref()) {
            ("/v2/", None) => Some(challenge(&text)),
            ("/v2/", _) => Some(body("{}")),
            (path, shown) if path.starts_with("/token") => Some(match shown == Some(BASIC) && path.contains(OURS) {
                true => body(r#"{"access_token":"t"}"#),
                false => status(403),
            }),
            (_, shown) => (shown != Some(wanted)).then(|| status(refused)),
        })
    })
}

/// Promise: credentials-shown
/// Input: hidden-challenges
#[test]
fn credentials_are_shown_before_a_refusal_counts() {
    for refused in [401, 403, 404] {
        for by_token in [false, true] {
            let Some(trial) = hiding(&format!("hiding-{refused}-{by_token}"), refused, by_token) else { return };
            trial.done(&[CREDS]);
            assert_eq!(paths(&trial.fake, "/v2/").iter().filter(|path| *path == "/v2/").count(), 1, "asked once");
            assert_eq!(paths(&trial.fake, "/token").len(), usize::from(by_token));
            // Nobody's credentials: the refusal stands, after one look.
            let before = trial.fake.seen().len();
            let store = trial.client.store();
            std::fs::remove_dir_all(store).unwrap();
            let pulled = trial.pull(&[]);
            let why =
                if refused == 401 && by_token { "/token: access denied (403)".into() } else { format!("({refused})") };
            assert!(pulled.code == 125 && pulled.text.contains(&why), "{}", pulled.text);
            assert!(trial.fake.seen().len() <= before + 4, "{:?}", trial.fake.seen());
            trial.tell(&format!("{refused} without a challenge, by a token: {by_token}"), "done with credentials");
        }
    }
}

/// What those who have not shown their credentials may be answered, however odd.
/// Promise: credentials-shown
/// Input: hidden-challenges
#[test]
fn credentials_are_shown_before_any_failure_counts() {
    const PAGE: &str = "<html>please log in</html>";
    let page = || body(PAGE).with_header(header("content-type", "text/html; charset=utf-8"));
    type Refusal = fn(&str) -> ResponseBox;
    let cases: [(&str, Refusal); 9] = [
        ("400", |_| status(400)),
        ("405", |_| status(405)),
        ("406", |_| status(406)),
        ("410", |_| status(410)),
        ("429", |_| status(429)),
        ("500", |_| status(500)),
        ("page", |own| redirect(302, &format!("http://{own}/login"))),
        ("page-refused", |own| redirect(302, &format!("http://{own}/closed"))),
        ("nowhere", |_| redirect(302, "file:///etc/passwd")),
    ];
    for (name, refused) in cases {
        let trial = Trial::new(&format!("odd-{name}"), small(), move |own, _| {
            let own = own.to_string();
            Box::new(move |ask| match (ask.path.as_str(), ask.authorization.as_deref()) {
                ("/login", _) => Some(page()),
                ("/closed", _) => Some(status(403)),
                ("/v2/", None) => Some(challenge("Basic realm=\"x\"")),
                (_, shown) => (shown != Some(BASIC)).then(|| refused(&own)),
            })
        });
        let Some(trial) = trial else { return };
        trial.done(&[CREDS]);
        assert_eq!(paths(&trial.fake, "/v2/").iter().filter(|path| *path == "/v2/").count(), 1, "{name}: asked once");
        std::fs::remove_dir_all(trial.client.store()).unwrap();
        // Nobody's credentials: nothing more is asked.
        assert_eq!(trial.pull(&["--retry=0"]).code, 125, "{name}");
        assert_eq!(paths(&trial.fake, "/v2/").iter().filter(|path| *path == "/v2/").count(), 1, "{name}: not again");
    }
}

/// The benign twins: an open registry that does not have the image, and one whose user may not have it.
/// Promise: credentials-shown
/// Input: hidden-challenges
#[test]
fn a_refusal_after_credentials_is_final() {
    for code in [403, 404] {
        let trial = Trial::new("open-refusal", small(), move |_, _| {
            Box::new(move |ask| Some(if ask.path == "/v2/" { body("{}") } else { status(code) }))
        });
        let Some(trial) = trial else { return };
        let pulled = trial.pull(&[CREDS]);
        assert!(pulled.code == 125 && pulled.text.contains(&format!("({code})")), "{}", pulled.text);
        assert_eq!(trial.fake.seen().len(), 2, "the image, and the root");
        assert!(trial.fake.seen().iter().all(|ask| ask.authorization.is_none()), "nobody asked for them");
        let trial = Trial::new("known-refusal", small(), move |_, _| {
            Box::new(move |ask| match ask.authorization.as_deref() {
                Some(_) => Some(status(code)),
                None => Some(challenge("Basic realm=\"x\"")),
            })
        });
        let Some(trial) = trial else { return };
        let pulled = trial.pull(&[CREDS]);
        assert!(pulled.code == 125 && pulled.text.contains(&format!("({code})")), "{}", pulled.text);
        assert_eq!(trial.fake.seen().len(), 2);
    }
}

/// A registry whose challenge names `scope`, and whose tokens are good if they were asked for by `good`.
fn scoped(name: &str, scope: &'static str, good: &'static str, refused: u16) -> Option<Trial> {
    Trial::new(name, small(), move |own, _| {
        let own = own.to_string();
        Box::new(move |ask: &Ask| {
            if ask.path.starts_with("/token") {
                let scope = ask.path.split("scope=").nth(1).unwrap_or("none").replace('%', "_");
                return Some(body(format!(r#"{{"token":"{scope}"}}"#)));
            }
            let is_good = ask.authorization.as_deref() == Some(&format!("Bearer {good}"));
            let text = format!("Bearer realm=\"http://{own}/token\",scope=\"{scope}\"");
            (!is_good).then(|| if ask.authorization.is_some() { status(refused) } else { challenge(&text) })
        })
    })
}

/// Promise: scopes
/// Input: scopes
#[test]
fn the_scope_is_ours_and_the_servers_only_as_a_second_try() {
    const WANTED: &str = "repository_3Ademo_3Apull";
    for scope in ["registry:catalog:*", "repository:demo:pull,push", "repository:other:pull", ""] {
        let Some(trial) = scoped("ours", scope, WANTED, 401) else { return };
        trial.done(&[]);
        assert_eq!(paths(&trial.fake, "/token"), [format!("/token?{OURS}")], "'{scope}': one token, for what we need");
    }
    for refused in [401, 403, 404] {
        let Some(trial) = scoped("theirs", "repository:x/demo:pull", "repository_3Ax_2Fdemo_3Apull", refused) else {
            return;
        };
        trial.done(&[]);
        let theirs = "/token?scope=repository%3Ax%2Fdemo%3Apull";
        assert_eq!(paths(&trial.fake, "/token"), [&format!("/token?{OURS}"), theirs], "{refused}");
    }
    // Neither is good enough.
    let Some(trial) = scoped("neither", "s", "never", 401) else { return };
    trial.refused("(401)");
    assert!(trial.fake.seen().len() <= 6, "{:?}", trial.fake.seen());
}

/// Offers `texts` to those without a password, and takes a password.
fn offering(name: &str, texts: fn(&str) -> Vec<String>) -> Option<Trial> {
    Trial::new(name, small(), move |own, _| {
        let own = own.to_string();
        Box::new(move |ask| match ask.authorization.as_deref() {
            _ if ask.path.starts_with("/token") => Some(status(503)),
            _ if ask.path.starts_with("/refused") => Some(status(401)),
            _ if ask.path.starts_with("/empty") => Some(body("{}")),
            Some(shown) if shown == BASIC => None,
            _ => Some(challenges(&texts(&own))),
        })
    })
}

/// Promise: challenges
/// Input: challenges
#[test]
fn a_challenge_that_cannot_be_answered_hides_no_other() {
    type Challenges = fn(&str) -> Vec<String>;
    let cases: [(&str, Challenges); 12] = [
        ("unknown, then ours", |_| vec!["Negotiate".into(), "Basic realm=\"x\"".into()]),
        ("in one header", |_| vec!["Negotiate abc==, NTLM, Digest realm=\"a, Basic b\", Basic realm=x".into()]),
        ("after ours", |_| vec!["Basic realm=\"x\"".into(), "Negotiate".into()]),
        ("malformed", |_| vec!["Bearer realm=, =, \"a\" b, Basic realm=\"x\"".into()]),
        ("malformed in another header", |_| vec!["\"\"=;;".into(), "Basic realm=\"x".into()]),
        ("a bearer without a realm", |_| vec!["Bearer service=\"x\"".into(), "Basic realm=\"x\"".into()]),
        ("a realm that is no URL", |_| vec!["Bearer realm=\"x\", Basic realm=\"x\"".into()]),
        ("a realm of another kind", |_| vec!["Bearer realm=\"file:///etc/passwd\", Basic realm=\"x\"".into()]),
        ("a realm that is not safe", |_| vec!["Bearer realm=\"http://169.254.169.254/\", Basic realm=\"x\"".into()]),
        ("a token server that is away", |own| vec![format!("Bearer realm=\"http://{own}/token\""), "Basic".into()]),
        ("one that refuses", |own| vec![format!("Bearer realm=\"http://{own}/refused\""), "Basic".into()]),
        ("one without tokens", |own| vec![format!("Basic, Bearer realm=\"http://{own}/empty\"")]),
    ];
    for (name, texts) in cases {
        let Some(trial) = offering(&name.replace(' ', "-"), texts) else { return };
        let pulled = trial.pull(&[CREDS]);
        assert_eq!(pulled.code, 0, "{name}: {}", pulled.text);
        // Without a password none of them can be answered, and the reason is told.
        std::fs::remove_dir_all(trial.client.store()).unwrap();
        let pulled = trial.pull(&["--retry=0"]);
        let reasons = ["(401)", "not safe", "no token", "(503)"];
        assert!(pulled.code == 125 && reasons.iter().any(|why| pulled.text.contains(why)), "{name}: {}", pulled.text);
    }
}

/// Servers count wrong passwords: a token server that rejects one is not asked for another scope.
/// Promise: scopes, passwords
#[test]
fn a_password_that_is_rejected_is_not_shown_for_another_scope() {
    let trial = Trial::new("rejected", small(), |own, _| {
        let text = format!("Bearer realm=\"http://{own}/token\",scope=\"registry:catalog:*\"");
        Box::new(move |ask| Some(if ask.path.starts_with("/token") { status(401) } else { challenge(&text) }))
    });
    let Some(trial) = trial else { return };
    let pulled = trial.pull(&[CREDS]);
    assert!(pulled.code == 125 && pulled.text.contains("/token: rejects the credentials (401)"), "{}", pulled.text);
    assert_eq!(paths(&trial.fake, "/token").len(), 1);
}

/// A mirror that hides what it has from those it does not know, and a registry that knows none of its credentials.
/// Promise: credentials
/// Input: hidden-challenges
#[test]
fn a_mirror_gets_its_own_credentials() {
    let registry = Lab::start(|_, _| Box::new(|_| Some(status(404))));
    let mirror = Lab::start(|_, _| {
        Box::new(|ask| match ask.authorization.as_deref() {
            _ if ask.path.starts_with("/x/v2/?ns=") => Some(challenge("Negotiate, Basic realm=\"m\"")),
            Some(shown) if shown == BASIC => None,
            _ => Some(status(404)),
        })
    });
    let file = registry.directory.path().join("auth.json");
    let auth = BASIC.trim_start_matches("Basic ");
    let address = mirror.fake.address.to_string();
    std::fs::write(&file, serde_json::json!({"auths": {address: {"auth": auth}}}).to_string()).unwrap();
    let mut mirrors = Mirrors::default();
    mirrors.add(&format!("{}=http://{}/x", registry.fake.address, mirror.fake.address)).ok().unwrap();
    let (name, authfile) = (registry.fake.image(), format!("--authfile={}", file.display()));
    let words = ["--tls-verify=false", "--retry-delay=1ms", &authfile, &name];
    registry.pull_line(&words, mirrors.clone(), "known").map(drop).unwrap();
    assert!(registry.fake.seen().is_empty(), "the mirror has it: {:?}", registry.fake.seen());
    assert_eq!(paths(&mirror.fake, "/x/v2/?ns=").len(), 1);
    // Without credentials for it, it is asked for the image and nothing else.
    let before = mirror.fake.seen().len();
    let failure = registry.pull_line(&[words[0], words[1], words[3]], mirrors, "unknown").map(drop).unwrap_err();
    assert!(failure.what.contains("(404)"), "{}", failure.what);
    assert_eq!(mirror.fake.seen().len(), before + 1);
}

/// The token answers of the field: `token`, `access_token`, both, and neither.
/// Promise: tokens-of-others
/// Input: token-answers
#[test]
fn tokens_by_either_name() {
    for (answer, is_good) in [
        (r#"{"token":"t"}"#, true),
        (r#"{"access_token":"t"}"#, true),
        (r#"{"token":"","access_token":"t","expires_in":300}"#, true),
        (r#"{"token":null,"access_token":"t"}"#, true),
        (r#"{"access_token":"u","token":"t","issued_at":"2026-01-01T00:00:00Z"}"#, true),
        (r#"{"id_token":"t"}"#, false),
        (r#"{"token":5}"#, false),
        ("t", false),
        ("", false),
    ] {
        let lab = Lab::start(|own, _: &Blobs| {
            let text = format!("Bearer realm=\"http://{own}/token\"");
            Box::new(move |ask| match ask.authorization.as_deref() {
                _ if ask.path.starts_with("/token") => Some(body(answer)),
                Some("Bearer t") => None,
                _ => Some(challenge(&text)),
            })
        });
        assert_eq!(lab.pull().is_ok(), is_good, "{answer}");
    }
}
