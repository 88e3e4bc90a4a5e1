//! A read-only registry that serves an OCI image layout: the distribution
//! specification's endpoints for pulls, under any repository name.

use crate::pure::json::{self, Value};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use tiny_http::{Header, Method, Request, Response, StatusCode};

/// Requests that are served at the same time.
const WORKERS: usize = 4;
/// The largest manifest or index, as the distribution specification proposes.
const MANIFEST_MAX_BYTES: u64 = 4 << 20;
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// A running registry, stopped when this is dropped.
pub struct Server {
    http: Arc<tiny_http::Server>,
    counts: Arc<Counts>,
    workers: Vec<JoinHandle<()>>,
    port: u16,
}

#[derive(Default)]
struct Counts {
    bytes: AtomicU64,
    requests: AtomicU64,
}

impl Server {
    /// Serves the layout in `dir` on `address`; `127.0.0.1:0` takes a free port.
    pub fn start(dir: &Path, address: &str) -> io::Result<Server> {
        let index = dir.join("index.json");
        File::open(&index).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", index.display())))?;
        let http = tiny_http::Server::http(address)
            .map_err(|error| io::Error::other(format!("--listen {address}: {error}")))?;
        let port = http.server_addr().to_ip().as_ref().map_or(0, SocketAddr::port);
        let (http, counts) = (Arc::new(http), Arc::new(Counts::default()));
        let workers = (0..WORKERS)
            .map(|_| {
                let (http, counts, dir) = (http.clone(), counts.clone(), dir.to_path_buf());
                std::thread::spawn(move || {
                    while let Ok(request) = http.recv() {
                        answer(&dir, &counts, request);
                    }
                })
            })
            .collect();
        Ok(Server { http, counts, workers, port })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The bytes of all bodies that were sent so far.
    pub fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::Relaxed)
    }

    pub fn requests(&self) -> u64 {
        self.counts.requests.load(Ordering::Relaxed)
    }

    /// Serves until the process ends.
    pub fn wait(mut self) {
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for _ in &self.workers {
            self.http.unblock();
        }
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

/// The answer to a request.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Body,
}

enum Body {
    Text(String),
    /// This many bytes of a file, from its current position.
    Part(File, u64),
}

fn answer(dir: &Path, counts: &Arc<Counts>, request: Request) {
    counts.requests.fetch_add(1, Ordering::Relaxed);
    let range = request.headers().iter().find(|header| header.field.equiv("Range")).map(|header| header.value.as_str());
    let range = range.map(str::to_string);
    let answer = match request.method() {
        Method::Get | Method::Head => route(dir, request.url(), range.as_deref()),
        _ => Ok(refusal(405, "UNSUPPORTED", "this registry is read-only")),
    };
    let answer = answer.unwrap_or_else(|error| refusal(500, "UNKNOWN", &error.to_string()));
    let (body, len): (Box<dyn Read>, u64) = match answer.body {
        Body::Text(text) => (Box::new(io::Cursor::new(text.clone().into_bytes())), text.len() as u64),
        Body::Part(file, len) => (Box::new(file.take(len)), len),
    };
    let mut headers = vec![header("Docker-Distribution-Api-Version", "registry/2.0")];
    headers.extend(answer.headers.iter().map(|(name, value)| header(name, value)));
    let body = Counted { body, counts: counts.clone() };
    let response = Response::new(StatusCode(answer.status), headers, body, Some(len as usize), None);
    // By default large bodies are sent in chunks, without a length. A client that has gone is no error.
    let _ = request.respond(response.with_chunked_threshold(usize::MAX));
}

