//! What a layer hides of the layers below it, and what it takes from them (docs/inputs.md, "Whiteouts and stacks").

use crate::builder::{Member, Tar};
use crate::parsing::{accept, refuse};
use crate::world::{overlay, ready, tree, Layer, World};
use std::os::unix::fs::MetadataExt;

/// Input: whiteout-names
#[test]
fn marks_of_nothing() {
    if !ready() {
        return;
    }
    for name in [".wh.", ".wh..", ".wh...", "d/.wh."] {
        refuse(&Tar::new().file(name, b"").end(), &format!("{name}: a whiteout of nothing"));
    }
    for name in [".wh.x", "a/.wh.x", ".wh..wh..opq"] {
        refuse(&Tar::new().dir(name).end(), &format!("{name}: a directory with a whiteout's name"));
        let inside = format!("{name}/f");
        refuse(&Tar::new().file(&inside, b"").end(), &format!("{inside}: a directory with a whiteout's name"));
    }
    let tar = Tar::new().file(".wh.x", b"body").dir(".wh..wh.plnk").file(".wh..wh.plnk/1.2", b"x");
    let tar = tar.file(".wh..wh.aufs", b"").hardlink("a/.wh..wh.z", ".wh..wh.plnk/1.2").file("f", b"");
    accept(&tar.end(), |layer| assert_eq!(layer.paths(), ["f"]));
}

/// A lower layer with something everywhere, and one more on top of it.
fn stack(upper: Tar) -> (World, Layer, Layer) {
    let d = Member { mode: 0o2711, uid: 5, gid: 6, mtime: 44, ..Member::new("d", b'5') };
    let sub = Member { mode: 0o700, uid: 7, ..Member::new("d/sub", b'5') };
    let lower = Tar::new().add(&d).add(&sub).file("d/sub/low", b"").file("d/old", b"").file("x", b"").file("y", b"");
    let mut world = World::new();
    let lower = world.unpack(&lower.end(), &[]).unwrap();
    let upper = world.unpack(&upper.end(), &[&lower.dir]).unwrap();
    (world, upper, lower)
}

fn merged(upper: Tar) -> Vec<String> {
    let (world, upper, lower) = stack(upper);
    overlay(&world, &[&upper.dir, &lower.dir], tree)
}

fn names(lines: &[String]) -> Vec<&str> {
    lines.iter().filter_map(|line| line.split(' ').next()).collect()
}

/// Promise: whiteouts
/// Input: opaque-anywhere
#[test]
fn opaque_wherever_it_stands() {
    if !ready() {
        return;
    }
    let opaque = ("d/.wh..wh..opq", &b""[..]);
    let members = [("d/new", &b"1"[..]), ("d/sub/high", b"2")];
    let add = |tar: Tar, members: &[(&str, &[u8])]| members.iter().fold(tar, |tar, (name, body)| tar.file(name, body));
    let d = Member { mode: 0o750, mtime: 99, ..Member::new("d", b'5') };
    for start in [Tar::new(), Tar::new().add(&d)] {
        let first = merged(add(start.clone(), &[opaque, members[0], members[1]]));
        assert_eq!(names(&first), ["d", "d/new", "d/sub", "d/sub/high", "x", "y"]);
        assert_eq!(merged(add(start.clone(), &[members[0], opaque, members[1]])), first);
        assert_eq!(merged(add(start, &[members[0], members[1], opaque])), first);
    }
    // Without an entry of its own the directory has the attributes that it has below.
    let (_world, upper, _) = stack(Tar::new().file("d/.wh..wh..opq", b""));
    let meta = upper.meta("d");
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime()), (0o2711, 5, 6, 44));
    assert!(upper.is_opaque("d"));
    let (_world, upper, _) = stack(Tar::new().dir("d/sub").file("d/sub/.wh..wh..opq", b"").file("d/.wh..wh..opq", b""));
    assert!(upper.is_opaque("d") && upper.is_opaque("d/sub"));
    // What an opaque directory hides gives its attributes to nothing.
    for order in [["d/sub/f", "d/.wh..wh..opq"], ["d/.wh..wh..opq", "d/sub/f"]] {
        let (_world, upper, _) = stack(order.iter().fold(Tar::new(), |tar, name| tar.file(name, b"")));
        assert_eq!((upper.meta("d/sub").mode() & 0o7777, upper.meta("d/sub").uid()), (0o755, 0));
        assert_eq!((upper.meta("d").mode() & 0o7777, upper.meta("d").uid()), (0o2711, 5));
    }
    let (_world, upper, _) = stack(Tar::new().file(".wh..wh..opq", b"").file("new", b""));
    assert!(upper.is_opaque("."));
}

