//! TLS: a lab's own certificate authority, certificates of unknown authorities, and client certificates.

use crate::support::servers::{self, Authority, Daemon};
use crate::{demo, storage, House};
use serde_json::{json, Value};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The registry over https, with a certificate by `authority`.
pub fn secure(house: &House, authority: &Authority, address: SocketAddr, mut parts: Value) -> Daemon {
    let (certificate, key) = authority.certify(address);
    parts["http"]["tls"] = json!({"certificate": certificate, "key": key});
    servers::registry_at(address, &house.client.dir, &storage(), &parts)
}

fn flag(name: &str, value: impl AsRef<std::path::Path>) -> String {
    format!("--{name}={}", value.as_ref().display())
}

/// Promise: lab-certificates
#[test]
fn whom_a_certificate_convinces() {
    let Some(house) = House::new("tls") else { return };
    let (authority, other) = (Authority::new(&house.client.dir, "lab"), Authority::new(&house.client.dir, "other"));
    let registry = secure(&house, &authority, servers::reserved(), json!({}));
    let name = demo(registry.address);
    let refused = house.client.refused(&[&name], "TLS: ");
    assert!(refused.text.contains("hint"), "{}", refused.text);
    house.client.refused(&[&flag("cert-dir", other.cert_dir("certs")), &name], "TLS: ");
    assert!(registry.said("GET /v2/").is_empty(), "nothing is asked before");
    house.client.done(&[&flag("cert-dir", authority.cert_dir("certs")), &name]);
    house.is_whole();
    house.forget();
    // Below a directory of the server's own, as podman has it.
    let own = house.client.dir.join("certs.d");
    std::fs::create_dir_all(own.join(registry.address.to_string())).unwrap();
    // As some editors save it.
    let marked = ["\u{feff}".as_bytes(), &std::fs::read(authority.dir.join("ca.pem")).unwrap()].concat();
    std::fs::write(own.join(registry.address.to_string()).join("ca.crt"), marked).unwrap();
    house.client.done(&[&flag("cert-dir", &own), &name]);
    house.forget();
    house.client.done(&["--tls-verify=false", &name]);
    house.is_whole();
}

/// A certificate of the right authority for another server.
/// Promise: lab-certificates
#[test]
fn a_certificate_for_another_name() {
    let Some(house) = House::new("name") else { return };
    let authority = Authority::new(&house.client.dir, "lab");
    let (certificate, key) = authority.sign("elsewhere", "subjectAltName=DNS:registry.example.org,IP:127.0.0.1");
    let registry = house.registry(&json!({"http": {"tls": {"certificate": certificate, "key": key}}}));
    house.client.refused(&[&flag("cert-dir", authority.cert_dir("certs")), &demo(registry.address)], "TLS: ");
}

/// Promise: client-certificate
#[test]
fn a_server_that_wants_a_certificate_of_ours() {
    let Some(house) = House::new("client") else { return };
    let authority = Authority::new(&house.client.dir, "lab");
    let (registry, address) = (house.registry(&json!({})), servers::reserved());
    let (certificate, key) = authority.certify(address);
    let front = servers::nginx(
        &house.client.dir,
        address,
        "ssl",
        "",
        &format!(
            "ssl_certificate {}; ssl_certificate_key {}; ssl_client_certificate {}; ssl_verify_client on;\n\
             location / {{ proxy_pass http://{}; proxy_set_header Host $http_host; }}",
            certificate.display(),
            key.display(),
            authority.dir.join("ca.pem").display(),
            registry.address,
        ),
    );
    let certs = authority.cert_dir("certs");
    let words = [flag("cert-dir", &certs), demo(front.address)];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(house.client.pull(&words).code, 125, "nobody is let in without one");
    assert!(registry.asked("GET").is_empty());
    let (certificate, key) = authority.sign("client", "extendedKeyUsage=clientAuth");
    std::fs::copy(certificate, certs.join("client.cert")).unwrap();
    std::fs::copy(key, certs.join("client.key")).unwrap();
    house.client.done(&words);
    house.is_whole();
}

