//! `b2c.verify_key` with Debian's registry; keys and signatures are openssl's, in the form that cosign gives them.

use crate::support::{images, servers};
use crate::{demo, House};
use ocinit::container::pure::spec::parse;
use ocinit::host::image::sha256;
use ocinit::image::pull::{self, PullContext};
use ocinit::image::pure::cosign::{self, Key};
use ocinit::image::pure::mirror::Mirrors;
use ocinit::layer::packed::Layer;
use ocinit::net::dns::Resolver;
use ocinit::net::pure::proxy::Proxies;
use ocinit::report::{Failure, Report};
use ocinit::store::layers::Store;
use serde_json::{json, Value};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

fn run(program: &str, dir: &Path, words: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(words).current_dir(dir).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error} (./dev setup brings it)"));
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Somebody with a P-256 key.
struct Signer(PathBuf);

impl Signer {
    fn new(dir: &Path, name: &str) -> Signer {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        run("openssl", &dir, &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "key"]);
        run("openssl", &dir, &["pkey", "-in", "key", "-pubout", "-out", "pub.pem"]);
        Signer(dir)
    }

    fn keys(&self) -> Vec<Key> {
        cosign::keys(&std::fs::read(self.0.join("pub.pem")).unwrap()).unwrap()
    }

    /// Puts a signature of `signed` where that of the image `digest` belongs.
    fn sign(&self, registry: SocketAddr, digest: &str, signed: &str) {
        let layout = self.0.join("layout");
        let _ = std::fs::remove_dir_all(&layout);
        std::fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
        let put = |bytes: &[u8], media_type: &str| {
            let hex = sha256(bytes);
            std::fs::write(layout.join("blobs/sha256").join(&hex), bytes).unwrap();
            json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len()})
        };
        let claim = json!({"critical": {
            "identity": {"docker-reference": "demo"},
            "image": {"docker-manifest-digest": signed},
            "type": "cosign container image signature",
        }, "optional": null});
        std::fs::write(self.0.join("payload"), claim.to_string()).unwrap();
        run("openssl", &self.0, &["dgst", "-sha256", "-sign", "key", "-out", "signature", "payload"]);
        let base64 = run("openssl", &self.0, &["base64", "-A", "-in", "signature"]);
        let mut layer = put(claim.to_string().as_bytes(), "application/vnd.dev.cosign.simplesigning.v1+json");
        let annotation = String::from_utf8(base64).unwrap();
        layer["annotations"] = json!({"dev.cosignproject.cosign/signature": annotation});
        let config = json!({"rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}, "config": {}});
        let config = put(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer]});
        let mut manifest = put(manifest.to_string().as_bytes(), media_type);
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "sig"});
        std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
        let tag = digest.replace(':', "-");
        let to = format!("docker://{registry}/demo:{tag}.sig");
        let copy =
            ["--insecure-policy", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false", "oci:layout:sig"];
        run("skopeo", &self.0, &[&copy[..], &[&to]].concat());
    }
}

/// A registry that signatures can be pushed to, with the demo image, and the digest of the image's manifest.
fn own_registry(house: &House) -> (servers::Daemon, String) {
    let dir = &house.client.dir;
    let open = house.registry(&json!({}));
    let own = servers::registry(dir, &dir.join("own"), &json!({}));
    let (from, to) = (format!("docker://{}", demo(open.address)), format!("docker://{}", demo(own.address)));
    let plain = ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"];
    run("skopeo", dir, &[&plain[..], &[&from, &to]].concat());
    let raw = run("skopeo", dir, &["inspect", "--raw", "--tls-verify=false", &to]);
    assert!(serde_json::from_slice::<Value>(&raw).unwrap()["layers"].is_array());
    (own, format!("sha256:{}", sha256(&raw)))
}

fn pull(house: &House, words: &[&str], keys: Vec<Key>) -> Result<pull::Image, Failure> {
    let words: Vec<String> = ["--tls-verify=false", "--retry=0"].iter().chain(words).map(|w| w.to_string()).collect();
    let report = Report { quiet: true, ..Report::on_host() };
    let store = Store::open(&house.client.store(), false, &report).unwrap();
    let resolver = Resolver::from_host().into();
    let context = PullContext { resolver, proxies: Proxies::none(), mirrors: Mirrors::default(), keys };
    pull::image(&parse::parse(&words).unwrap().pull, &store, &context, &report)
}