/// Input: opaque-anywhere
#[test]
fn whiteouts_in_an_opaque_directory_leave_no_ghosts() {
    if !ready() {
        return;
    }
    for order in [["d/.wh.old", "d/.wh..wh..opq"], ["d/.wh..wh..opq", "d/.wh.old"]] {
        let tar =
            order.iter().fold(Tar::new().dir("d/sub").file("d/sub/.wh.low", b""), |tar, name| tar.file(name, b""));
        assert_eq!(names(&merged(tar.file("d/new", b""))), ["d", "d/new", "d/sub", "x", "y"]);
    }
    assert_eq!(names(&merged(Tar::new().file("new/.wh.nothing", b""))), ["d", "d/old", "d/sub", "d/sub/low", "x", "y"]);
}

/// Promise: whiteouts
/// Input: whiteouts-hide-lower
#[test]
fn a_whiteout_hides_lower_layers_only() {
    if !ready() {
        return;
    }
    for order in [["d/new", ".wh.d"], [".wh.d", "d/new"]] {
        let (world, upper, lower) = stack(order.iter().fold(Tar::new(), |tar, name| tar.file(name, b"")));
        assert!(upper.is_opaque("d"));
        assert_eq!((upper.meta("d").mode() & 0o7777, upper.meta("d").uid()), (0o755, 0), "a new directory");
        let lines = overlay(&world, &[&upper.dir, &lower.dir], tree);
        assert_eq!(names(&lines), ["d", "d/new", "x", "y"]);
    }
    let (_world, upper, _) =
        stack(Tar::new().file("x", b"ours").file(".wh.x", b"").file(".wh.y", b"").file("y", b"ours"));
    assert_eq!((upper.read("x"), upper.read("y")), (b"ours".to_vec(), b"ours".to_vec()));
    let (world, upper, lower) = stack(Tar::new().file(".wh.x", b"").file("d/.wh.sub", b""));
    assert!(upper.is_whiteout("x") && upper.is_whiteout("d/sub"));
    let lines = overlay(&world, &[&upper.dir, &lower.dir], tree);
    assert_eq!(names(&lines), ["d", "d/old", "y"]);
    assert_eq!(upper.meta("d").mtime(), 44, "the implied parent's time");
}

/// Input: implied-parents
#[test]
fn implied_parents() {
    if !ready() {
        return;
    }
    let (mut world, upper, lower) = stack(Tar::new().file("d/sub/f", b"").file("fresh/f", b""));
    let meta = upper.meta("d/sub");
    assert_eq!((meta.mode() & 0o7777, meta.uid()), (0o700, 7));
    assert_eq!(upper.meta("fresh").mode() & 0o7777, 0o755);
    // Seen through a layer in between, which has a whiteout or another thing there.
    let middle = world.unpack(&Tar::new().file(".wh.d", b"").symlink("s", "d").end(), &[&lower.dir]).unwrap();
    let top = Tar::new().file("d/f", b"").file("s/f", b"").end();
    let top = world.unpack(&top, &[&middle.dir, &lower.dir]).unwrap();
    assert_eq!((top.meta("d").mode() & 0o7777, top.meta("d").uid()), (0o755, 0));
    assert!(top.meta("s").is_dir());
    // The root, which no entry describes.
    let root = Member { mode: 0o1700, uid: 3, mtime: 11, ..Member::new("./", b'5') };
    let lower = world.unpack(&Tar::new().add(&root).end(), &[]).unwrap();
    let upper = world.unpack(&Tar::new().file("f", b"").end(), &[&lower.dir]).unwrap();
    let meta = upper.meta(".");
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.mtime()), (0o1700, 3, 11));
}

/// One by one through all the layers, these marks would take the better part of an hour.
/// Input: many-whiteouts
#[test]
fn many_whiteouts_over_many_layers() {
    if !ready() {
        return;
    }
    let mut world = World::new();
    let d = Member { mode: 0o2711, uid: 5, mtime: 44, ..Member::new("d", b'5') };
    let bottom = world.unpack(&Tar::new().add(&d).dir("d/sub").file("d/sub/n7", b"").end(), &[]).unwrap();
    let small = world.unpack(&Tar::new().file("a/b", b"").file("d/n5", b"").end(), &[&bottom.dir]).unwrap();
    let marks = |tar: Tar, dir: &str| (0..30_000).fold(tar, |tar, i| tar.file(&format!("{dir}.wh.n{i}"), b""));
    let parents = (0..30_000).fold(Tar::new(), |tar, i| tar.file(&format!("p{i}/.wh.x"), b""));
    let tar = ["", "d/", "d/sub/"].iter().fold(parents, |tar, dir| marks(tar, dir));
    let mut lowers = vec![&*small.dir; 498];
    lowers.push(&bottom.dir);
    let upper = world.unpack(&tar.end(), &lowers).unwrap();
    assert_eq!(upper.paths(), ["d", "d/n5", "d/sub", "d/sub/n7"]);
    assert!(upper.is_whiteout("d/n5") && upper.is_whiteout("d/sub/n7"));
    assert_eq!((upper.meta("d").mode() & 0o7777, upper.meta("d").uid(), upper.meta("d").mtime()), (0o2711, 5, 44));
}
