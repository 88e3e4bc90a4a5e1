//! Images in archives: as tools write them, and damaged or hostile ones.

use super::store::tree;
use super::{images, Host};
use ocinit::host::compress::gzip;
use ocinit::host::image::{self, sha256, tar, Entry, Image};
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// All that can be seen of the image, from a store that has nothing yet.
#[track_caller]
fn seen(host: &Host, name: &str) -> BTreeMap<PathBuf, String> {
    let _ = std::fs::remove_dir_all(host.store());
    let target = host.dir.join("target");
    std::fs::create_dir_all(&target).unwrap();
    let ended = host.ocinit(&["mount", name, &target.to_string_lossy()]);
    assert_eq!(ended.code, 0, "{name}: {}", ended.err);
    let seen = tree(&target);
    assert!(Command::new("umount").arg(&target).status().unwrap().success());
    assert!(host.left().is_empty(), "{name}");
    seen
}

/// Why it is not pulled. Nothing of it may stay.
#[track_caller]
fn refused(host: &Host, name: &str) -> String {
    let _ = std::fs::remove_dir_all(host.store());
    let ended = host.ocinit(&["pull", name]);
    assert_eq!(ended.code, 125, "{name}");
    assert!(host.stored("images").is_empty() && host.left().is_empty(), "{name}");
    ended.err.lines().find(|line| line.contains("FAIL pull")).unwrap_or_default().to_string()
}

#[track_caller]
fn done(program: &str, words: &[&str]) {
    let status = Command::new(program).args(words).stdout(Stdio::null()).status();
    assert!(status.unwrap_or_else(|error| panic!("{program}: {error} (./dev setup brings it)")).success(), "{words:?}");
}

/// A layout's files as members of an archive.
fn members(layout: &Path) -> Vec<Entry> {
    let blobs = layout.join("blobs/sha256");
    let mut names: Vec<String> = std::fs::read_dir(&blobs)
        .unwrap()
        .map(|entry| format!("blobs/sha256/{}", entry.unwrap().file_name().to_string_lossy()))
        .collect();
    names.sort();
    names.extend(["oci-layout".into(), "index.json".into()]);
    names.iter().map(|name| Entry::file(name, 0o644, std::fs::read(layout.join(name)).unwrap())).collect()
}

/// Writes an archive; its path.
fn write(host: &Host, name: &str, bytes: &[u8]) -> String {
    let file = host.dir.join(name);
    std::fs::write(&file, bytes).unwrap();
    file.display().to_string()
}

/// The blob that a descriptor names: its name in the layout, and its bytes.
fn blob(layout: &Path, digest: &Value) -> (String, Vec<u8>) {
    let name = digest.as_str().unwrap().replace("sha256:", "blobs/sha256/");
    let bytes = std::fs::read(layout.join(&name)).unwrap();
    (name, bytes)
}

fn manifest(layout: &Path, digest: &str) -> Value {
    serde_json::from_slice(&blob(layout, &digest.into()).1).unwrap()
}

/// Promise: archives
#[test]
fn archives_that_tools_write() {
    let Some(host) = Host::new("archives") else { return };
    for (name, compressed) in [("plain", false), ("packed", true)] {
        let layout = host.layout(name, Image { compressed, ..images::layers(&host.payload) });
        let expected = seen(&host, &layout);
        assert!(expected.len() > 15);
        let dir = host.dir.join(name).display().to_string();
        let file = |kind: &str| format!("{dir}.{kind}.tar");
        let (oci, docker) = (file("oci"), file("docker"));
        done("skopeo", &["--insecure-policy", "copy", &layout, &format!("oci-archive:{oci}:v1")]);
        done("skopeo", &["--insecure-policy", "copy", &layout, &format!("docker-archive:{docker}:lab/demo:v1")]);
        for form in ["gnu", "posix", "ustar"] {
            done("tar", &["-C", &dir, "--format", form, "-cf", &file(form), "."]);
        }
        for whole in [&oci, &docker] {
            done("gzip", &["-k", whole]);
            done("zstd", &["-q", "--long=24", whole]);
        }
        for (transport, file, image) in [
            ("oci-archive", oci.clone(), ""),
            ("oci-archive", oci.clone(), ":v1"),
            ("oci-archive", oci.clone() + ".gz", ":@0"),
            ("oci-archive", oci + ".zst", ""),
            ("docker-archive", docker.clone(), ""),
            ("docker-archive", docker.clone(), ":lab/demo:v1"),
            ("docker-archive", docker.clone() + ".gz", ":docker.io/lab/demo:v1"),
            ("docker-archive", docker + ".zst", ":@0"),
            ("oci-archive", file("gnu"), ":latest"),
            ("oci-archive", file("posix"), ""),
            ("oci-archive", file("ustar"), ""),
        ] {
            let name = format!("{transport}:{file}{image}");
            assert_eq!(seen(&host, &name), expected, "{name}");
        }
    }
}

