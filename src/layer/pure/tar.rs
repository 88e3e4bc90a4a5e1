//! tar: v7, ustar, PAX and GNU, as a push parser: bytes in, events out.
//!
//! The formats are those of POSIX.1-2017, `pax`, and of GNU tar's manual, 'Tar Internals'. Where readers are known to
//! disagree, the stricter reading wins: an archive that two tools would unpack differently is refused.

mod entry;
mod error;
mod field;
mod header;
mod limits;
mod pax;
mod sparse;

pub use crate::layer::pure::tar::entry::{Entry, Event, Kind, Time, Xattr};
pub use crate::layer::pure::tar::error::Error;
use crate::layer::pure::tar::field::{number, padding, seconds, take, text};
use crate::layer::pure::tar::header::*;
pub use crate::layer::pure::tar::limits::{BLOCK_BYTES, MAX_EXTENSIONS, MAX_EXTENSION_BYTES, MAX_SEGMENTS, MAX_XATTRS};
use crate::layer::pure::tar::pax::Overrides;
pub use crate::layer::pure::tar::sparse::Segment;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    /// One zero block was read: a second one, or the end, must follow.
    Zero,
    Ended,
    /// The body of an extension header of this type.
    Extension(u8),
    /// Blocks that continue an old GNU sparse map.
    OldSparse,
    /// Blocks of a PAX 1.0 sparse map, which open the body.
    NewSparse,
    Data,
    /// A member without content has a size: its body, or the next header, follows.
    MaybeBody,
    /// In such a body, of which only zeros were read: an archive that ends here has end blocks, and no body.
    ZeroBody,
}

/// The push parser. Its memory is at most [`MAX_EXTENSION_BYTES`] and what the records in that hold, once for each of
/// PAX, long name and long link, and one sparse map.
pub struct Parser {
    state: State,
    block: [u8; BLOCK_BYTES],
    filled: usize,
    /// Bytes to skip before the next block.
    skip: u64,
    extension: Vec<u8>,
    extension_left: u64,
    extensions: u32,
    pax: Option<Overrides>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    name: Vec<u8>,
    /// The member whose sparse map is still being read.
    waiting: Option<Entry>,
    map: sparse::Map,
    /// Bytes of the body that are not yet accounted for by a segment.
    body: u64,
    padding: u64,
    next_segment: usize,
    at: u64,
    left: u64,
}

impl Default for Parser {
    fn default() -> Parser {
        Parser::new()
    }
}

impl Parser {
    pub fn new() -> Parser {
        Parser {
            state: State::Header,
            block: [0; BLOCK_BYTES],
            filled: 0,
            skip: 0,
            extension: Vec::new(),
            extension_left: 0,
            extensions: 0,
            pax: None,
            long_name: None,
            long_link: None,
            name: Vec::new(),
            waiting: None,
            map: sparse::Map::new(),
            body: 0,
            padding: 0,
            next_segment: 0,
            at: 0,
            left: 0,
        }
    }

