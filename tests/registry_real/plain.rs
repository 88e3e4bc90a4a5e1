//! Servers of plain http that are met by TLS, and the reverse: each is told as what it is, at once.

use crate::login::{htpasswd, CREDS};
use crate::support::images;
use crate::support::relay::{Fault, Relay};
use crate::support::servers::{self, Authority};
use crate::tls::secure;
use crate::{demo, storage, House};
use ocinit::container::pure::spec::parse;
use ocinit::host::image::{tar, Entry, Image};
use ocinit::host::registry::DockerRegistry;
use ocinit::host::serve::Server;
use ocinit::image::pull::{self, PullContext};
use ocinit::image::pure::mirror::Mirrors;
use ocinit::net::dns::Resolver;
use ocinit::net::pure::proxy::Proxies;
use ocinit::report::Report;
use ocinit::store::layers::Store;
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sooner than a connection's limit; a busy host may need more than the second that it takes.
const SOON: Duration = Duration::from_secs(8);

/// Debian's registry and nginx answer TLS's first message, our own server and Python's wait for the end of a line.
/// Promise: plain-http-is-told
#[test]
fn plain_http_that_is_met_by_tls() {
    let Some(house) = House::new("plain") else { return };
    let registry = house.registry(&json!({}));
    let root = format!("root {};", storage().display());
    let files = servers::nginx(&house.client.dir, servers::reserved(), "", "", &root);
    let image = Image::new(vec![tar(&[Entry::file("x", 0o644, "x")])], json!({}));
    let (layout, _) = images::write(&house.client.dir, "served", image);
    let served = Server::start(&layout, "127.0.0.1:0").unwrap();
    let served = format!("127.0.0.1:{}", served.port());
    for address in [registry.address.to_string(), files.address.to_string(), served.clone()] {
        let name = format!("{address}/demo:latest");
        let start = Instant::now();
        let pulled = house.client.refused(&["--creds=jane:S3CRET", &name], "TLS: the server speaks plain http");
        assert!(start.elapsed() < SOON, "{address}: {:?}", start.elapsed());
        assert!(pulled.text.contains("hint       for a registry of plain http, write --tls-verify=false"), "{address}");
        assert!(!pulled.text.contains("retry in"), "{}", pulled.text);
    }
    files.flush();
    assert!(
        files.said("authorization=<").iter().all(|line| line.ends_with("authorization=<->")),
        "{:?}",
        files.said("")
    );
    // What the hint says works, also at a port where TLS is tried first.
    house.client.done(&["--tls-verify=false", &demo(registry.address)]);
}

/// Promise: plain-http-is-told
#[test]
fn tls_that_is_met_by_plain_http() {
    let Some(house) = House::new("reverse") else { return };
    let authority = Authority::new(&house.client.dir, "lab");
    let registry = secure(&house, &authority, servers::reserved(), json!({}));
    let address = servers::reserved();
    let (certificate, key) = authority.certify(address);
    let pem = format!("ssl_certificate {}; ssl_certificate_key {};", certificate.display(), key.display());
    let files = servers::nginx(&house.client.dir, address, "ssl", "", &pem);
    for address in [registry.address, files.address] {
        let name = format!("oci-archive:http://{address}/v2/a.tar");
        let pulled = house.client.refused(&[&name], "speaks TLS, and was asked in plain http");
        assert!(pulled.text.contains("write https://") && !pulled.text.contains("retry in"), "{}", pulled.text);
    }
    // A registry whose TLS wants more than we have: that is the reason, not that plain http was tried before.
    let client = format!("{pem} ssl_client_certificate {0}/ca.pem; ssl_verify_client on; ", authority.dir.display());
    let address = servers::reserved();
    let strict = servers::nginx(&house.client.dir, address, "ssl", "", &client);
    let pulled = house.client.refused(&["--tls-verify=false", &demo(strict.address)], "(400)");
    assert!(!pulled.text.contains("plain http"), "{}", pulled.text);
}

