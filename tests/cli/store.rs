//! `ocinit pull` and `ocinit mount`: what the store keeps, and what it does not.

use super::{images, Ended, Host};
use ocinit::host::image::{tar, Entry, Image};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[test]
fn registry_then_store_alone() {
    let Some(host) = Host::new("fallback") else { return };
    let registry = host.registry();
    images::push(&registry, &host.dir, "payload", images::payload(&host.payload));
    let name = format!("{}/payload:latest", registry.here());
    let run = |words: &[&str]| host.ocinit(&[&["run", "--tls-verify=false", &name], words].concat());
    assert_eq!(run(&["echo", "one"]).out, "one\n");
    drop(registry);
    let ended = run(&["echo", "two"]);
    assert_eq!((ended.code, ended.out.as_str()), (0, "two\n"));
    assert!(ended.err.contains("using the image of an earlier pull"), "{}", ended.err);
}

#[test]
fn nothing_of_a_failed_pull_is_kept() {
    let Some(host) = Host::new("failed") else { return };
    let registry = host.registry();
    // The lower layer is here before: what is still on its way when another
    // layer is refused may or may not come to its end.
    images::push(&registry, &host.dir, "payload", images::payload(&host.payload));
    let lower = format!("{}/payload:latest", registry.here());
    assert_eq!(host.ocinit(&["pull", "--tls-verify=false", &lower]).code, 0);
    let kept = (host.stored("layers"), host.stored("images"));
    let digest = images::push(&registry, &host.dir, "changed", images::marked(&host.payload, "mark"));
    let file = images::layer_file(&registry, &host.dir.join("changed"), &digest);
    let whole = std::fs::read(&file).unwrap();
    let mut spoiled = whole.clone();
    spoiled[700] ^= 1;
    std::fs::write(&file, spoiled).unwrap();
    let name = format!("{}/changed:latest", registry.here());
    let pull = || host.ocinit(&["pull", "--tls-verify=false", &name]);
    let ended = pull();
    assert!(ended.code == 125 && ended.err.contains("layer 2/2"), "{}", ended.err);
    // What is whole stays; the image and the spoiled layer are not there.
    assert_eq!((host.stored("layers"), host.stored("images")), kept);
    assert!(host.stored("tmp").is_empty());
    std::fs::write(&file, whole).unwrap();
    let ended = pull();
    assert_eq!(ended.code, 0);
    assert_eq!((host.stored("layers").len(), host.stored("images").len()), (2, 2));
    assert!(pull().err.contains("all layers are stored already"));
}