/// Promise: no-fallback-to-http
#[test]
fn https_sends_nobody_to_plain_http() {
    let Some(house) = House::new("redirect") else { return };
    let authority = Authority::new(&house.client.dir, "lab");
    let files =
        servers::nginx(&house.client.dir, servers::reserved(), "", "", &format!("root {};", storage().display()));
    let redirect = json!([{"name": "redirect", "options": {"baseurl": format!("http://{}/", files.address)}}]);
    let registry = secure(&house, &authority, servers::reserved(), json!({"middleware": {"storage": redirect}}));
    let certs = flag("cert-dir", authority.cert_dir("certs"));
    house.client.refused(&[&certs, &demo(registry.address)], "redirects without a safe target");
    files.flush();
    assert!(files.said("GET /docker/").is_empty());
}

/// `openssl s_server` with further options: that of the version of TLS, at least.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(authority: &Authority, options: &[&str]) -> Server {
        let address = servers::reserved();
        let (certificate, key) = authority.certify(address);
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", &address.to_string(), "-www", "-cert"])
            .args([&certificate, Path::new("-key"), &key])
            .args(options)
            .current_dir(&authority.dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "ACCEPT"));
        Server { child, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pull by the release, which has its own part in some of ring's work (src/sys/p256.rs, curve25519.rs and
/// chacha20_poly1305.rs).
fn pull_by_release(house: &House, server: &Server, certs: &Path) -> String {
    let release = std::env::var("OCINIT_INIT").unwrap_or_else(|_| "target/ocinit/x86_64/ocinit".into());
    assert!(Path::new(&release).is_file(), "{release}: ./dev build makes it");
    let mut pull = Command::new(&release);
    pull.args(["pull", "--store"]).arg(house.client.store()).arg("--retry=0");
    let output = pull.args([flag("cert-dir", certs), format!("{}/x", server.address)]).output();
    String::from_utf8_lossy(&output.unwrap().stderr).into_owned()
}

/// What a server without images says to whom it lets in.
const LET_IN: &str = "manifest: not valid JSON";

/// An ephemeral key of ours, and the signatures of server and authority, by another's implementation.
/// Promise: p256
#[test]
fn the_release_and_openssl_agree_about_p256() {
    let Some(house) = House::new("p256") else { return };
    let (authority, other) = (Authority::new(&house.client.dir, "lab"), Authority::new(&house.client.dir, "other"));
    for version in ["-tls1_2", "-tls1_3"] {
        for (by, want) in [(&authority, LET_IN), (&other, "TLS: ")] {
            let server = Server::start(&authority, &[version, "-groups", "P-256"]);
            let text = pull_by_release(&house, &server, &by.cert_dir("certs"));
            assert!(text.contains(want), "{version}: {text}");
        }
    }
}

/// An ephemeral key by X25519, and our signature by an Ed25519 key.
/// Promise: curve25519
#[test]
fn the_release_and_openssl_agree_about_curve25519() {
    let Some(house) = House::new("curve25519") else { return };
    let (authority, other) = (Authority::new(&house.client.dir, "lab"), Authority::new(&house.client.dir, "other"));
    let certs = authority.cert_dir("certs");
    for version in ["-tls1_2", "-tls1_3"] {
        for (by, want) in [(&authority, LET_IN), (&other, "TLS: ")] {
            let (certificate, key) = by.sign_key("client", "extendedKeyUsage=clientAuth", &["ed25519"]);
            std::fs::copy(certificate, certs.join("client.cert")).unwrap();
            std::fs::copy(key, certs.join("client.key")).unwrap();
            let asked = ["-Verify", "1", "-verify_return_error", "-CAfile", "ca.pem"];
            let server = Server::start(&authority, &[&[version, "-groups", "X25519"], &asked[..]].concat());
            let text = pull_by_release(&house, &server, &certs);
            assert!(text.contains(want), "{version}: {text}");
        }
    }
}

/// The suite that servers choose for clients without AES, in both versions of TLS.
/// Promise: chacha20-poly1305
#[test]
fn the_release_and_openssl_agree_about_chacha20_poly1305() {
    let Some(house) = House::new("chacha20-poly1305") else { return };
    let authority = Authority::new(&house.client.dir, "lab");
    let certs = authority.cert_dir("certs");
    for version in ["-tls1_2", "-tls1_3"] {
        let suites = ["-cipher", "CHACHA20", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"];
        let server = Server::start(&authority, &[&[version], &suites[..]].concat());
        let text = pull_by_release(&house, &server, &certs);
        assert!(text.contains(LET_IN), "{version}: {text}");
    }
}
