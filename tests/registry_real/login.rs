//! Passwords, from the container line and from files that skopeo writes.

use crate::support::servers;
use crate::{demo, storage, House};
use serde_json::{json, Value};
use std::path::Path;
use std::process::{Command, Stdio};

pub const USER: &str = "jane";
pub const PASSWORD: &str = "corr:ect horse";
pub const CREDS: &str = "--creds=jane:corr:ect horse";

/// A registry's `auth` section for the one user: bcrypt by perl's crypt(3).
pub fn htpasswd(dir: &Path) -> Value {
    let crypt = r#"print crypt($ARGV[0], "\$2y\$05\$abcdefghijklmnopqrstuu")"#;
    let hash = Command::new("perl").args(["-e", crypt, PASSWORD]).output().expect("perl").stdout;
    let (file, hash) = (dir.join("htpasswd"), String::from_utf8(hash).unwrap());
    assert!(hash.starts_with("$2y$05$"), "this crypt(3) knows no bcrypt: {hash}");
    std::fs::write(&file, format!("{USER}:{hash}\n")).unwrap();
    json!({"htpasswd": {"realm": "the \"lab\", here", "path": file}})
}

/// Promise: passwords
#[test]
fn a_password_of_the_line_and_of_skopeos_file() {
    let Some(house) = House::new("htpasswd") else { return };
    let registry = house.registry(&json!({"auth": htpasswd(&house.client.dir)}));
    let name = demo(registry.address);
    let plain = "--tls-verify=false";
    let refused = house.client.refused(&[plain, &name], "authentication required (401)");
    assert!(refused.text.contains("--creds"), "says what to do: {}", refused.text);
    house.client.done(&[plain, CREDS, &name]);
    house.is_whole();
    house.forget();
    let file = house.client.dir.join("auth.json");
    let mut login = Command::new("skopeo");
    login.args(["login", "--tls-verify=false", "-u", USER, "-p", PASSWORD, "--authfile"]).arg(&file);
    let status = login.arg(registry.address.to_string()).stdin(Stdio::null()).stdout(Stdio::null()).status();
    assert!(status.expect("skopeo").success());
    let authfile = format!("--authfile={}", file.display());
    house.client.done(&[plain, &authfile, &name]);
    house.is_whole();
    // As the program base64 writes it, with line breaks, and with keys in another case.
    let written: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let address = registry.address.to_string();
    let auth = written["auths"][&address]["auth"].as_str().unwrap();
    let (first, rest) = auth.split_at(8);
    let write = |auths: &str, entry: Value| {
        std::fs::write(&file, json!({auths: {address.clone(): entry}, "credHelpers": null}).to_string()).unwrap();
    };
    for (auths, entry) in [
        ("auths", json!({"auth": format!("{first}\n{rest}\n")})),
        ("Auths", json!({"Auth": format!("\r\n{first}\r\n{rest}"), "identityToken": null})),
    ] {
        house.forget();
        write(auths, entry);
        house.client.done(&[plain, &authfile, &name]);
        house.is_whole();
    }
    house.forget();
    write("auths", json!({"auth": format!("{first} {rest}")}));
    house.client.refused(&[plain, &authfile, &name], "has no 'auth' that is the base64 of USER:PASSWORD");
}

/// Promise: passwords
#[test]
fn a_wrong_password_is_refused_and_not_told() {
    let Some(house) = House::new("wrong") else { return };
    let registry = house.registry(&json!({"auth": htpasswd(&house.client.dir)}));
    let name = demo(registry.address);
    for wrong in ["s3cret", "corr:ect"] {
        let creds = format!("--creds={USER}:{wrong}");
        let pulled = house.client.refused(&["--tls-verify=false", &creds, &name], "(401)");
        assert!(!pulled.text.contains(wrong), "{}", pulled.text);
    }
    // Nor where the line itself is wrong.
    let pulled = house.client.pull(&["--tls-verify=false", CREDS, "--no-such-flag", &name]);
    assert!(pulled.code == 125 && !pulled.text.contains(PASSWORD), "{}", pulled.text);
}

/// The registry lets nginx send its blobs; nginx tells what it was shown.
/// Promise: credentials
#[test]
fn blobs_that_another_server_sends() {
    let Some(house) = House::new("blobs") else { return };
    let root = format!("root {};", storage().display());
    let files = servers::nginx(&house.client.dir, servers::reserved(), "", "", &root);
    let redirect = json!([{"name": "redirect", "options": {"baseurl": format!("http://{}/", files.address)}}]);
    let parts = json!({"auth": htpasswd(&house.client.dir), "middleware": {"storage": redirect}});
    let registry = house.registry(&parts);
    house.client.done(&["--tls-verify=false", CREDS, &demo(registry.address)]);
    house.is_whole();
    files.flush();
    let asked = files.said("GET /docker/");
    assert!(asked.len() > crate::LAYERS, "{asked:?}");
    assert!(asked.iter().all(|line| line.ends_with("authorization=<->")), "{asked:?}");
}