/// One file of a tree: all that a container can see of it.
pub fn tree(top: &Path) -> BTreeMap<PathBuf, String> {
    let mut entries = BTreeMap::new();
    let mut pending = vec![top.to_path_buf()];
    while let Some(path) = pending.pop() {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let content =
            if kind.is_file() { ocinit::host::image::sha256(&std::fs::read(&path).unwrap()) } else { String::new() };
        let link = std::fs::read_link(&path).unwrap_or_default();
        let device = if kind.is_char_device() || kind.is_block_device() { meta.rdev() } else { 0 };
        let links = if kind.is_dir() { 0 } else { meta.nlink() };
        let (mode, uid, gid, time) = (meta.mode(), meta.uid(), meta.gid(), meta.mtime());
        let name = path.strip_prefix(top).unwrap().to_path_buf();
        // The top's own time is that of its making.
        let time = if name.as_os_str().is_empty() { 0 } else { time };
        let text = format!("{mode:o} {uid}:{gid} {time} links {links} {device} {} {content}", link.display());
        entries.insert(name, text);
        if kind.is_dir() {
            pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    entries
}

#[test]
fn mounted_tree_is_what_umoci_unpacks() {
    let Some(host) = Host::new("mount") else { return };
    let image = host.layout("layers", images::layers(&host.payload));
    let target = host.dir.join("target");
    std::fs::create_dir(&target).unwrap();
    let place = target.to_string_lossy().into_owned();
    let ended = host.ocinit(&["mount", &image, &place]);
    assert_eq!(ended.code, 0);
    let theirs = host.dir.join("umoci");
    let layout = format!("{}:latest", host.dir.join("layers").display());
    let unpacked =
        Command::new("umoci").args(["raw", "unpack", "--image", &layout]).arg(&theirs).stdout(Stdio::null()).status();
    let mut ours = tree(&target);
    let written = std::fs::write(target.join("new"), "x");
    let umount = Command::new("umount").arg(&target).status().unwrap();
    assert!(umount.success(), "umount ends it");
    assert_eq!(host.mounts(), Vec::<String>::new());
    assert_eq!(written.unwrap_err().raw_os_error(), Some(libc::EROFS));
    match unpacked {
        Ok(status) => assert!(status.success(), "umoci"),
        Err(error) => skip!("umoci: {error} (./dev setup brings it)"),
    }
    let mut theirs = tree(&theirs);
    assert!(ours.len() > 15);
    // No layer describes the root: it is podman's then, not umoci's.
    let root = ours.remove(Path::new("")).unwrap();
    assert_eq!(theirs.remove(Path::new("")).map(|text| text.replacen("40755 ", "40555 ", 1)), Some(root));
    for (path, text) in &theirs {
        assert_eq!(ours.get(path), Some(text), "{}", path.display());
    }
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn a_directory_that_is_not_there_mounts_nothing() {
    let Some(host) = Host::new("nowhere") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let ended = host.ocinit(&["mount", &image, "/nowhere/at/all"]);
    assert!(ended.code == 125 && ended.err.contains("FAIL mount  /nowhere/at/all: "), "{}", ended.err);
    assert_eq!(host.mounts(), Vec::<String>::new());
}

/// Promise: 500-of-any-kind
#[test]
fn a_mount_leaves_no_container_and_takes_any_number_of_layers() {
    let Some(host) = Host::new("numbers") else { return };
    let target = host.dir.join("target");
    std::fs::create_dir(&target).unwrap();
    let place = target.to_string_lossy().into_owned();
    for count in [0, 1, 2, 500] {
        let layer = |n| tar(&[Entry::file(&format!("file-{n}"), 0o644, format!("{n}"))]);
        let image = Image::new((0..count).map(layer).collect(), serde_json::json!({}));
        let name = host.layout(&format!("layers-{count}"), image);
        let ended = host.ocinit(&["mount", &name, &place]);
        let names = std::fs::read_dir(&target).unwrap().count();
        let umount = Command::new("umount").arg(&target).stderr(Stdio::null()).status().unwrap();
        assert!(ended.code == 0 && umount.success(), "{count} layers: {}", ended.err);
        assert_eq!(names, count, "{count} layers");
        assert_eq!(host.left(), Vec::<String>::new(), "{count} layers");
    }
    assert_eq!(host.mounts(), Vec::<String>::new());
}

/// Promise: killed-runs
#[test]
fn what_a_killed_run_leaves_is_collected_by_the_next() {
    let Some(host) = Host::new("killed") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let mut child = host.command(&["run", &image, "trap", "15"]).stdout(Stdio::piped()).spawn().unwrap();
    // Its program runs: what it was started from is nobody's any more.
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "waiting\n");
    // One that runs is nobody else's.
    assert_eq!(host.ocinit(&["run", &image, "exit", "0"]).code, 0);
    assert_eq!(host.stored("containers"), ["0"]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(host.stored("containers"), ["0"]);
    assert_eq!(host.ocinit(&["run", &image, "exit", "0"]).code, 0);
    assert!(host.stored("containers").is_empty() && host.stored("tmp").is_empty());
    assert_eq!(host.mounts(), Vec::<String>::new());
}

#[test]
fn a_volume_may_be_named_from_the_current_directory() {
    let Some(host) = Host::new("relative") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    std::fs::create_dir(host.dir.join("shared")).unwrap();
    let ended = Ended::new(
        &host
            .command(&["run", "-v", "./shared:/w", &image, "write", "/w/a", "kept"])
            .current_dir(&host.dir)
            .output()
            .unwrap(),
    );
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(std::fs::read_to_string(host.dir.join("shared/a")).unwrap(), "kept\n");
}

/// `pull` waits for the disk, unless it is told not to: then the next command does, or `run` while the container runs.
/// Promise: power-cut
#[test]
fn what_is_not_on_the_disk_yet_is_written_down() {
    let Some(host) = Host::new("journal") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let journals = || host.stored("tmp").iter().map(|claim| host.stored(&format!("tmp/{claim}")).len()).sum::<usize>();
    assert_eq!(host.ocinit(&["pull", "--sync=false", &image]).code, 0);
    assert_eq!(journals(), 1);
    assert_eq!(host.ocinit(&["pull", &image]).code, 0);
    assert_eq!(journals(), 0);
    let waited = host.layout("waited", images::marked(&host.payload, "more"));
    assert_eq!(host.ocinit(&["pull", &waited]).code, 0);
    assert_eq!(journals(), 0);
    let other = host.layout("other", images::marked(&host.payload, "mark"));
    assert_eq!(host.ocinit(&["run", &other, "exit", "0"]).code, 0);
    assert_eq!((journals(), host.stored("images").len()), (0, 3));
}

/// As after a power cut: another boot finds the list.
/// Promise: power-cut
#[test]
fn after_a_power_cut_an_unsynced_image_is_fetched_again() {
    let Some(host) = Host::new("cut") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    assert_eq!(host.ocinit(&["pull", "--sync=false", &image]).code, 0);
    let [claim] = host.stored("tmp").try_into().unwrap();
    let [name] = host.stored(&format!("tmp/{claim}")).try_into().unwrap();
    let journal = host.store().join("tmp").join(claim).join(name);
    let text = std::fs::read_to_string(&journal).unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(text.starts_with(&boot), "{text}");
    std::fs::write(&journal, text.replacen(&boot, "11111111-2222-3333-4444-555555555555\n", 1)).unwrap();
    // A layer whose name is there, but not its content.
    let [layer] = host.stored("layers").try_into().unwrap();
    let layer = host.store().join("layers").join(layer);
    std::fs::remove_dir_all(&layer).unwrap();
    std::fs::create_dir(&layer).unwrap();
    let ended = host.ocinit(&["run", &image, "echo", "whole"]);
    assert_eq!((ended.code, ended.out.as_str()), (0, "whole\n"), "{}", ended.err);
}
