//! Where members of a tar archive are put, and what they may be (docs/inputs.md, "Tar archives: paths and types").

use crate::builder::{Member, Tar};
use crate::generator::{hostile, seeded};
use crate::parsing::{accept, refuse};
use crate::world::{nodes, overlay, ready, xattr, World};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// Promise: layers-stay-inside
/// Input: member-paths
#[test]
fn names_inside_and_out() {
    if !ready() {
        return;
    }
    for name in ["../x", "a/../../x", "..", "../outside/canary", "a/..", "/../x", "./../../etc/canary"] {
        for kind in [b'0', b'2', b'5', b'6'] {
            let tar = Tar::new().add(&Member { link: b"l", ..Member::new(name, kind) });
            refuse(&tar.end(), &format!("{name}: the path leaves the root"));
        }
    }
    for (name, lands) in [
        ("/x", "x"),
        ("//x", "x"),
        ("./x", "x"),
        ("a//b", "a/b"),
        ("..data", "..data"),
        ("...", "..."),
        ("a/./b", "a/b"),
    ] {
        accept(&Tar::new().file(name, b"1").end(), |layer| assert_eq!(layer.read(lands), b"1", "{name}"));
    }
}

/// Promise: layers-stay-inside
/// Input: layer-symlinks
#[test]
fn symlinks_stay_inside() {
    if !ready() {
        return;
    }
    let tar = Tar::new().symlink("link", "/etc/ocinit-test").symlink("up", "../../../..").symlink("void", "no/where");
    let tar = tar.file("link/file", b"ours").file("up/x/canary", b"ours").file("void/f", b"1");
    accept(&tar.end(), |layer| {
        assert_eq!(layer.read("etc/ocinit-test/file"), b"ours");
        assert_eq!(layer.read("x/canary"), b"ours");
        assert_eq!(layer.read("no/where/f"), b"1");
        assert_eq!(fs::read_link(layer.dir.join("up")).unwrap().to_str(), Some("../../../.."));
    });
    let tar = Tar::new().symlink("deep/er/link", "/etc/./x").file("deep/er/link/f", b"1");
    let tar = tar.symlink("deep/up", "er/../../top").file("deep/up/f", b"2").end();
    accept(&tar, |layer| assert_eq!((layer.read("etc/x/f"), layer.read("top/f")), (b"1".to_vec(), b"2".to_vec())));
    let host = World::new();
    let outside = host.top.join("outside");
    let tar = Tar::new().symlink("l", outside.to_str().unwrap()).file("l/canary", b"dead").dir("l/new/");
    accept(&tar.end(), |layer| assert!(layer.meta("l").is_symlink()));
    assert_eq!(fs::read(outside.join("canary")).unwrap(), b"alive");
    assert!(!outside.join("new").exists());
    for target in ["loop", "/loop", "./loop/x"] {
        let tar = Tar::new().symlink("loop", target).file("loop/f", b"");
        refuse(&tar.end(), "loop/f: open: too many levels of symbolic links");
    }
    let chain = |n: u32| {
        let tar = (0..n).fold(Tar::new().dir("0"), |tar, i| tar.symlink(&format!("{}", i + 1), &i.to_string()));
        tar.file(&format!("{n}/f"), b"1").end()
    };
    accept(&chain(40), |layer| assert_eq!(layer.read("0/f"), b"1"));
    refuse(&chain(60), "60/f: open: too many levels of symbolic links");
}

/// Input: root-member
#[test]
fn the_root_is_a_directory() {
    if !ready() {
        return;
    }
    for name in [".", "/", "", "./", "//."] {
        for kind in [b'2', b'6', b'1'] {
            let tar = Tar::new().add(&Member { link: b"x", ..Member::new(name, kind) }).end();
            let shown = if name.is_empty() { "/" } else { name };
            refuse(&tar, &format!("{shown}: the root is not a directory"));
        }
    }
    let root = Member { mode: 0o1711, uid: 7, gid: 8, mtime: 99, ..Member::new("./", b'5') };
    accept(&Tar::new().add(&root).file("f", b"").end(), |layer| {
        let meta = layer.meta(".");
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime()), (0o1711, 7, 8, 99));
    });
}