fn refused(house: &House, words: &[&str], keys: Vec<Key>, why: &str) {
    let failure = pull(house, words, keys).err().unwrap_or_else(|| panic!("it runs, though: {why}"));
    assert!(failure.what.contains(why), "{}\nnot {why}", failure.what);
}

/// Promise: verify-key
#[test]
fn only_what_is_signed_runs() {
    let Some(house) = House::new("signed") else { return };
    let dir = &house.client.dir;
    let (own, digest) = own_registry(&house);
    let name = demo(own.address);
    let (jane, joe) = (Signer::new(dir, "jane"), Signer::new(dir, "joe"));
    let none = "not signed by a key of b2c.verify_key: there is no signature";
    refused(&house, &[&name], jane.keys(), none);
    assert!(house.client.stored("layers").is_empty(), "no layer comes before the signature");
    // What is stored without a signature is no better.
    pull(&house, &[&name], Vec::new()).unwrap();
    refused(&house, &["--pull=never", &name], jane.keys(), "is not stored");
    joe.sign(own.address, &digest, &digest);
    refused(&house, &[&name], jane.keys(), "not signed by a key of b2c.verify_key");
    // A signature of another image, put in the place of this one's.
    jane.sign(own.address, &digest, &format!("sha256:{}", "7".repeat(64)));
    refused(&house, &[&name], jane.keys(), "sha256:7777");
    jane.sign(own.address, &digest, &digest);
    pull(&house, &[&name], [joe.keys(), jane.keys()].concat()).unwrap();
    // From now on the store knows it, and one question is enough.
    let before = own.asked("GET").len();
    pull(&house, &[&name], jane.keys()).unwrap();
    pull(&house, &["--pull=never", &name], jane.keys()).unwrap();
    assert_eq!(own.asked("GET").len(), before);
    drop(own);
    pull(&house, &[&name], jane.keys()).unwrap();
    refused(&house, &[&name], joe.keys(), "connection refused");
}

/// As a boot with a disk.
fn boot(house: &House, words: &[&str], keys: Vec<Key>) -> Result<(Store, pull::Image), Failure> {
    let words: Vec<String> = ["--tls-verify=false", "--retry=0"].iter().chain(words).map(|w| w.to_string()).collect();
    let report = Report { quiet: true, ..Report::on_host() };
    let store = Store::open(&house.client.store(), true, &report).unwrap();
    let resolver = Resolver::from_host().into();
    let context = PullContext { resolver, proxies: Proxies::none(), mirrors: Mirrors::default(), keys };
    let line = parse::parse(&words).unwrap();
    let mut image = pull::image(&line.pull, &store, &context, &report)?;
    pull::add_layers(&mut image, &line.pull, &store, &context, &report)?;
    Ok((store, image))
}

/// The names at the top of the image's layers.
fn content(image: &pull::Image) -> Vec<String> {
    let names = |layer: &Layer| match layer {
        Layer::Directory(directory) => {
            std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>()
        }
        Layer::Blob(_) => Vec::new(),
    };
    let mut all: Vec<String> =
        image.layers.iter().flat_map(names).map(|name| name.to_string_lossy().into_owned()).collect();
    all.sort();
    all
}

fn content_of_boot(house: &House, name: &str, signer: &Signer) -> Vec<String> {
    let (_store, image) = boot(house, &[name], signer.keys()).unwrap();
    content(&image)
}

