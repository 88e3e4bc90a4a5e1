//! Who sees credentials and tokens: the registry and its realm, nobody else.

use crate::support::fake::{body, challenge, redirect, Ask, Blobs, Fake};
use crate::{small, Trial};
use tiny_http::ResponseBox;

const USER: &str = "jane";
const PASSWORD: &str = "corr:ect horse";
const CREDS: &str = "--creds=jane:corr:ect horse";
/// The same by coreutils' base64 (RFC 7617).
const BASIC: &str = "Basic amFuZTpjb3JyOmVjdCBob3JzZQ==";

/// Another host, which has the blobs too, and must not see who we are.
fn foreign(fault: impl Fn(&Ask) -> Option<ResponseBox> + Send + Sync + 'static) -> Fake {
    Fake::start(small(), |_, _| Box::new(fault))
}

/// It was asked, and never shown anything.
fn saw_nothing(foreign: &Fake) {
    let seen = foreign.seen();
    assert!(!seen.is_empty(), "nobody went there");
    assert!(seen.iter().all(|ask| ask.authorization.is_none()), "{seen:?}");
}

/// A registry that wants `wanted`, asks for it by `challenge`, and sends us to `elsewhere` for blobs.
fn guarded(name: &str, challenge_text: String, wanted: &'static str, elsewhere: String) -> Option<Trial> {
    Trial::new(name, small(), move |_, _| {
        Box::new(move |ask| match ask.authorization.as_deref() {
            Some(shown) if shown == wanted && ask.path.contains("/blobs/") => {
                Some(redirect(307, &format!("{elsewhere}{}", ask.path)))
            }
            Some(shown) if shown == wanted => None,
            _ => Some(challenge(&challenge_text)),
        })
    })
}

/// The program's words hold no secret, and neither do the messages.
fn told_nothing(trial: &Trial, more: &[&str]) {
    let pulled = trial.pull(more);
    for secret in [PASSWORD, "amFuZTpjb3Jy", "t0ken"] {
        assert!(!pulled.text.contains(secret), "{}", pulled.text);
    }
}

