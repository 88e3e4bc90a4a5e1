//! `--layer`: tars over the image, from files and from a server.

use super::{images, Host};
use ocinit::host::compress::{compress, Compression};
use ocinit::host::image::{tar, Entry, Kind};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

/// A tar that changes what the images have: a new file, a whiteout, a directory's content.
fn top(text: &str) -> Vec<u8> {
    tar(&[
        Entry::file("data/new", 0o640, text).owned(7, 8),
        Entry::file("data/.wh.plain", 0o644, ""),
        Entry::file("opt/deep/er", 0o644, "deep\n"),
        Entry::hardlink("data/group", "etc/group"),
    ])
}

fn write(host: &Host, name: &str, bytes: &[u8]) -> (PathBuf, String) {
    let path = host.dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    let sum = Command::new("sha256sum").arg(&path).stderr(Stdio::inherit()).output().unwrap();
    (path, format!("sha256:{}", &String::from_utf8(sum.stdout).unwrap()[..64]))
}

/// The store's layers, by name.
fn layers(host: &Host) -> usize {
    host.stored("layers").len()
}

/// Promise: extra-layers
#[test]
fn files_in_every_dress() {
    let Some(host) = Host::new("extra") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&top("gzip\n")).unwrap();
    let (zstd, _) = compress(&top("zstd\n"), Compression::Zstd).unwrap();
    for (name, bytes) in [("plain", top("plain\n")), ("gzip", gzip.finish().unwrap()), ("zstd", zstd)] {
        let (path, _) = write(&host, name, &bytes);
        let flag = format!("--layer={}", path.display());
        let run = |words: &[&str]| host.ocinit(&[&["run", &flag, &image], words].concat());
        assert_eq!(run(&["cat", "/data/new"]).out, format!("{name}\n"));
        let stat = run(&["stat", "/data/new", "/data/plain", "/opt/deep/er", "/data/group"]).out;
        for start in
            ["/data/new file 0640 7:8", "/data/plain No such file", "/opt/deep/er file", "/data/group file 0644"]
        {
            assert!(stat.lines().any(|line| line.starts_with(start)), "{name}: {start}: {stat}");
        }
        // The image itself is as it was.
        assert_eq!(host.ocinit(&["run", &image, "cat", "/data/plain"]).out, "no program\n");
    }
    // Without a digest nothing of them stays.
    assert_eq!((layers(&host), host.left()), (1, Vec::new()));
}

/// Promise: extra-layers
#[test]
fn several_in_order_and_kept_by_their_digests() {
    let Some(host) = Host::new("extras") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let (one, first) = write(&host, "one.tar", &top("one\n"));
    let (two, second) = write(&host, "two.tar", &top("two\n"));
    let flag = |path: &Path, digest: &str| format!("--layer={}#{digest}", path.display());
    let (a, b) = (flag(&one, &first), flag(&two, &second));
    let run = |flags: &[&str]| host.ocinit(&[&["run"], flags, &[&image, "cat", "/data/new"]].concat());
    assert_eq!(run(&[&a, &b]).out, "two\n");
    assert_eq!(layers(&host), 3);
    assert_eq!(run(&[&b, &a]).out, "one\n", "the last is the topmost");
    // Kept: the file is not needed any more.
    std::fs::remove_file(&one).unwrap();
    std::fs::remove_file(&two).unwrap();
    assert_eq!(run(&[&a, &b]).out, "two\n");
    let other = host.ocinit(&["run", &flag(&one, &second), &image]);
    assert_eq!(other.out, "Hello from a container\n".to_string() + other.out.split_once('\n').unwrap().1);
    assert_eq!(host.left(), Vec::<String>::new());
}

/// Promise: extra-layers
#[test]
fn what_is_refused() {
    let Some(host) = Host::new("noextra") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let good = top("good\n");
    let (path, digest) = write(&host, "good.tar", &good);
    let wrong = digest.replace(&digest[7..9], if &digest[7..9] == "00" { "11" } else { "00" });
    let (cut, _) = write(&host, "cut.tar", &good[..514]);
    let (text, _) = write(&host, "text.tar", "<html>not here</html>".repeat(99).as_bytes());
    let (out, _) = write(&host, "out.tar", &tar(&[Entry::file("../../out", 0o644, "x")]));
    let fifo = host.dir.join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for (what, why) in [
        (format!("{}#{wrong}", path.display()), "has the digest sha256:"),
        (cut.display().to_string(), "cut.tar: "),
        (text.display().to_string(), "text.tar: "),
        (out.display().to_string(), "out"),
        (fifo.display().to_string(), "is not a regular file"),
        ("/no/such.tar".into(), "/no/such.tar: no such file"),
        ("/".into(), "is not a regular file"),
    ] {
        let ended = host.ocinit(&["run", "--layer", &what, &image]);
        assert_eq!((ended.code, ended.out.as_str()), (125, ""), "{what}");
        assert!(ended.err.contains("FAIL pull") && ended.err.contains(why), "{what}: {}", ended.err);
        assert_eq!((layers(&host), host.left()), (1, Vec::new()), "{what}");
    }
    let device = [Entry { kind: Kind::CharacterDevice(0, 0), ..Entry::file("dev/x", 0o666, "") }];
    let (device, _) = write(&host, "device.tar", &tar(&device));
    assert_eq!(
        host.ocinit(&["run", "--layer", &device.to_string_lossy(), &image]).code,
        125,
        "a layer's own limits hold"
    );
}

/// Promise: extra-layers
#[test]
fn from_a_server() {
    let Some(host) = Host::new("served") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let (_, digest) = write(&host, "served.tar", &top("served\n"));
    let server = tiny_http::Server::http("127.0.0.1:0").unwrap();
    let port = server.server_addr().to_ip().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    std::thread::spawn(move || {
        for request in server.incoming_requests() {
            counted.fetch_add(1, Ordering::Relaxed);
            let found = request.url() == "/top.tar";
            let response = tiny_http::Response::from_data(if found { top("served\n") } else { b"gone".to_vec() });
            let _ = request.respond(response.with_status_code(if found { 200 } else { 404 }));
        }
    });
    let run = |what: &str| {
        host.ocinit(&["run", "--layer", &format!("http://127.0.0.1:{port}/{what}"), &image, "cat", "/data/new"])
    };
    assert_eq!(run("top.tar").out, "served\n");
    assert_eq!(run("top.tar").out, "served\n");
    assert_eq!(count.load(Ordering::Relaxed), 2, "without a digest it is fetched each time");
    let kept = format!("top.tar#{digest}");
    assert_eq!((run(&kept).out.as_str(), run(&kept).out.as_str()), ("served\n", "served\n"));
    assert_eq!(count.load(Ordering::Relaxed), 3, "with one it is kept");
    let missing = run("missing.tar");
    assert!(missing.code == 125 && missing.err.contains("404"), "{}", missing.err);
}