/// As docker wrote them for ten years: a directory a layer, and a link where it had written that layer before.
/// Since version 25: an image layout, whose blobs `manifest.json` names; they may be compressed there.
/// Promise: archives
#[test]
fn archives_of_old_and_new_dockers() {
    let Some(host) = Host::new("dockers") else { return };
    let one = tar(&[Entry::file("one", 0o644, "1")]);
    let other = tar(&[Entry::file(".wh.one", 0o644, ""), Entry::file("two", 0o644, "2")]);
    for (name, compressed) in [("old", false), ("new", true)] {
        let layers = vec![one.clone(), other.clone(), one.clone()];
        let (layout, digest) =
            images::write(&host.dir, name, Image { compressed, ..Image::new(layers, json!({"Cmd": ["x"]})) });
        let manifest = manifest(&layout, &digest);
        let (config, config_bytes) = blob(&layout, &manifest["config"]["digest"]);
        let blobs: Vec<_> = (0..3).map(|n| blob(&layout, &manifest["layers"][n]["digest"])).collect();
        let expected = seen(&host, &format!("oci:{}", layout.display()));
        let new: Vec<_> = blobs.iter().map(|(name, _)| name.clone()).collect();
        let directories = ["aa/layer.tar", "bb/layer.tar", "cc/layer.tar"].map(String::from).to_vec();
        let hex = &config["blobs/sha256/".len()..];
        let list = |config: &str, layers: &[String]| {
            let list = json!([{"Config": config, "RepoTags": ["lab/demo:1"], "Layers": layers}]);
            Entry::file("manifest.json", 0o644, list.to_string())
        };
        let old = vec![
            Entry::file("aa/layer.tar", 0o644, blobs[0].1.clone()),
            Entry::file("bb/layer.tar", 0o644, blobs[1].1.clone()),
            Entry::symlink("cc/layer.tar", "../aa/layer.tar"),
            Entry::file(&format!("{hex}.json"), 0o644, config_bytes),
            list(&format!("{hex}.json"), &directories),
        ];
        let new = [members(&layout), vec![list(&config, &new)]].concat();
        for (form, entries) in [("old", old), ("new", new)] {
            let file = write(&host, &format!("{name}-{form}.tar"), &tar(&entries));
            assert_eq!(seen(&host, &format!("docker-archive:{file}:lab/demo:1")), expected, "{name} {form}");
        }
    }
}

#[test]
fn a_container_runs_from_an_archive() {
    let Some(host) = Host::new("archived") else { return };
    let (layout, _) = images::write(&host.dir, "payload", images::payload(&host.payload));
    let name = format!("oci-archive:{}", write(&host, "payload.tar", &tar(&members(&layout))));
    let ended = host.ocinit(&["run", &name, "echo", "from an archive"]);
    assert_eq!((ended.code, ended.out.as_str()), (0, "from an archive\n"));
    assert!(host.ocinit(&["pull", &name]).err.contains("all layers are stored already"));
}

/// Promise: image-of-an-archive
#[test]
fn one_of_several_images() {
    let Some(host) = Host::new("several") else { return };
    let image = |tag: &str| Image {
        tag: tag.into(),
        ..Image::new(vec![tar(&[Entry::file(&format!("is-{tag}"), 0o644, "")])], json!({}))
    };
    let layout = host.dir.join("several");
    let digests = image::write(&layout, &[image("v1"), image("v2")]).unwrap();
    let file = write(&host, "oci.tar", &tar(&members(&layout)));
    let images: Vec<Value> = digests
        .iter()
        .zip([json!(["a.b/c:v1", "a.b/d:v1"]), Value::Null])
        .map(|(digest, names)| {
            let manifest = manifest(&layout, digest);
            let name = |value: &Value| blob(&layout, value).0;
            let layers = [name(&manifest["layers"][0]["digest"])];
            json!({"Config": name(&manifest["config"]["digest"]), "RepoTags": names, "Layers": layers})
        })
        .collect();
    let list = Entry::file("manifest.json", 0o644, json!(images).to_string());
    let docker = write(&host, "docker.tar", &tar(&[members(&layout), vec![list]].concat()));
    let dir = layout.display();
    for (name, version) in [
        (format!("oci:{dir}:v2"), "v2"),
        (format!("oci:{dir}:@0"), "v1"),
        (format!("oci-archive:{file}:v1"), "v1"),
        (format!("oci-archive:{file}:@1"), "v2"),
        (format!("docker-archive:{docker}:a.b/d:v1"), "v1"),
        (format!("docker-archive:{docker}:@1"), "v2"),
    ] {
        assert!(seen(&host, &name).contains_key(Path::new(&format!("is-{version}"))), "{name}");
    }
    for (name, why) in [
        (format!("oci:{dir}"), "index.json: holds several images: add one of :v1, :v2"),
        (format!("oci-archive:{file}"), "index.json: holds several images: add one of :v1, :v2"),
        (format!("oci-archive:{file}:v3"), "index.json: holds no image v3, but :v1, :v2"),
        (
            format!("docker-archive:{docker}"),
            "manifest.json: holds several images: add one of :a.b/c:v1, :a.b/d:v1, :@1",
        ),
        (format!("docker-archive:{docker}:@2"), "manifest.json: holds no image @2, but :a.b/c:v1, :a.b/d:v1, :@1"),
    ] {
        let told = refused(&host, &name);
        assert!(told.ends_with(why), "{told}");
    }
}

