//! Random stacks of layers: mostly what a builder could have written, with
//! everything in it that a tar can hold, some of it odd.

use crate::builder::{put, Member, Record, Tar, GNU, USTAR, V7};
use std::collections::BTreeMap;

/// A number below the one it is given: from a seed, or from a fuzzer's bytes.
pub type Random<'r> = dyn FnMut(usize) -> usize + 'r;

/// Numbers by a seed (SplitMix64).
pub fn seeded(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % below as u64) as usize
    }
}

/// What a stack has that tools are known to take in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Odd {
    /// A path leads through a symlink of a layer below.
    LowerSymlink,
    /// A mark comes after what its layer has in that place.
    LateMark,
    /// A hardlink to a file of a layer below.
    LowerHardlink,
    /// A parent is missing in a directory with set-group-ID.
    SetGroup,
    /// A directory that its layer describes twice.
    Twice,
}

/// Tars, lowest first.
#[derive(Default)]
pub struct Stack {
    pub layers: Vec<Vec<u8>>,
    /// Each member in words, for who has to find out.
    pub told: Vec<String>,
    /// What is odd, and at which paths (in ASCII).
    pub odd: Vec<(Odd, String)>,
}

impl Stack {
    /// Whether this is odd at `path` or above.
    pub fn is_odd(&self, what: Odd, path: &str) -> bool {
        self.odd.iter().any(|(odd, top)| *odd == what && (path == top || is_below(path.as_bytes(), top.as_bytes())))
    }

    pub fn has(&self, what: Odd) -> bool {
        self.odd.iter().any(|(odd, _)| *odd == what)
    }
}

const LONG: &[u8] = &[b'l'; 60];
const LONGER: &[u8] = &[b'm'; 140];
const NAMES: [&[u8]; 14] =
    [b"a", b"b", b"c", b"a", b"b", b"c", b"a", b"b", b"d", b"\xe9\xff", b"..a", b" \n", LONG, LONGER];
/// `cap_net_raw+ep`, version 2.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// umoci does not read the fourth, the oldest form; docs/inputs.md#sparse-files is about all four.
const FORMS: [&str; 3] = ["0.0", "0.1", "1.0"];

/// One to four layers.
pub fn stack(random: &mut Random<'_>) -> Stack {
    let mut maker = Maker {
        random,
        known: BTreeMap::new(),
        layer: 0,
        tar: Tar::new(),
        stack: Stack::default(),
        members: Vec::new(),
    };
    for layer in 0..=(maker.random)(4) {
        maker.layer = layer;
        maker.members.push(Vec::new());
        maker.layer();
    }
    maker.stack
}

/// Up to seven members with every kind and name that could do harm, in any order.
pub fn hostile(random: &mut Random<'_>) -> Vec<u8> {
    let mut tar = Tar::new();
    for _ in 0..=random(6) {
        let (path, link) = (HOSTILE_NAMES[random(16)].as_bytes(), HOSTILE_LINKS[random(8)].as_bytes());
        // Symlinks and hardlinks are where the harm is.
        let kind = b"0122156"[random(7)];
        let body: &[u8] = if kind == b'0' { b"dead" } else { b"" };
        tar = tar.add(&Member { path, link, body, mode: 0o4777, uid: 99, mtime: 1, ..Member::new("", kind) });
    }
    tar.end()
}

const HOSTILE_NAMES: [&str; 16] = [
    "a",
    "a/b",
    "a/b/c",
    "/a",
    "..",
    "../outside/canary",
    "a/../../x",
    ".",
    "./",
    "b",
    "b/a",
    ".wh.a",
    "a/.wh.b",
    "a/.wh..wh..opq",
    ".wh..wh..opq",
    "b/.wh.",
];
const HOSTILE_LINKS: [&str; 8] =
    ["/", "..", "../../outside", "../outside/canary", "a", "b", "/etc/passwd", "a/../../.."];

#[derive(Clone)]
struct Known {
    kind: u8,
    layer: usize,
    mode: u32,
    link: Vec<u8>,
}

struct Maker<'r> {
    random: &'r mut Random<'r>,
    /// What is where, as far as no symlink leads there.
    known: BTreeMap<Vec<u8>, Known>,
    layer: usize,
    tar: Tar,
    stack: Stack,
    /// Each layer's, in their order.
    members: Vec<Vec<What>>,
}

/// What a member does to the tree.
#[derive(Clone)]
enum What {
    Makes { path: Vec<u8>, known: Known },
    Hides { path: Vec<u8>, opaque: bool },
}