/// Promise: token-realms
#[test]
fn a_token_goes_to_the_registry_only() {
    let elsewhere = foreign(|_| None);
    let realm = foreign(|ask| ask.path.starts_with("/token").then(|| body(r#"{"token":"t0ken"}"#)));
    let text = format!("Bearer realm=\"http://{}/token\",service=\"s\"", realm.address);
    let trial = guarded("token", text, "Bearer t0ken", format!("http://{}", elsewhere.address));
    let Some(trial) = trial else { return };
    trial.done(&[]);
    saw_nothing(&elsewhere);
    saw_nothing(&realm);
    let asked: Vec<String> = realm.seen().into_iter().map(|ask| ask.path).collect();
    assert_eq!(asked, ["/token?service=s&scope=repository%3Ademo%3Apull"], "once, and for what is needed");
    told_nothing(&trial, &[]);
}

/// Promise: credentials
#[test]
fn a_password_goes_to_the_registry_and_its_realm() {
    let elsewhere = foreign(|_| None);
    let realm = foreign(|ask| ask.path.starts_with("/token").then(|| body(r#"{"token":"t0ken"}"#)));
    let text = format!("Bearer realm=\"http://{}/token\"", realm.address);
    let trial = guarded("realm", text, "Bearer t0ken", format!("http://{}", elsewhere.address));
    let Some(trial) = trial else { return };
    trial.done(&[CREDS]);
    saw_nothing(&elsewhere);
    let shown: Vec<_> = realm.seen().into_iter().map(|ask| ask.authorization).collect();
    assert_eq!(shown, [Some(BASIC.to_string())]);
    // The registry itself has no use for the password.
    assert!(trial.fake.seen().iter().all(|ask| ask.authorization.as_deref() != Some(BASIC)));
    told_nothing(&trial, &[CREDS]);
}

/// Promise: credentials
/// Input: credentials-stay
#[test]
fn a_password_does_not_follow_a_redirect() {
    let elsewhere = foreign(|_| None);
    let to = format!("http://{}", elsewhere.address);
    let Some(trial) = guarded("basic", "Basic realm=\"x\"".into(), BASIC, to) else { return };
    trial.done(&[CREDS]);
    saw_nothing(&elsewhere);
    told_nothing(&trial, &[CREDS]);
}

/// Promise: credentials
/// Input: credentials-stay
#[test]
fn another_port_is_another_host() {
    let elsewhere = foreign(|_| None);
    let front = Trial::new("port", small(), |_, _| Box::new(|_| None));
    let Some(front) = front else { return };
    // The relay of another trial, but at the registry's own address.
    let listener = std::net::TcpListener::bind((front.relay.address.ip(), 0)).unwrap();
    let server = tiny_http::Server::from_listener(listener, None).unwrap();
    let address = server.server_addr().to_ip().unwrap();
    let to = format!("http://{}", elsewhere.address);
    std::thread::spawn(move || {
        for (number, request) in server.incoming_requests().enumerate() {
            let ask = Ask::new(number, &request);
            let location = format!("{to}/{}{}", ask.authorization.as_deref().unwrap_or("none"), ask.path);
            let _ = request.respond(redirect(307, &location));
        }
    });
    let Some(trial) = guarded("ports", "Basic realm=\"x\"".into(), BASIC, format!("http://{address}")) else { return };
    trial.done(&[CREDS]);
    saw_nothing(&elsewhere);
    assert!(elsewhere.seen().iter().all(|ask| ask.path.starts_with("/none/")), "{:?}", elsewhere.seen());
}

/// Promise: credentials
#[test]
fn a_foreign_host_that_asks_gets_nothing() {
    for text in ["Basic realm=\"x\"", "Bearer realm=\"http://127.0.0.1:9/token\""] {
        let elsewhere = foreign(move |_| Some(challenge(text)));
        let to = format!("http://{}", elsewhere.address);
        let Some(trial) = guarded("asks", "Basic realm=\"x\"".into(), BASIC, to) else { return };
        let pulled = trial.pull(&[CREDS, "--retry=0"]);
        assert_eq!(pulled.code, 125, "{}", pulled.text);
        saw_nothing(&elsewhere);
    }
}

/// Promise: passwords
#[test]
fn a_password_that_is_wrong_is_not_told() {
    let Some(trial) = guarded("wrong", "Basic realm=\"x\"".into(), "Basic other", String::new()) else { return };
    let pulled = trial.pull(&[CREDS]);
    assert_eq!(pulled.code, 125);
    assert!(pulled.text.contains("(401)"), "{}", pulled.text);
    assert!(!pulled.text.contains(PASSWORD) && !pulled.text.contains(BASIC), "{}", pulled.text);
    // A wrong one is shown once: servers count them.
    let shown = trial.fake.seen().iter().filter(|ask| ask.authorization.is_some()).count();
    assert!(shown <= 1 && !pulled.text.contains(&format!("{USER}:")), "{shown}");
}

/// Promise: credentials
#[test]
fn nothing_is_shown_where_a_layer_is_resumed_elsewhere() {
    // The first answer of the other host is cut; what is asked next goes through the registry again, or there.
    let elsewhere = foreign(|_| None);
    let front = crate::Relay::with_faults(elsewhere.address, &[crate::relay::Fault::Reset(1000)]);
    let to = format!("http://{}", front.address);
    let Some(trial) = guarded("resumed", "Basic realm=\"x\"".into(), BASIC, to) else { return };
    trial.done(&[CREDS]);
    saw_nothing(&elsewhere);
    assert!(elsewhere.seen().len() > 2, "{:?}", elsewhere.seen());
}

/// What is not asked for a password gets none.
/// Promise: credentials
#[test]
fn an_open_registry_sees_no_password() {
    let Some(trial) = Trial::new("open", small(), |_: &str, _: &Blobs| Box::new(|_| None)) else { return };
    trial.done(&[CREDS]);
    assert!(trial.fake.seen().iter().all(|ask| ask.authorization.is_none()));
}

/// The reason that a registry gives for a refusal is printed, with credentials masked where it repeats them.
/// Promise: masked-credentials
#[test]
fn a_refusal_that_repeats_the_password_is_masked() {
    let trial = Trial::new("echo", small(), |_, _| {
        Box::new(|ask| match ask.authorization.as_deref() {
            None => Some(challenge("Basic realm=\"r\"")),
            Some(shown) => {
                let text = format!("{shown} is jane with {PASSWORD}");
                let page = serde_json::json!({"errors": [{"code": "DENIED", "message": text}]});
                Some(tiny_http::Response::from_string(page.to_string()).with_status_code(403).boxed())
            }
        })
    });
    let Some(trial) = trial else { return };
    told_nothing(&trial, &[CREDS]);
    assert!(trial.pull(&[CREDS]).text.contains("(403): DENIED: Basic *** is jane with ***"));
}

/// The program's own words, whatever is misspelled: what holds a secret is not repeated.
/// Promise: no-secret-in-messages
#[test]
fn a_line_that_cannot_be_read_tells_no_secret() {
    let Some(client) = crate::Client::new("registry-misspelled") else { return };
    for words in [
        &["docker://jane:S3CRET@127.0.0.1:1/demo"][..],
        &["docker://jane:S3/CRET@127.0.0.1:1/demo"],
        &["jane:S3CRET@127.0.0.1:1/demo"],
        &["http://jane:S3CRET@127.0.0.1:1/demo"],
        &["oci-archive:http://jane:S3CRET@127.0.0.1:1/a.tar"],
        &["oci-archive:http://127.0.0.1:1/a.tar?X-Amz-Signature=S3CRET", "--retry=0"],
        &["--retry=0", "oci-archive:http://127.0.0.1:1/a.tar?X-Amz-Signature=S3CRET"],
        &["-creds=jane:S3CRET", "127.0.0.1:1/demo"],
        &["-xS3CRET", "127.0.0.1:1/demo"],
        &["--cred=jane:S3CRET", "127.0.0.1:1/demo"],
        &["--credsjane:S3CRET", "127.0.0.1:1/demo"],
        &["--layer=http://jane:S3CRET@127.0.0.1:1/a.tar#sha256:0", "127.0.0.1:1/demo"],
        &["--layer=jane:S3CRET@127.0.0.1:1/a.tar", "127.0.0.1:1/demo"],
        &["--authfile=/nowhere//jane:S3CRET@x", "127.0.0.1:1/demo"],
    ] {
        let pulled = client.pull(words);
        let told = ["S3CRET", "CRET@", "jane:S3"].iter().any(|secret| pulled.text.contains(secret));
        assert!(!told && pulled.code == 125 && pulled.text.contains("FAIL"), "{words:?}: {}", pulled.text);
    }
}
