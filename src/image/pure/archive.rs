//! Image archives: finds the offset of each file in the tar, so that blobs can be read in any order and by several
//! threads, and picks the image that a reference selects.
//!
//! The names in the archive are keys, and never paths on a disk.

use crate::layer::pure::tar::{self, Event, Kind, Parser};

/// The most members of an archive: 500 layers as docker once wrote them take 2000.
pub const MEMBERS_MAX: usize = 4096;
/// The most bytes that the members' names and links' targets take together.
pub const NAMES_BYTES_MAX: usize = 1 << 20;
/// The most links from one link to the next.
pub const LINKS_MAX: usize = 8;
/// How many names an error lists, and how many characters of each.
const LISTED_MAX: usize = 10;
const LISTED_CHARS: usize = 80;

/// A file's bytes in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    pub at: u64,
    pub size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    Tar(tar::Error),
    NotATar,
    TooMany,
    Outside,
    Missing,
    Links,
    Sparse,
}

impl Error {
    pub fn text(self) -> &'static str {
        match self {
            Error::Tar(error) => error.text(),
            Error::NotATar => "is not a tar archive",
            Error::TooMany => "more than 4096 members or 1 MiB of names, which no image needs",
            Error::Outside => "a name that leads out of the archive",
            Error::Missing => "is not in the archive",
            Error::Links => "more than 8 links to links",
            Error::Sparse => "is stored with holes: make the archive without tar's --sparse",
        }
    }
}

enum Content {
    File(Body),
    Sparse,
    /// The target's name from the archive's root.
    Link(Vec<u8>),
}

/// A pass over the tar that skips the bytes of files.
pub struct Scan {
    parser: Parser,
    at: u64,
    count: usize,
    names_bytes: usize,
    members: Vec<(Vec<u8>, Content)>,
}

/// The files of an archive that was read to its end.
pub struct Index {
    members: Vec<(Vec<u8>, Content)>,
}

impl Default for Scan {
    fn default() -> Scan {
        Scan::new()
    }
}

impl Scan {
    pub fn new() -> Scan {
        Scan { parser: Parser::new(), at: 0, count: 0, names_bytes: 0, members: Vec::new() }
    }

    /// The offset in the archive of the bytes that [`Scan::push`] needs next.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The name of the member being read, as far as it is known, for messages.
    pub fn name(&self) -> &[u8] {
        self.parser.name()
    }

    /// Takes bytes of the archive from [`Scan::at`] on.
    pub fn push(&mut self, mut input: &[u8]) -> Result<(), Error> {
        loop {
            let before = input.len();
            let event = self.parser.next(&mut input).map_err(|error| match error {
                tar::Error::Checksum | tar::Error::Truncated if self.count == 0 => Error::NotATar,
                error => Error::Tar(error),
            })?;
            self.at += (before - input.len()) as u64;
            match event {
                None => return Ok(()),
                Some(Event::Entry(entry)) => {
                    let at = self.at;
                    let left_out = self.parser.leave_out();
                    self.at = at.saturating_add(left_out);
                    input = usize::try_from(left_out).ok().and_then(|n| input.get(n..)).unwrap_or_default();
                    self.member(entry, Body { at, size: left_out })?;
                }
                // Data of sparse files, which are refused when they are looked up.
                Some(Event::Data { .. } | Event::End) => {}
            }
        }
    }

    fn member(&mut self, entry: tar::Entry, body: Body) -> Result<(), Error> {
        self.count += 1;
        self.names_bytes += entry.path.len() + entry.link.len();
        if self.count > MEMBERS_MAX || self.names_bytes > NAMES_BYTES_MAX {
            return Err(Error::TooMany);
        }
        let name = normal(&entry.path, b"")?;
        let content = match entry.kind {
            Kind::File if body.size == entry.size => Content::File(body),
            Kind::File => Content::Sparse,
            // docker wrote symlinks for layers that it had written before.
            Kind::Symlink => Content::Link(normal(&entry.link, &name)?),
            // A hardlink refers to what its target is now, even if a later member replaces that.
            Kind::Hardlink => Content::File(find(&self.members, normal(&entry.link, b"")?)?),
            _ => return Ok(()),
        };
        self.members.push((name, content));
        Ok(())
    }