    /// The next event, of bytes that are taken off the front of `input`; `None` when all of it is used up. After an
    /// error the parser must not be used again.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Event<'i>>, Error> {
        loop {
            let skipped = take(input, self.skip.min(input.len() as u64) as usize);
            self.skip -= skipped.len() as u64;
            if self.state == State::ZeroBody && (self.skip == 0 || skipped.iter().any(|byte| *byte != 0)) {
                self.state = State::Header;
            }
            if self.skip > 0 {
                return Ok(None);
            }
            let event = match self.state {
                State::Data => match self.data(input) {
                    Some(event) => return Ok(Some(event)),
                    None => return Ok(None),
                },
                State::Ended => {
                    take(input, input.len());
                    return Ok(None);
                }
                State::Extension(kind) => {
                    let bytes = take(input, self.extension_left.min(input.len() as u64) as usize);
                    self.extension.extend_from_slice(bytes);
                    self.extension_left -= bytes.len() as u64;
                    if self.extension_left > 0 {
                        return Ok(None);
                    }
                    self.extended(kind)?;
                    None
                }
                state => {
                    if !self.fill(input) {
                        return Ok(None);
                    }
                    match state {
                        State::OldSparse => self.old_sparse()?,
                        State::NewSparse => self.new_sparse()?,
                        State::MaybeBody => self.maybe_body()?,
                        _ => self.header()?,
                    }
                }
            };
            if let Some(entry) = event {
                return Ok(Some(Event::Entry(entry)));
            }
        }
    }

    /// Right after a file's `Entry`: the caller leaves the file's data out of the input, since it can skip it.
    /// Returns how many bytes to skip: all of the file's, or none if it has holes.
    pub fn leave_out(&mut self) -> u64 {
        self.at += self.left;
        std::mem::take(&mut self.left)
    }

    /// Call at the end of the input: an error where the archive is truncated. End blocks and the last body's padding
    /// may be missing, since `umoci insert` writes neither; the layer's digest says that it is complete.
    pub fn finish(&self) -> Result<(), Error> {
        let whole = self.skip <= self.padding && self.filled == 0;
        match self.state {
            State::Ended => Ok(()),
            State::Header | State::Zero | State::MaybeBody if whole => Ok(()),
            State::ZeroBody => Ok(()),
            // Its padding is missing.
            State::MaybeBody if self.filled as u64 >= self.body => Ok(()),
            _ => Err(Error::Truncated),
        }
    }

    /// The name of the member being read, as far as it is known: for messages.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Whether a whole block is in `self.block`.
    fn fill(&mut self, input: &mut &[u8]) -> bool {
        let bytes = take(input, (BLOCK_BYTES - self.filled).min(input.len()));
        self.block[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
        let full = self.filled == BLOCK_BYTES;
        if full {
            self.filled = 0;
        }
        full
    }

    fn header(&mut self) -> Result<Option<Entry>, Error> {
        if self.block.iter().all(|b| *b == 0) {
            // An extension without a member is ignored, as Go does it.
            (self.pax, self.long_name, self.long_link, self.extensions) = (None, None, None, 0);
            self.state = if self.state == State::Zero { State::Ended } else { State::Zero };
            return Ok(None);
        }
        self.name.clear();
        self.name.extend_from_slice(text(&self.block[NAME]));
        checksum(&self.block)?;
        if self.state == State::Zero {
            return Err(Error::AfterEnd);
        }
        let kind = self.block[TYPE];
        if !matches!(kind, b'x' | b'g' | b'L' | b'K') {
            return self.member(kind);
        }
        // PAX sizes of an earlier header are for the member, not for this body
        // (CVE-2025-62518).
        let size = number(&self.block[SIZE]).ok_or(Error::Number)?;
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS {
            return Err(Error::TooManyExtensions);
        }
        if size > MAX_EXTENSION_BYTES {
            return Err(Error::ExtensionTooLong);
        }
        self.extension.clear();
        self.extension_left = size;
        self.padding = padding(size);
        self.state = State::Extension(kind);
        Ok(None)
    }

    fn extended(&mut self, kind: u8) -> Result<(), Error> {
        match kind {
            b'L' => self.long_name = Some(text(&self.extension).to_vec()),
            b'K' => self.long_link = Some(text(&self.extension).to_vec()),
            // A second PAX header replaces the first, as in GNU tar and Go.
            b'x' => self.pax = Some(Overrides::parse(&self.extension)?),
            _ => {
                // Global headers must be well formed, and change no member.
                pax::records(&self.extension, &mut |_, _| Ok(()))?;
            }
        }
        // PID 1 keeps no large buffer between members.
        if self.extension.capacity() > 1 << 16 {
            self.extension = Vec::new();
        }
        self.skip = self.padding;
        self.state = State::Header;
        Ok(())
    }

    fn member(&mut self, kind: u8) -> Result<Option<Entry>, Error> {
        let block = self.block;
        let dialect = dialect(&block);
        let pax = self.pax.take().unwrap_or_default();
        self.extensions = 0;
        let header_name = header_name(&block, dialect);
        let mut path = one_name(pax.path, self.long_name.take())?.unwrap_or(header_name);
        let link = one_name(pax.link, self.long_link.take())?.unwrap_or_else(|| text(&block[LINK]).to_vec());
        if let Some(name) = pax.sparse.name {
            path = name;
        }
        self.name.clone_from(&path);
        let size = match pax.size {
            Some(size) => size,
            None => number(&block[SIZE]).ok_or(Error::Number)?,
        };
        // Bodies are padded: a size so near the end cannot be stepped over.
        if size > i64::MAX as u64 - BLOCK_BYTES as u64 {
            return Err(Error::Number);
        }
        let kind = kind_of(kind, dialect, &path)?;
        let device = match kind.0 {
            Kind::CharDevice | Kind::BlockDevice => (id(&block[MAJOR])?, id(&block[MINOR])?),
            _ => (0, 0),
        };
        let entry = Entry {
            path,
            kind: kind.0,
            mode: number(&block[MODE]).ok_or(Error::Number)? as u32 & 0o7777,
            uid: pax.uid.map_or_else(|| id(&block[UID]), Ok)?,
            gid: pax.gid.map_or_else(|| id(&block[GID]), Ok)?,
            mtime: match pax.mtime {
                Some(time) => time,
                None => Time { seconds: seconds(&block[MTIME]).ok_or(Error::Number)?, nanoseconds: 0 },
            },
            link: if matches!(kind.0, Kind::Symlink | Kind::Hardlink) { link } else { Vec::new() },
            device,
            xattrs: pax.xattrs,
            size,
            data: size,
        };
        self.body = size;
        self.padding = padding(size);
        match (kind.0, kind.1) {
            (Kind::File, Body::OldSparse) => self.start_old_sparse(entry),
            (Kind::File, _) => self.start_file(entry, pax.sparse.form),
            (_, Body::Skipped) => {
                self.skip = size + self.padding;
                self.state = State::Header;
                Ok(Some(Entry { size: 0, data: 0, ..entry }))
            }
            _ => {
                self.state = if size > 0 { State::MaybeBody } else { State::Header };
                Ok(Some(Entry { size: 0, data: 0, ..entry }))
            }
        }
    }

    /// The block after a member without content that has a size. Old writers put the size there and no body, new ones
    /// a hardlink's body: a header is none.
    fn maybe_body(&mut self) -> Result<Option<Entry>, Error> {
        if checksum(&self.block).is_ok() {
            self.state = State::Header;
            return self.header();
        }
        let is_zero = self.block.iter().all(|byte| *byte == 0);
        self.skip = self.body + self.padding - BLOCK_BYTES as u64;
        self.state = if is_zero { State::ZeroBody } else { State::Header };
        Ok(None)
    }

    fn start_file(&mut self, mut entry: Entry, form: sparse::Form) -> Result<Option<Entry>, Error> {
        match form {
            sparse::Form::Dense => {
                self.map.clear();
                self.next_segment = 0;
                (self.at, self.left) = (0, entry.size);
                self.state = State::Data;
                Ok(Some(entry))
            }
            sparse::Form::Listed { real_size, map } => {
                entry.size = real_size;
                self.map = map;
                self.start_sparse(entry)
            }
            sparse::Form::InBody { real_size } => {
                entry.size = real_size;
                self.map = sparse::Map::new();
                self.waiting = Some(entry);
                self.state = State::NewSparse;
                // A map takes at least one block.
                self.body = self.body.checked_sub(BLOCK_BYTES as u64).ok_or(Error::Sparse)?;
                Ok(None)
            }
        }
    }

    fn start_old_sparse(&mut self, mut entry: Entry) -> Result<Option<Entry>, Error> {
        entry.size = number(&self.block[REAL_SIZE]).ok_or(Error::Number)?;
        self.map = sparse::Map::new();
        self.map.add_old_fields(&self.block[OLD_SPARSE])?;
        if self.block[OLD_SPARSE.end] == 0 {
            return self.start_sparse(entry);
        }
        self.waiting = Some(entry);
        self.state = State::OldSparse;
        Ok(None)
    }

    fn old_sparse(&mut self) -> Result<Option<Entry>, Error> {
        self.map.add_old_fields(&self.block[OLD_SPARSE_MORE])?;
        match self.block[OLD_SPARSE_MORE.end] {
            0 => match self.waiting.take() {
                Some(entry) => self.start_sparse(entry),
                None => Err(Error::Sparse),
            },
            _ => Ok(None),
        }
    }

    fn new_sparse(&mut self) -> Result<Option<Entry>, Error> {
        if self.map.add_text(&self.block)? {
            return match self.waiting.take() {
                Some(entry) => self.start_sparse(entry),
                None => Err(Error::Sparse),
            };
        }
        self.body = self.body.checked_sub(BLOCK_BYTES as u64).ok_or(Error::Sparse)?;
        Ok(None)
    }

    /// The map is complete: it must be sorted, inside the file, and cover exactly the body's bytes.
    fn start_sparse(&mut self, mut entry: Entry) -> Result<Option<Entry>, Error> {
        if self.map.check(entry.size)? != self.body {
            return Err(Error::Sparse);
        }
        entry.data = self.body;
        self.next_segment = 0;
        (self.at, self.left) = (0, 0);
        self.state = State::Data;
        Ok(Some(entry))
    }

    fn data<'i>(&mut self, input: &mut &'i [u8]) -> Option<Event<'i>> {
        while self.left == 0 {
            match self.map.segments().get(self.next_segment) {
                Some(segment) => (self.at, self.left) = (segment.at, segment.bytes),
                None => {
                    self.skip = self.padding;
                    self.state = State::Header;
                    return Some(Event::End);
                }
            }
            self.next_segment += 1;
        }
        if input.is_empty() {
            return None;
        }
        let bytes = take(input, self.left.min(input.len() as u64) as usize);
        let at = self.at;
        self.at += bytes.len() as u64;
        self.left -= bytes.len() as u64;
        Some(Event::Data { at, bytes })
    }
}

