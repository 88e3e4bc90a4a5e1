//! A lab's proxy: what it passes on, who goes without, and what containers learn of it.

use crate::lab::{lab, POWER_DOWN};
use crate::support::servers;

/// A registry at a loopback address of the proxy's, which no guest can reach.
/// Promise: proxy
#[test]
fn pulls_go_through_the_proxy() {
    let Some(lab) = lab() else { return };
    let proxy = servers::tinyproxy_for_guests(&lab.dir);
    let port = proxy.address.port();
    let registry = servers::registry(&lab.dir, lab.registry.dir(), &serde_json::json!({}));
    let (behind, reached) = (registry.address, lab.registry.for_guest());
    let words = format!(
        "b2c.proxy=http=http://10.0.2.2:{port} b2c.proxy=no=10.0.2.2,lab.test \
         b2c.run=\"--tls-verify=false docker://{behind}/payload env\" \
         b2c.run=\"--http-proxy=false --tls-verify=false docker://{reached}/guest echo without\""
    );
    let seen = lab.boot("proxy", &words, |_| {});
    seen.over(0, POWER_DOWN);
    seen.in_order(&[&format!("http_proxy=http://10.0.2.2:{port}"), "without"]);
    assert!(seen.lines().any(|line| line == "no_proxy=10.0.2.2,lab.test"));
    let asked = |what: &str| proxy.said(what).len();
    assert!(asked(&format!("GET http://{behind}/v2/payload/blobs/")) > 0, "{:#?}", proxy.said(""));
    assert_eq!(asked(&format!("http://{reached}/")), 0, "who is in the list is asked without it");
}