    /// Ends the pass over an archive of `length` bytes.
    pub fn finish(self, length: u64) -> Result<Index, Error> {
        if self.at > length {
            return Err(Error::Tar(tar::Error::Truncated));
        }
        self.parser.finish().map_err(|error| if self.count == 0 { Error::NotATar } else { Error::Tar(error) })?;
        Ok(Index { members: self.members })
    }
}

impl Index {
    /// The bytes of a file; links are followed.
    pub fn find(&self, name: &[u8]) -> Result<Body, Error> {
        find(&self.members, normal(name, b"")?)
    }
}

/// The bytes of a file; of members with the same name, the last one counts.
fn find(members: &[(Vec<u8>, Content)], mut name: Vec<u8>) -> Result<Body, Error> {
    for _ in 0..=LINKS_MAX {
        match members.iter().rev().find(|(known, _)| *known == name) {
            None => return Err(Error::Missing),
            Some((_, Content::File(body))) => return Ok(*body),
            Some((_, Content::Sparse)) => return Err(Error::Sparse),
            Some((_, Content::Link(target))) => name.clone_from(target),
        }
    }
    Err(Error::Links)
}

/// A name from the archive's root, without `.`, `..` and empty parts. One that does not begin with a slash is relative
/// to the directory of `from`.
fn normal(name: &[u8], from: &[u8]) -> Result<Vec<u8>, Error> {
    let mut parts: Vec<&[u8]> = Vec::new();
    if !name.starts_with(b"/") {
        parts = from.split(|b| *b == b'/').collect();
        parts.pop();
    }
    for part in name.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop().ok_or(Error::Outside)?),
            part => parts.push(part),
        }
    }
    Ok(parts.join(&b'/'))
}

/// The index of the image that is `wanted`, where `all` has the names of each: by one of its names, by `@N`, or because
/// there is no other image. The error lists the names.
pub fn pick(all: &[Vec<String>], wanted: Option<&str>) -> Result<usize, String> {
    let found = match wanted.map(|wanted| (wanted, wanted.strip_prefix('@'))) {
        None if all.len() == 1 => Some(0),
        None => None,
        Some((_, Some(number))) => number.parse().ok().filter(|number| *number < all.len()),
        Some((wanted, None)) => all.iter().position(|names| names.iter().any(|name| name == wanted)),
    };
    match (found, wanted) {
        (Some(found), _) => Ok(found),
        (None, _) if all.is_empty() => Err("contains no image".into()),
        (None, None) => Err(["holds several images: add one of ", &listed(all)].concat()),
        (None, Some(wanted)) => Err(["holds no image ", wanted, ", but ", &listed(all)].concat()),
    }
}

