//! The images that the tests pull, all made from the payload.

use ocinit::host::image::{self, tar, Entry, Image};
use ocinit::host::registry::DockerRegistry;
use serde_json::{json, Value};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The lowest layer of all: the payload, a user database, odd files.
pub fn base(payload: &[u8]) -> Vec<Entry> {
    vec![
        Entry::directory("data", 0o755),
        Entry::directory("etc", 0o755),
        Entry::file("etc/group", 0o644, "root:x:0:\nusers:x:100:\nwheel:x:77:guest\n"),
        Entry::file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:100:guest:/home/guest:/bin/sh\n"),
        Entry::directory("home", 0o755),
        Entry::directory("home/guest", 0o700).owned(1000, 100),
        Entry::file("data/plain", 0o644, "no program\n"),
        Entry::file("payload", 0o755, payload),
        Entry::directory("tmp", 0o1777),
    ]
}

fn config() -> Value {
    json!({"Entrypoint": ["/payload"], "Cmd": ["hello"], "Env": ["PATH=/bin:/", "FROM=image"], "WorkingDir": "/"})
}

/// `payload`: one gzip layer.
pub fn payload(payload: &[u8]) -> Image {
    Image::new(vec![tar(&base(payload))], config())
}

/// `guest`: a user by name, and its home as the working directory.
pub fn guest(payload: &[u8]) -> Image {
    let mut config = config();
    config["User"] = "guest".into();
    config["WorkingDir"] = "/home/guest".into();
    Image::new(vec![tar(&base(payload))], config)
}

/// `layers`: three plain tars with whiteouts, an opaque directory, a hardlink to below, a directory in a file's place.
pub fn layers(payload: &[u8]) -> Image {
    let mut below = base(payload);
    below.extend([
        Entry::file("data/gone", 0o644, "below"),
        Entry::file("data/kept", 0o640, "below").owned(7, 8),
        Entry::directory("opaque", 0o755),
        Entry::file("opaque/hidden", 0o644, "below"),
        Entry::file("turned", 0o644, "a file"),
    ]);
    let middle = [
        Entry::file("data/.wh.gone", 0o644, ""),
        Entry::directory("opaque", 0o750),
        Entry::file("opaque/.wh..wh..opq", 0o644, ""),
        Entry::file("opaque/shown", 0o644, "middle"),
        Entry::directory("turned", 0o755),
    ];
    let top = [
        Entry::hardlink("data/twin", "data/kept"),
        Entry::file("turned/inside", 0o644, "top"),
        Entry::symlink("link", "data/kept"),
    ];
    Image { compressed: false, ..Image::new(vec![tar(&below), tar(&middle), tar(&top)], config()) }
}

/// `big`: a layer of so many MiB that hardly costs anything to send.
pub fn big(payload: &[u8], mib: usize) -> Image {
    let large = [Entry::file("large", 0o644, vec![0; mib << 20])];
    Image::new(vec![tar(&base(payload)), tar(&large)], config())
}

/// Images whose second layer holds `text`: to be spoiled in the registry's store.
pub fn marked(payload: &[u8], text: &str) -> Image {
    let mark = [Entry::file("mark", 0o644, text.repeat(1000))];
    Image { compressed: false, ..Image::new(vec![tar(&base(payload)), tar(&mark)], config()) }
}

/// An image with these entries over the base, and this user.
pub fn odd(payload: &[u8], entries: &[Entry], user: &str, working_dir: &str) -> Image {
    let mut config = config();
    config["User"] = user.into();
    config["WorkingDir"] = working_dir.into();
    Image::new(vec![tar(&base(payload)), tar(entries)], config)
}

/// Runs a program of Debian's squashfs-tools or erofs-utils that writes `file`, with `input`; gives that file.
/// Without it the test is skipped.
pub fn packed(file: &Path, program: &str, words: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:target/tools/usr/bin";
    let mut command = Command::new(program);
    command.args(words).env("PATH", path).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => skip!("{program}: {error} (./dev setup brings it)"),
    };
    child.stdin.take().unwrap().write_all(input).unwrap();
    assert!(child.wait().unwrap().success(), "{program}");
    let bytes = std::fs::read(file).unwrap();
    std::fs::remove_file(file).unwrap();
    Some(bytes)
}

