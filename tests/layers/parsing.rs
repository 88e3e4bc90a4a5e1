//! Which bytes of a tar archive are a member, and what of it is refused (docs/inputs.md, "Tar archives: members").

use crate::builder::{number, put, record, seal, Member, Tar, GNU, V7};
use crate::world::{ready, xattr, Layer, World};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

pub fn accept<T>(tar: &[u8], look: impl FnOnce(Layer) -> T) -> T {
    let mut world = World::new();
    look(world.unpack(tar, &[]).unwrap_or_else(|error| panic!("refused: {error}")))
}

pub fn refuse(tar: &[u8], text: &str) {
    match World::new().unpack(tar, &[]) {
        Ok(layer) => panic!("accepted, not '{text}': {:?}", layer.paths()),
        Err(error) => assert_eq!(error, text),
    }
}

/// Promise: disguised-header
/// Input: pax-size
#[test]
fn pax_size_hides_a_fake_header() {
    if !ready() {
        return;
    }
    let mut body = Member::new("fake", b'0').header().to_vec();
    body.resize(2048, b'x');
    let tar = Tar::new().pax(&[("size", b"2048")]).add(&Member { size: Some(0), ..Member::new("real", b'0') });
    accept(&tar.raw(&body).file("after", b"a").end(), |layer| {
        assert_eq!(layer.paths(), ["after", "real"]);
        assert_eq!(layer.read("real"), body);
    });
}

/// Input: pax-next-member
#[test]
fn pax_is_for_the_next_real_member() {
    if !ready() {
        return;
    }
    let name = "n".repeat(120);
    let tar = Tar::new().pax(&[("size", b"3")]).extension(b'L', name.as_bytes());
    let tar = tar.add(&Member { size: Some(0), ..Member::new("short", b'0') }).body(b"abc").file("next", b"12345");
    accept(&tar.end(), |layer| {
        assert_eq!(layer.paths(), ["next", name.as_str()]);
        assert_eq!(layer.read(&name), b"abc");
        assert_eq!(layer.read("next"), b"12345");
    });
}

/// Input: two-long-names
#[test]
fn two_long_names() {
    if !ready() {
        return;
    }
    let both = |pax: &[u8], gnu: &[u8]| Tar::new().pax(&[("path", pax)]).extension(b'L', gnu).file("f", b"").end();
    refuse(&both(b"a", b"b"), "f: pax and gnu headers disagree on the name");
    accept(&both(b"a", b"a"), |layer| assert_eq!(layer.paths(), ["a"]));
}

/// Input: pax-records
#[test]
fn pax_records() {
    if !ready() {
        return;
    }
    for bad in [
        &b"33 path=PAX1/long-path-name\n"[..],
        b"12 path=abc",
        b"12 path=abcd",
        b"7 path=\n",
        b"9 pathabc\n",
        b"x path=abc\n",
        b"6 =ab\n",
        b"99999999999999999999 path=abc\n",
        b"0 path=abc\n",
        b"12 pa\0h=abc\n",
        b"path=abc\n",
        b"\0\0\0",
    ] {
        refuse(&Tar::new().extension(b'x', bad).file("f", b"").end(), "ext: malformed pax record");
    }
    for key in ["path", "linkpath", "GNU.sparse.name"] {
        refuse(&Tar::new().pax(&[(key, b"a\0b")]).file("f", b"").end(), "ext: NUL in a pax name");
    }
    let odd = Tar::new().pax(&[("comment", b"a=b\nc\0"), ("LIBRARY.unknown", b""), ("hdrcharset", b"BINARY")]);
    accept(&odd.file("f", b"1").end(), |layer| assert_eq!(layer.read("f"), b"1"));
}

