//! Pull-through caches: Debian's registry in proxy mode and nginx, by name and as mirrors.

use crate::support::relay::{Fault, Relay};
use crate::support::servers::{self, Daemon};
use crate::support::{table, PATIENCE};
use crate::{demo, login, House, LARGE, LAYERS};
use ocinit::container::pure::spec::parse;
use ocinit::image::pull::{self, PullContext};
use ocinit::image::pure::mirror::Mirrors;
use ocinit::net::dns::Resolver;
use ocinit::net::pure::proxy::Proxies;
use ocinit::report::{Failure, Report};
use ocinit::store::layers::Store;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

const PLAIN: &str = "--tls-verify=false";
const CLIENTS: usize = 16;

/// How often this registry sent each blob.
fn sent(upstream: &Daemon) -> BTreeMap<String, usize> {
    let mut blobs = BTreeMap::new();
    for line in upstream.asked("GET") {
        let Some((_, rest)) = line.split_once("/blobs/") else { continue };
        let digest = rest.split(' ').next().unwrap_or_default();
        *blobs.entry(digest.to_string()).or_default() += 1;
    }
    blobs
}

/// Many clients at once, each with a store of its own.
fn all_at_once(from: SocketAddr) {
    let houses: Vec<House> = (0..CLIENTS).filter_map(|number| House::new(&format!("client-{number}"))).collect();
    std::thread::scope(|scope| {
        for house in &houses {
            scope.spawn(move || {
                house.client.done(&[PLAIN, &demo(from)]);
                house.is_whole();
            });
        }
    });
}

/// nginx that keeps what `upstream` sends of blobs, and asks for each once however many wait for it.
fn nginx(house: &House, upstream: SocketAddr) -> Daemon {
    let zone = "proxy_cache_path cache levels=1:2 keys_zone=blobs:1m max_size=1g;";
    let server = format!(
        "location / {{ proxy_pass http://{upstream}; }}\n\
         location ~ ^/v2/.*/blobs/ {{\n\
           proxy_pass http://{upstream}; proxy_cache blobs; proxy_cache_key $uri; proxy_cache_valid 200 30d;\n\
           proxy_cache_lock on; proxy_cache_lock_timeout 10m; proxy_cache_lock_age 10m;\n\
         }}"
    );
    servers::nginx(&house.client.dir, servers::reserved(), "", zone, &server)
}

/// Promise: pull-through-cache
#[test]
fn sixteen_clients_at_once_and_each_blob_is_sent_once() {
    let Some(house) = House::new("once") else { return };
    let upstream = house.registry(&json!({}));
    let relay = Relay::start(upstream.address, |_| Fault::None);
    let cache = nginx(&house, relay.address);
    all_at_once(cache.address);
    let (sent, down) = (sent(&upstream), relay.counts().down);
    table::tell("16 clients at once through nginx, as upstream sees it", sent.values().sum(), down, "done");
    assert_eq!(sent.len(), LAYERS + 1, "the layers and the configuration: {sent:?}");
    assert!(sent.values().all(|count| *count == 1), "{sent:?}");
    assert!(down <= LARGE as u64 * 105 / 100, "{down} bytes");
}

/// Debian's version sends what it does not have yet to each who asks, and fetches it once more for itself.
/// What it has costs upstream nothing.
/// Promise: pull-through-cache
#[test]
fn debians_registry_as_a_pull_through_cache() {
    let Some(house) = House::new("through") else { return };
    let upstream = house.registry(&json!({}));
    let kept = house.client.dir.join("cache");
    let parts = json!({"proxy": {"remoteurl": format!("http://{}", upstream.address)}});
    let cache = servers::registry(&house.client.dir, &kept, &parts);
    house.client.done(&[PLAIN, &demo(cache.address)]);
    house.is_whole();
    // It keeps them in its own time.
    let links = kept.join("docker/registry/v2/repositories/demo/_layers/sha256");
    let count = || {
        std::fs::read_dir(&links).into_iter().flatten().flatten().filter(|dir| dir.path().join("link").exists()).count()
    };
    let start = Instant::now();
    while count() < LAYERS + 1 {
        assert!(start.elapsed() < PATIENCE, "it keeps {} of them", count());
        std::thread::yield_now();
    }
    let first = sent(&upstream);
    assert_eq!(first.len(), LAYERS + 1);
    all_at_once(cache.address);
    assert_eq!(sent(&upstream), first, "upstream sees no more of them");
}

