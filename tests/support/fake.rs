//! A registry, made with tiny_http, that gives wrong answers on demand. Faults of the connection itself are in
//! relay.rs.

use ocinit::host::image::sha256;
use serde_json::{json, Value};
use std::io::{Cursor, Read};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tiny_http::{Header, Method, Request, Response, ResponseBox, Server, StatusCode};

/// One request as it was received.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its number, counted from 0 over all requests.
    pub number: usize,
    pub is_head: bool,
    pub path: String,
    pub authorization: Option<String>,
    /// The first byte of the range, where a range is asked for.
    pub range: Option<usize>,
    pub at: Instant,
}

/// The answer to a request; with `None` the registry answers without a fault.
pub type Fault = Box<dyn Fn(&Ask) -> Option<ResponseBox> + Send + Sync>;

/// The image's documents and blobs.
pub struct Blobs {
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
    pub layers: Vec<Arc<[u8]>>,
}

impl Blobs {
    /// Layers are plain tars.
    pub fn new(layers: Vec<Vec<u8>>) -> Blobs {
        let digest = |bytes: &[u8]| format!("sha256:{}", sha256(bytes));
        let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/hello"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        let oci = "application/vnd.oci.image.";
        let descriptor = |kind: &str, bytes: &[u8]| json!({"mediaType": format!("{oci}{kind}"), "digest": digest(bytes), "size": bytes.len()});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": format!("{oci}manifest.v1+json"),
            "config": descriptor("config.v1+json", &config),
            "layers": layers.iter().map(|layer| descriptor("layer.v1.tar", layer)).collect::<Vec<Value>>(),
        });
        let layers = layers.into_iter().map(Arc::from).collect();
        Blobs { manifest: manifest.to_string().into_bytes(), config, layers }
    }

    /// Whether `path` is the first layer's.
    pub fn is_layer(&self, path: &str) -> bool {
        path.ends_with(&sha256(&self.layers[0]))
    }

    /// The answer of a registry without faults.
    pub fn answer(&self, ask: &Ask) -> ResponseBox {
        let path = ask.path.split('?').next().unwrap_or_default();
        if path.contains("/manifests/") {
            let digest = format!("sha256:{}", sha256(&self.manifest));
            let kind = header("content-type", "application/vnd.oci.image.manifest.v1+json");
            return body(self.manifest.clone()).with_header(header("docker-content-digest", &digest)).with_header(kind);
        }
        if path.ends_with(&sha256(&self.config)) {
            return body(self.config.clone());
        }
        // A layer's digest is not computed anew for each request: it may be large.
        let names: Value = serde_json::from_slice(&self.manifest).unwrap();
        let is_asked = |layer: &Value| layer["digest"].as_str().is_some_and(|digest| path.ends_with(digest));
        match names["layers"].as_array().unwrap().iter().position(is_asked) {
            Some(index) => part(&self.layers[index], ask.range),
            None => body("not found").with_status_code(404),
        }
    }
}

/// A server of these blobs, with a fault.
pub struct Fake {
    pub address: SocketAddr,
    pub blobs: Arc<Blobs>,
    server: Arc<Server>,
    seen: Arc<Mutex<Vec<Ask>>>,
}

impl Fake {
    /// `fault` gets the server's own `HOST:PORT`.
    pub fn start(blobs: Blobs, fault: impl FnOnce(&str, &Blobs) -> Fault) -> Fake {
        let server = Arc::new(Server::http((super::loopback(), 0)).unwrap());
        let address = server.server_addr().to_ip().unwrap();
        let fault = Arc::new(fault(&address.to_string(), &blobs));
        let (blobs, seen) = (Arc::new(blobs), Arc::new(Mutex::new(Vec::new())));
        let fake = Fake { address, blobs: blobs.clone(), server: server.clone(), seen: seen.clone() };
        std::thread::spawn(move || {
            for (number, request) in server.incoming_requests().enumerate() {
                let ask = Ask::new(number, &request);
                seen.lock().unwrap().push(ask.clone());
                let (fault, blobs) = (fault.clone(), blobs.clone());
                // A thread for each request: an answer may have no end.
                std::thread::spawn(move || {
                    let answer = fault(&ask).unwrap_or_else(|| blobs.answer(&ask));
                    // A client that has gone away is part of some tests.
                    let _ = request.respond(answer);
                });
            }
        });
        fake
    }

    pub fn seen(&self) -> Vec<Ask> {
        self.seen.lock().unwrap().clone()
    }

    /// The image's name.
    pub fn image(&self) -> String {
        format!("{}/demo", self.address)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.unblock();
    }
}

impl Ask {
    pub fn new(number: usize, request: &Request) -> Ask {
        let value = |name: &'static str| {
            let header = request.headers().iter().find(|header| header.field.equiv(name));
            header.map(|header| header.value.to_string())
        };
        Ask {
            number,
            is_head: *request.method() == Method::Head,
            path: request.url().to_string(),
            authorization: value("authorization"),
            range: value("range").and_then(|text| text.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()),
            at: Instant::now(),
        }
    }
}

/// Bytes that are shared by many answers.
struct Shared(Arc<[u8]>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// 200, or 206 from `range` on (RFC 9110, section 14).
pub fn part(bytes: &Arc<[u8]>, range: Option<usize>) -> ResponseBox {
    let (total, start) = (bytes.len(), range.unwrap_or(0));
    if range.is_some() && start >= total {
        let content_range = format!("bytes */{total}");
        return status(416).with_header(header("content-range", &content_range));
    }
    let mut reader = Cursor::new(Shared(bytes.clone()));
    reader.set_position(start as u64);
    let answer = |code: u16| Response::new(StatusCode(code), Vec::new(), reader, Some(total - start), None);
    let answer = match range {
        None => answer(200),
        Some(_) => {
            let content_range = format!("bytes {start}-{}/{total}", total - 1);
            answer(206).with_header(header("content-range", &content_range))
        }
    };
    answer.with_chunked_threshold(usize::MAX).boxed()
}

/// 200 with a length.
pub fn body(bytes: impl Into<Vec<u8>>) -> ResponseBox {
    Response::from_data(bytes).with_chunked_threshold(usize::MAX).boxed()
}

/// 200 without a length, and as long as `bytes` is.
pub fn stream(bytes: impl Read + Send + 'static) -> ResponseBox {
    Response::new(StatusCode(200), Vec::new(), bytes, None, None).boxed()
}

pub fn status(code: u16) -> ResponseBox {
    body("").with_status_code(code)
}

pub fn redirect(code: u16, to: &str) -> ResponseBox {
    status(code).with_header(header("location", to))
}

/// 401 with this challenge.
pub fn challenge(text: &str) -> ResponseBox {
    status(401).with_header(header("www-authenticate", text))
}

pub fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).unwrap()
}

pub fn good() -> impl FnOnce(&str, &Blobs) -> Fault {
    |_, _| Box::new(|_| None)
}