struct Counted {
    body: Box<dyn Read>,
    counts: Arc<Counts>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read(buffer)?;
        self.counts.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

fn header(name: &str, value: &str) -> Header {
    let made = Header::from_bytes(name, value);
    made.unwrap_or_else(|()| Header::from_bytes("X-Invalid", "1").expect("a constant header parses"))
}

fn refusal(status: u16, code: &str, message: &str) -> Answer {
    let text = serde_json::json!({"errors": [{"code": code, "message": message}]}).to_string();
    Answer { status, headers: vec![("Content-Type", "application/json".into())], body: Body::Text(text) }
}

/// `/v2/`, `/v2/NAME/manifests/REFERENCE`, `/v2/NAME/blobs/DIGEST`, `/v2/NAME/tags/list`.
fn route(dir: &Path, url: &str, range: Option<&str>) -> io::Result<Answer> {
    let path = url.split('?').next().unwrap_or(url);
    if path == "/v2/" || path == "/v2" {
        let headers = vec![("Content-Type", "application/json".into())];
        return Ok(Answer { status: 200, headers, body: Body::Text("{}".into()) });
    }
    let parts: Vec<&str> = path.strip_prefix("/v2/").unwrap_or_default().rsplitn(3, '/').collect();
    match parts.as_slice() {
        [reference, "manifests", name] if !name.is_empty() => manifest(dir, reference),
        [digest, "blobs", name] if !name.is_empty() => blob(dir, digest, range),
        ["list", "tags", name] if !name.is_empty() => tags(dir, name),
        _ => Ok(refusal(404, "NAME_UNKNOWN", "no such path")),
    }
}

fn index(dir: &Path) -> io::Result<Vec<Value>> {
    let text = std::fs::read(dir.join("index.json"))?;
    let index = json::parse(&text).ok_or_else(|| io::Error::other("index.json is not valid JSON"))?;
    Ok(index.list("manifests").unwrap_or_default().to_vec())
}

/// The tag of a descriptor: most tools write `latest`, some `name:latest`.
fn tag(descriptor: &Value) -> Option<&str> {
    let name = descriptor.get("annotations")?.entry("org.opencontainers.image.ref.name")?.as_str()?;
    Some(name.rsplit([':', '/']).next().unwrap_or(name))
}

fn manifest(dir: &Path, reference: &str) -> io::Result<Answer> {
    let entries = index(dir)?;
    let found = match blob_path(dir, reference) {
        Some(_) => Some(reference.to_string()),
        None => {
            let tagged = entries.iter().find(|entry| tag(entry) == Some(reference));
            // Some tools write one image without a tag: it is served as `latest`.
            let only = (entries.len() == 1 && reference == "latest").then(|| &entries[0]);
            tagged.or(only).and_then(|entry| entry.text("digest")).map(str::to_string)
        }
    };
    let unknown = || refusal(404, "MANIFEST_UNKNOWN", &format!("manifest unknown: {reference}"));
    let Some(path) = found.as_deref().and_then(|digest| blob_path(dir, digest)) else { return Ok(unknown()) };
    let Ok(file) = File::open(path) else { return Ok(unknown()) };
    let mut text = String::new();
    file.take(MANIFEST_MAX_BYTES).read_to_string(&mut text)?;
    let document = json::parse(text.as_bytes()).ok_or_else(|| io::Error::other("a manifest is not valid JSON"))?;
    let media = match document.text("mediaType") {
        Some(media) => media,
        None if document.get("manifests").is_some() => INDEX_TYPE,
        None => MANIFEST_TYPE,
    };
    let headers =
        vec![("Content-Type", media.to_string()), ("Docker-Content-Digest", found.clone().unwrap_or_default())];
    Ok(Answer { status: 200, headers, body: Body::Text(text) })
}

fn tags(dir: &Path, name: &str) -> io::Result<Answer> {
    let tags: Vec<String> = index(dir)?.iter().filter_map(|entry| tag(entry).map(str::to_string)).collect();
    let text = serde_json::json!({"name": name, "tags": tags}).to_string();
    Ok(Answer { status: 200, headers: vec![("Content-Type", "application/json".into())], body: Body::Text(text) })
}

fn blob(dir: &Path, digest: &str, range: Option<&str>) -> io::Result<Answer> {
    let unknown = || refusal(404, "BLOB_UNKNOWN", &format!("blob unknown: {digest}"));
    let Some(path) = blob_path(dir, digest) else { return Ok(unknown()) };
    let Ok(mut file) = File::open(path) else { return Ok(unknown()) };
    let len = file.metadata()?.len();
    let mut headers = vec![
        ("Content-Type", "application/octet-stream".to_string()),
        ("Docker-Content-Digest", digest.to_string()),
        ("Accept-Ranges", "bytes".to_string()),
    ];
    let Some((from, to)) = range.and_then(parse_range) else {
        return Ok(Answer { status: 200, headers, body: Body::Part(file, len) });
    };
    if from >= len {
        let mut answer = refusal(416, "RANGE_INVALID", "past the end");
        answer.headers.push(("Content-Range", format!("bytes */{len}")));
        return Ok(answer);
    }
    let to = to.min(len - 1);
    file.seek(SeekFrom::Start(from))?;
    headers.push(("Content-Range", format!("bytes {from}-{to}/{len}")));
    Ok(Answer { status: 206, headers, body: Body::Part(file, to - from + 1) })
}

/// `bytes=5-` or `bytes=5-9`, both ends included; other forms are ignored, as RFC 9110 section 14.2 allows.
fn parse_range(text: &str) -> Option<(u64, u64)> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    let from = from.parse().ok()?;
    let to = if to.is_empty() { u64::MAX } else { to.parse().ok()? };
    (from <= to).then_some((from, to))
}

