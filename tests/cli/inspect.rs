//! `ocinit inspect`: what is known of an image without a pull, compared with skopeo.

use super::command_line::{for_everybody, NOBODY};
use super::{images, Ended, Host};
use ocinit::host::image::Image;
use serde_json::{json, Value};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

fn shown(ended: &Ended) -> Value {
    assert_eq!(ended.code, 0, "{}", ended.err);
    serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {}", ended.out))
}

fn skopeo(words: &[&str]) -> Vec<u8> {
    let output = Command::new("skopeo").arg("--insecure-policy").args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The fields that skopeo has, too.
const FIELDS: [&str; 8] = ["Digest", "Created", "Labels", "Architecture", "Os", "Layers", "Env", "LayersData"];

/// An image with each kind of member that its configuration may have.
fn image(host: &Host) -> Image {
    let image = images::layers(&host.payload);
    let config = json!({
        "Env": ["PATH=/bin", "A=b c"], "Cmd": ["/payload"], "Labels": {"maintainer": "Ann", "b": ""},
        "User": "7:8", "WorkingDir": "/w", "Volumes": {"/v": {}}, "ExposedPorts": {"80/tcp": {}},
    });
    Image { config, compressed: true, ..image }
}

/// As skopeo has it; LayersData with the annotations that we leave out.
fn same_as_skopeo(own: &Value, skopeo: &Value) {
    let mut skopeo = skopeo.clone();
    for layer in skopeo["LayersData"].as_array_mut().into_iter().flatten() {
        layer.as_object_mut().unwrap().remove("Annotations");
    }
    for field in FIELDS {
        let (own, theirs) = (own.get(field).unwrap_or(&Value::Null), skopeo.get(field).unwrap_or(&Value::Null));
        // skopeo shows a time that is not there as the year 1.
        let is_no_time = own.is_null() && theirs.as_str().is_none_or(|time| time.starts_with("0001"));
        // Since version 1.13.
        let is_old = theirs.is_null() && field == "LayersData";
        assert!(own == theirs || is_no_time || is_old, "{field}: {own}\nskopeo: {theirs}");
    }
}

/// Promise: inspect
#[test]
fn an_image_of_a_registry_without_a_pull() {
    let Some(host) = Host::new("inspected") else { return };
    let registry = host.registry();
    images::push(&registry, &host.dir, "demo", image(&host));
    let name = format!("{}/demo:latest", registry.here());
    let ended = host.ocinit(&["inspect", "--tls-verify=false", &name]);
    let own = shown(&ended);
    assert_eq!(ended.err, "");
    assert_eq!(registry.requests("GET /v2/demo/blobs/"), 1, "the configuration alone");
    assert!(!host.store().exists(), "no store is made");
    let theirs = skopeo(&["inspect", "--tls-verify=false", &format!("docker://{name}")]);
    same_as_skopeo(&own, &serde_json::from_slice(&theirs).unwrap());
    assert_eq!(own["Name"], name);
    assert_eq!(own["Digest"], own["ManifestDigest"], "there is no index");
    let config = skopeo(&["inspect", "--tls-verify=false", "--config", "--raw", &format!("docker://{name}")]);
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!((&own["Config"], &own["DiffIDs"]), (&config["config"], &config["rootfs"]["diff_ids"]));
    let sizes = own["LayersData"].as_array().unwrap().iter().map(|layer| layer["Size"].as_u64().unwrap());
    assert_eq!(own["Size"].as_u64().unwrap(), sizes.sum::<u64>());
    // A script reads one member a line, too.
    assert!(ended.out.contains(&format!("\n    \"Digest\": {},\n", own["Digest"])), "{}", ended.out);
    // What it shows can be pulled.
    let pinned = format!("{}/demo@{}", registry.here(), own["Digest"].as_str().unwrap());
    let id = host.ocinit(&["pull", "-q", "--tls-verify=false", &pinned]);
    assert_eq!(
        (id.code, format!("sha256:{}", id.out.trim_end())),
        (0, own["Id"].as_str().unwrap().into()),
        "{}",
        id.err
    );
    assert_eq!(id.err, "", "-q is silent");
}

/// Promise: inspect
#[test]
fn an_index_and_its_platforms() {
    let Some(host) = Host::new("platforms") else { return };
    let registry = host.registry();
    images::push_index(&registry, &host.dir, &host.payload);
    let name = format!("{}/index:latest", registry.here());
    let own = shown(&host.ocinit(&["inspect", "--tls-verify=false", "--platform=linux/amd64", &name]));
    let other = shown(&host.ocinit(&["inspect", "--tls-verify=false", &name, "--arch", "s390x"]));
    assert_eq!((&own["Architecture"], &other["Architecture"]), (&json!("amd64"), &json!("s390x")));
    assert_eq!(own["Digest"], other["Digest"], "that of the index, which is pulled everywhere");
    assert_ne!(own["ManifestDigest"], other["ManifestDigest"]);
    let theirs = skopeo(&["inspect", "--tls-verify=false", &format!("docker://{name}")]);
    same_as_skopeo(&own, &serde_json::from_slice(&theirs).unwrap());
    let missing = host.ocinit(&["inspect", "--tls-verify=false", "--arch=ppc64le", &name]);
    assert_eq!((missing.code, missing.out.as_str()), (125, ""));
    assert!(missing.err.starts_with(&format!("FAIL inspect  {name}: no image for linux/ppc64le")), "{}", missing.err);
}

/// Promise: inspect
#[test]
fn layouts_archives_and_stored_images() {
    let Some(host) = Host::new("places") else { return };
    let registry = host.registry();
    let digest = images::push(&registry, &host.dir, "demo", image(&host));
    let dir = host.dir.join("demo").display().to_string();
    let archive = |transport: &str, end: &str| {
        let file = host.dir.join(transport).display().to_string();
        skopeo(&["copy", "-q", &format!("oci:{dir}:latest"), &format!("{transport}:{file}{end}")]);
        format!("{transport}:{file}")
    };
    let layout = shown(&host.ocinit(&["inspect", &format!("oci:{dir}")]));
    assert_eq!((&layout["Digest"], &layout["ManifestDigest"]), (&json!(digest), &json!(digest)));
    for name in [archive("oci-archive", ":v1"), archive("docker-archive", ":demo:v1")] {
        let own = shown(&host.ocinit(&["inspect", &name]));
        for field in ["DiffIDs", "Config", "Architecture", "Os", "Labels", "Env"] {
            assert_eq!(own[field], layout[field], "{name}: {field}");
        }
        assert_eq!(own["Layers"].as_array().unwrap().len(), layout["Layers"].as_array().unwrap().len());
    }
    // A stored image, with and without its registry.
    let name = format!("{}/demo:latest", registry.here());
    let inspect = |flags: &[&str]| host.ocinit(&[&["inspect", "--tls-verify=false"], flags, &[&name]].concat());
    let absent = inspect(&["--pull=never"]);
    assert_eq!((absent.code, absent.out.as_str()), (125, ""));
    assert!(absent.err.contains("is not stored, and --pull=never forbids asking for it"), "{}", absent.err);
    assert_eq!(host.ocinit(&["pull", "--tls-verify=false", &name]).code, 0);
    let asked = registry.requests("/v2/demo/");
    let stored = inspect(&["--pull=never"]);
    assert_eq!(stored.out, inspect(&["--pull=missing"]).out);
    assert_eq!(registry.requests("/v2/demo/"), asked);
    assert_eq!(stored.out, inspect(&[]).out, "what the registry says is the same");
    drop(registry);
    let late = inspect(&["--retry=0"]);
    assert_eq!(late.out, stored.out);
    assert!(late.err.contains("this is the image of an earlier pull"), "{}", late.err);
    assert_eq!(host.left(), Vec::<String>::new());
}

/// Promise: inspect
#[test]
fn any_user_may_inspect() {
    let Some(host) = Host::new("anybody") else { return };
    let registry = host.registry();
    images::push(&registry, &host.dir, "demo", image(&host));
    let (_dir, program) = for_everybody();
    let name = format!("{}/demo:latest", registry.here());
    let mut command = Command::new(program);
    command.args(["inspect", "--tls-verify=false", &name]).uid(NOBODY).gid(NOBODY).stdin(Stdio::null());
    let own = shown(&Ended::new(&command.output().unwrap()));
    assert_eq!(own["Name"], name);
    assert_eq!(own, shown(&host.ocinit(&["inspect", "--tls-verify=false", &name])));
}

/// Nothing of an image's author reaches the terminal as a command.
/// Input: control-characters-in-json
#[test]
fn a_hostile_label_is_escaped() {
    let Some(host) = Host::new("label") else { return };
    let config = json!({"Labels": {"a\u{1b}[2J": "\u{9b}31m\r\nFAIL \u{202e}x"}, "Cmd": ["\u{e9}"]});
    let name = host.layout("label", Image { config, ..images::payload(&host.payload) });
    let ended = host.ocinit(&["inspect", &name]);
    assert!(!ended.out.contains(['\u{1b}', '\u{9b}', '\r', '\u{202e}']), "{}", ended.out);
    assert_eq!(shown(&ended)["Labels"]["a\u{1b}[2J"], "\u{9b}31m\r\nFAIL \u{202e}x");
    assert!(ended.out.contains('\u{e9}'));
    assert!(Path::new(name.strip_prefix("oci:").unwrap().strip_suffix(":latest").unwrap()).is_dir());
}
