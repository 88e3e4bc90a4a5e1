//! `--pull`: when the registry is asked, and what happens when it does not answer.

use crate::support::servers::{self, Daemon};
use crate::{demo, storage, House};
use serde_json::json;

const PLAIN: &str = "--tls-verify=false";

/// What a store has, by name: layers, images, documents.
fn kept(house: &House) -> Vec<String> {
    let mut names: Vec<String> = ["images", "layers", "blobs", "configs"]
        .iter()
        .flat_map(|directory| house.client.stored(directory).into_iter().map(move |name| format!("{directory}/{name}")))
        .collect();
    names.sort();
    names
}

/// How often a registry was asked by HEAD and by GET.
fn requests(registry: &Daemon) -> (usize, usize) {
    (registry.asked("HEAD").len(), registry.asked("GET").len())
}

/// Promise: pull-policy
#[test]
fn a_registry_that_is_away_costs_nothing_that_is_stored() {
    let Some(house) = House::new("away") else { return };
    let registry = house.registry(&json!({}));
    let (address, name) = (registry.address, demo(registry.address));
    house.client.done(&[PLAIN, &name]);
    let before = kept(&house);
    drop(registry);
    for policy in ["--pull=always", "--pull=newer", "--retry=1"] {
        let pulled = house.client.done(&[PLAIN, "--retry-delay=1ms", policy, &name]);
        let warning = pulled.text.lines().find(|line| line.contains("WARN") && line.contains("earlier pull"));
        assert!(warning.is_some_and(|line| line.contains(&address.to_string())), "{policy}: {}", pulled.text);
        assert_eq!(kept(&house), before, "{policy}");
    }
    for policy in ["--pull=missing", "--pull=never", "--pull=false"] {
        let pulled = house.client.done(&[PLAIN, policy, &name]);
        assert!(!pulled.text.contains("WARN"), "{policy}: nobody was asked: {}", pulled.text);
    }
    // An image that is not stored is a failure, which names the request and the server.
    let other = format!("{address}/other");
    let failed = house.client.refused(&[PLAIN, "--retry=0", &other], &format!("GET http://{address}/v2/other/"));
    assert!(failed.text.contains("refused"), "{}", failed.text);
    house.client.refused(&[PLAIN, "--pull=never", &other], "--pull=never");
    assert_eq!(kept(&house), before);
}

/// Promise: pull-policy
#[test]
fn a_registry_that_refuses_is_heard() {
    let Some(house) = House::new("refuses") else { return };
    let address = servers::reserved();
    let registry = servers::registry_at(address, &house.client.dir, &storage(), &json!({}));
    let name = demo(address);
    house.client.done(&[PLAIN, &name]);
    let before = kept(&house);
    drop(registry);
    // The same place, but the image is gone.
    let empty = house.client.dir.join("empty");
    let registry = servers::registry_at(address, &house.client.dir, &empty, &json!({}));
    let refused = house.client.refused(&[PLAIN, &name], "(404)");
    assert!(refused.text.contains(&address.to_string()), "{}", refused.text);
    // `newer` takes what is here, and says so.
    let pulled = house.client.done(&[PLAIN, "--pull=newer", &name]);
    assert!(pulled.text.contains("WARN") && pulled.text.contains("(404)"), "{}", pulled.text);
    assert_eq!(kept(&house), before);
    let asked = requests(&registry);
    for policy in ["--pull=missing", "--pull=never"] {
        house.client.done(&[PLAIN, policy, &name]);
    }
    assert_eq!(requests(&registry), asked, "nobody was asked");
}

/// Promise: pull-policy
#[test]
fn what_is_missing_is_fetched_once() {
    let Some(house) = House::new("missing") else { return };
    let registry = house.registry(&json!({}));
    let name = demo(registry.address);
    house.client.refused(&[PLAIN, "--pull=never", &name], "--pull=never");
    assert_eq!(requests(&registry), (0, 0));
    house.client.done(&[PLAIN, "--pull=missing", &name]);
    house.is_whole();
    let (heads, gets) = requests(&registry);
    house.client.done(&[PLAIN, "--pull=missing", &name]);
    assert_eq!(requests(&registry), (heads, gets));
    // With `always` it costs one HEAD request.
    house.client.done(&[PLAIN, &name]);
    assert_eq!(requests(&registry), (heads + 1, gets));
}
