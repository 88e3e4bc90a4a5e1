//! Archives built in code, byte by byte where they must be wrong.

/// A member's header fields; the rest is for the tests that need it.
#[derive(Clone)]
pub struct Member<'a> {
    pub path: &'a [u8],
    pub kind: u8,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: u64,
    pub link: &'a [u8],
    pub device: (u32, u32),
    pub body: &'a [u8],
    /// What the header says, where it is not the body's length.
    pub size: Option<u64>,
    pub magic: &'a [u8; 8],
}

pub const USTAR: &[u8; 8] = b"ustar\x0000";
pub const GNU: &[u8; 8] = b"ustar  \0";
pub const V7: &[u8; 8] = &[0; 8];

impl<'a> Member<'a> {
    pub fn new(path: &'a str, kind: u8) -> Member<'a> {
        Member {
            path: path.as_bytes(),
            kind,
            mode: if kind == b'5' { 0o755 } else { 0o644 },
            uid: 0,
            gid: 0,
            mtime: 1_500_000_000,
            link: b"",
            device: (0, 0),
            body: b"",
            size: None,
            magic: USTAR,
        }
    }

    pub fn header(&self) -> [u8; 512] {
        let mut block = [0; 512];
        put(&mut block, 0, self.path);
        put(&mut block, 100, format!("{:07o}\0", self.mode).as_bytes());
        put(&mut block, 108, &number(self.uid.into(), 8));
        put(&mut block, 116, &number(self.gid.into(), 8));
        put(&mut block, 124, &number(self.size.unwrap_or(self.body.len() as u64), 12));
        put(&mut block, 136, &number(self.mtime, 12));
        block[156] = self.kind;
        put(&mut block, 157, self.link);
        put(&mut block, 257, self.magic);
        if self.magic != V7 {
            put(&mut block, 329, &number(self.device.0.into(), 8));
            put(&mut block, 337, &number(self.device.1.into(), 8));
        }
        seal(&mut block);
        block
    }
}

/// Octal where it fits, else base-256.
pub fn number(value: u64, width: usize) -> Vec<u8> {
    let octal = format!("{value:0w$o}\0", w = width - 1);
    if octal.len() == width {
        return octal.into_bytes();
    }
    let mut field = vec![0; width];
    field[width.saturating_sub(8)..].copy_from_slice(&value.to_be_bytes()[8usize.saturating_sub(width)..]);
    field[0] |= 0x80;
    field
}

pub fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Makes the checksum right.
pub fn seal(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    put(block, 148, format!("{sum:06o}\0 ").as_bytes());
}

/// A PAX record: key and value.
pub type Record = (String, Vec<u8>);

#[derive(Clone, Default)]
pub struct Tar(pub Vec<u8>);

impl Tar {
    pub fn new() -> Tar {
        Tar::default()
    }

    pub fn raw(mut self, bytes: &[u8]) -> Tar {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn body(mut self, bytes: &[u8]) -> Tar {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn add(self, member: &Member<'_>) -> Tar {
        let header = member.header();
        self.raw(&header).body(member.body)
    }

    /// A header whose bytes `change` spoils, with a right checksum.
    pub fn spoiled(self, member: &Member<'_>, change: impl Fn(&mut [u8; 512])) -> Tar {
        let mut header = member.header();
        change(&mut header);
        seal(&mut header);
        self.raw(&header).body(member.body)
    }

    pub fn file(self, path: &str, body: &[u8]) -> Tar {
        self.add(&Member { body, ..Member::new(path, b'0') })
    }

    pub fn dir(self, path: &str) -> Tar {
        self.add(&Member::new(path, b'5'))
    }

    pub fn symlink(self, path: &str, link: &str) -> Tar {
        self.add(&Member { link: link.as_bytes(), mode: 0o777, ..Member::new(path, b'2') })
    }

    pub fn hardlink(self, path: &str, link: &str) -> Tar {
        self.add(&Member { link: link.as_bytes(), ..Member::new(path, b'1') })
    }

    pub fn pax(self, records: &[(&str, &[u8])]) -> Tar {
        self.records(&records.iter().map(|(key, value)| (key.to_string(), value.to_vec())).collect::<Vec<_>>())
    }

    /// A file with holes, in one of GNU tar's four forms: `map` has the offset
    /// and length of each stretch of data, and `records` come in the same PAX header.
    pub fn sparse(self, form: &str, member: &Member<'_>, real_size: u64, map: &[(u64, u64)], more: &[Record]) -> Tar {
        let text = |number: u64| number.to_string().into_bytes();
        let mut records = more.to_vec();
        let mut add = |key: &'static str, value: Vec<u8>| records.push((key.into(), value));
        let numbers: Vec<u64> = map.iter().flat_map(|(at, n)| [*at, *n]).collect();
        let lines = |end: &str| numbers.iter().map(|n| format!("{n}{end}")).collect::<String>();
        match form {
            "old" => {
                let tar = if records.is_empty() { self } else { self.records(&records) };
                return tar.old_sparse(member, real_size, &numbers);
            }
            "0.0" => {
                add("GNU.sparse.size", text(real_size));
                add("GNU.sparse.numblocks", text(map.len() as u64));
                for (at, n) in map {
                    add("GNU.sparse.offset", text(*at));
                    add("GNU.sparse.numbytes", text(*n));
                }
                return self.records(&records).add(member);
            }
            "0.1" => {
                add("GNU.sparse.size", text(real_size));
                add("GNU.sparse.numblocks", text(map.len() as u64));
                add("GNU.sparse.map", lines(",").trim_end_matches(',').into());
            }
            _ => {
                add("GNU.sparse.major", text(1));
                add("GNU.sparse.minor", text(0));
                add("GNU.sparse.realsize", text(real_size));
            }
        }
        add("GNU.sparse.name", member.path.to_vec());
        let mut body = Vec::new();
        if form == "1.0" {
            body = format!("{}\n{}", map.len(), lines("\n")).into_bytes();
            body.resize(body.len().next_multiple_of(512), 0);
        }
        body.extend_from_slice(member.body);
        self.records(&records).add(&Member { path: b"GNUSparseFile.0/f", body: &body, ..member.clone() })
    }

    fn old_sparse(self, member: &Member<'_>, real_size: u64, numbers: &[u64]) -> Tar {
        let fields: Vec<u8> = numbers.iter().flat_map(|n| number(*n, 12)).collect();
        let (first, rest) = fields.split_at(fields.len().min(96));
        let mut header = Member { magic: GNU, kind: b'S', ..member.clone() }.header();
        put(&mut header, 386, first);
        header[482] = (!rest.is_empty()).into();
        put(&mut header, 483, &number(real_size, 12));
        seal(&mut header);
        let mut tar = self.raw(&header);
        let mut blocks = rest.chunks(504).peekable();
        while let Some(chunk) = blocks.next() {
            let mut block = [0; 512];
            put(&mut block, 0, chunk);
            block[504] = blocks.peek().is_some().into();
            tar = tar.raw(&block);
        }
        tar.body(member.body)
    }

    /// A PAX header of these.
    pub fn records(self, records: &[Record]) -> Tar {
        let bytes: Vec<u8> = records.iter().flat_map(|(key, value)| record(key.as_bytes(), value)).collect();
        self.extension(b'x', &bytes)
    }

    /// An extension header of type `x`, `g`, `L` or `K`.
    pub fn extension(self, kind: u8, body: &[u8]) -> Tar {
        self.add(&Member { body, ..Member::new("ext", kind) })
    }

    pub fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }
}

pub fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length += 1;
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}
