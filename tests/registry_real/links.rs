//! Real servers over links that break: their ranges are those of the protocol.

use crate::support::relay::{Fault, Relay};
use crate::support::{servers, table};
use crate::{demo, storage, House, LARGE, LAYERS};
use serde_json::json;

const PLAIN: [&str; 2] = ["--tls-verify=false", "--retry-delay=1ms"];
const STEP: u64 = 256 << 10;

/// What may come in all: the layers, documents, and heads.
const BYTES_MAX: u64 = LARGE as u64 * 105 / 100;

/// Promise: resumed-layers
#[test]
fn debians_registry_over_a_link_that_breaks() {
    let Some(house) = House::new("link") else { return };
    let registry = house.registry(&json!({}));
    let relay = Relay::start(registry.address, |_| Fault::Reset(STEP));
    house.client.done(&[PLAIN[0], PLAIN[1], &demo(relay.address)]);
    house.is_whole();
    let counts = relay.counts();
    let outcome = format!("done, {} resets", counts.faults);
    table::tell("Debian's registry, reset every 256 KiB", registry.asked("GET").len(), counts.down, &outcome);
    assert!(counts.faults as u64 >= LARGE as u64 / STEP && counts.down <= BYTES_MAX, "{counts:?}");
    let parts = registry.asked("GET").into_iter().filter(|line| line.contains("\" 206 ")).count();
    assert!(parts as u64 >= LARGE as u64 / STEP - 1);
}

/// The registry sends us to nginx for its blobs; the link there breaks.
/// Promise: resumed-layers
#[test]
fn blobs_of_another_server_over_a_link_that_breaks() {
    let Some(house) = House::new("elsewhere") else { return };
    let root = format!("root {};", storage().display());
    let files = servers::nginx(&house.client.dir, servers::reserved(), "", "", &root);
    let relay = Relay::start(files.address, |_| Fault::Reset(STEP));
    let redirect = json!([{"name": "redirect", "options": {"baseurl": format!("http://{}/", relay.address)}}]);
    let registry = house.registry(&json!({"middleware": {"storage": redirect}}));
    house.client.done(&[PLAIN[0], PLAIN[1], &demo(registry.address)]);
    house.is_whole();
    let counts = relay.counts();
    let outcome = format!("done, {} resets", counts.faults);
    files.flush();
    table::tell("blobs by nginx, reset every 256 KiB", files.said("GET ").len(), counts.down, &outcome);
    assert!(counts.faults as u64 >= LARGE as u64 / STEP && counts.down <= BYTES_MAX, "{counts:?}");
}

/// Killed in mid-layer, and started again.
/// Promise: resumed-layers
#[test]
fn debians_registry_is_restarted_in_mid_layer() {
    let Some(house) = House::new("restart") else { return };
    let address = servers::reserved();
    let start = || servers::registry_at(address, &house.client.dir, &storage(), &json!({}));
    let registry = start();
    // The small layers do not come so far.
    let relay = Relay::with_faults(address, &[Fault::Stall(1 << 20); LAYERS]);
    let mut child = house.client.command(&[PLAIN[0], PLAIN[1], &demo(relay.address)]).spawn().unwrap();
    relay.until(|counts| counts.faults == 1);
    relay.close();
    drop(registry);
    let registry = start();
    relay.open();
    assert!(child.wait().unwrap().success());
    house.is_whole();
    let down = relay.counts().down;
    table::tell("Debian's registry, restarted in mid-layer", registry.asked("GET").len(), down, "done");
    assert!(down <= BYTES_MAX, "{down}");
}

/// Promise: one-head-request
#[test]
fn a_cached_image_costs_one_head_of_debians_registry() {
    let Some(house) = House::new("head") else { return };
    let registry = house.registry(&json!({}));
    let relay = Relay::start(registry.address, |_| Fault::None);
    let words = [PLAIN[0], &demo(relay.address)];
    house.client.done(&words);
    let (before, gets) = (relay.counts(), registry.asked("GET").len());
    house.client.done(&words);
    let after = relay.counts();
    let wire = after.up + after.down - before.up - before.down;
    let heads = registry.asked("HEAD").len();
    table::tell("a cached image of Debian's registry, both directions", heads, wire, "done");
    assert_eq!((heads, registry.asked("GET").len()), (1, gets));
    assert!(wire <= 4 << 10, "{wire} bytes");
}