/// Whoever writes to the disk between two boots has changed all of it but what was signed.
/// Promise: signed-bytes
#[test]
fn a_disk_that_somebody_else_wrote() {
    let Some(house) = House::new("disk") else { return };
    let dir = &house.client.dir;
    let (own, digest) = own_registry(&house);
    let name = demo(own.address);
    let jane = Signer::new(dir, "jane");
    jane.sign(own.address, &digest, &digest);
    let compressed = house.client.store().join("compressed");
    // The signature's own blob is asked for in each boot; the layers' are those that are kept.
    let blobs = || {
        let kept = std::fs::read_dir(&compressed).unwrap().map(|entry| entry.unwrap().file_name());
        let kept: Vec<String> = kept.map(|name| name.to_string_lossy().into_owned()).collect();
        assert!(!kept.is_empty());
        own.asked("GET").iter().filter(|ask| kept.iter().any(|digest| ask.contains(digest))).count()
    };
    // An earlier boot, which asked for no signature, has left its layers.
    let (store, image) = boot(&house, &[&name], Vec::new()).unwrap();
    let good = content(&image);
    drop((store, image));
    let layers: Vec<PathBuf> =
        std::fs::read_dir(house.client.store().join("layers")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!layers.is_empty() && !good.is_empty());
    for layer in &layers {
        std::fs::write(layer.join("evil"), "").unwrap();
    }
    assert_eq!(content_of_boot(&house, &name, &jane), good, "what an earlier boot has unpacked is used");
    // The next boot fetches no layer: it has them as they came.
    let before = blobs();
    assert_eq!((content_of_boot(&house, &name, &jane), blobs()), (good.clone(), before));
    // One that was changed is fetched again.
    let change = || {
        for entry in std::fs::read_dir(&compressed).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    };
    change();
    assert!(content_of_boot(&house, &name, &jane) == good && blobs() > before);
    // A record that leads to another image's configuration, beside a good signature.
    let records = house.client.store().join("images");
    let record = std::fs::read_dir(&records).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&record).unwrap();
    let config = house.client.store().join("configs");
    let id = text.split(' ').next().unwrap().trim_start_matches("sha256:").to_string();
    let evil = std::fs::read_to_string(config.join(&id)).unwrap().replacen('{', "{ ", 1);
    let evil_id = sha256(evil.as_bytes());
    std::fs::write(config.join(&evil_id), &evil).unwrap();
    std::fs::write(&record, text.replace(&id, &evil_id)).unwrap();
    let refusal = boot(&house, &["--pull=never", &name], jane.keys()).err().unwrap();
    assert!(refusal.what.contains("is not stored"), "{}", refusal.what);
    std::fs::write(&record, text).unwrap();
    drop(boot(&house, &["--pull=never", &name], jane.keys()).unwrap());
    // Without the registry, too; but not what was changed then.
    drop(own);
    assert_eq!(content_of_boot(&house, &name, &jane), good);
    change();
    assert!(boot(&house, &[&name], jane.keys()).is_err());
}

/// What carries no signature of its own: of the initramfs, or with a digest. Here /dev/shm stands for a disk.
/// Promise: signed-bytes
#[test]
fn what_cannot_be_signed() {
    let Some(house) = House::new("unsigned") else { return };
    let dir = &house.client.dir;
    let (layout, _) = images::write(dir, "plain", images::payload(b"program"));
    let disk = tempfile::tempdir_in("/dev/shm").unwrap();
    run("cp", dir, &["-a", layout.to_str().unwrap(), disk.path().join("plain").to_str().unwrap()]);
    run("tar", dir, &["-cf", disk.path().join("layer.tar").to_str().unwrap(), "-C", "/", "--files-from=/dev/null"]);
    let tar = std::fs::read(disk.path().join("layer.tar")).unwrap();
    std::fs::write(dir.join("layer.tar"), &tar).unwrap();
    let jane = Signer::new(dir, "jane");
    let good = format!("oci:{}", layout.display());
    let bad = format!("oci:{}", disk.path().join("plain").display());
    let layer = format!("--layer={}", disk.path().join("layer.tar").display());
    let own_layer = format!("--layer={}", dir.join("layer.tar").display());
    let with_digest = format!("{layer}#sha256:{}", sha256(&tar));
    boot(&house, &[&good], jane.keys()).unwrap();
    boot(&house, &[&own_layer, &good], jane.keys()).unwrap();
    boot(&house, &[&with_digest, &good], jane.keys()).unwrap();
    for (words, why) in [
        (vec![bad.as_str()], "is neither signed nor in the initramfs"),
        (vec![layer.as_str(), good.as_str()], "has no digest"),
        (vec!["--layer=http://127.0.0.1:9/x.tar", good.as_str()], "has no digest"),
        (vec!["docker-archive:http://127.0.0.1:9/x.tar"], "has no digest"),
    ] {
        let failure = boot(&house, &words, jane.keys()).err().unwrap_or_else(|| panic!("{words:?} runs"));
        assert!(failure.what.contains(why) && failure.hint.is_some(), "{words:?}: {}", failure.what);
        // Without keys nobody asks for that.
        let open = boot(&house, &words, Vec::new());
        assert!(open.err().is_none_or(|failure| !failure.what.contains(why)), "{words:?}");
    }
}
