//! Second opinions: the vectors of other suites, GNU tar, umoci.

use crate::builder::{Member, Tar};
use crate::world::{describe, overlay, ready, tree, World};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn installed(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("skipped: {tool} is not installed");
    }
    found
}

/// What GNU tar makes of an archive, at `dir`; false if it fails.
fn gnu_tar(archive: &Path, dir: &Path) -> bool {
    let mut tar = Command::new("tar");
    tar.args(["--numeric-owner", "--same-owner", "-p", "--xattrs", "--xattrs-include=*", "-xf"]);
    tar.arg(archive).arg("-C").arg(dir).output().unwrap().status.success()
}

#[test]
fn vectors_of_other_suites() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors/tar");
    let Ok(verdicts) = fs::read_to_string(dir.join("verdicts.tsv")) else {
        println!("skipped: no vectors beside the checkout");
        return;
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

/// Our tree or why there is none, and umoci's.
type Trees = (Result<Vec<String>, String>, Vec<String>);

/// Layers, bottom first, through overlayfs over ours and through umoci; none
/// where umoci refuses them.
fn both(layers: &[Vec<u8>]) -> Option<Trees> {
    let mut world = World::new();
    let work = world.layer();
    let umoci = |args: &[&str]| Command::new("umoci").args(args).current_dir(&work).output().unwrap();
    umoci(&["init", "--layout", "oci"]);
    umoci(&["new", "--image", "oci:x"]);
    for tar in layers {
        fs::write(work.join("layer.tar"), tar).unwrap();
        assert!(umoci(&["raw", "add-layer", "--image", "oci:x", "layer.tar"]).status.success());
    }
    let unpacked = umoci(&["raw", "unpack", "--image", "oci:x", "rootfs"]);
    if !unpacked.status.success() {
        return None;
    }
    let theirs = describe(&work.join("rootfs"), true);
    let mut ours: Vec<PathBuf> = Vec::new();
    for tar in layers {
        let lowers: Vec<&Path> = ours.iter().map(|dir| &**dir).collect();
        match world.unpack(tar, &lowers) {
            Ok(layer) => {
                // overlayfs knows no opaque root: whoever mounts leaves the rest out.
                ours.truncate(if layer.stats.opaque_root { 0 } else { ours.len() });
                ours.insert(0, layer.dir);
            }
            Err(error) => return Some((Err(error), theirs)),
        }
    }
    let dirs: Vec<&Path> = ours.iter().map(|dir| &**dir).collect();
    Some((Ok(overlay(&world, &dirs, |merged| describe(merged, true))), theirs))
}

fn compare_with_umoci(layers: &[Vec<u8>]) {
    let (ours, theirs) = both(layers).expect("umoci refuses");
    assert_eq!(ours.unwrap(), theirs);
}

/// umoci removes what a later mark of the same layer hides, which gives a new
/// time to directories that the layer had described: ours keep theirs.
fn same(ours: &[String], theirs: &[String]) -> bool {
    let without_time = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        [&words[..3], &words[4..]].concat().join(" ")
    };
    ours.len() == theirs.len()
        && ours.iter().zip(theirs).all(|(ours, theirs)| match theirs.contains(" now ") {
            true => without_time(ours) == without_time(theirs),
            false => ours == theirs,
        })
}

#[test]
fn random_stacks_like_umoci() {
    if !ready() || !installed("umoci") {
        return;
    }
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let mut seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1u32);
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) as usize % below
    };
    let mut compared = 0;
    let rounds = std::env::var("ROUNDS").ok().and_then(|s| s.parse().ok()).unwrap_or(30);
    for round in 0..rounds {
        let mut layers = Vec::new();
        let mut told = Vec::new();
        let mut files = vec!["a".to_string()];
        for _ in 0..=random(3) {
            // Marks come first, as the specification recommends: umoci's tree
            // depends on that, ours does not.
            let (mut tar, mut rest) = (Tar::new().dir("./"), Tar::new());
            for _ in 0..=random(8) {
                let path = (0..=random(3)).map(|_| NAMES[random(3)]).collect::<Vec<_>>().join("/");
                let (dir, name) = path.rsplit_once('/').unwrap_or(("", &path));
                let link = files[random(files.len())].clone();
                let (path, kind) = match random(10) {
                    0..=2 => (path.clone(), b'0'),
                    3..=5 => (path.clone(), b'5'),
                    6 => (path.clone(), b'6'),
                    7 => (path.clone(), b'1'),
                    8 => (format!("{dir}/.wh.{name}"), b'0'),
                    _ => (format!("{dir}/.wh..wh..opq"), b'0'),
                };
                let (mode, mtime) = (0o700 + random(0o77) as u32, 1_000_000 + random(1000) as u64);
                let body: &[u8] =
                    if kind == b'0' && !path.contains(".wh.") { &NAMES[random(3)].as_bytes().repeat(9) } else { b"" };
                let link: &[u8] = if kind == b'1' { link.as_bytes() } else { b"" };
                if kind == b'0' && !path.contains(".wh.") {
                    files.push(path.clone());
                }
                told.push(format!("{} {path} {mode:o} {mtime} {}", kind as char, String::from_utf8_lossy(link)));
                let uid = random(5) as u32;
                let member = Member { mode, mtime, body, link, uid, ..Member::new(&path, kind) };
                match path.contains(".wh.") {
                    true => tar = tar.add(&member),
                    false => rest = rest.add(&member),
                }
            }
            told.push("--".into());
            layers.push(tar.raw(&rest.0).end());
        }
        match both(&layers) {
            None => {}
            Some((ours, theirs)) => {
                compared += 1;
                if !ours.as_ref().is_ok_and(|ours| same(ours, &theirs)) {
                    println!("round {round}\n{told:#?}\nours {ours:#?}\numoci {theirs:#?}");
                    panic!("differs");
                }
            }
        }
    }
    println!("{compared} of {rounds} compared");
    assert!(compared * 5 >= rounds, "umoci refused too many");
}

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
