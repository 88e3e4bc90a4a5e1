//! Layers that need no unpacking: squashfs and erofs, which are mounted from the store.

use super::store::tree;
use super::{images, Ended, Host};
use ocinit::host::image::{sha256, tar, Entry, Image};
use ocinit::sys;
use ocinit::sys::path::c_path;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// How a layer is packed: the program, and its options.
type Packer = (&'static str, &'static [&'static str]);

const SQUASHFS: Packer = ("mksquashfs", &["-noappend", "-quiet", "-no-progress", "-comp", "zstd"]);
const SQUASHFS_GZIP: Packer = ("mksquashfs", &["-noappend", "-quiet", "-no-progress", "-comp", "gzip"]);
const SQUASHFS_XZ: Packer = ("mksquashfs", &["-noappend", "-quiet", "-no-progress", "-comp", "xz", "-b", "1M"]);
const EROFS: Packer = ("mkfs.erofs", &["--quiet", "--preserve-mtime"]);
const EROFS_LZ4: Packer = ("mkfs.erofs", &["--quiet", "--preserve-mtime", "-zlz4hc"]);

/// A directory's content as a file system; `None` where the host lacks the program.
fn pack(host: &Host, directory: &Path, (program, options): Packer) -> Option<Vec<u8>> {
    let file = host.dir.join("packed");
    let (directory, out) = (directory.to_string_lossy(), file.to_string_lossy());
    let names = if program == "mksquashfs" { [&*directory, &*out] } else { [&*out, &*directory] };
    // Each of the two takes its options on the side that the other does not.
    let words = if program == "mksquashfs" { [&names, options].concat() } else { [options, &names].concat() };
    images::packed(&file, program, &words, b"")
}

/// Three layers: the topmost links to a file of the middle one, removes another, and implies their directory.
fn tars(host: &Host) -> Vec<Vec<u8>> {
    let mut below = images::base(&host.payload);
    below.extend([
        Entry::file("data/gone", 0o644, "below"),
        Entry::directory("opaque", 0o755),
        Entry::file("opaque/hidden", 0o644, "below"),
        Entry::file("turned", 0o644, "a file"),
    ]);
    let middle = [
        Entry::file("data/.wh.gone", 0o644, ""),
        Entry::directory("opaque", 0o750),
        Entry::file("opaque/.wh..wh..opq", 0o644, ""),
        Entry::file("opaque/shown", 0o644, "middle"),
        Entry::directory("turned", 0o755),
        Entry::directory("deep", 0o711).owned(7, 8),
        Entry::file("deep/kept", 0o4751, "middle").owned(7, 8),
        Entry::file("deep/gone", 0o644, "middle"),
        Entry::symlink("deep/link", "kept"),
    ];
    let top = [
        Entry::hardlink("deep/twin", "deep/kept"),
        Entry::file("deep/.wh.gone", 0o644, ""),
        Entry::file("turned/inside", 0o644, "top"),
    ];
    vec![tar(&below), tar(&middle), tar(&top)]
}

fn image(layers: Vec<Vec<u8>>) -> Image {
    Image::new(layers, json!({"Entrypoint": ["/payload"], "Cmd": ["hello"]}))
}

/// The directories of a plain image's layers in the store, lowest first (OCI image spec, config.md, 'Layer ChainID').
fn directories(host: &Host, layers: &[Vec<u8>]) -> Vec<PathBuf> {
    let mut chain = String::new();
    let mut next = |layer: &Vec<u8>| {
        let diff_id = format!("sha256:{}", sha256(layer));
        chain = if chain.is_empty() {
            diff_id
        } else {
            format!("sha256:{}", sha256(format!("{chain} {diff_id}").as_bytes()))
        };
        host.store().join("layers").join(&chain["sha256:".len()..])
    };
    layers.iter().map(&mut next).collect()
}

/// Mounts an image for as long as `look` looks at it.
fn mounted<T>(host: &Host, name: &str, look: impl FnOnce(&Path) -> T) -> T {
    let target = host.dir.join("target");
    std::fs::create_dir_all(&target).unwrap();
    let ended = host.ocinit(&["mount", name, &target.to_string_lossy()]);
    assert_eq!(ended.code, 0, "{name}: {}", ended.err);
    assert_eq!(host.mounts().len(), 1, "only the root itself is in the mount table");
    let seen = look(&target);
    // A process that another test is just making has our files open until its exec.
    let start = Instant::now();
    while !Command::new("umount").arg(&target).stderr(Stdio::null()).status().unwrap().success() {
        assert!(start.elapsed().as_secs() < super::PATIENCE_S, "umount");
    }
    nothing_is_left(host);
    seen
}

/// The files of this test that are a loop device.
fn loops(host: &Host) -> Vec<String> {
    let dir = host.dir.to_string_lossy().into_owned();
    let devices = std::fs::read_dir("/sys/block").unwrap().flatten();
    let files = devices.filter_map(|device| std::fs::read_to_string(device.path().join("loop/backing_file")).ok());
    files.filter(|file| file.contains(&dir)).collect()
}

/// No mount, and soon no loop device: the kernel frees one after the mount's end, in its own time.
fn nothing_is_left(host: &Host) {
    assert_eq!(host.mounts(), Vec::<String>::new());
    assert_eq!(host.left(), Vec::<String>::new());
    let start = Instant::now();
    while !loops(host).is_empty() {
        assert!(start.elapsed().as_secs() < super::PATIENCE_S, "left: {:?}", loops(host));
        std::thread::yield_now();
    }
}

/// The layer of each place is a tar (`None`) or packed: the tree is always the plain image's.
/// Promise: packed-layers
#[test]
fn every_mixture_is_the_plain_image() {
    let Some(host) = Host::new("mixture") else { return };
    let tars = tars(&host);
    let plain = mounted(&host, &host.layout("plain", image(tars.clone())), tree);
    assert!(plain.contains_key(Path::new("deep/twin")) && !plain.contains_key(Path::new("deep/gone")));
    let directories = directories(&host, &tars);
    let mixtures: [[Option<Packer>; 3]; 6] = [
        [None, Some(SQUASHFS), None],
        [None, Some(EROFS_LZ4), None],
        [Some(SQUASHFS), Some(SQUASHFS_GZIP), Some(SQUASHFS_XZ)],
        [Some(EROFS), Some(EROFS_LZ4), Some(EROFS)],
        [Some(SQUASHFS_GZIP), None, None],
        [Some(EROFS), None, Some(SQUASHFS)],
    ];
    for (number, mixture) in mixtures.into_iter().enumerate() {
        let mut layers = Vec::new();
        for ((tar, directory), packer) in tars.iter().zip(&directories).zip(mixture) {
            layers.push(match packer {
                None => tar.clone(),
                Some(packer) => match pack(&host, directory, packer) {
                    None => return,
                    Some(packed) => packed,
                },
            });
        }
        let name = host.layout(&format!("mixture-{number}"), image(layers));
        let seen = mounted(&host, &name, tree);
        for (path, text) in &plain {
            assert_eq!(seen.get(path), Some(text), "{mixture:?}: {}", path.display());
        }
        assert_eq!(seen.len(), plain.len(), "{mixture:?}");
    }
}

/// stacker builds without root: it marks opaque directories by `user.overlay.opaque`, where overlayfs reads `trusted.`
/// ones.
/// Promise: packed-layers
#[test]
fn opaque_directories_of_a_build_without_root() {
    let Some(host) = Host::new("rootless") else { return };
    let bottom = tar(&[
        Entry::file("a/b/hidden", 0o644, "below"),
        Entry::file("a/shown", 0o644, "below"),
        Entry::file("top/hidden", 0o644, "below"),
    ]);
    let directory = host.dir.join("content");
    std::fs::create_dir_all(directory.join("a/b")).unwrap();
    std::fs::write(directory.join("a/b/own"), "middle").unwrap();
    let mark = |directory: &Path| {
        let path = c_path(directory).unwrap();
        sys::fs::lsetxattr(&path, c"user.overlay.opaque", b"y").unwrap();
    };
    mark(&directory.join("a/b"));
    for packer in [SQUASHFS, EROFS] {
        let Some(packed) = pack(&host, &directory, packer) else { return };
        let names = |layers: Vec<Vec<u8>>| {
            let name = host.layout(&format!("{}-{}", packer.0, layers.len()), image(layers));
            mounted(&host, &name, |root| {
                tree(root).into_keys().map(|path| path.display().to_string()).collect::<Vec<_>>()
            })
        };
        let above = tar(&[Entry::file("above", 0o644, "")]);
        assert_eq!(
            names(vec![bottom.clone(), packed.clone()]),
            ["", "a", "a/b", "a/b/own", "a/shown", "top", "top/hidden"]
        );
        assert_eq!(names(vec![bottom.clone(), packed.clone(), above])[1], "a");
        // What is hidden is no target for a link of a layer above either.
        let link = tar(&[Entry::hardlink("twin", "a/b/hidden")]);
        let ended = host.ocinit(&["pull", &host.layout("link", image(vec![bottom.clone(), packed, link]))]);
        assert!(ended.code == 125 && ended.err.contains("twin: the hardlink's target does not exist"), "{}", ended.err);
    }
    // The root itself: nothing of the layers below is left.
    mark(&directory);
    let Some(packed) = pack(&host, &directory, SQUASHFS) else { return };
    let name = host.layout("root", image(vec![bottom, packed]));
    assert_eq!(mounted(&host, &name, |root| tree(root).len()), 4);
}

/// Promise: packed-layers
#[test]
fn a_container_runs_on_packed_layers() {
    let Some(host) = Host::new("packed") else { return };
    let Some(squashfs) = images::squashfs(&host.dir, &host.payload) else { return };
    // The layer twice: overlayfs stacks it once.
    let layers = vec![
        squashfs.layers[0].clone(),
        tar(&[Entry::file("data/plain", 0o644, "between")]),
        squashfs.layers[0].clone(),
    ];
    let name = host.layout("squashfs", Image { layers, ..squashfs });
    assert_eq!(host.ocinit(&["run", &name, "cat", "/data/plain"]).out, "no program\n");
    nothing_is_left(&host);
    assert_eq!((host.stored("blobs").len(), host.stored("layers").len()), (1, 1));
    mounted(&host, &name, |_| assert!(host.mounts()[0].contains("lowerdir=0:1,"), "{:?}", host.mounts()));
    // What is written goes into the upper directory, and nowhere else.
    assert_eq!(host.ocinit(&["run", &name, "write", "/data/plain", "changed"]).code, 0);
    assert_eq!(host.ocinit(&["run", &name, "cat", "/data/plain"]).out, "no program\n");
    assert_eq!(host.ocinit(&["run", "--entrypoint", "/missing", &name]).code, 127);
    nothing_is_left(&host);
    assert_eq!(host.ocinit(&["mount", &name, "/nowhere/at/all"]).code, 125);
    nothing_is_left(&host);
}

/// Promise: lying-packed-layers
#[test]
fn damaged_and_lying_blobs_are_refused_and_not_stored() {
    let Some(host) = Host::new("damaged") else { return };
    let Some(whole) = images::squashfs(&host.dir, &host.payload) else { return };
    let blob = whole.layers[0].clone();
    let refused = |name: &str, why: &str| {
        let ended = host.ocinit(&["run", name, "hello"]);
        assert!(ended.code == 125 && ended.err.contains(why), "{why}: {}", ended.err);
        assert!(host.stored("blobs").is_empty() && host.stored("layers").is_empty(), "{why}");
        nothing_is_left(&host);
    };
    let with = |media_type: &str, layer: Vec<u8>| Image { media_type: Some(media_type.into()), ..image(vec![layer]) };
    let stacker = "application/vnd.stacker.image.layer.squashfs+zstd+verity";
    refused(&host.layout("tar", with(stacker, tar(&[]))), "is not a squashfs, though its media type says so");
    refused(
        &host.layout("erofs", with("application/vnd.erofs.layer.v1", blob.clone())),
        "is not an erofs, though its media",
    );
    // One byte, in the middle and in the magic.
    let name = host.layout("whole", whole);
    let file = host.dir.join("whole/blobs/sha256").join(sha256(&blob));
    for at in [blob.len() / 2, 0] {
        let mut spoiled = blob.clone();
        spoiled[at] ^= 1;
        std::fs::write(&file, spoiled).unwrap();
        refused(&name, "has the digest ");
    }
    std::fs::write(&file, &blob[..blob.len() - 1]).unwrap();
    refused(&name, "ends after ");
    // The right magic over nothing: whole by its digest, and no file system.
    let mut hollow = blob[..4096].to_vec();
    hollow[32..].fill(0xff);
    let ended = host.ocinit(&["run", &host.layout("hollow", image(vec![hollow])), "hello"]);
    assert!(ended.code == 125 && ended.err.contains(": squashfs: mount: invalid argument"), "{}", ended.err);
    assert!(host.stored("blobs").is_empty());
    nothing_is_left(&host);
    // Media types that say nothing lie to nobody.
    std::fs::write(&file, &blob).unwrap();
    assert_eq!(host.ocinit(&["run", &name, "echo", "whole"]).out, "whole\n");
    let name = host.layout("as-tar", with("application/vnd.oci.image.layer.v1.tar+gzip", blob));
    assert_eq!(host.ocinit(&["run", &name, "echo", "whole"]).out, "whole\n");
}

/// Whose diff ID is another file's, which stacker never writes: not kept, though its digest is right.
/// Promise: lying-packed-layers
#[test]
fn a_blob_is_its_own_diff_id() {
    let Some(host) = Host::new("diff-id") else { return };
    let Some(squashfs) = images::squashfs(&host.dir, &host.payload) else { return };
    let layer = squashfs.layers[0].clone();
    let name = host.layout("squashfs", squashfs);
    let layout = host.dir.join("squashfs");
    let blob = |digest: &str| layout.join("blobs/sha256").join(&digest["sha256:".len()..]);
    let read = |path: &Path| -> serde_json::Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let put = |value: &serde_json::Value| {
        let text = value.to_string();
        std::fs::write(layout.join("blobs/sha256").join(sha256(text.as_bytes())), &text).unwrap();
        (format!("sha256:{}", sha256(text.as_bytes())), text.len())
    };
    let mut index = read(&layout.join("index.json"));
    let mut manifest = read(&blob(index["manifests"][0]["digest"].as_str().unwrap()));
    let mut config = read(&blob(manifest["config"]["digest"].as_str().unwrap()));
    config["rootfs"]["diff_ids"][0] = format!("sha256:{}", sha256(b"another")).into();
    let (digest, size) = put(&config);
    (manifest["config"]["digest"], manifest["config"]["size"]) = (digest.into(), size.into());
    let (digest, size) = put(&manifest);
    (index["manifests"][0]["digest"], index["manifests"][0]["size"]) = (digest.into(), size.into());
    std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
    let ended = host.ocinit(&["run", &name, "hello"]);
    let why = format!("layer 1/1 sha256:{}: its digest is not its diff ID", &sha256(&layer)[..12]);
    assert!(ended.code == 125 && ended.err.contains(&why), "{}", ended.err);
    assert!(host.stored("blobs").is_empty());
}

/// What overlayfs and mount(2) read as their own.
#[test]
fn any_characters_in_the_stores_path() {
    let Some(host) = Host::new("characters") else { return };
    let Some(squashfs) = images::squashfs(&host.dir, &host.payload) else { return };
    let layers = vec![squashfs.layers[0].clone(), tar(&[Entry::hardlink("data/twin", "data/plain")])];
    let name = host.layout("image", Image { layers, ..squashfs });
    let store = host.dir.join("a:b,c\\d e\"'%=ö\n\\:");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ocinit"));
    command.arg("run").arg("--store").arg(&store).args([&name, "cat", "/data/twin"]).stdin(Stdio::null());
    let ended = Ended::new(&command.output().unwrap());
    assert_eq!((ended.code, ended.out.as_str()), (0, "no program\n"), "{}", ended.err);
    nothing_is_left(&host);
}

/// As many as overlayfs stacks: for squashfs that is 500 loop devices at a time.
/// Promise: 500-of-any-kind
#[test]
fn five_hundred_of_each_kind() {
    let Some(host) = Host::new("five-hundred") else { return };
    for packer in [SQUASHFS_GZIP, EROFS] {
        let mut layers = Vec::new();
        for number in 0..500 {
            let directory = host.dir.join("content");
            std::fs::create_dir(&directory).unwrap();
            std::fs::write(directory.join(format!("file-{number}")), number.to_string()).unwrap();
            let Some(packed) = pack(&host, &directory, packer) else { return };
            layers.push(packed);
            std::fs::remove_dir_all(&directory).unwrap();
        }
        let name = host.layout(packer.0, image(layers));
        let start = Instant::now();
        let names = mounted(&host, &name, |root| std::fs::read_dir(root).unwrap().count());
        println!("500 by {}: {:?}", packer.0, start.elapsed());
        assert_eq!(names, 500, "{packer:?}");
    }
}

/// As a `run` that was killed between a layer's mount and the root's leaves it.
/// Promise: packed-layers
#[test]
fn a_layer_that_was_left_mounted_is_collected() {
    let Some(host) = Host::new("left") else { return };
    let Some(squashfs) = images::squashfs(&host.dir, &host.payload) else { return };
    let blob = host.dir.join("blob");
    std::fs::write(&blob, &squashfs.layers[0]).unwrap();
    let name = host.layout("squashfs", squashfs);
    assert_eq!(host.ocinit(&["pull", &name]).code, 0);
    for left in ["containers/3/0", "tmp/4/0"] {
        let left = host.store().join(left);
        std::fs::create_dir_all(&left).unwrap();
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-o", "loop,ro", "-t", "squashfs"]).arg(&blob).arg(&left).status().unwrap();
        assert!(mounted.success());
    }
    assert_eq!(host.mounts().len(), 2);
    assert!(!loops(&host).is_empty());
    assert_eq!(host.ocinit(&["run", &name, "exit", "0"]).code, 0);
    nothing_is_left(&host);
}
