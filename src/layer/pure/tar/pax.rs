//! PAX records: `LENGTH KEY=VALUE\n`, and the keys that change a member.

use crate::layer::pure::tar::entry::{Time, Xattr};
use crate::layer::pure::tar::error::Error;
use crate::layer::pure::tar::field::{decimal, decimal_time};
use crate::layer::pure::tar::limits::MAX_XATTRS;
use crate::layer::pure::tar::sparse::{Form, Map};

/// What a PAX header says of the next member.
#[derive(Default)]
pub struct Overrides {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mtime: Option<Time>,
    pub xattrs: Vec<Xattr>,
    pub sparse: Sparse,
}

/// GNU's sparse records.
#[derive(Default)]
pub struct Sparse {
    pub name: Option<Vec<u8>>,
    pub form: Form,
    major: Option<u64>,
    minor: Option<u64>,
    real_size: Option<u64>,
    offset: Option<u64>,
    map: Option<Map>,
}

/// Called with a record's key and value.
type Each<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), Error> + 'a;

/// Calls `each` with the key and value of every record.
pub fn records(mut text: &[u8], each: &mut Each<'_>) -> Result<(), Error> {
    while !text.is_empty() {
        let space = text.iter().position(|b| *b == b' ').ok_or(Error::Record)?;
        let length = decimal(&text[..space]).and_then(|n| usize::try_from(n).ok()).ok_or(Error::Record)?;
        let record = text.get(space + 1..length).and_then(|r| r.strip_suffix(b"\n")).ok_or(Error::Record)?;
        let equals = record.iter().position(|b| *b == b'=').ok_or(Error::Record)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if key.is_empty() || key.contains(&0) {
            return Err(Error::Record);
        }
        each(key, value)?;
        text = &text[length..];
    }
    Ok(())
}

impl Overrides {
    pub fn parse(text: &[u8]) -> Result<Overrides, Error> {
        let mut overrides = Overrides::default();
        records(text, &mut |key, value| overrides.set(key, value))?;
        overrides.sparse.finish()?;
        Ok(overrides)
    }

    /// The last of a key's records wins; an empty value removes the key
    /// (POSIX, 'pax Extended Header').
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let id = |n: u64| u32::try_from(n).ok().ok_or(Error::Number);
        match key {
            b"path" => self.path = name(value)?,
            b"linkpath" => self.link = name(value)?,
            b"size" => self.size = integer(value)?,
            b"uid" => self.uid = integer(value)?.map(id).transpose()?,
            b"gid" => self.gid = integer(value)?.map(id).transpose()?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(decimal_time(value).ok_or(Error::Number)?),
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattr(name.to_vec(), value.to_vec())?;
                } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                    let name = unescape(name).ok_or(Error::Record)?;
                    self.xattr(name, from_base64(value).ok_or(Error::Record)?)?;
                } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.set(key, value)?;
                }
            }
        }
        Ok(())
    }

    fn xattr(&mut self, name: Vec<u8>, value: Vec<u8>) -> Result<(), Error> {
        if name.is_empty() {
            return Err(Error::Record);
        }
        let full = self.xattrs.len() >= MAX_XATTRS;
        match self.xattrs.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None if full => return Err(Error::TooManyXattrs),
            None => self.xattrs.push((name, value)),
        }
        Ok(())
    }
}

impl Sparse {
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        match key {
            b"name" => self.name = name(value)?,
            b"major" => self.major = integer(value)?,
            b"minor" => self.minor = integer(value)?,
            b"size" | b"realsize" => self.real_size = integer(value)?,
            // 0.0 repeats these two; they come in pairs.
            b"offset" if self.offset.is_some() => return Err(Error::Sparse),
            b"offset" => self.offset = Some(decimal(value).ok_or(Error::Sparse)?),
            b"numbytes" => {
                let at = self.offset.take().ok_or(Error::Sparse)?;
                let bytes = decimal(value).ok_or(Error::Sparse)?;
                self.map.get_or_insert_with(Map::new).add(at, bytes)?;
            }
            b"map" => {
                let mut map = Map::new();
                map.add_list(value)?;
                self.map = Some(map);
            }
            b"numblocks" => self.map = self.map.take().or_else(|| Some(Map::new())),
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        if self.offset.is_some() {
            return Err(Error::Sparse);
        }
        self.form = match (self.major, self.minor, self.map.take()) {
            (None, None, None) => return Ok(()),
            (Some(1), Some(0), _) => Form::InBody { real_size: self.real_size.ok_or(Error::Sparse)? },
            (None, None, Some(map)) | (Some(0), Some(0 | 1), Some(map)) => {
                Form::Listed { real_size: self.real_size.ok_or(Error::Sparse)?, map }
            }
            _ => return Err(Error::SparseVersion),
        };
        Ok(())
    }
}

fn name(value: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    match value {
        b"" => Ok(None),
        _ if value.contains(&0) => Err(Error::NulInName),
        _ => Ok(Some(value.to_vec())),
    }
}

fn integer(value: &[u8]) -> Result<Option<u64>, Error> {
    match value {
        b"" => Ok(None),
        _ => decimal(value).map(Some).ok_or(Error::Number),
    }
}

/// `%XX` in names of libarchive's attributes; none may hide a NUL.
fn unescape(name: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|d| d as u8);
    let mut out = Vec::with_capacity(name.len());
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => digit(*bytes.next()?)? << 4 | digit(*bytes.next()?)?,
            byte => *byte,
        });
    }
    (!out.contains(&0)).then_some(out)
}

/// RFC 4648 section 4; libarchive leaves the padding off.
fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut held) = (0u32, 0);
    for byte in text.iter().take_while(|b| **b != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    Some(out)
}