/// Promise: layers-stay-inside
/// Input: replaced-members
#[test]
fn replacements() {
    if !ready() {
        return;
    }
    refuse(&Tar::new().file("file", b"").file("file/sub", b"").end(), "file/sub: open: not a directory");
    let tar = Tar::new().dir("a").file("a/deep/old", b"").symlink("a", "/outside").file("a", b"file");
    let tar = tar.add(&Member { mode: 0o711, ..Member::new("a", b'5') }).file("a/new", b"new");
    accept(&tar.end(), |layer| {
        assert_eq!(layer.paths(), ["a", "a/new"]);
        assert_eq!(layer.meta("a").mode() & 0o7777, 0o711);
    });
    // Metadata that waits must not reach what a symlink names by then.
    let late = Member { mtime: 5, mode: 0o700, ..Member::new("d/sub", b'5') };
    let tar = Tar::new().dir("real/sub").add(&late).symlink("d", "real").symlink("real/l", "sub");
    accept(&tar.add(&Member { mode: 0o777, mtime: 9, link: b"sub", ..Member::new("real/l", b'2') }).end(), |layer| {
        let meta = layer.meta("real/sub");
        assert_eq!((meta.mtime(), meta.mode() & 0o7777), (1_500_000_000, 0o755));
        assert!(layer.meta("d").is_symlink());
        assert_eq!(layer.meta("real/l").mtime(), 9);
    });
    // A parent that was entered through a symlink, which then goes elsewhere.
    let tar =
        Tar::new().dir("one").dir("two").symlink("s", "one").file("s/a", b"").symlink("s", "two").file("s/b", b"");
    accept(&tar.end(), |layer| assert_eq!(layer.paths(), ["one", "one/a", "s", "two", "two/b"]));
    let tar = Tar::new().dir("a").symlink("a/s", ".").file("a/s/x", b"").file("a/s/s", b"");
    accept(&tar.clone().end(), |layer| assert_eq!(layer.paths(), ["a", "a/s", "a/x"]));
    refuse(&tar.file("a/s/y", b"").end(), "a/s/y: open: not a directory");
}

/// Input: replaced-members
#[test]
fn replaced_directories_keep_nothing() {
    if !ready() {
        return;
    }
    let lower = Tar::new().file("d/below", b"").end();
    let upper = Tar::new().dir("d").file("d", b"").dir("d").file("d/above", b"").end();
    let mut world = World::new();
    let one = world.unpack(&lower, &[]).unwrap().dir;
    let two = world.unpack(&upper, &[&one]).unwrap();
    assert!(two.is_opaque("d"));
    overlay(&world, &[&two.dir, &one], |merged| {
        assert!(merged.join("d/above").exists() && !merged.join("d/below").exists());
    });
}