/// As Go's reader does it, and so podman.
/// Input: pax-at-end
#[test]
fn an_extension_header_without_a_member() {
    if !ready() {
        return;
    }
    let records = record(b"path", b"never");
    let sparse = [record(b"GNU.sparse.major", b"1"), record(b"GNU.sparse.minor", b"0")].concat();
    let sparse = [sparse, record(b"GNU.sparse.realsize", b"9")].concat();
    for (kind, body) in
        [(b'x', &records[..]), (b'x', b""), (b'x', &sparse), (b'g', &records), (b'L', b"n"), (b'K', b"n")]
    {
        for tar in [Tar::new().file("f", b"1"), Tar::new()] {
            let expected: Vec<&str> = if tar.0.is_empty() { vec![] } else { vec!["f"] };
            let last = tar.clone().extension(kind, body);
            accept(&last.clone().end(), |layer| assert_eq!(layer.paths(), expected));
            accept(&last.0, |layer| assert_eq!(layer.paths(), expected));
            accept(&last.clone().raw(&[0; 512]).0, |layer| assert_eq!(layer.paths(), expected));
            // Several, and bytes after the end.
            let more = last.pax(&[("size", b"7")]).extension(b'L', b"other").end();
            accept(&[&more[..], b"anything"].concat(), |layer| assert_eq!(layer.paths(), expected));
        }
    }
    // It is held against the same rules, and changes no member after the end.
    refuse(&Tar::new().extension(b'x', b"12 path=abc").end(), "ext: malformed pax record");
    refuse(&Tar::new().pax(&[("path", b"a")]).raw(&[0; 512]).file("f", b"").end(), "f: a member after an end block");
    refuse(&Tar::new().pax(&[("path", b"long enough")]).0[..520], "ext: the archive is truncated");
    refuse(
        &(0..17).fold(Tar::new(), |tar, _| tar.extension(b'L', b"n")).end(),
        "ext: more than 16 extended headers in a row",
    );
}

/// Promise: broken-tar
/// Input: archive-end
#[test]
fn ends_of_archives() {
    if !ready() {
        return;
    }
    let whole = Tar::new().file("a", &[b'x'; 700]).file("b", b"y");
    for end in (1..whole.0.len()).filter(|end| end % 512 < 2 || end % 37 == 0) {
        let result = World::new().unpack(&whole.0[..end], &[]);
        // From a body's end to the next header there is padding, which may be missing at an archive's end.
        let complete = (512 + 700..=512 + 1024).contains(&end) || end > 1536 + 512;
        match result {
            Ok(_) => assert!(complete, "cut at {end}"),
            Err(error) => assert!(error.ends_with(": the archive is truncated") && !complete, "cut at {end}: {error}"),
        }
    }
    accept(&whole.0, |layer| assert_eq!(layer.paths(), ["a", "b"]));
    accept(&whole.clone().raw(&[0; 512]).0, |layer| assert_eq!(layer.paths(), ["a", "b"]));
    refuse(&whole.raw(&[0; 512]).file("c", b"").end(), "c: a member after an end block");
    accept(&[], |layer| assert!(layer.paths().is_empty()));
}

