//! Comparisons with other implementations: the test vectors of other suites, GNU tar, umoci.

use crate::builder::{Member, Tar};
use crate::stacks::{both, installed};
use crate::world::{ready, tree, World};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Vectors that are accepted although their list refuses them.
/// A PAX header that no member follows ends the archive for Go's reader, and so for podman.
const ACCEPTED: [&str; 1] = ["ts-pax-path-hdr.tar"];

/// What GNU tar makes of an archive, at `dir`; false if it fails.
/// A layer's `security.selinux` is restored neither by podman nor by us.
fn gnu_tar(archive: &Path, dir: &Path) -> bool {
    let mut tar = Command::new("tar");
    tar.args(["--numeric-owner", "--same-owner", "-p", "--xattrs", "--xattrs-include=*"]);
    tar.args(["--xattrs-exclude=security.selinux", "-xf"]);
    tar.arg(archive).arg("-C").arg(dir).output().unwrap().status.success()
}

/// Promise: umoci-tree
#[test]
fn vectors_of_other_suites() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors/tar");
    let Ok(verdicts) = fs::read_to_string(dir.join("verdicts.tsv")) else {
        skip!(tolerated: "no vectors beside the checkout");
    };
    if !ready() || !installed("tar") {
        return;
    }
    let mut wrong = Vec::new();
    let mut compared = 0;
    for (name, verdict) in verdicts.lines().filter_map(|line| line.split_once('\t')) {
        let path = dir.join(name);
        let bytes = match name.ends_with(".bz2") {
            true => Command::new("bzip2").arg("-dc").arg(&path).output().unwrap().stdout,
            false => fs::read(&path).unwrap(),
        };
        let verdict = if ACCEPTED.contains(&name) { "A" } else { verdict };
        let mut world = World::new();
        match (world.unpack(&bytes, &[]), verdict) {
            (Err(error), "A") => wrong.push(format!("{name}: refused: {error}")),
            (Ok(layer), "R") => wrong.push(format!("{name}: accepted: {:?}", layer.paths())),
            (Ok(layer), "A") => {
                let theirs = world.layer();
                if !gnu_tar(&path, &theirs) {
                    println!("not compared: GNU tar fails on {name}");
                    continue;
                }
                let (ours, theirs) = (tree(&layer.dir), tree(&theirs));
                compared += 1;
                wrong.extend(
                    ours.iter().filter(|line| !theirs.contains(line)).map(|line| format!("{name}: ours: {line}")),
                );
                wrong.extend(
                    theirs.iter().filter(|line| !ours.contains(line)).map(|line| format!("{name}: tar:  {line}")),
                );
            }
            _ => {}
        }
    }
    println!("{compared} trees compared");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn compare_with_umoci(layers: &[Vec<u8>]) {
    let (ours, theirs) = both(layers);
    let (mut ours, mut theirs) = (ours.expect("we refuse"), theirs.expect("umoci refuses"));
    ours.remove("");
    theirs.remove("");
    assert_eq!(ours, theirs);
}

/// Promise: umoci-tree
#[test]
fn stacks_like_umoci() {
    if !ready() || !installed("umoci") {
        return;
    }
    let root = Member { mode: 0o755, ..Member::new("./", b'5') };
    let odd = Member { mode: 0o2751, uid: 1000, gid: 1001, mtime: 1_000_000_001, ..Member::new("dir", b'5') };
    let suid = Member { mode: 0o4755, body: b"suid", uid: 5, ..Member::new("dir/suid", b'0') };
    let base =
        Tar::new().add(&root).add(&odd).add(&suid).dir("dir/sub").file("dir/sub/a", b"a").file("dir/sub/b", b"b");
    let base = base.symlink("link", "dir/sub").hardlink("dir/hard", "dir/suid").add(&Member::new("fifo", b'6'));
    let base = base.add(&Member { device: (5, 1), ..Member::new("console", b'3') });
    let base = base.pax(&[("mtime", b"1234567890.123456789"), ("SCHILY.xattr.user.x", b"y")]).file("timed", b"t").end();
    let files = Tar::new().add(&root).add(&odd).file("dir/new", b"n").file("dir/sub/.wh.a", b"").file("timed", b"over");
    let opaque =
        Tar::new().add(&root).add(&odd).dir("dir/sub").file("dir/sub/.wh..wh..opq", b"").file("dir/sub/c", b"c");
    let gone = Tar::new().add(&root).file(".wh.dir", b"").file(".wh.fifo", b"").file("fifo2", b"");
    let replaced = Tar::new().add(&root).file("link", b"now a file").symlink("timed", "link").dir("console");
    let parts = [base, files.end(), opaque.end(), gone.end(), replaced.end()];
    for n in 1..=parts.len() {
        compare_with_umoci(&parts[..n]);
    }
}
