//! `ocinit pull` with real servers: Debian's registry without a login, with passwords, tokens and TLS, and as a
//! pull-through cache; nginx in front of it and instead of it; a proxy. Servers that misbehave on demand are in
//! tests/registry_faults.rs.

#[macro_use]
#[path = "support/skip.rs"]
mod skip;

mod support;

#[path = "registry_real/cache.rs"]
mod cache;
#[path = "registry_real/links.rs"]
mod links;
#[path = "registry_real/login.rs"]
mod login;
#[path = "registry_real/plain.rs"]
mod plain;
#[path = "registry_real/policy.rs"]
mod policy;
#[path = "registry_real/proxy.rs"]
mod proxy;
#[path = "registry_real/signatures.rs"]
mod signatures;
#[path = "registry_real/tls.rs"]
mod tls;
#[path = "registry_real/tokens.rs"]
mod tokens;

use ocinit::host::image::{tar, Entry, Image};
use ocinit::host::registry::DockerRegistry;
use serde_json::{json, Value};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use support::client::Client;
use support::images;
use support::servers::{self, Daemon};

/// Layers of the image `demo`; the last is of 3 MiB, and cannot be packed smaller.
const LAYERS: usize = 3;
const LARGE: usize = 3 << 20;

/// A registry's files with the image `demo` in them, made once.
fn storage() -> PathBuf {
    static STORAGE: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let dir = support::scratch("registries");
        let registry = DockerRegistry::start(&dir.join("storage")).expect("docker-registry (./dev setup brings it)");
        let file = |name: &str, content: Vec<u8>| tar(&[Entry::file(name, 0o644, content)]);
        let mut noise = vec![0; LARGE];
        ocinit::sys::machine::random(&mut noise).unwrap();
        let layers = vec![file("one", b"1".into()), file("two", b"2".into()), file("large", noise)];
        images::push(&registry, &dir, "demo", Image::new(layers, json!({"Entrypoint": ["/one"]})));
        dir.join("storage")
    };
    STORAGE.get_or_init(make).clone()
}

/// A client, and room for the servers that it meets.
struct House {
    client: Client,
}

impl House {
    fn new(name: &str) -> Option<House> {
        Some(House { client: Client::new(&format!("registries-{name}"))? })
    }

    fn registry(&self, parts: &Value) -> Daemon {
        servers::registry(&self.client.dir, &storage(), parts)
    }

    /// A store as it was in the beginning.
    fn forget(&self) {
        let store = self.client.store();
        if store.exists() {
            std::fs::remove_dir_all(store).unwrap();
        }
    }

    fn is_whole(&self) {
        assert_eq!(self.client.stored("layers").len(), LAYERS);
    }
}

fn demo(address: SocketAddr) -> String {
    format!("{address}/demo:latest")
}
