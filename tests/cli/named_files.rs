//! Files that a container line, an image layout or the name of a server leads to: one that is not a regular file is
//! refused with a message, and never blocks. With a FIFO without a writer already `open(2)` would.

use super::support::servers::openssl;
use super::{images, Host};
use std::path::Path;
use std::process::Command;

fn fifo_at(path: &Path) {
    let _ = std::fs::remove_file(path);
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// The only blob of a layout that `wanted` is about, by the digest in one of its documents.
fn blob(layout: &Path, wanted: &str) -> std::path::PathBuf {
    let read = |path: &Path| serde_json::from_slice::<serde_json::Value>(&std::fs::read(path).unwrap()).unwrap();
    let at = |digest: &serde_json::Value| layout.join("blobs/sha256").join(&digest.as_str().unwrap()[7..]);
    let manifest = at(&read(&layout.join("index.json"))["manifests"][0]["digest"]);
    match wanted {
        "manifest" => manifest,
        "config" => at(&read(&manifest)["config"]["digest"]),
        _ => at(&read(&manifest)["layers"][0]["digest"]),
    }
}

/// Promise: regular-files-only
#[test]
fn a_layout_of_fifos() {
    let Some(host) = Host::new("layoutfifo") else { return };
    for what in ["index.json", "manifest", "config", "layer"] {
        let (layout, _) = images::write(&host.dir, &format!("of-{what}"), images::payload(&host.payload));
        let path = if what == "index.json" { layout.join(what) } else { blob(&layout, what) };
        fifo_at(&path);
        let name = format!("oci:{}:latest", layout.display());
        let ended = host.ocinit(&["run", "--pull=always", &name]);
        assert_eq!((ended.code, ended.out.as_str()), (125, ""), "{what}");
        assert!(ended.err.contains(&format!("{}: is not a regular file", path.display())), "{what}: {}", ended.err);
        assert_eq!(host.left(), Vec::<String>::new(), "{what}");
    }
}

/// Promise: regular-files-only
#[test]
fn files_of_a_line_that_are_fifos() {
    let Some(host) = Host::new("linefifo") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let dir = host.dir.join("files");
    std::fs::create_dir(&dir).unwrap();
    let fifo = dir.join("ca.crt");
    fifo_at(&fifo);
    let fifo = fifo.display().to_string();
    let registry = "127.0.0.1:1/demo:latest";
    for (flag, image, code) in [
        (format!("--env-file={fifo}"), image.as_str(), 125),
        (format!("--security-opt=seccomp={fifo}"), &image, 125),
        (format!("--network=ns:{fifo}"), &image, 125),
        (format!("--layer={fifo}"), &image, 125),
        (format!("--authfile={fifo}"), registry, 125),
    ] {
        let ended = host.ocinit(&["run", &flag, "--retry=0", image]);
        assert_eq!((ended.code, ended.out.as_str()), (code, ""), "{flag}");
        assert!(ended.err.contains(&format!("{fifo}: is not a regular file")), "{flag}: {}", ended.err);
        assert_eq!(host.left(), Vec::<String>::new(), "{flag}");
    }
    let archive = host.ocinit(&["pull", &format!("docker-archive:{fifo}")]);
    assert!(archive.err.contains(&format!("{fifo}: is not a regular file")), "{}", archive.err);
    // A file that is one, whatever the way to it.
    let (file, link) = (dir.join("env"), dir.join("link"));
    std::fs::write(&file, "FROM_FILE=1\n").unwrap();
    std::os::unix::fs::symlink("env", &link).unwrap();
    let ended = host.ocinit(&["run", "--env-file", &link.display().to_string(), &image, "env"]);
    assert!(ended.out.lines().any(|line| line == "FROM_FILE=1"), "{}", ended.err);
}

/// Certificates are read when a server of TLS answers: authorities, a client's own, and its key.
/// Promise: regular-files-only
#[test]
fn certificates_that_are_fifos() {
    let Some(host) = Host::new("certfifo") else { return };
    // Anybody who listens: the files are read before a byte is sent.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for name in ["ca.crt", "client.cert", "client.key"] {
        let dir = host.dir.join(name.replace('.', "-"));
        std::fs::create_dir(&dir).unwrap();
        match name {
            "client.key" => std::fs::write(dir.join("client.cert"), "").unwrap(),
            "client.cert" => openssl(&dir, &["genpkey", "-algorithm", "ed25519", "-out", "client.key"]),
            _ => {}
        }
        fifo_at(&dir.join(name));
        let flag = format!("--cert-dir={}", dir.display());
        let ended = host.ocinit(&["pull", &flag, "--retry=0", &format!("{address}/demo")]);
        assert_eq!(ended.code, 125, "{name}");
        assert!(ended.err.contains(&format!("{name}: is not a regular file")), "{name}: {}", ended.err);
    }
}