/// `squashfs`: the payload's image as one squashfs, which is its layer as it is.
pub fn squashfs(dir: &Path, payload: &[u8]) -> Option<Image> {
    let file = dir.join("layer.squashfs");
    let words = ["-quiet", "-no-progress", "-comp", "gzip", &file.to_string_lossy()];
    let layer = packed(&file, "sqfstar", &words, &tar(&base(payload)))?;
    Some(Image::new(vec![layer], config()))
}

/// Writes one image as a layout of its own.
pub fn write(dir: &Path, name: &str, image: Image) -> (PathBuf, String) {
    let layout = dir.join(name);
    let digests = image::write(&layout, &[image]).unwrap();
    (layout, digests[0].clone())
}

/// Puts one image into the registry as `NAME:latest`; gives its manifest's digest.
pub fn push(registry: &DockerRegistry, dir: &Path, name: &str, image: Image) -> String {
    let (layout, digest) = write(dir, name, image);
    registry.push(&layout, "latest", name).unwrap();
    digest
}

/// `index`: an index of two platforms, of which the other one must not be taken.
pub fn push_index(registry: &DockerRegistry, dir: &Path, bytes: &[u8]) {
    let mut manifests = Vec::new();
    for (name, architecture) in [("other", "s390x"), ("own", "amd64")] {
        let image = Image { architecture: architecture.into(), ..odd(bytes, &[Entry::file(name, 0o644, "")], "", "/") };
        let (layout, digest) = write(dir, name, image);
        registry.push(&layout, "latest", &format!("index:{name}")).unwrap();
        let manifest = std::fs::read(layout.join("blobs/sha256").join(&digest["sha256:".len()..])).unwrap();
        manifests.push(json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": manifest.len(),
            "platform": {"architecture": architecture, "os": "linux"},
        }));
    }
    let media = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": media, "manifests": manifests}).to_string();
    put_manifest(registry, "index", media, index.as_bytes());
}

/// Sends a request to the registry; its answer, which must be 2XX.
fn send(registry: &DockerRegistry, line: &str, media: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(registry.here()).unwrap();
    let (host, length) = (registry.here(), body.len());
    let head = format!(
        "{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: {media}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 2"), "{line}: {answer}");
    answer
}

/// Puts a manifest or index into the registry as `NAME:latest`, byte by byte as it is.
pub fn put_manifest(registry: &DockerRegistry, name: &str, media: &str, bytes: &[u8]) {
    send(registry, &format!("PUT /v2/{name}/manifests/latest"), media, bytes);
}

/// Puts a blob into the registry's repository NAME.
pub fn put_blob(registry: &DockerRegistry, name: &str, bytes: &[u8]) {
    let started = send(registry, &format!("POST /v2/{name}/blobs/uploads/"), "text/plain", b"");
    let location = started.lines().find_map(|line| line.strip_prefix("Location: ")).expect("a place to put it");
    let place = &location[location.find("/v2/").expect("a path of the API")..];
    let digest = image::sha256(bytes);
    send(registry, &format!("PUT {place}&digest=sha256:{digest}"), "application/octet-stream", bytes);
}

/// The file of the last layer of NAME's image in the registry's own store.
pub fn layer_file(registry: &DockerRegistry, layout: &Path, manifest: &str) -> PathBuf {
    let blob = |digest: &str| layout.join("blobs/sha256").join(&digest["sha256:".len()..]);
    let manifest: Value = serde_json::from_slice(&std::fs::read(blob(manifest)).unwrap()).unwrap();
    let digest = manifest["layers"].as_array().unwrap().last().unwrap()["digest"].as_str().unwrap();
    let hex = &digest["sha256:".len()..];
    registry.dir().join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
}