/// Input: header-numbers
#[test]
fn numbers_of_headers() {
    if !ready() {
        return;
    }
    for (at, field) in [
        (124, &b"+2\0"[..]),
        (124, b"-2\0"),
        (124, b"9\0"),
        (124, &[0xff; 12]),
        (124, b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"),
        (124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
        (124, b"\x80\0\0\x01\0\0\0\0\0\0\0\0"),
        (108, b"+42\0"),
        (108, b"-1\0"),
        (108, b"\x80\0\0\x01\0\0\0\0"),
        (116, &[0xff; 8]),
        (100, b"0x1\0"),
        (136, b"now\0"),
    ] {
        let tar = Tar::new().spoiled(&Member::new("f", b'0'), |header| put(header, at, field));
        refuse(&tar.end(), "f: bad number in the header");
    }
    for (key, value) in
        [("size", "+2"), ("size", "-1"), ("size", "1e3"), ("size", "18446744073709551615"), ("uid", "4294967296")]
    {
        let name = if value.starts_with("184") { "f" } else { "ext" };
        let tar = Tar::new().pax(&[(key, value.as_bytes())]).file("f", b"");
        refuse(&tar.end(), &format!("{name}: bad number in the header"));
    }
    let tar = Tar::new().spoiled(&Member::new("f", b'0'), |header| {
        put(header, 108, &number(u64::from(u32::MAX) - 1, 8));
        put(header, 116, b"   777 \0");
    });
    accept(&tar.end(), |layer| assert_eq!((layer.meta("f").uid(), layer.meta("f").gid()), (u32::MAX - 1, 0o777)));
    let all_ones = Member { uid: u32::MAX, ..Member::new("f", b'0') };
    accept(&Tar::new().add(&all_ones).end(), |layer| assert!(layer.has("f")));
}

/// Input: pax-repeated
#[test]
fn repeated_and_global() {
    if !ready() {
        return;
    }
    let tar = Tar::new().pax(&[("path", b"first"), ("path", b"last")]).file("f", b"");
    let global = [record(b"path", b"global"), record(b"size", b"99"), record(b"uid", b"x")].concat();
    let tar = tar.extension(b'g', &global).file("g", b"abc");
    // A global header between a PAX header and its member changes nothing.
    let tar = tar.pax(&[("path", b"named")]).extension(b'g', &global).file("h", b"");
    accept(&tar.end(), |layer| {
        assert_eq!(layer.paths(), ["g", "last", "named"]);
        assert_eq!(layer.read("g"), b"abc");
    });
    let taken_back = Tar::new().pax(&[("path", b"x"), ("path", b"")]).file("f", b"");
    accept(&taken_back.end(), |layer| assert_eq!(layer.paths(), ["f"]));
}

/// Input: member-names
#[test]
fn names_are_bytes() {
    if !ready() {
        return;
    }
    let tar = Tar::new().extension(b'L', b"long\0hidden").file("f", b"");
    let tar = tar.add(&Member { path: b"hi\x80\xff", ..Member::new("", b'0') });
    accept(&tar.end(), |layer| {
        let mut names: Vec<_> = std::fs::read_dir(&layer.dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names.iter().map(|n| n.as_bytes()).collect::<Vec<_>>(), [&b"hi\x80\xff"[..], b"long"]);
    });
    let (fits, long) = ("n".repeat(255), "n".repeat(256));
    accept(&Tar::new().pax(&[("path", fits.as_bytes())]).file("f", b"").end(), |layer| assert!(layer.has(&fits)));
    let tar = Tar::new().pax(&[("path", long.as_bytes())]).file("f", b"").end();
    refuse(&tar, &format!("{long}: a name over 255 bytes"));
    let deep = "d/".repeat(2049);
    let tar = Tar::new().pax(&[("path", deep.as_bytes())]).file("f", b"").end();
    refuse(&tar, &format!("{deep}: a path over 4096 bytes"));
    // The prefix of a ustar header; GNU keeps times in that place.
    let long = Member { path: b"name", ..Member::new("", b'0') };
    let prefixed = |member: &Member<'_>| Tar::new().spoiled(member, |header| put(header, 345, b"prefix")).end();
    accept(&prefixed(&long), |layer| assert!(layer.has("prefix/name")));
    accept(&prefixed(&Member { magic: GNU, ..long }), |layer| assert_eq!(layer.paths(), ["name"]));
}

/// Input: header-limits
#[test]
fn limits_and_checksums() {
    if !ready() {
        return;
    }
    let comment = |bytes: usize| record(b"comment", &vec![b'c'; bytes]);
    let tar = Tar::new().extension(b'x', &comment((1 << 20) - 100)).file("f", b"");
    accept(&tar.end(), |layer| assert!(layer.has("f")));
    let tar = Tar::new().extension(b'x', &comment(1 << 20)).file("f", b"");
    refuse(&tar.end(), "ext: extended header over 1 MiB");
    let long = Member { size: Some(u64::MAX >> 2), ..Member::new("ext", b'L') };
    refuse(&Tar::new().add(&long).end(), "ext: extended header over 1 MiB");
    let row = |n| (0..n).fold(Tar::new(), |tar, _| tar.extension(b'L', b"n")).file("f", b"").end();
    accept(&row(16), |layer| assert_eq!(layer.paths(), ["n"]));
    refuse(&row(17), "ext: more than 16 extended headers in a row");
    let mut bad = Member::new("f", b'0').header();
    bad[0] = b'g';
    refuse(&Tar::new().raw(&bad).end(), "g: bad header checksum");
    // v7, and the sum of signed bytes.
    let old = Member { magic: V7, kind: 0, path: b"caf\xe9", ..Member::new("", b'0') };
    let mut header = old.header();
    seal(&mut header);
    let signed: i32 =
        header.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { i32::from(*b as i8) }).sum();
    put(&mut header, 148, format!("{signed:06o}\0 ").as_bytes());
    accept(&Tar::new().raw(&header).end(), |layer| assert_eq!(layer.paths().len(), 1));
}

/// Input: member-types
#[test]
fn member_types() {
    if !ready() {
        return;
    }
    let tar = Tar::new()
        .add(&Member { body: b"0", ..Member::new("zero", 0) })
        .add(&Member { body: b"7", ..Member::new("seven", b'7') })
        .add(&Member { mode: 0o700, ..Member::new("dir/", b'0') })
        .add(&Member { link: b"zero", body: &[b'x'; 600], ..Member::new("link", b'1') })
        .add(&Member { mode: 0o600, ..Member::new("fifo", b'6') })
        .add(&Member { device: (1, 3), mode: 0o666, ..Member::new("null", b'3') })
        .add(&Member { device: (8, 0), mode: 0o660, ..Member::new("sda", b'4') })
        .file("after", b"a");
    accept(&tar.end(), |layer| {
        assert_eq!(layer.paths(), ["after", "dir", "fifo", "link", "null", "sda", "seven", "zero"]);
        assert_eq!(
            (layer.read("zero"), layer.read("seven"), layer.read("link")),
            (b"0".into(), b"7".into(), b"0".into())
        );
        assert!(layer.meta("dir").is_dir() && layer.meta("fifo").file_type().is_fifo());
        assert!(layer.meta("null").file_type().is_char_device() && layer.meta("sda").file_type().is_block_device());
        assert_eq!((layer.meta("null").rdev(), layer.meta("sda").rdev()), (0x103, 0x800));
    });
    for kind in [b'D', b'M', b'V', b'9', b'A', b'N', b'X', 0xff] {
        refuse(&Tar::new().add(&Member::new("f", kind)).end(), "f: unknown member type");
    }
}

/// Old writers put a size there and no body, new ones give a hardlink its content once more. Go's reader takes all
/// without a body, GNU tar with one.
/// Input: needless-sizes
#[test]
fn sizes_of_what_has_no_content() {
    if !ready() {
        return;
    }
    let with = |kind: u8, size: u64, body: &[u8]| {
        let member = Member { link: b"first", device: (1, 3), size: Some(size), ..Member::new("it", kind) };
        Tar::new().file("first", b"1").add(&member).body(body)
    };
    for kind in [b'1', b'5', b'2', b'6', b'3', b'4'] {
        for size in [1, 511, 512, 513, 1501, 4096] {
            let (ones, zeros) = (vec![b'x'; size as usize], vec![0; size as usize]);
            let mixed = [&zeros[1..], b"x"].concat();
            for body in [&b""[..], &ones, &zeros, &mixed] {
                // A body of zeros has no end before its size; an archive that ends there has none.
                let tar = with(kind, size, body);
                accept(&tar.clone().file("after", b"2").end(), |layer| {
                    assert_eq!(layer.paths(), ["after", "first", "it"], "{} {size}", kind as char);
                    assert_eq!((layer.read("first"), layer.read("after")), (b"1".into(), b"2".into()));
                });
                for last in [tar.clone().end(), tar.clone().raw(&[0; 9216]).0, tar.0] {
                    accept(&last, |layer| assert_eq!(layer.paths(), ["first", "it"], "{} {size}", kind as char));
                }
            }
            let cut = with(kind, size, &ones).0;
            if size > 512 {
                refuse(&cut[..cut.len() - 512 - 511], "it: the archive is truncated");
            }
        }
        // What follows has a header's checksum: it is the next member, whatever the size says.
        let large = with(kind, 1 << 40, b"").file("after", b"2").end();
        accept(&large, |layer| assert_eq!(layer.paths(), ["after", "first", "it"]));
        refuse(&with(kind, 1 << 40, b"x").file("after", b"2").end(), "it: the archive is truncated");
        // A body that is neither zeros nor whole.
        refuse(&with(kind, 4096, &[vec![0; 1024], b"x".to_vec()].concat()).0, "it: the archive is truncated");
    }
    // In a PAX record, as star and libarchive write it for the second name of a file.
    let member = Member { link: b"first", size: Some(0), ..Member::new("it", b'1') };
    let pax = |body: &[u8]| Tar::new().file("first", b"1").pax(&[("size", b"3")]).add(&member).body(body);
    for body in [&b""[..], b"abc"] {
        accept(&pax(body).file("after", b"2").end(), |layer| {
            assert_eq!((layer.paths().join(" "), layer.read("it")), ("after first it".into(), b"1".into()));
        });
    }
}

/// A member that GNU tar would make sparse, in each of the four forms.
fn sparse(form: &str, real_size: u64, map: &[(u64, u64)]) -> Vec<u8> {
    let data = vec![b'd'; map.iter().map(|(_, n)| *n as usize).sum()];
    let member = Member { body: &data, ..Member::new("f", b'0') };
    Tar::new().sparse(form, &member, real_size, map, &[]).file("after", b"a").end()
}

const FORMS: [&str; 4] = ["old", "0.0", "0.1", "1.0"];

/// Input: sparse-files
#[test]
fn sparse_files() {
    if !ready() {
        return;
    }
    let many: Vec<_> = (0..60).map(|i| (i * 8192, 100)).collect();
    for form in FORMS {
        accept(&sparse(form, 500_000, &many), |layer| {
            let mut expected = vec![0; 500_000];
            many.iter().for_each(|(at, n)| expected[*at as usize..(at + n) as usize].fill(b'd'));
            assert!(layer.read("f") == expected, "{form}");
            assert_eq!(layer.paths(), ["after", "f"], "{form}");
        });
        accept(&sparse(form, 10 << 30, &[(0, 0), (5 << 30, 512), (10 << 30, 0)]), |layer| {
            let meta = layer.meta("f");
            assert_eq!(meta.len(), 10 << 30, "{form}");
            assert!(meta.blocks() * 512 < 1 << 20, "{form}: {} blocks", meta.blocks());
        });
        accept(&sparse(form, 4096, &[]), |layer| assert_eq!(layer.read("f"), [0; 4096], "{form}"));
    }
}

/// Input: sparse-maps
#[test]
fn bad_sparse_maps() {
    if !ready() {
        return;
    }
    for form in FORMS {
        for bad in
            [&[(4096, 10), (0, 10)][..], &[(0, 10), (5, 10)], &[(0, 10), (9990, 11)], &[(20_000, 0)], &[(0, 10_001)]]
        {
            let error = World::new().unpack(&sparse(form, 10_000, bad), &[]).map(|l| l.paths()).unwrap_err();
            assert!(error.ends_with("f: bad sparse map"), "{form} {bad:?}: {error}");
        }
    }
    let records = |list: &[(&str, &[u8])]| Tar::new().pax(list).file("f", b"12345").end();
    for (records, text) in [
        (records(&[("GNU.sparse.map", b"0,5")]), "ext: bad sparse map"),
        (records(&[("GNU.sparse.size", b"9"), ("GNU.sparse.map", b"0,5,6")]), "ext: bad sparse map"),
        (records(&[("GNU.sparse.size", b"9"), ("GNU.sparse.map", b"0,4")]), "f: bad sparse map"),
        (records(&[("GNU.sparse.size", b"9"), ("GNU.sparse.map", b"0,x")]), "ext: bad sparse map"),
        (records(&[("GNU.sparse.major", b"2"), ("GNU.sparse.minor", b"0")]), "ext: unknown sparse format"),
        (
            records(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")]),
            "f: bad sparse map",
        ),
    ] {
        refuse(&records, text);
    }
    // A map that promises more than the body, or than memory, holds.
    let endless =
        Tar::new().pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")]);
    refuse(&endless.clone().file("f", &[b'1'; 512]).end(), "f: bad sparse map");
    refuse(&endless.clone().file("f", b"9999999\n").end(), "f: bad sparse map");
    let unfinished = [b"2\n0\n1\n".to_vec(), vec![b'0'; 506]].concat();
    refuse(&endless.file("f", &unfinished).end(), "f: bad sparse map");
}

/// Input: times
#[test]
fn times_and_ends() {
    if !ready() {
        return;
    }
    let timed = |value: &str| Tar::new().pax(&[("mtime", value.as_bytes())]).file("f", b"").dir("d").end();
    for (value, seconds, nanoseconds) in [("-1.5", -2, 500_000_000), ("1.123456789", 1, 123_456_789), ("-3", -3, 0)] {
        accept(&timed(value), |layer| {
            assert_eq!((layer.meta("f").mtime(), layer.meta("f").mtime_nsec()), (seconds, nanoseconds));
            assert_eq!(layer.meta("d").mtime(), 1_500_000_000);
        });
    }
    for value in ["99999999999999999999", "-99999999999999999999.5", "9223372036854775807.999999999"] {
        accept(&timed(value), |layer| assert!(layer.has("f")));
    }
    let old = Tar::new().spoiled(&Member::new("f", b'0'), |header| put(header, 136, &[0xff; 12]));
    accept(&old.end(), |layer| assert_eq!(layer.meta("f").mtime(), -1));
    let after = [Tar::new().file("f", b"").end(), b"anything at all".to_vec()].concat();
    accept(&after, |layer| assert_eq!(layer.paths(), ["f"]));
    let longer = Member { size: Some(1 << 40), ..Member::new("f", b'0') };
    let error = World::new().unpack(&Tar::new().add(&longer).raw(b"few").0, &[]).map(|l| l.paths()).unwrap_err();
    assert!(error == "f: the archive is truncated" || error == "f: write: no space left on device", "{error}");
}

/// Promise: metadata
/// Input: xattr-records
#[test]
fn xattrs_in_both_spellings() {
    if !ready() {
        return;
    }
    let tar = Tar::new().pax(&[
        ("SCHILY.xattr.trusted.a", b"bin\0ary\n"),
        ("LIBARCHIVE.xattr.trusted.b%3d", b"YWJjZA"),
        ("LIBARCHIVE.xattr.trusted.a", b"YmluAGFyeQo="),
    ]);
    accept(&tar.file("f", b"").end(), |layer| {
        assert_eq!(xattr(&layer.dir.join("f"), "trusted.a").as_deref(), Some(&b"bin\0ary\n"[..]));
        assert_eq!(xattr(&layer.dir.join("f"), "trusted.b=").as_deref(), Some(&b"abcd"[..]));
    });
    let many: Vec<u8> = (0..1025).flat_map(|i| record(format!("SCHILY.xattr.user.{i}").as_bytes(), b"")).collect();
    refuse(&Tar::new().extension(b'x', &many).file("f", b"").end(), "ext: more than 1024 extended attributes");
    for (key, value) in [
        ("LIBARCHIVE.xattr.trusted.a%00b", &b"YQ"[..]),
        ("LIBARCHIVE.xattr.trusted.a", b"Y*"),
        ("LIBARCHIVE.xattr.", b"YQ"),
        ("SCHILY.xattr.", b"v"),
    ] {
        refuse(&Tar::new().pax(&[(key, value)]).file("f", b"").end(), "ext: malformed pax record");
    }
}