/// A PAX name and a GNU name of one member must agree.
fn one_name(pax: Option<Vec<u8>>, gnu: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Error> {
    match (pax, gnu) {
        (Some(pax), Some(gnu)) if pax != gnu => Err(Error::NamesDisagree),
        (Some(name), _) | (None, Some(name)) => Ok(Some(name)),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, kind: u8, size: usize, magic: &[u8; 8]) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[MODE][..7].copy_from_slice(b"0000644");
        block[SIZE][..11].copy_from_slice(format!("{size:011o}").as_bytes());
        block[TYPE] = kind;
        block[MAGIC].copy_from_slice(magic);
        seal(&mut block);
        block
    }

    fn seal(block: &mut [u8; BLOCK_BYTES]) {
        block[CHECKSUM].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[CHECKSUM][..7].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }

    fn member(tar: &mut Vec<u8>, name: &str, kind: u8, body: &[u8]) {
        tar.extend_from_slice(&header(name, kind, body.len(), b"ustar\x0000"));
        tar.extend_from_slice(body);
        tar.resize(tar.len().next_multiple_of(BLOCK_BYTES), 0);
    }

    /// An archive with something for every state of the parser.
    fn archive() -> Vec<u8> {
        let mut tar = Vec::new();
        member(&mut tar, "ext", b'x', b"12 path=abc\n30 mtime=1234567890.123456789\n20 SCHILY.xattr.a=b\n");
        member(&mut tar, "f", b'0', b"hello");
        member(&mut tar, "long", b'L', &[b'n'; 150]);
        member(&mut tar, "link", b'K', &[b'l'; 150]);
        member(&mut tar, "s", b'2', b"");
        member(&mut tar, "ext", b'g', b"9 size=7\n");
        let records = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n28 GNU.sparse.realsize=9999\n";
        member(&mut tar, "ext", b'x', records);
        let mut body = b"2\n5\n600\n9000\n3\n".to_vec();
        body.resize(BLOCK_BYTES + 603, b'z');
        member(&mut tar, "sparse", b'0', &body);
        let mut old = header("old", b'S', 25, b"ustar  \0");
        old[OLD_SPARSE][..24].copy_from_slice(b"00000000000 00000000001 ");
        old[OLD_SPARSE.end] = 1;
        old[REAL_SIZE][..11].copy_from_slice(b"00000077777");
        seal(&mut old);
        tar.extend_from_slice(&old);
        let mut more = [0; BLOCK_BYTES];
        more[..24].copy_from_slice(b"00000000100 00000000030 ");
        tar.extend_from_slice(&more);
        tar.extend_from_slice(&[b'o'; 25]);
        tar.resize(tar.len().next_multiple_of(BLOCK_BYTES), 0);
        member(&mut tar, "d", b'5', b"");
        tar.resize(tar.len() + 3 * BLOCK_BYTES, 0);
        tar
    }

    /// Everything the parser says, with neighbouring data joined.
    fn events(tar: &[u8], step: usize) -> (Vec<String>, Result<(), Error>) {
        let mut parser = Parser::new();
        let mut log = Vec::new();
        let mut data: Option<(u64, Vec<u8>)> = None;
        for mut chunk in tar.chunks(step) {
            loop {
                let event = match parser.next(&mut chunk) {
                    Ok(None) => break,
                    Ok(Some(event)) => event,
                    Err(error) => return (log, Err(error)),
                };
                if let Event::Data { at, bytes } = event {
                    assert!(!bytes.is_empty());
                    match &mut data {
                        Some((start, held)) if *start + held.len() as u64 == at => held.extend_from_slice(bytes),
                        _ => log.extend(data.replace((at, bytes.to_vec())).map(|d| format!("{d:?}"))),
                    }
                    continue;
                }
                log.extend(data.take().map(|d| format!("{d:?}")));
                log.push(format!("{event:?}"));
            }
            assert!(chunk.is_empty());
        }
        (log, parser.finish())
    }

    /// Promise: broken-tar
    #[test]
    fn chunks_make_no_difference() {
        let tar = archive();
        let (whole, result) = events(&tar, tar.len());
        assert_eq!(result, Ok(()));
        // Five members, three of them files with an end; one run of data, two and two.
        assert_eq!(whole.len(), 5 + 3 + 5);
        for step in [1, 2, 3, 100, 511, 512, 513, 1000] {
            assert_eq!(events(&tar, step), (whole.clone(), Ok(())), "{step}");
        }
    }

    /// Promise: broken-tar
    /// Input: archive-end
    #[test]
    fn broken_archives_end_the_same_way_however_they_come() {
        let good = archive();
        let mut seed = 7u32;
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            seed as usize % below
        };
        let mut refused = 0;
        for _ in 0..800 {
            let mut tar = good.clone();
            for _ in 0..=random(3) {
                let at = random(tar.len());
                tar[at] = match random(3) {
                    0 => random(256) as u8,
                    1 => b"0179 \n=,\0\x80\xff"[random(11)],
                    _ => tar[at] ^ 1 << random(8),
                };
                // Most changes should get past the checksum.
                if let Some(block) = tar[at / BLOCK_BYTES * BLOCK_BYTES..].first_chunk_mut::<BLOCK_BYTES>() {
                    if block[MAGIC].starts_with(b"ustar") {
                        seal(block);
                    }
                }
            }
            let whole = events(&tar, tar.len());
            refused += u32::from(whole.1.is_err());
            for step in [1, 97, 513] {
                assert_eq!(events(&tar, step), whole, "{step}");
            }
        }
        assert!((130..770).contains(&refused), "{refused} of 800 refused: the changes are too tame or too wild");
    }
}