/// Promise: layers-stay-inside
/// Input: layer-hardlinks
#[test]
fn hardlinks() {
    if !ready() {
        return;
    }
    let file = || Tar::new().file("f", b"1").dir("d");
    for (target, text) in [
        ("../outside/canary", "the path leaves the root"),
        ("h", "the hardlink's target does not exist"),
        ("/etc/passwd", "the hardlink's target does not exist"),
        ("later", "the hardlink's target does not exist"),
        ("d", "a hardlink to a directory"),
        ("/", "a hardlink to a directory"),
        ("f/x", "stat: not a directory"),
    ] {
        let error = World::new().unpack(&file().hardlink("h", target).file("later", b"").end(), &[]);
        let error = error.map(|layer| layer.paths()).unwrap_err();
        assert!(error == format!("h: {text}") || error == "h: open: not a directory", "{target}: {error}");
    }
    refuse(&file().hardlink("./f", "f").end(), "./f: a hardlink to itself");
    refuse(&file().file("d/x", b"").hardlink("d", "d/x").end(), "d: link: no such file or directory");
    // To a symlink, and what is then said of the link's own mode.
    let tar = file().symlink("s", "f").hardlink("h", "s");
    let tar = tar.add(&Member { mode: 0o4777, uid: 9, link: b"s", ..Member::new("h2", b'1') });
    accept(&tar.end(), |layer| {
        assert!(layer.meta("h").is_symlink() && layer.meta("h").ino() == layer.meta("s").ino());
        assert_eq!((layer.meta("f").mode() & 0o7777, layer.meta("f").uid()), (0o644, 0));
        assert_eq!(layer.meta("s").uid(), 0);
    });
    let tar = file().hardlink("no/parent/h", "/f").symlink("l", "/d").hardlink("l/h", "./f").hardlink("again", "l/h");
    accept(&tar.end(), |layer| {
        for name in ["no/parent/h", "d/h", "again"] {
            assert_eq!(layer.meta(name).ino(), layer.meta("f").ino(), "{name}");
        }
    });
    let host = World::new();
    let canary = host.top.join("outside/canary");
    let tar = Tar::new().symlink("l", "../../outside").hardlink("h", "l/canary").end();
    refuse(&tar, "h: the hardlink's target does not exist");
    let tar = Tar::new().hardlink("h", canary.to_str().unwrap()).end();
    refuse(&tar, "h: the hardlink's target does not exist");
}

/// Input: lower-hardlinks
#[test]
fn hardlinks_to_lower_files() {
    if !ready() {
        return;
    }
    let mut world = World::new();
    let tool = Member { body: b"tool", mode: 0o4755, uid: 3, gid: 4, mtime: 77, ..Member::new("usr/bin/tool", b'0') };
    let bottom = Tar::new().add(&Member { mode: 0o710, gid: 5, ..Member::new("usr", b'5') });
    let bottom = bottom
        .pax(&[("SCHILY.xattr.trusted.t", b"v")])
        .add(&tool)
        .symlink("sym", "usr")
        .dir("gone")
        .file("gone/f", b"");
    let bottom = world.unpack(&bottom.end(), &[]).unwrap().dir;
    let middle = world.unpack(&Tar::new().file(".wh.gone", b"").file("mid", b"m").end(), &[&bottom]).unwrap().dir;
    let lowers = [&*middle, &*bottom];
    let tar = Tar::new().hardlink("opt/alias", "usr/bin/tool").hardlink("sym2", "sym").hardlink("mid2", "mid");
    let top = world.unpack(&tar.end(), &lowers).unwrap();
    let meta = top.meta("opt/alias");
    assert_eq!(top.read("opt/alias"), b"tool");
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime()), (0o4755, 3, 4, 77));
    assert_eq!(meta.ino(), top.meta("usr/bin/tool").ino());
    assert_eq!(xattr(&top.dir.join("opt/alias"), "trusted.t").as_deref(), Some(&b"v"[..]));
    assert_eq!((top.meta("usr").mode() & 0o7777, top.meta("usr").gid()), (0o710, 5), "the implied parent");
    assert!(top.meta("sym2").is_symlink() && top.read("mid2") == b"m");
    for (target, text) in [
        ("gone/f", "h: the hardlink's target does not exist"),
        ("gone", "h: the hardlink's target does not exist"),
        ("usr/bin", "h: a hardlink to a directory"),
    ] {
        let error = world.unpack(&Tar::new().hardlink("h", target).end(), &lowers).map(|l| l.paths()).unwrap_err();
        assert_eq!(error, text);
    }
    // Hidden by this layer before, and after.
    let before = Tar::new().file("usr/bin/.wh.tool", b"").hardlink("h", "usr/bin/tool").end();
    assert!(world.unpack(&before, &lowers).is_err());
    let after = Tar::new().hardlink("h", "usr/bin/tool").file("usr/bin/.wh.tool", b"").end();
    let after = world.unpack(&after, &lowers).unwrap();
    assert!(after.read("h") == b"tool" && after.is_whiteout("usr/bin/tool"));
    let after = Tar::new().hardlink("h", "usr/bin/tool").file("usr/.wh..wh..opq", b"").end();
    let after = world.unpack(&after, &lowers).unwrap();
    assert_eq!(after.paths(), ["h", "usr"]);
    // The lower layers are as they were.
    assert_eq!(fs::read(bottom.join("usr/bin/tool")).unwrap(), b"tool");
    assert_eq!(fs::symlink_metadata(bottom.join("usr/bin/tool")).unwrap().nlink(), 1);
}