/// Pulls by the library: mirrors are an option of the boot, not a flag of a container line.
fn pull(house: &House, words: &[&str], mirrors: &[String]) -> Result<pull::Image, Failure> {
    let mut known = Mirrors::default();
    for mirror in mirrors {
        known.add(mirror).unwrap_or_else(|error| panic!("{mirror}: {}", error.text()));
    }
    let words: Vec<String> = ["--retry=1"].iter().chain(words).map(|word| word.to_string()).collect();
    let line = parse::parse(&words).unwrap();
    let report = Report { quiet: true, ..Report::on_host() };
    let store = Store::open(&house.client.store(), false, &report).unwrap();
    let resolver = Arc::new(Resolver::from_host());
    let context = PullContext { resolver, proxies: Proxies::none(), mirrors: known, keys: Vec::new() };
    pull::image(&line.pull, &store, &context, &report)
}

/// Promise: mirrors
#[test]
fn mirrors_are_asked_in_order() {
    let Some(house) = House::new("order") else { return };
    let (upstream, gone) = (house.registry(&json!({})), servers::reserved());
    let empty = servers::registry(&house.client.dir, &house.client.dir.join("empty"), &json!({}));
    let cache = nginx(&house, upstream.address);
    let mirrors = [format!("registry.invalid=http://{gone},http://{},http://{}/v2", empty.address, cache.address)];
    // The registry itself is at a name that nobody has (RFC 6761, section 6.4): it is not asked.
    let name = "registry.invalid/demo";
    assert!(pull(&house, &[name], &mirrors).is_ok());
    house.is_whole();
    let ns = "?ns=registry.invalid ";
    cache.flush();
    assert!(cache.said(ns).len() > LAYERS, "{:?}", cache.said("/v2/demo/"));
    assert_eq!(cache.said("/v2/demo/").len(), cache.said(ns).len(), "each request names the registry");
    assert!(empty.asked("GET").iter().all(|line| line.contains(ns)) && empty.asked("GET").len() > LAYERS);
    // Without the mirror that has it, the registry itself is asked, and is the one that is named.
    house.forget();
    let failure = pull(&house, &[name], &mirrors[..0]).err().unwrap();
    assert!(failure.what.contains("registry.invalid"), "{}", failure.what);
}

/// Promise: mirrors
#[test]
fn the_registry_itself_comes_last() {
    let Some(house) = House::new("last") else { return };
    let origin = house.registry(&json!({}));
    let empty = servers::registry(&house.client.dir, &house.client.dir.join("empty"), &json!({}));
    let mirrors = [format!("{}=http://{}", origin.address, empty.address)];
    assert!(pull(&house, &[PLAIN, &demo(origin.address)], &mirrors).is_ok());
    house.is_whole();
    assert!(empty.asked("GET").iter().all(|line| line.contains("?ns=")) && !empty.asked("GET").is_empty());
    assert!(origin.asked("GET").iter().all(|line| !line.contains("?ns=")));
}

/// A mirror that goes away in mid-layer: the next one has the rest.
/// Promise: mirrors
#[test]
fn a_mirror_that_dies_in_the_middle() {
    let Some(house) = House::new("dies") else { return };
    let origin = house.registry(&json!({}));
    let relay = Relay::start(origin.address, |number| Fault::Reset(if number < LAYERS { 1 << 20 } else { 0 }));
    let mirrors = [format!("{}=http://{}", origin.address, relay.address)];
    assert!(pull(&house, &[PLAIN, &demo(origin.address)], &mirrors).is_ok());
    house.is_whole();
    let parts = origin.asked("GET").into_iter().filter(|line| line.contains("\" 206 ")).count();
    assert!(parts > 0, "the rest, and no more: {:?}", origin.asked("GET"));
}

/// Promise: credentials
#[test]
fn a_mirror_sees_no_password_of_the_registry() {
    let Some(house) = House::new("secret") else { return };
    let origin = house.registry(&json!({"auth": login::htpasswd(&house.client.dir)}));
    let ask = "return 401; add_header WWW-Authenticate 'Basic realm=\"mirror\"' always;";
    let mirror = servers::nginx(&house.client.dir, servers::reserved(), "", "", ask);
    let mirrors = [format!("{}=http://{}", origin.address, mirror.address)];
    assert!(pull(&house, &[PLAIN, login::CREDS, &demo(origin.address)], &mirrors).is_ok());
    mirror.flush();
    let asked = mirror.said("/v2/demo/");
    assert!(!asked.is_empty() && asked.iter().all(|line| line.ends_with("authorization=<->")), "{asked:?}");
}