/// Only `sha256:` and 64 lower-case hex digits become a path.
fn blob_path(dir: &Path, digest: &str) -> Option<PathBuf> {
    let hex = digest.strip_prefix("sha256:")?;
    let valid = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    valid.then(|| dir.join("blobs/sha256").join(hex))
}

#[cfg(test)]
mod tests {
    use super::super::image;
    use super::*;
    use std::io::Write;
    use std::net::TcpStream;

    fn ask(port: u16, request: &str) -> String {
        try_to_ask(port, request).unwrap()
    }

    fn try_to_ask(port: u16, request: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn ask_range(port: u16, path: &str, range: &str) -> String {
        ask(port, &format!("GET {path} HTTP/1.1\r\nRange: {range}\r\nX-Rest:"))
    }

    #[test]
    fn a_client_pulls() {
        let dir = std::env::temp_dir().join(format!("ocinit-serve-{}", std::process::id()));
        let digest = image::write(&dir, &[image::demo(b"binary".to_vec())]).unwrap().remove(0);
        let server = Server::start(&dir, "127.0.0.1:0").unwrap();
        let port = server.port();
        assert!(ask(port, "GET /v2/").starts_with("HTTP/1.1 200"));
        let manifest = ask(port, "GET /v2/any/name/at/all/manifests/latest");
        assert!(manifest.contains(&format!("Docker-Content-Digest: {digest}")), "{manifest}");
        assert!(manifest.contains("Content-Type: application/vnd.oci.image.manifest.v1+json"), "{manifest}");
        let body = manifest.split_once("\r\n\r\n").unwrap().1.to_string();
        assert_eq!(format!("sha256:{}", image::sha256(body.as_bytes())), digest);
        assert!(ask(port, &format!("GET /v2/x/manifests/{digest}")).ends_with(&body));
        let head = ask(port, "HEAD /v2/x/manifests/latest");
        assert!(head.contains(&format!("Content-Length: {}", body.len())) && head.ends_with("\r\n\r\n"), "{head}");

        let path = format!("/v2/x/blobs/{digest}");
        assert!(ask(port, &format!("GET {path}")).ends_with(&body));
        let part = ask_range(port, &path, "bytes=2-5");
        assert!(part.starts_with("HTTP/1.1 206") && part.ends_with(&body[2..6]), "{part}");
        assert!(part.contains(&format!("Content-Range: bytes 2-5/{}", body.len())), "{part}");
        assert!(ask_range(port, &path, "bytes=5-").ends_with(&body[5..]));
        assert!(ask_range(port, &path, &format!("bytes={}-", body.len())).starts_with("HTTP/1.1 416"));
        assert!(ask_range(port, &path, "lines=1-").starts_with("HTTP/1.1 200"));

        assert!(ask(port, "GET /v2/x/manifests/nothere").starts_with("HTTP/1.1 404"));
        std::fs::write(dir.join("blobs/sha256/short"), "x").unwrap();
        assert!(ask(port, "GET /v2/x/blobs/sha256:short").starts_with("HTTP/1.1 404"));
        assert!(ask(port, "GET /etc/passwd").starts_with("HTTP/1.1 404"));
        assert!(ask(port, "PUT /v2/x/manifests/latest").starts_with("HTTP/1.1 405"));
        assert!(ask(port, "GET /v2/x/tags/list").ends_with(r#"{"name":"x","tags":["latest"]}"#));
        let (bytes, requests) = (server.bytes(), server.requests());
        drop(server);
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(bytes > 4 * body.len() as u64, "{bytes}");
        assert_eq!(requests, 14);
        // Either nothing listens there, or another process that has taken the port.
        let answer = try_to_ask(port, "GET /v2/x/tags/list").unwrap_or_default();
        assert!(!answer.contains(r#""name":"x""#), "still listening");
    }

    #[test]
    fn ranges() {
        assert_eq!(parse_range("bytes=0-0"), Some((0, 0)));
        assert_eq!(parse_range("bytes=7-"), Some((7, u64::MAX)));
        assert_eq!(parse_range("bytes=-7"), None);
        assert_eq!(parse_range("bytes=9-7"), None);
        assert_eq!(parse_range("bytes=1-2,4-5"), None);
    }
}
