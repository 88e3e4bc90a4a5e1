//! Pulls through tinyproxy: plain http in absolute form, https by CONNECT, and hosts that need no proxy.

use crate::support::servers::{self, Authority};
use crate::{demo, tls, House};
use serde_json::json;

/// Promise: proxy
#[test]
fn plain_http_through_a_proxy() {
    let Some(mut house) = House::new("http-proxy") else { return };
    let registry = house.registry(&json!({}));
    let proxy = servers::tinyproxy(&house.client.dir, "");
    let name = demo(registry.address);
    house.client.env = vec![("http_proxy", format!("http://{}", proxy.address))];
    house.client.done(&["--tls-verify=false", &name]);
    house.is_whole();
    let asked = proxy.said(&format!("GET http://{}/v2/demo/", registry.address));
    assert!(asked.len() > crate::LAYERS, "{:#?}", proxy.said(""));
    // Who is in the list is asked without it.
    house.forget();
    house.client.env.push(("no_proxy", format!("example.org,{}", registry.address.ip())));
    house.client.done(&["--tls-verify=false", &name]);
    assert_eq!(proxy.said(&format!("GET http://{}/v2/demo/", registry.address)).len(), asked.len());
}

/// Promise: proxy-password, proxy
#[test]
fn https_through_a_tunnel() {
    let Some(mut house) = House::new("https-proxy") else { return };
    let authority = Authority::new(&house.client.dir, "lab");
    let registry = tls::secure(&house, &authority, servers::reserved(), json!({}));
    let proxy = servers::tinyproxy(&house.client.dir, "BasicAuth jane s3cret");
    let certs = format!("--cert-dir={}", authority.cert_dir("certs").display());
    let words = [certs.as_str(), &demo(registry.address)];
    house.client.env = vec![("https_proxy", format!("http://jane:s3cret@{}", proxy.address))];
    house.client.done(&words);
    house.is_whole();
    let tunnels = proxy.said(&format!("CONNECT {}", registry.address));
    assert!(!tunnels.is_empty(), "{:#?}", proxy.said(""));
    // The proxy's password is the proxy's: nobody else sees it, and it is not told.
    house.forget();
    house.client.env = vec![("https_proxy", format!("http://jane:wr0ng@{}", proxy.address))];
    let pulled = house.client.refused(&words, &format!("the proxy {} ", proxy.address));
    assert!(!pulled.text.contains("wr0ng") && !pulled.text.contains("jane"), "{}", pulled.text);
}

/// Promise: proxy
#[test]
fn a_proxy_that_is_not_there() {
    let Some(mut house) = House::new("no-proxy") else { return };
    let registry = house.registry(&json!({}));
    let gone = servers::reserved();
    house.client.env = vec![("http_proxy", format!("http://jane:s3cret@{gone}"))];
    let words = ["--tls-verify=false", "--retry=0", &demo(registry.address)];
    let pulled = house.client.refused(&words, &format!("the proxy {gone}"));
    assert!(!pulled.text.contains("s3cret"), "{}", pulled.text);
    assert!(registry.asked("GET").is_empty(), "it is not gone around");
}