/// The names as `:v1, :v2, :@2`, bounded since the archive may be hostile.
fn listed(all: &[Vec<String>]) -> String {
    let number = |index: usize| ["@", &index.to_string()].concat();
    let mut names = all.iter().enumerate().flat_map(|(index, names)| match names.as_slice() {
        [] => vec![number(index)],
        names => names.to_vec(),
    });
    let mut text = String::new();
    for name in names.by_ref().take(LISTED_MAX) {
        let separator = if text.is_empty() { ":" } else { ", :" };
        text.push_str(separator);
        text.extend(name.chars().take(LISTED_CHARS));
    }
    if names.next().is_some() {
        text.push_str(", ...");
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A member as ustar has it.
    pub(crate) fn member(name: &str, kind: u8, link: &str, body: &[u8]) -> Vec<u8> {
        let mut block = [0; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..135].copy_from_slice(format!("{:011o}", body.len()).as_bytes());
        block[148..156].fill(b' ');
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        block[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let mut out = [&block, body].concat();
        out.resize(out.len().next_multiple_of(512), 0);
        out
    }

    fn file(name: &str, body: &[u8]) -> Vec<u8> {
        member(name, b'0', "", body)
    }

    /// One PAX record, whose length counts itself.
    fn pax(key: &str, value: &str) -> Vec<u8> {
        let length = (1..9999).find(|n| format!("{n} {key}={value}\n").len() == *n).unwrap();
        member("pax", b'x', "", format!("{length} {key}={value}\n").as_bytes())
    }

    /// Scans with reads of `step` bytes; what was read beside that.
    fn scan(tar: &[u8], step: usize) -> Result<(Index, usize), Error> {
        let mut scan = Scan::new();
        let mut read = 0;
        while let Some(rest) = usize::try_from(scan.at()).ok().and_then(|at| tar.get(at..)).filter(|r| !r.is_empty()) {
            let chunk = &rest[..rest.len().min(step)];
            read += chunk.len();
            scan.push(chunk)?;
        }
        Ok((scan.finish(tar.len() as u64)?, read))
    }

    #[track_caller]
    fn index(members: &[Vec<u8>]) -> (Vec<u8>, Index) {
        let tar = [&members.concat()[..], &[0; 1024]].concat();
        let index = scan(&tar, 700).unwrap().0;
        (tar, index)
    }

    #[track_caller]
    fn holds(tar: &[u8], index: &Index, name: &[u8], body: &[u8]) {
        let found = index.find(name).unwrap();
        assert_eq!(&tar[found.at as usize..][..found.size as usize], body);
    }

    #[track_caller]
    fn refused(members: &[Vec<u8>], error: Error) {
        for step in [1, 512, 1 << 20] {
            assert_eq!(scan(&members.concat(), step).err(), Some(error), "{step}");
        }
    }

    #[test]
    fn files_are_found_and_not_read() {
        let big = vec![7; 1 << 20];
        let members = [
            member("./", b'5', "", b""),
            file("./a", b"one"),
            file("/b//c", &big),
            file("empty", b""),
            file("d", b"x"),
        ];
        let tar = members.concat();
        for step in [1, 511, 512, 513, 8192] {
            let (index, read) = scan(&tar, step).unwrap();
            holds(&tar, &index, b"a", b"one");
            holds(&tar, &index, b"./b/c", &big);
            holds(&tar, &index, b"empty", b"");
            holds(&tar, &index, b"d", b"x");
            assert!(read < 4 * 8192 + 4096, "{read} bytes were read in steps of {step}");
            assert_eq!(index.find(b"e").err(), Some(Error::Missing));
        }
    }

    #[test]
    fn long_names_and_sizes_of_gnu_and_pax() {
        let long = "n".repeat(300);
        let other = "o/".repeat(200) + "x";
        let (tar, index) = index(&[
            member("././@LongLink", b'L', "", [&long, "\0"].concat().as_bytes()),
            file("nnn", b"gnu"),
            pax("path", &other),
            file("ooo", b"pax"),
            pax("size", "3"),
            // The header says 0, and its body would be taken for the next one.
            [member("sized", b'0', "", b""), [&b"abc"[..], &[0; 509]].concat()].concat(),
            file("last", b"last"),
        ]);
        holds(&tar, &index, long.as_bytes(), b"gnu");
        holds(&tar, &index, other.as_bytes(), b"pax");
        holds(&tar, &index, b"sized", b"abc");
        holds(&tar, &index, b"last", b"last");
    }

    /// Input: archive-names
    #[test]
    fn the_last_of_a_name_counts_and_hardlinks_keep_theirs() {
        let (tar, index) = index(&[file("a", b"first"), member("hard", b'1', "./a", b""), file("./a", b"second")]);
        holds(&tar, &index, b"a", b"second");
        holds(&tar, &index, b"hard", b"first");
        refused(&[member("hard", b'1', "later", b""), file("later", b"")], Error::Missing);
    }

    #[test]
    fn links_as_docker_wrote_them() {
        let (tar, index) = index(&[
            member("one/layer.tar", b'2', "../two/layer.tar", b""),
            file("two/layer.tar", b"layer"),
            member("top", b'2', "/one/layer.tar", b""),
            member("loop", b'2', "pool", b""),
            member("pool", b'2', "loop", b""),
            member("nowhere", b'2', "gone", b""),
        ]);
        holds(&tar, &index, b"one/layer.tar", b"layer");
        holds(&tar, &index, b"top", b"layer");
        assert_eq!(index.find(b"loop").err(), Some(Error::Links));
        assert_eq!(index.find(b"nowhere").err(), Some(Error::Missing));
    }

    /// Promise: damaged-archives
    #[test]
    fn names_that_lead_out() {
        refused(&[file("../x", b"")], Error::Outside);
        refused(&[file("a/../../x", b"")], Error::Outside);
        refused(&[member("a/b", b'2', "../../x", b"")], Error::Outside);
        refused(&[member("a/b", b'1', "../x", b"")], Error::Outside);
        let (tar, index) = index(&[file("a/../b/..c", b"in")]);
        holds(&tar, &index, b"b/..c", b"in");
        assert_eq!(index.find(b"../b/..c").err(), Some(Error::Outside));
    }

    /// Promise: archive-memory
    #[test]
    fn more_than_an_image_needs() {
        let all: Vec<_> = (0..MEMBERS_MAX + 1).map(|n| file(&n.to_string(), b"")).collect();
        assert!(scan(&all[1..].concat(), 8192).is_ok());
        refused(&all, Error::TooMany);
        let name = "n".repeat(300_000);
        let long = |n: usize| [member("././@LongLink", b'L', "", name.as_bytes()), file(&n.to_string(), b"")].concat();
        assert!(scan(&[long(1), long(2), long(3)].concat(), 8192).is_ok());
        refused(&[long(1), long(2), long(3), long(4)], Error::TooMany);
    }

    /// Promise: damaged-archives
    #[test]
    fn archives_that_are_cut_or_none() {
        let whole = [file("a", &[1; 2000]), file("b", &[2; 700])].concat();
        let truncated = Error::Tar(tar::Error::Truncated);
        for length in [513, 1000, 2511, 2600, 3000, 3700] {
            assert_eq!(scan(&whole[..length], 8192).err(), Some(truncated), "{length}");
        }
        refused(&[vec![b'x'; 2000]], Error::NotATar);
        refused(&[b"short".to_vec()], Error::NotATar);
        refused(&[file("a", b""), vec![b'x'; 512]], Error::Tar(tar::Error::Checksum));
        // A size that nobody can have, which a position cannot hold either.
        refused(&[pax("size", "9223372036854775295"), file("a", b"")], truncated);
        refused(&[pax("size", "9223372036854775296"), file("a", b"")], Error::Tar(tar::Error::Number));
    }

    #[test]
    fn holes_are_no_blob() {
        let mut record = String::new();
        for (key, value) in [("GNU.sparse.size", "9"), ("GNU.sparse.map", "4,1")] {
            let text = format!(" {key}={value}\n");
            record += &format!("{}{text}", text.len() + 2);
        }
        let (tar, index) = index(&[member("pax", b'x', "", record.as_bytes()), file("holes", b"x"), file("a", b"one")]);
        assert_eq!(index.find(b"holes").err(), Some(Error::Sparse));
        holds(&tar, &index, b"a", b"one");
    }

    /// Promise: image-of-an-archive
    #[test]
    fn the_image_that_is_meant() {
        let all = |names: &[&[&str]]| -> Vec<Vec<String>> {
            names.iter().map(|names| names.iter().map(|name| name.to_string()).collect()).collect()
        };
        let three = all(&[&["a:1", "a:2"], &[], &["b:1"]]);
        for (wanted, index) in [("a:1", 0), ("a:2", 0), ("b:1", 2), ("@0", 0), ("@1", 1), ("@2", 2)] {
            assert_eq!(pick(&three, Some(wanted)), Ok(index));
        }
        assert_eq!(pick(&all(&[&[]]), None), Ok(0));
        assert_eq!(pick(&[], None), Err("contains no image".into()));
        assert_eq!(pick(&three, None), Err("holds several images: add one of :a:1, :a:2, :@1, :b:1".into()));
        assert_eq!(pick(&three, Some("@3")), Err("holds no image @3, but :a:1, :a:2, :@1, :b:1".into()));
        let many = all(&[&["n"][..]; 11]);
        assert!(pick(&many, None).unwrap_err().ends_with("one of :n, :n, :n, :n, :n, :n, :n, :n, :n, :n, ..."));
        let long = vec![vec!["n".repeat(1000)]];
        assert!(pick(&long, Some("v")).unwrap_err().len() < 120);
    }
}