/// A server of TLS that answers plain http, too: what it says there is not believed before TLS was tried.
/// Promise: plain-http-is-told
#[test]
fn tls_behind_an_answer_to_plain_http() {
    let Some(house) = House::new("both") else { return };
    let authority = Authority::new(&house.client.dir, "lab");
    let registry = house.registry(&json!({"auth": htpasswd(&house.client.dir)}));
    let listening = |plain: &str| {
        let address = servers::reserved();
        let (certificate, key) = authority.certify(address);
        let server = format!(
            "ssl_certificate {}; ssl_certificate_key {};\n{plain}\n\
             location / {{ proxy_pass http://{}; proxy_set_header Host $http_host; }}",
            certificate.display(),
            key.display(),
            registry.address,
        );
        servers::nginx(&house.client.dir, address, "ssl", "", &server)
    };
    for plain in [
        "error_page 497 =301 https://$host:$server_port$request_uri;",
        "error_page 497 =307 https://$host:$server_port$request_uri;",
        "error_page 497 =301 https://$host:1$request_uri;",
        "error_page 497 =400 @plain; location @plain { return 400 x; }",
        "error_page 497 =403 @plain; location @plain { return 403 x; }",
        "error_page 497 =404 @plain; location @plain { return 404 x; }",
        "error_page 497 =426 @plain; location @plain { return 426 x; }",
    ] {
        let front = listening(plain);
        house.client.done(&["--tls-verify=false", CREDS, &demo(front.address)]);
        house.is_whole();
        house.forget();
        front.flush();
        assert!(front.said("authorization=<Basic").iter().all(|line| line.contains(" 200 ")), "{:?}", front.said(""));
    }
    // A server of plain http that leads to TLS at another port of its own.
    let front = listening("");
    let listener = TcpListener::bind((front.address.ip(), 0)).unwrap();
    let (own, to) = (listener.local_addr().unwrap(), front.address);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let line = BufReader::new(&stream).lines().map_while(Result::ok).next().unwrap_or_default();
            let path = line.split(' ').nth(1).unwrap_or("/");
            let head = format!("HTTP/1.1 307 -\r\ncontent-length: 0\r\nlocation: https://{to}{path}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
        }
    });
    house.client.refused(&["--tls-verify=false", &demo(own)], "(401)");
    front.flush();
    assert!(!front.said("GET /v2/demo/").is_empty(), "{:?}", front.said(""));
}

/// At boot a registry whose TLS is cut, since what is in front of it is there before it, is waited for.
/// Promise: absent-registry
#[test]
fn tls_that_is_cut_until_the_registry_is_there() {
    const MANY: usize = 25;
    let Some(house) = House::new("cut") else { return };
    let authority = Authority::new(&house.client.dir, "lab");
    for (name, fault) in [("closed", Fault::Close(0)), ("reset", Fault::Reset(0))] {
        let (upstream, storage) = (servers::reserved(), storage());
        let relay = Relay::start(upstream, move |number| if number < MANY { fault } else { Fault::None });
        let (certificate, key) = authority.certify(relay.address);
        let parts = json!({"http": {"tls": {"certificate": certificate, "key": key}}});
        let _registry = servers::registry_at(upstream, &house.client.dir, &storage, &parts);
        let report = Report { quiet: true, ..Report::at_boot() };
        let store = Store::open(&house.client.dir.join(name), false, &report).unwrap();
        let certs = format!("--cert-dir={}", authority.cert_dir("certs").display());
        let words = ["--retry-delay=1ms", &certs, &demo(relay.address)].map(String::from);
        let resolver = Arc::new(Resolver::from_host());
        let context = PullContext { resolver, proxies: Proxies::none(), mirrors: Mirrors::default(), keys: Vec::new() };
        pull::image(&parse::parse(&words).unwrap().pull, &store, &context, &report).map(drop).unwrap();
        assert!(relay.counts().connections > MANY);
    }
}

/// The digest that a pull prints is the one that skopeo shows, of the index where the tag leads to one, and pulls the
/// same image by what was printed.
/// Promise: printed-digests
#[test]
fn what_is_printed_can_be_pulled() {
    let Some(house) = House::new("printed") else { return };
    let registry = DockerRegistry::start(&house.client.dir.join("indexes")).expect("docker-registry");
    images::push_index(&registry, &house.client.dir, b"payload");
    let here = registry.here();
    for name in [format!("{here}/index:latest"), format!("{here}/index:own")] {
        let pulled = house.client.done(&["--tls-verify=false", &name]);
        let words: Vec<&str> = pulled.text.split([' ', ',']).collect();
        let printed = words.iter().find(|word| word.starts_with(&format!("{name}@sha256:"))).expect("a digest");
        let mut inspect = Command::new("skopeo");
        inspect.args(["inspect", "--tls-verify=false", "--format={{.Digest}}", &format!("docker://{name}")]);
        let shown = String::from_utf8(inspect.output().expect("skopeo").stdout).unwrap();
        assert_eq!(printed.rsplit_once('@').unwrap().1, shown.trim(), "{name}");
        let again = house.client.done(&["--tls-verify=false", printed]);
        let same = format!("@{}, all layers are stored already", shown.trim());
        assert!(again.text.contains(&same), "{}", again.text);
        let by_digest = format!("{here}/index@{}", shown.trim());
        house.client.done(&["--tls-verify=false", &by_digest]);
        // What is stored says the same.
        let stored = house.client.done(&["--tls-verify=false", "--pull=never", &name]);
        assert!(stored.text.contains(printed), "{}", stored.text);
    }
    // An archive has no registry to be pulled from: its configuration's digest, which is podman's image ID.
    let (layout, _) = images::write(&house.client.dir, "layout", Image::new(vec![tar(&[])], json!({})));
    let name = format!("oci:{}", layout.display());
    let pulled = house.client.done(&[&name]);
    assert!(pulled.text.contains(" sha256:") && !pulled.text.contains("@sha256:"), "{}", pulled.text);
}