/// Input: lower-hardlinks
#[test]
fn hardlinks_to_lower_nodes_keep_their_attributes() {
    if !ready() {
        return;
    }
    let mut world = World::new();
    let null = Member { device: (1, 3), ..Member::new("null", b'3') };
    let records: [(&str, &[u8]); 1] = [("SCHILY.xattr.trusted.t", b"v")];
    let lower = Tar::new().pax(&records).add(&null).pax(&records).symlink("sym", "null");
    let lower = world.unpack(&lower.end(), &[]).unwrap().dir;
    let upper = Tar::new().hardlink("null2", "null").hardlink("sym2", "sym").end();
    let upper = world.unpack(&upper, &[&lower]).unwrap();
    for name in ["null", "null2", "sym", "sym2"] {
        assert_eq!(xattr(&upper.dir.join(name), "trusted.t").as_deref(), Some(&b"v"[..]), "{name}");
    }
}

/// Input: lower-hardlinks
#[test]
fn hardlinks_and_marks_through_symlinks_to_lower_directories() {
    if !ready() {
        return;
    }
    let mut world = World::new();
    let lower = Tar::new().file("d/e/f", b"f").file("d/e/g", b"g").file("d/o/h", b"h").end();
    let lower = world.unpack(&lower, &[]).unwrap().dir;
    let upper = Tar::new().symlink("s", "d/./x/../e").hardlink("twin", "s/f").file("s/.wh.g", b"");
    let upper = upper.symlink("t", "/d/o").file("t/.wh..wh..opq", b"").end();
    let upper = world.unpack(&upper, &[&lower]).unwrap();
    assert_eq!(upper.meta("twin").ino(), upper.meta("d/e/f").ino());
    assert!(upper.is_whiteout("d/e/g") && upper.is_opaque("d/o"));
    assert_eq!(upper.paths(), ["d", "d/e", "d/e/f", "d/e/g", "d/o", "s", "t", "twin"]);
}

/// A copy that a mark hides afterwards leaves nothing, its parents included.
/// Input: lower-hardlinks
#[test]
fn hidden_copies_leave_no_directories() {
    if !ready() {
        return;
    }
    let mut world = World::new();
    let lower = world.unpack(&Tar::new().file("d/e/f", b"f").file("d/g", b"g").end(), &[]).unwrap().dir;
    let link = || Tar::new().hardlink("h", "d/e/f");
    let mut shown = |tar: Tar| {
        let upper = world.unpack(&tar.end(), &[&lower]).unwrap().dir;
        overlay(&world, &[&upper, &lower], |merged| nodes(merged).into_keys().collect::<Vec<_>>())
    };
    assert_eq!(shown(link().file(".wh.d", b"")), ["", "h"]);
    assert_eq!(shown(link().file("d/.wh.e", b"")), ["", "d", "d/g", "h"]);
    assert_eq!(shown(link().file("d/.wh..wh..opq", b"")), ["", "d", "h"]);
    assert_eq!(shown(link().file("d/e/.wh.f", b"")), ["", "d", "d/e", "d/g", "h"]);
    assert_eq!(shown(link().file("d/e/n", b"").file(".wh.d", b"")), ["", "d", "d/e", "d/e/n", "h"]);
    assert_eq!(shown(link().dir("d/e").file(".wh.d", b"")), ["", "d", "d/e", "h"]);
}