impl Maker<'_> {
    /// True once in so many times.
    fn once(&mut self, times: usize) -> bool {
        (self.random)(times) == 0
    }

    fn layer(&mut self) {
        self.stack.told.push(format!("layer {}", self.layer));
        if self.layer > 0 && self.once(12) {
            let again = (self.random)(self.layer);
            self.stack.told.push(format!("  layer {again} again"));
            self.members[again].clone().into_iter().for_each(|what| self.happens(what));
            return self.stack.layers.push(self.stack.layers[again].clone());
        }
        if self.once(20) {
            self.stack.told.push("  empty".into());
            let end = self.once(2);
            return self.stack.layers.push(if end { Tar::new().end() } else { Vec::new() });
        }
        if !self.once(4) {
            self.member(b"./".to_vec(), b'5');
        }
        let (marks, members) = ((self.random)(4), (self.random)(12));
        let marks_first = self.once(2);
        for number in 0..marks + members {
            if if marks_first { number < marks } else { (self.random)(marks + members) < marks } {
                self.mark();
            } else {
                let kind = b"000005555522211346"[(self.random)(18)];
                let path = self.path();
                self.member(path, kind);
            }
        }
        let layer = std::mem::take(&mut self.tar);
        let bare = self.once(4);
        self.stack.layers.push(if bare { layer.0 } else { layer.end() });
    }

    /// A path whose parents are directories or missing, or mostly so.
    fn path(&mut self) -> Vec<u8> {
        let mut path = Vec::new();
        for _ in 0..8 {
            let names: Vec<&[u8]> = (0..=(self.random)(3)).map(|_| NAMES[(self.random)(NAMES.len())]).collect();
            path = names.join(&b'/');
            if self.fits(&path) {
                break;
            }
        }
        path
    }

    fn fits(&mut self, path: &[u8]) -> bool {
        for parent in parents(path) {
            let (kind, here) = match self.known.get(parent) {
                Some(known) => (known.kind, known.layer == self.layer),
                None => return true,
            };
            let rarely = match (kind, here) {
                (b'5', _) => continue,
                (b'2', true) => 2,
                (b'2', false) => 12,
                _ => 40,
            };
            return self.once(rarely);
        }
        true
    }

    fn known_path(&mut self, fits: impl Fn(&Known) -> bool) -> Option<Vec<u8>> {
        let all: Vec<_> = self
            .known
            .iter()
            .skip(usize::from(self.known.contains_key(&b""[..])))
            .filter(|(_, known)| fits(known))
            .map(|(path, _)| path.clone())
            .collect();
        if all.is_empty() {
            return None;
        }
        let at = (self.random)(all.len());
        all.into_iter().nth(at)
    }

    fn mark(&mut self) {
        let opaque = self.once(3);
        let path = match self.known_path(|known| !opaque || known.kind == b'5') {
            Some(path) if !self.once(6) => path,
            _ => self.path(),
        };
        let (parent, name) = split(&path);
        let (name, inside) = if opaque {
            (b".wh..wh..opq".to_vec(), if self.once(12) { b"" } else { &path[..] })
        } else {
            ([b".wh.", name].concat(), parent)
        };
        self.happens(What::Hides { path: if opaque { inside.to_vec() } else { path.clone() }, opaque });
        let path = join(inside, &name);
        self.write(&path, b'0', b"", 0o644, &[], None);
    }

    fn is_odd(&mut self, odd: Odd, path: &[u8]) {
        self.stack.odd.push((odd, path.escape_ascii().to_string()));
    }

    /// Learns what a member does to the tree, and notes what is odd about it.
    fn happens(&mut self, what: What) {
        self.members[self.layer].push(what.clone());
        let layer = self.layer;
        match what {
            What::Hides { path, opaque } => {
                let path = self.real(&path, opaque, false);
                let mine = |other: &Vec<u8>| is_below(other, &path) || *other == path && !path.is_empty();
                if self.known.iter().any(|(other, known)| known.layer == layer && mine(other)) {
                    self.is_odd(Odd::LateMark, &path);
                }
                self.known.retain(|other, known| {
                    known.layer == layer || other.is_empty() || !(is_below(other, &path) || !opaque && *other == path)
                });
            }
            What::Makes { path, mut known } => {
                let path = if path == b"./" { Vec::new() } else { self.real(&path, false, true) };
                if known.kind == b'1' {
                    let target = self.real(&known.link, false, false);
                    if let Some(target_known) = self.known.get(&target).cloned() {
                        if target_known.layer != layer {
                            self.is_odd(Odd::LowerHardlink, &target);
                        }
                        // It is what its target is: a symlink, perhaps.
                        known = target_known;
                    }
                }
                let twice = |other: &Known| other.layer == layer && other.kind == b'5' && known.kind == b'5';
                if self.known.get(&path).is_some_and(twice) {
                    self.is_odd(Odd::Twice, &path);
                }
                self.learn(&path, Known { layer, ..known });
            }
        }
    }

    /// Where a path leads in all layers together (its last name too, if `whole`),
    /// noting what is odd on the way; parents are learned if they are `made`.
    fn real(&mut self, path: &[u8], whole: bool, made: bool) -> Vec<u8> {
        let (parent, last) = if whole { (path, &b""[..]) } else { split(path) };
        let mut todo: Vec<Vec<u8>> = parent.split(|b| *b == b'/').rev().map(<[u8]>::to_vec).collect();
        let (mut at, mut links) = (Vec::new(), 0);
        while let Some(name) = todo.pop() {
            match &name[..] {
                b"" | b"." => continue,
                b".." => {
                    at = split(&at).0.to_vec();
                    continue;
                }
                _ => {}
            }
            let above = at.clone();
            at = join(&at, &name);
            match self.known.get(&at).cloned() {
                Some(known) if known.kind == b'2' && links < 40 => {
                    if known.layer != self.layer {
                        self.is_odd(Odd::LowerSymlink, &at);
                    }
                    links += 1;
                    at = if known.link.starts_with(b"/") { Vec::new() } else { above };
                    todo.extend(known.link.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
                }
                None if made => {
                    let mut mode = 0o755;
                    if self.known.get(&above).is_some_and(|above| above.mode & 0o2000 != 0) {
                        self.is_odd(Odd::SetGroup, &at);
                        mode = 0o2755;
                    }
                    self.known.insert(at.clone(), Known { kind: b'5', layer: self.layer, mode, link: Vec::new() });
                }
                _ => {}
            }
        }
        if whole {
            at
        } else {
            join(&at, last)
        }
    }

    fn learn(&mut self, path: &[u8], known: Known) {
        if known.kind != b'5' || self.known.get(path).is_some_and(|known| known.kind != b'5') {
            self.known.retain(|other, _| !is_below(other, path));
        }
        self.known.insert(path.to_vec(), known);
    }

    fn member(&mut self, path: Vec<u8>, kind: u8) {
        let mode =
            [0o644, 0o755, 0o755, 0o4755, 0o2755, 0o1777, 0o600, 0][(self.random)(8)] ^ (self.random)(0o100) as u32;
        let mut link = Vec::new();
        let mut kind = kind;
        if kind == b'2' {
            link = self.symlink_target(&path);
        } else if kind == b'1' {
            let wild = self.once(40);
            match self.known_path(|known| wild || known.kind != b'5') {
                Some(target) if wild || target != path => link = target,
                _ => kind = b'0',
            }
        }
        let known = Known { kind, layer: self.layer, mode, link: link.clone() };
        self.happens(What::Makes { path: path.clone(), known });
        let records = self.records_for(kind);
        let sparse = (kind == b'0' && self.once(8)).then(|| FORMS[(self.random)(3)]);
        self.write(&path, kind, &link, mode, &records, sparse);
    }

    fn symlink_target(&mut self, path: &[u8]) -> Vec<u8> {
        let other = self.known_path(|_| true).unwrap_or_else(|| b"a".to_vec());
        match (self.random)(8) {
            0 => [b"/", &other[..]].concat(),
            1 => split(path).1.to_vec(),
            2 => [b"../", split(&other).1].concat(),
            3 => b"/".to_vec(),
            4 => b"none/at/all".to_vec(),
            5 => b"../../../..".to_vec(),
            6 => other,
            _ => split(&other).1.to_vec(),
        }
    }

    fn records_for(&mut self, kind: u8) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::new();
        let mut add = |key: &str, value: &[u8]| records.push((key.into(), value.to_vec()));
        if self.once(4) {
            let time = format!("{}.{}", 1_000_000 + (self.random)(1000), (self.random)(1_000_000_000));
            add("mtime", time.as_bytes());
        }
        if self.once(6) {
            add("SCHILY.xattr.trusted.one", b"bin\0ary\n");
        }
        // The kernel knows `user.*` on files and directories only.
        if matches!(kind, b'0' | b'5') && self.once(6) {
            add("SCHILY.xattr.user.two", if self.once(6) { b"" } else { b"2" });
        }
        if kind == b'0' && self.once(6) {
            add("SCHILY.xattr.security.capability", &CAPABILITY);
        }
        if self.once(12) {
            add("uid", b"4000000000");
        }
        records
    }

    fn write(&mut self, path: &[u8], kind: u8, link: &[u8], mode: u32, records: &[Record], sparse: Option<&str>) {
        let records = records.to_vec();
        let uid = [0, 1, 5, 1000, 3_000_000][(self.random)(5)];
        let (gid, mtime) = ((self.random)(5) as u32, 1_000_000 + (self.random)(1000) as u64);
        let mark = split(path).1.starts_with(b".wh.");
        let body =
            if kind == b'0' && !mark { vec![b'0' + (self.random)(10) as u8; (self.random)(1500)] } else { vec![] };
        let magic = [USTAR, USTAR, GNU, V7][(self.random)(if matches!(kind, b'3' | b'4') { 3 } else { 4 })];
        let what = [path, b" -> ", link].concat();
        let form = sparse.unwrap_or_default();
        let keys: Vec<&str> = records.iter().map(|(key, _)| key.as_str()).collect();
        let what = what.escape_ascii();
        self.stack.told.push(format!("  {} {what} {mode:o} {uid}:{gid} {mtime} {form} {keys:?}", kind as char));
        let device = [(1, 3), (5, 1), (8, 0), (259, 0x1_2345)][(self.random)(4)];
        let member = Member { path, kind, mode, uid, gid, mtime, link, device, body: &body, size: None, magic };
        let forms = if path.len() > 100 || link.len() > 100 { 3 } else { 12 };
        let form = (self.random)(forms);
        let tar = std::mem::take(&mut self.tar);
        self.tar = match (form, sparse) {
            (_, Some(form)) if forms == 12 => {
                let (at, n) = (512 * (self.random)(300) as u64, body.len() as u64 / 2);
                let map = [(0, n), (n + at, body.len() as u64 - n)];
                tar.sparse(form, &member, n + at + 2000, &map, &records)
            }
            (0, _) => gnu_long(tar, &member, &records),
            (1, _) if magic == USTAR && link.len() <= 100 && cut(path).is_some() => prefixed(tar, &member, &records),
            (1 | 2, _) => pax_long(tar, &member, records),
            _ => with(tar, &records).add(&member),
        };
    }
}

