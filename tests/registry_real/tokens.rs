//! Debian's registry with a token server: one of the test's own, whose tokens openssl signs.

use crate::login::{CREDS, PASSWORD, USER};
use crate::support::fake::{body, challenge, Ask};
use crate::support::servers::{openssl, Authority, Daemon};
use crate::{demo, servers, storage, tls, House};
use serde_json::{json, Value};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};
use tiny_http::Server;

const SERVICE: &str = "registry \"of the lab\"";
const ISSUER: &str = "lab";
/// By coreutils' base64.
const BASIC: &str = "Basic amFuZTpjb3JyOmVjdCBob3JzZQ==";

/// Gives tokens to those who know the password, or to all.
struct TokenServer {
    address: SocketAddr,
    server: Arc<Server>,
    seen: Arc<Mutex<Vec<Ask>>>,
    bundle: PathBuf,
}

impl TokenServer {
    /// `wants_password`: nobody else gets one. The first `bad` tokens are not what the registry takes.
    fn start(dir: &Path, wants_password: bool, bad: usize) -> TokenServer {
        let dir = dir.join("tokens");
        std::fs::create_dir_all(&dir).unwrap();
        let words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=tokens"];
        openssl(&dir, &[&words[..], &["-keyout", "key.pem", "-out", "cert.pem"]].concat());
        openssl(&dir, &["x509", "-in", "cert.pem", "-outform", "DER", "-out", "cert.der"]);
        let server = Arc::new(Server::http((crate::support::loopback(), 0)).unwrap());
        let (address, seen) = (server.server_addr().to_ip().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let started = TokenServer { address, server: server.clone(), seen: seen.clone(), bundle: dir.join("cert.pem") };
        std::thread::spawn(move || {
            for (number, request) in server.incoming_requests().enumerate() {
                let ask = Ask::new(number, &request);
                let is_known = ask.authorization.as_deref() == Some(BASIC);
                let answer = match is_known || !wants_password {
                    true => {
                        let token = token(&dir, if number < bad { "another" } else { ISSUER });
                        body(json!({"token": token, "expires_in": 60}).to_string())
                    }
                    false => challenge("Basic realm=\"tokens\""),
                };
                seen.lock().unwrap().push(ask);
                let _ = request.respond(answer);
            }
        });
        started
    }

    /// The registry's `auth` section.
    fn auth(&self) -> Value {
        let realm = format!("http://{}/token", self.address);
        json!({"token": {"realm": realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": self.bundle}})
    }

    fn seen(&self) -> Vec<Ask> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.server.unblock();
    }
}

/// RFC 4648, section 5, without padding, from openssl's alphabet.
fn url_safe(base64: &str) -> String {
    let kept = base64.chars().filter(|c| !c.is_whitespace() && *c != '=');
    kept.map(|c| {
        if c == '+' {
            '-'
        } else if c == '/' {
            '_'
        } else {
            c
        }
    })
    .collect()
}

/// openssl's base64 of a file.
fn base64(dir: &Path, file: &str) -> String {
    openssl(dir, &["base64", "-A", "-in", file, "-out", "base64"]);
    std::fs::read_to_string(dir.join("base64")).unwrap()
}

/// A JWT (RFC 7519) for pulling `demo`, signed by RS256.
fn token(dir: &Path, issuer: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [base64(dir, "cert.der")]});
    let claims = json!({
        "iss": issuer, "sub": USER, "aud": SERVICE, "exp": now + 60, "nbf": now - 10, "iat": now, "jti": "1",
        "access": [{"type": "repository", "name": "demo", "actions": ["pull"]}],
    });
    let mut parts = Vec::new();
    for part in [header, claims] {
        std::fs::write(dir.join("part"), part.to_string()).unwrap();
        parts.push(url_safe(&base64(dir, "part")));
    }
    let text = parts.join(".");
    std::fs::write(dir.join("text"), &text).unwrap();
    openssl(dir, &["dgst", "-sha256", "-sign", "key.pem", "-out", "signature", "text"]);
    format!("{text}.{}", url_safe(&base64(dir, "signature")))
}

/// Promise: tokens-of-others
#[test]
fn a_token_for_anybody() {
    let Some(house) = House::new("token") else { return };
    let tokens = TokenServer::start(&house.client.dir, false, 0);
    let registry = house.registry(&json!({"auth": tokens.auth()}));
    house.client.done(&["--tls-verify=false", &demo(registry.address)]);
    house.is_whole();
    let asked: Vec<String> = tokens.seen().into_iter().map(|ask| ask.path).collect();
    let query = "service=registry%20%22of%20the%20lab%22&scope=repository%3Ademo%3Apull";
    assert_eq!(asked, [format!("/token?{query}")], "one, for what is needed");
}

/// Promise: tokens-of-others
#[test]
fn a_token_for_those_who_know_the_password() {
    let Some(house) = House::new("known") else { return };
    let tokens = TokenServer::start(&house.client.dir, true, 0);
    let registry = house.registry(&json!({"auth": tokens.auth()}));
    let name = demo(registry.address);
    let refused = house.client.refused(&["--tls-verify=false", &name], "(401)");
    assert!(refused.text.contains(&tokens.address.to_string()), "says who refuses: {}", refused.text);
    let refused = house.client.refused(&["--tls-verify=false", "--creds=jane:wr0ng", &name], "(401)");
    assert!(!refused.text.contains("wr0ng"), "{}", refused.text);
    let done = house.client.done(&["--tls-verify=false", CREDS, &name]);
    house.is_whole();
    assert!(!done.text.contains(PASSWORD) && !done.text.contains("eyJ"), "{}", done.text);
}

/// Promise: tokens-of-others
#[test]
fn a_token_that_the_registry_does_not_take() {
    let Some(house) = House::new("bad") else { return };
    let tokens = TokenServer::start(&house.client.dir, false, usize::MAX);
    let registry = house.registry(&json!({"auth": tokens.auth()}));
    let pulled = house.client.refused(&["--tls-verify=false", &demo(registry.address)], "(401)");
    assert!(!pulled.text.contains("eyJ"), "no token is told: {}", pulled.text);
    assert!(tokens.seen().len() <= 2, "it does not help to ask for ever: {:?}", tokens.seen());
}

/// A registry of https may not send us to plain http, with a password or without.
/// Promise: token-realms
/// Input: token-realms
#[test]
fn a_realm_of_plain_http_and_a_registry_of_https() {
    let Some(house) = House::new("realm") else { return };
    let authority = Authority::new(&house.client.dir, "lab");
    let tokens = TokenServer::start(&house.client.dir, false, 0);
    let address = servers::reserved();
    let registry: Daemon = tls::secure(&house, &authority, address, json!({"auth": tokens.auth()}));
    let certs = format!("--cert-dir={}", authority.cert_dir("certs").display());
    let name = demo(registry.address);
    for words in [&[certs.as_str(), &name][..], &[&certs, CREDS, &name]] {
        house.client.refused(words, "not safe");
    }
    assert!(tokens.seen().is_empty() && storage().exists());
}

/// TLS and tokens together: what the README shows.
/// Promise: tokens-of-others
#[test]
fn tls_and_tokens_through_one_front() {
    let Some(house) = House::new("front") else { return };
    let authority = Authority::new(&house.client.dir, "lab");
    let tokens = TokenServer::start(&house.client.dir, true, 0);
    let (address, front) = (servers::reserved(), servers::reserved());
    let (certificate, key) = authority.certify(front);
    let mut auth = tokens.auth();
    auth["token"]["realm"] = format!("https://{front}/token").into();
    let server = format!(
        "ssl_certificate {}; ssl_certificate_key {};\n\
         location /token {{ proxy_pass http://{}; }}\n\
         location / {{ proxy_pass http://{address}; proxy_set_header Host $http_host; }}",
        certificate.display(),
        key.display(),
        tokens.address,
    );
    let _front = servers::nginx(&house.client.dir, front, "ssl", "", &server);
    let _registry = servers::registry_at(address, &house.client.dir, &storage(), &json!({"auth": auth}));
    let certs = format!("--cert-dir={}", authority.cert_dir("certs").display());
    house.client.refused(&[&certs, &demo(front)], "(401)");
    house.client.done(&[&certs, CREDS, &demo(front)]);
    house.is_whole();
}
