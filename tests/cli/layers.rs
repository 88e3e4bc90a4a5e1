//! Images whose layers are many, the same, or not what their manifest says.

use super::{images, Ended, Host};
use ocinit::host::image::{self, tar, Entry, Image};
use serde_json::{json, Value};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Mounts `image` and gives what can be seen in it; or how it ended.
fn mounted(host: &Host, image: &str) -> Result<Vec<String>, Ended> {
    let target = host.dir.join("target");
    std::fs::create_dir_all(&target).unwrap();
    let ended = host.ocinit(&["mount", image, &target.to_string_lossy()]);
    if ended.code != 0 {
        assert_eq!(host.mounts(), Vec::<String>::new());
        return Err(ended);
    }
    let mut names: Vec<String> =
        std::fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(Command::new("umount").arg(&target).stderr(Stdio::null()).status().unwrap().success());
    Ok(names)
}

fn file(name: &str) -> Vec<u8> {
    tar(&[Entry::file(name, 0o644, name)])
}

/// overlayfs refuses to stack one directory twice.
/// Promise: 500-layers
/// Input: stack-limits
#[test]
fn the_same_layer_twice() {
    let Some(host) = Host::new("twice") else { return };
    let (empty, a, b) = (tar(&[]), file("a"), file("b"));
    let gone = tar(&[Entry::file(".wh.a", 0o644, "")]);
    for (index, (layers, names)) in [
        (vec![&empty, &a, &empty, &b, &empty], vec!["a", "b"]),
        (vec![&a, &a], vec!["a"]),
        (vec![&a, &b, &gone, &a, &gone, &b], vec!["b"]),
        (vec![&a, &gone, &a], vec!["a"]),
        (vec![&empty, &empty], vec![]),
    ]
    .into_iter()
    .enumerate()
    {
        let image = Image::new(layers.into_iter().cloned().collect(), json!({}));
        let image = host.layout(&format!("image{index}"), image);
        let names: Vec<&str> = names;
        assert_eq!(mounted(&host, &image).map_err(|ended| ended.err).unwrap(), names, "{index}");
    }
}

/// Promise: 500-layers
/// Input: stack-limits
#[test]
fn as_many_layers_as_overlayfs_stacks() {
    let Some(host) = Host::new("many") else { return };
    for count in [128, 300, 501] {
        let image = Image::new((0..count).map(|n| file(&format!("file-{n}"))).collect(), json!({}));
        let image = host.layout(&format!("layers-{count}"), image);
        match mounted(&host, &image) {
            Ok(names) => assert!(count <= 500 && names.len() == count, "{count}: {} files", names.len()),
            Err(ended) => {
                assert!(count > 500 && ended.code == 125, "{count}: {}", ended.err);
                assert!(ended.err.contains("more than 500 layers, which overlayfs cannot stack"), "{}", ended.err);
            }
        }
    }
}

/// Promise: 500-layers
/// Input: stack-limits
#[test]
fn a_store_with_overlayfs_own_letters_in_its_path() {
    let Some(host) = Host::new("letters") else { return };
    let image = Image::new(vec![tar(&images::base(&host.payload)), file("a"), file("b")], json!({}));
    let image = host.layout("image", image);
    let store = host.dir.join(r"a:b,c\d e=f");
    let run = ["run", "--store", &store.to_string_lossy(), "--entrypoint", "/payload", &image, "cat", "/a", "/b"]
        .map(String::from);
    let ended = Ended::new(&Command::new(env!("CARGO_BIN_EXE_ocinit")).args(run).output().unwrap());
    assert_eq!((ended.code, ended.out.as_str()), (0, "ab"), "{}", ended.err);
    assert!(store.join("layers").is_dir());
    assert_eq!(host.mounts(), Vec::<String>::new());
}

/// Rewrites the only manifest of a layout, whose digest changes with it.
fn rewrite(layout: &Path, change: impl Fn(&mut Value)) {
    let read = |path: PathBuf| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let blobs = layout.join("blobs/sha256");
    let mut index = read(layout.join("index.json"));
    let digest = index["manifests"][0]["digest"].as_str().unwrap()["sha256:".len()..].to_string();
    let mut manifest = read(blobs.join(digest));
    change(&mut manifest);
    let manifest = manifest.to_string();
    let hex = image::sha256(manifest.as_bytes());
    index["manifests"][0]["digest"] = format!("sha256:{hex}").into();
    index["manifests"][0]["size"] = manifest.len().into();
    std::fs::write(blobs.join(hex), manifest).unwrap();
    std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
}

/// What the bytes are decides, and then their diff ID.
/// Promise: content-decides
/// Input: lying-media-types
#[test]
fn media_types_that_lie() {
    let Some(host) = Host::new("media") else { return };
    let types = ["tar", "tar+gzip", "tar+zstd", "tar+nonsense"]
        .map(|kind| ["application/vnd.oci.image.layer.v1.", kind].concat());
    for (index, (compressed, kind)) in
        [true, false].into_iter().flat_map(|compressed| types.iter().map(move |kind| (compressed, kind))).enumerate()
    {
        let name = format!("image{index}");
        // A layer of its own each time, so that the store has none.
        let image = Image { compressed, ..Image::new(vec![file(&name)], json!({})) };
        let image = host.layout(&name, image);
        rewrite(&host.dir.join(&name), |manifest| manifest["layers"][0]["mediaType"] = kind.as_str().into());
        assert_eq!(mounted(&host, &image).map_err(|ended| ended.err).unwrap(), [name], "{compressed} {kind}");
    }
}

/// Promise: content-decides
/// Input: lying-media-types
#[test]
fn bytes_that_are_not_those_of_the_diff_id() {
    let Some(host) = Host::new("diff-id") else { return };
    let other = host.layout("other", Image { compressed: false, ..Image::new(vec![file("other")], json!({})) });
    let image = host.layout("image", Image { compressed: false, ..Image::new(vec![file("right")], json!({})) });
    assert_eq!(mounted(&host, &other).map_err(|ended| ended.err).unwrap(), ["other"]);
    let raw = file("other");
    let blobs = host.dir.join("image/blobs/sha256");
    std::fs::copy(host.dir.join("other/blobs/sha256").join(image::sha256(&raw)), blobs.join(image::sha256(&raw)))
        .unwrap();
    let layer = json!({"digest": format!("sha256:{}", image::sha256(&raw)), "size": raw.len(), "mediaType": "x"});
    rewrite(&host.dir.join("image"), |manifest| manifest["layers"][0] = layer.clone());
    let Err(ended) = mounted(&host, &image) else { panic!("another layer was taken") };
    assert!(ended.code == 125 && ended.err.contains("which is not its diff ID"), "{}", ended.err);
    assert_eq!((host.stored("layers").len(), host.stored("images").len()), (1, 1), "only the other image is kept");
}
