//! Registries over https: a lab's own certificate authority, and certificates of another one.

use crate::lab::{lab, Lab, POWER_DOWN};
use crate::support::images;
use ocinit::host::registry::DockerRegistry;
use std::path::{Path, PathBuf};
use std::process::Command;

fn openssl(dir: &Path, words: &str) {
    let output = Command::new("openssl").args(words.split(' ')).current_dir(dir).output().expect("openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// An authority in DIR/ca.pem and its certificate for the host, by the address that guests see.
fn authority(dir: &Path) -> PathBuf {
    std::fs::create_dir_all(dir).unwrap();
    let name = dir.file_name().unwrap().to_string_lossy().into_owned();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(dir, &format!("req -x509 {key} -keyout ca.key -out ca.pem -days 30 -subj /CN={name}"));
    openssl(dir, &format!("req {key} -keyout server.key -out server.csr -subj /CN=registry"));
    std::fs::write(dir.join("names"), "subjectAltName=IP:10.0.2.2,IP:127.0.0.1\n").unwrap();
    let sign = "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30";
    openssl(dir, &format!("{sign} -extfile names -out server.pem"));
    dir.join("ca.pem")
}

/// A registry with a certificate of the authority in `dir`, and an initramfs that trusts this authority or another.
fn registry(lab: &Lab, dir: &Path) -> DockerRegistry {
    let store = dir.join("store");
    let registry = DockerRegistry::start_https(&store, &dir.join("server.pem"), &dir.join("server.key"));
    let registry = registry.expect("docker-registry");
    let name = dir.file_name().unwrap().to_string_lossy().into_owned();
    images::push(&registry, &lab.dir, &name, images::payload(&lab.payload));
    registry
}

/// Promise: lab-certificates
#[test]
fn labs_own_authority() {
    let Some(lab) = lab() else { return };
    let (ours, theirs) = (lab.dir.join("ours"), lab.dir.join("theirs"));
    let ca = std::fs::read(authority(&ours)).unwrap();
    authority(&theirs);
    let (good, bad) = (registry(&lab, &ours), registry(&lab, &theirs));
    let initramfs = lab.build("with-ca", |spec| spec.ca = Some(ca));
    let words = format!(
        "b2c.run=\"docker://{good}/ours echo trusted\" b2c.run=\"docker://{bad}/theirs echo never\" \
         b2c.run=\"--tls-verify=false docker://{bad}/theirs echo whoever\"",
        good = good.for_guest(),
        bad = bad.for_guest()
    );
    let seen = lab.boot("https", &words, |machine| machine.initrd = initramfs);
    seen.over(125, POWER_DOWN);
    seen.in_order(&["trusted", "whoever"]);
    assert!(seen.lines().all(|line| line != "never"));
    seen.golden("https");
}