/// A symlink that was copied up is not followed once it is hidden.
/// Input: lower-hardlinks
#[test]
fn hidden_copies_lead_nowhere() {
    if !ready() {
        return;
    }
    let mut world = World::new();
    let lower = world.unpack(&Tar::new().symlink("s", "else/where").dir("d").symlink("d/s", "/x").end(), &[]);
    let lower = lower.unwrap().dir;
    for (target, mark) in [("s", ".wh.s"), ("s", ".wh..wh..opq"), ("d/s", ".wh.d"), ("d/s", "d/.wh..wh..opq")] {
        let inside = format!("{target}/f");
        let upper = Tar::new().hardlink("h", target).file(mark, b"").file(&inside, b"f").end();
        let upper = world.unpack(&upper, &[&lower]).unwrap();
        assert!(upper.meta("h").is_symlink() && upper.meta(target).is_dir(), "{mark}");
        assert_eq!(upper.read(&inside), b"f", "{mark}");
    }
}

/// Input: duplicate-members
#[test]
fn duplicates() {
    if !ready() {
        return;
    }
    let null = Member { device: (1, 3), ..Member::new("n", b'3') };
    let tar = Tar::new().file("f", b"old").hardlink("h", "f").file("f", b"new").add(&Member::new("p", b'6'));
    let tar = tar.file("p", b"file").add(&null).file("n", b"file").file("x", b"").add(&Member::new("x", b'6'));
    accept(&tar.end(), |layer| {
        assert_eq!((layer.read("f"), layer.read("h")), (b"new".to_vec(), b"old".to_vec()));
        assert_eq!((layer.read("p"), layer.read("n")), (b"file".to_vec(), b"file".to_vec()));
        assert!(layer.meta("x").file_type().is_fifo());
    });
}

/// Input: deep-paths
#[test]
fn depth_and_siblings() {
    if !ready() {
        return;
    }
    let deep = "d/".repeat(10_000);
    let tar = Tar::new().pax(&[("path", deep.as_bytes())]).dir("d").end();
    assert!(World::new().unpack(&tar, &[]).map(|l| l.paths()).unwrap_err().ends_with("a path over 4096 bytes"));
    // As deep as paths go, then replaced by a file: removal must not recurse.
    let deep = "d/".repeat(2000);
    let tar = Tar::new().pax(&[("path", deep.as_bytes())]).dir("d");
    let tar = tar.extension(b'K', deep.as_bytes()).symlink("l", "");
    let further = format!("l/{}", "e/".repeat(500));
    let error = tar.clone().pax(&[("path", further.as_bytes())]).dir("e").end();
    let error = World::new().unpack(&error, &[]).map(|l| l.paths()).unwrap_err();
    assert!(error.starts_with("l/e/") && error.ends_with("file name too long"), "{error}");
    accept(&tar.clone().end(), |layer| assert!(layer.has(&deep)));
    accept(&tar.file("d", b"flat").end(), |layer| assert_eq!(layer.paths(), ["d", "l"]));
    let tar = Tar::new().symlink("s", "../0-evil").file("s/canary", b"dead").end();
    accept(&tar, |layer| assert_eq!(layer.read("0-evil/canary"), b"dead"));
}

/// Neither the directory nor our umask decides what a file is.
/// Input: member-metadata
#[test]
fn files_are_born_as_told() {
    if !ready() {
        return;
    }
    let shared = Member { mode: 0o2777, gid: 50, ..Member::new("d", b'5') };
    let file = |name, mode, uid, gid| Member { mode, uid, gid, ..Member::new(name, b'0') };
    let told = [("d/a", 0o644, 0, 50), ("d/b", 0o666, 0, 0), ("d/c", 0o600, 7, 50), ("d/e", 0o4755, 0, 50)];
    let later = [("f", 0o640, 0, 0), ("g", 0o777, 0, 0), ("d/h", 0o777, 0, 0)];
    let tar = told.iter().fold(Tar::new().add(&shared), |tar, (n, m, u, g)| tar.add(&file(n, *m, *u, *g)));
    let tar = later.iter().fold(tar, |tar, (n, m, u, g)| tar.add(&file(n, *m, *u, *g)));
    accept(&tar.end(), |layer| {
        for (name, mode, uid, gid) in told.iter().chain(&later) {
            let meta = layer.meta(name);
            assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (*mode, *uid, *gid), "{name}");
        }
    });
}

