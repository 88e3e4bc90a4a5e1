//! Registries and options over https: a lab's own certificate authority, and certificates of another one.

use crate::extra_args::Gateway;
use crate::lab::{lab, Lab, POWER_DOWN};
use crate::support::images;
use ocinit::host::registry::DockerRegistry;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

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

/// `openssl s_server`, which serves the files of a directory.
struct Files(Child);

impl Files {
    fn serve(dir: &Path) -> (Files, u16) {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = Command::new("openssl")
            .args(["s_server", "-WWW", "-cert", "server.pem", "-key", "server.key", "-accept"])
            .arg(format!("127.0.0.1:{port}"))
            .current_dir(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "ACCEPT"));
        (Files(child), port)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A proxy: by CONNECT to a port of this host.
fn proxy() -> Gateway {
    Gateway::start(|near, target| {
        let port = target.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(0);
        let far = TcpStream::connect(("127.0.0.1", port))?;
        near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        let (mut from, mut into) = (near.try_clone()?, far.try_clone()?);
        let there = std::thread::spawn(move || {
            // Either side may end the connection at any time.
            let _ = std::io::copy(&mut from, &mut into);
            let _ = into.shutdown(Shutdown::Write);
        });
        let _ = std::io::copy(&mut &far, near);
        let _ = near.shutdown(Shutdown::Both);
        let _ = there.join();
        Ok(())
    })
}

/// The lab's authority and the proxy count for options by URL, too; a server of another authority gives none.
/// Promise: extra-arguments, lab-certificates
#[test]
fn options_by_https_and_a_proxy() {
    let Some(lab) = lab() else { return };
    let (ours, theirs) = (lab.dir.join("options"), lab.dir.join("others"));
    let ca = std::fs::read(authority(&ours)).unwrap();
    authority(&theirs);
    let options =
        format!("b2c.run=\"--tls-verify=false docker://{}/payload echo by-https\"\n", lab.registry.for_guest());
    let initramfs = lab.build("with-options-ca", |spec| spec.ca = Some(ca));
    let proxy = proxy();
    for (dir, is_trusted) in [(ours, true), (theirs, false)] {
        std::fs::write(dir.join("job"), &options).unwrap();
        let (_files, port) = Files::serve(&dir);
        let words =
            format!("b2c.extra_args_url=https://10.0.2.2:{port}/job b2c.proxy=https=http://10.0.2.2:{}", proxy.port);
        let name = if is_trusted { "options_by_https" } else { "options_by_others" };
        let seen = lab.boot(name, &words, |machine| machine.initrd = initramfs.clone());
        assert!(proxy.requests().contains(&format!("CONNECT 10.0.2.2:{port} HTTP/1.1")), "{:?}", proxy.requests());
        if is_trusted {
            seen.over(0, POWER_DOWN);
            seen.says("by-https");
        } else {
            seen.ends(POWER_DOWN);
            seen.says("FAIL options");
            seen.says("TLS: ");
            seen.never("by-https");
        }
    }
}