/// Names by GNU's extension headers; the header's own are cut.
fn gnu_long(mut tar: Tar, member: &Member<'_>, records: &[Record]) -> Tar {
    let (path, link) = (member.path, member.link);
    tar = with(tar, records).extension(b'L', &[path, b"\0"].concat());
    if !link.is_empty() {
        tar = tar.extension(b'K', link);
    }
    tar.add(&Member { path: &path[..path.len().min(99)], link: &link[..link.len().min(99)], ..member.clone() })
}

/// Names by PAX records, which should be text, but everybody writes bytes.
fn pax_long(tar: Tar, member: &Member<'_>, mut records: Vec<Record>) -> Tar {
    records.push(("path".into(), member.path.to_vec()));
    if !member.link.is_empty() {
        records.push(("linkpath".into(), member.link.to_vec()));
    }
    tar.records(&records).add(&Member { path: b"short", link: b"short", ..member.clone() })
}

/// A ustar name in two fields.
fn prefixed(tar: Tar, member: &Member<'_>, records: &[Record]) -> Tar {
    let (prefix, name) = cut(member.path).unwrap();
    let member = Member { path: name, ..member.clone() };
    with(tar, records).spoiled(&member, |header| put(header, 345, prefix))
}

fn with(tar: Tar, records: &[Record]) -> Tar {
    if records.is_empty() {
        return tar;
    }
    tar.records(records)
}

/// Where a path can be parted for ustar's fields of 155 and 100 bytes.
fn cut(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let fits = |at: &usize| path[*at] == b'/' && *at <= 155 && path.len() - at - 1 <= 100;
    let at = (1..path.len().saturating_sub(1)).find(fits)?;
    Some((&path[..at], &path[at + 1..]))
}

/// Every path above this one, the highest first.
fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at])
}

/// Parent and name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        return name.to_vec();
    }
    [parent, b"/", name].concat()
}

fn is_below(path: &[u8], top: &[u8]) -> bool {
    top.is_empty() || path.strip_prefix(top).is_some_and(|rest| rest.first() == Some(&b'/'))
}