/// Promise: metadata
/// Input: member-metadata, device-nodes
#[test]
fn metadata_arrives() {
    if !ready() {
        return;
    }
    // A version 2 capability: cap_net_raw+ep.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let suid = Member { mode: 0o6755, uid: 12, gid: 34, body: &[b'x'; 5000], ..Member::new("f", b'0') };
    let records: [(&str, &[u8]); 7] = [
        ("SCHILY.xattr.security.capability", &capability),
        ("SCHILY.xattr.security.selinux", b"system_u:object_r:container_file_t:s0\0"),
        ("LIBARCHIVE.xattr.security.selinux", b"eA"),
        ("RHT.security.selinux", b"system_u:object_r:container_file_t:s0\0"),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/outside"),
        ("SCHILY.xattr.user.overlay.metacopy", b""),
    ];
    let dir = Member { mode: 0o2750, gid: 9, mtime: 123, ..Member::new("d", b'5') };
    let tar = Tar::new().pax(&records).add(&suid).pax(&records).add(&dir).file("d/in", b"");
    accept(&tar.end(), |layer| {
        let meta = layer.meta("f");
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o6755, 12, 34));
        assert_eq!((meta.mtime(), layer.meta("d").mtime()), (1_500_000_000, 123));
        assert_eq!((layer.meta("d").mode() & 0o7777, layer.meta("d/in").gid()), (0o2750, 0));
        assert_eq!(xattr(&layer.dir.join("f"), "security.capability").as_deref(), Some(&capability[..]));
        for name in ["trusted.overlay.opaque", "trusted.overlay.redirect", "user.overlay.metacopy", "security.selinux"]
        {
            for path in ["f", "d"] {
                assert_eq!(xattr(&layer.dir.join(path), name), None, "{path} {name}");
            }
        }
        assert!(layer.warnings.is_empty());
    });
    let odd: [(&str, &[u8]); 1] = [("SCHILY.xattr.nonsense.x", b"v")];
    let tar = Tar::new().pax(&odd).file("a", b"").pax(&odd).file("b", b"").pax(&odd).symlink("c", "a");
    accept(&tar.end(), |layer| assert_eq!(layer.warnings.len(), 1));
    for (kind, device, text) in [
        (b'3', (0, 0), "a device 0:0, which would be a whiteout"),
        (b'3', (0x1000, 0), "a device number that Linux does not have"),
        (b'4', (1, 0x10_0000), "a device number that Linux does not have"),
    ] {
        refuse(&Tar::new().add(&Member { device, ..Member::new("n", kind) }).end(), &format!("n: {text}"));
    }
    let negative = Tar::new().spoiled(&Member::new("n", b'3'), |header| header[329..337].fill(0xff));
    refuse(&negative.end(), "n: bad number in the header");
}

/// Whatever comes of them, the canaries live (`World::unpack` looks after each).
/// Promise: layers-stay-inside
#[test]
fn random_members_stay_inside() {
    if !ready() {
        return;
    }
    let mut world = World::new();
    let lower = world.unpack(&Tar::new().file("a/b/c", b"1").symlink("b", "../outside").end(), &[]).unwrap().dir;
    let mut random = seeded(11);
    let accepted = (0..500).filter(|_| world.unpack(&hostile(&mut random), &[&lower]).is_ok()).count();
    assert!((50..450).contains(&accepted), "{accepted} of 500 accepted: too tame or too wild");
}