/// An archive that is refused: its transport, its bytes, and why.
type Bad = (&'static str, Vec<u8>, String);

fn bad_archives(host: &Host) -> Vec<Bad> {
    let (layout, digest) = images::write(&host.dir, "good", images::marked(&host.payload, "mark"));
    let good = members(&layout);
    let manifest = manifest(&layout, &digest);
    let (layer, layer_bytes) = blob(&layout, &manifest["layers"][1]["digest"]);
    let (root, root_bytes) = blob(&layout, &Value::from(digest));
    let without = |gone: &str| good.iter().filter(|entry| entry.path != gone).cloned().collect::<Vec<_>>();
    // What comes later under the same name counts.
    let with = |name: &str, bytes: Vec<u8>| tar(&[good.clone(), vec![Entry::file(name, 0o644, bytes)]].concat());
    let mut spoiled = layer_bytes.clone();
    spoiled[700] ^= 1;
    let changed = sha256(&spoiled);
    let large = vec![b' '; (4 << 20) + 1];
    let whole = tar(&good);
    let cut = whole[..whole.len() / 2].to_vec();
    let looped = [without(&layer), vec![Entry::symlink(&layer, "x"), Entry::symlink("blobs/sha256/x", "x")]].concat();
    let many: Vec<_> = (0..5000).map(|n| Entry::file(&n.to_string(), 0o644, "")).collect();
    let oci = "oci-archive";
    vec![
        (oci, with(&layer, spoiled), format!("has the digest sha256:{changed}")),
        (oci, with(&layer, layer_bytes[1..].to_vec()), "in the manifest".into()),
        (oci, with(&root, [&root_bytes[..], b" "].concat()), "manifest: has the digest sha256:".into()),
        (oci, with(&root, large.clone()), "larger than 4 MiB".into()),
        (oci, with("index.json", large), "index.json: the document is larger than 4 MiB".into()),
        (oci, with("index.json", b"{".to_vec()), "index.json: not valid JSON".into()),
        (oci, with("../index.json", b"{}".to_vec()), "../index.json: a name that leads out of the archive".into()),
        (oci, tar(&without(&layer)), format!("{layer}: is not in the archive")),
        (oci, tar(&without(&root)), format!("{root}: is not in the archive")),
        (oci, tar(&without("index.json")), "index.json: is not in the archive".into()),
        (oci, tar(&looped), "more than 8 links to links".into()),
        (oci, tar(&many), "more than 4096 members".into()),
        (oci, cut.clone(), "the archive is truncated".into()),
        (oci, gzip(&cut), "the archive is truncated".into()),
        (oci, gzip(&whole)[..5000].to_vec(), "gzip: truncated".into()),
        (oci, b"nothing of the kind".to_vec(), "is not a tar archive".into()),
        (oci, Vec::new(), "index.json: is not in the archive".into()),
        (
            "docker-archive",
            whole,
            "manifest.json: is not in the archive, but index.json is: write oci-archive:FILE".into(),
        ),
    ]
}

/// Promise: damaged-archives
/// Input: bad-archives
#[test]
fn archives_that_are_refused() {
    let Some(host) = Host::new("refused") else { return };
    for (index, (transport, bytes, why)) in bad_archives(&host).into_iter().enumerate() {
        let file = write(&host, &format!("bad-{index}.tar"), &bytes);
        let told = refused(&host, &format!("{transport}:{file}"));
        assert!(told.contains(&why), "{told}\nnot {why}");
    }
    let fifo = host.dir.join("fifo").display().to_string();
    done("mkfifo", &[&fifo]);
    assert!(refused(&host, &format!("oci-archive:{fifo}")).ends_with(": is not a regular file"));
    let nowhere = refused(&host, "oci-archive:/nowhere/x.tar");
    assert!(nowhere.ends_with("oci-archive:/nowhere/x.tar: no such file or directory"), "{nowhere}");
}

/// Serves one file, whatever is asked for, until the test's end.
fn serve(bytes: Vec<u8>) -> u16 {
    let server = tiny_http::Server::http("127.0.0.1:0").unwrap();
    let port = server.server_addr().to_ip().unwrap().port();
    std::thread::spawn(move || {
        for request in server.incoming_requests() {
            let _ = request.respond(tiny_http::Response::from_data(bytes.clone()));
        }
    });
    port
}

#[test]
fn archives_of_a_server() {
    let Some(host) = Host::new("remote") else { return };
    let layout = host.layout("whole", images::layers(&host.payload));
    let file = host.dir.join("x.tar").display().to_string();
    done("skopeo", &["--insecure-policy", "copy", &layout, &format!("oci-archive:{file}:v1")]);
    let bytes = std::fs::read(file).unwrap();
    let digest = ocinit::host::image::sha256(&bytes);
    let url = format!("oci-archive:http://127.0.0.1:{}/x.tar:v1", serve(bytes));
    let expected = seen(&host, &layout);
    assert_eq!(seen(&host, &url), expected);
    assert_eq!(seen(&host, &format!("{url}#sha256:{digest}")), expected);
    let other = refused(&host, &format!("{url}#sha256:{}", "0".repeat(64)));
    assert!(other.contains(&format!("has the digest sha256:{digest}")), "{other}");
}

/// A configuration or a layer that is not what docker's format says of it.
/// Promise: damaged-archives
/// Input: bad-archives
#[test]
fn archives_of_docker_that_are_refused() {
    let Some(host) = Host::new("bad-docker") else { return };
    let (layout, digest) = images::write(&host.dir, "good", images::marked(&host.payload, "mark"));
    let manifest = manifest(&layout, &digest);
    let (config, config_bytes) = blob(&layout, &manifest["config"]["digest"]);
    let (one, two) = (&manifest["layers"][0]["digest"], &manifest["layers"][1]["digest"]);
    let (one, two) = (blob(&layout, one).0, blob(&layout, two).0);
    let two_bytes = std::fs::read(layout.join(&two)).unwrap();
    let mut spoiled = two_bytes.clone();
    spoiled[700] ^= 1;
    let list = |layers: &[&String]| json!([{"Config": config, "Layers": layers}]).to_string();
    let file = |name: &str, bytes: &[u8]| Entry::file(name, 0o644, bytes);
    let both = file("manifest.json", list(&[&one, &two]).as_bytes());
    let again = [&config_bytes[..], b" "].concat();
    for (index, (more, why)) in [
        (vec![both.clone(), file(&two, &spoiled)], format!("has the digest sha256:{}", sha256(&spoiled))),
        (vec![both.clone(), file(&two, &gzip(&spoiled))], format!("unpacks to sha256:{}", sha256(&spoiled))),
        (vec![both.clone(), file(&config, &again)], format!("{config}: has the digest sha256:{}", sha256(&again))),
        (vec![file("manifest.json", list(&[&one]).as_bytes())], "names a different number of layers".into()),
        (vec![file("manifest.json", list(&[&one, &"gone".into()]).as_bytes())], "gone: is not in the archive".into()),
        (vec![file("manifest.json", b"{}")], "manifest.json: '[{Config, RepoTags, Layers}]' is missing".into()),
        (vec![file("manifest.json", b"[]")], "manifest.json: contains no image".into()),
    ]
    .into_iter()
    .enumerate()
    {
        let bytes = tar(&[members(&layout), more].concat());
        let told = refused(&host, &format!("docker-archive:{}", write(&host, &format!("{index}.tar"), &bytes)));
        assert!(told.contains(&why), "{told}\nnot {why}");
    }
}

/// The store's free space bounds what an archive unpacks to.
/// Promise: archive-memory
#[test]
fn a_bomb_fills_no_more_than_the_store() {
    let Some(host) = Host::new("bomb") else { return };
    std::fs::create_dir_all(host.store()).unwrap();
    let store = host.store().display().to_string();
    done("mount", &["-t", "tmpfs", "-o", "size=4m", "none", &store]);
    let large = tar(&[Entry::file("index.json", 0o644, vec![0; 64 << 20])]);
    let file = write(&host, "bomb.tar.gz", &gzip(&large));
    let ended = host.ocinit(&["pull", &format!("oci-archive:{file}")]);
    let left = (host.stored("tmp"), host.stored("images"));
    done("umount", &[&store]);
    assert!(ended.code == 125 && ended.err.contains("no space left on device"), "{}", ended.err);
    assert!(ended.err.contains("the store is full"), "{}", ended.err);
    assert_eq!(left, (Vec::new(), Vec::new()));
}
