//! OCI whiteouts: what the names of a layer's entries mean to overlayfs.
//!
//! Names and rules: OCI image-spec, layer.md, 'Representing Changes'. AUFS's own bookkeeping names (`.wh..wh.plnk`,
//! `.wh..wh.aufs`) are in old images.

/// A whole path in an archive.
pub const MAX_PATH_BYTES: usize = 4096;
/// One component: what Linux file systems hold.
pub const MAX_NAME_BYTES: usize = 255;

const PREFIX: &[u8] = b".wh.";
const META_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The path that an entry makes or hides: components joined by single slashes, none of them `.`, `..` or empty. The
/// root has an empty `parent` and an empty `name`.
#[derive(Debug, PartialEq, Eq)]
pub struct WhiteoutTarget {
    path: Vec<u8>,
    /// Where `name` starts.
    split: usize,
    pub meaning: Meaning,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The entry itself.
    Plain,
    /// `name` of the layers below is gone.
    Whiteout,
    /// What the layers below have in `path` is gone: `path` is the directory itself.
    Opaque,
    /// Bookkeeping of AUFS.
    Ignored,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    Escape,
    NameTooLong,
    PathTooLong,
    Nul,
    Whiteout,
    WhiteoutDirectory,
}

impl Error {
    pub fn text(self) -> &'static str {
        match self {
            Error::Escape => "the path leaves the root",
            Error::NameTooLong => "a name over 255 bytes",
            Error::PathTooLong => "a path over 4096 bytes",
            Error::Nul => "a path with a NUL",
            Error::Whiteout => "a whiteout of nothing",
            Error::WhiteoutDirectory => "a directory with a whiteout's name",
        }
    }
}

impl WhiteoutTarget {
    /// The whole path.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The path of the directory that holds it; empty for the root.
    pub fn parent(&self) -> &[u8] {
        self.path.get(..self.split.saturating_sub(1)).unwrap_or(b"")
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        self.path.get(self.split..).unwrap_or(b"")
    }
}

/// Normalises an entry's path. `/x`, `./x` and `a//b` stay inside; `..` never does.
pub fn normalize(path: &[u8]) -> Result<WhiteoutTarget, Error> {
    if path.len() > MAX_PATH_BYTES {
        return Err(Error::PathTooLong);
    }
    if path.contains(&0) {
        return Err(Error::Nul);
    }
    let mut clean = Vec::with_capacity(path.len());
    let mut split = 0;
    for name in path.split(|b| *b == b'/') {
        match name {
            b"" | b"." => continue,
            b".." => return Err(Error::Escape),
            _ if name.len() > MAX_NAME_BYTES => return Err(Error::NameTooLong),
            _ => {}
        }
        if !clean.is_empty() {
            clean.push(b'/');
        }
        split = clean.len();
        clean.extend_from_slice(name);
    }
    Ok(WhiteoutTarget { path: clean, split, meaning: Meaning::Plain })
}

/// The target of the entry at `path`, and what the entry means there.
pub fn target(path: &[u8], is_directory: bool) -> Result<WhiteoutTarget, Error> {
    let mut target = normalize(path)?;
    // Most paths have no whiteout: this check is quick.
    if !target.path.split(|b| *b == b'/').any(|name| name.starts_with(PREFIX)) {
        return Ok(target);
    }
    for name in target.parent().split(|b| *b == b'/') {
        if name.starts_with(META_PREFIX) && name != OPAQUE {
            target.meaning = Meaning::Ignored;
            return Ok(target);
        }
        if name.starts_with(PREFIX) {
            return Err(Error::WhiteoutDirectory);
        }
    }
    let name = target.name();
    if name.starts_with(META_PREFIX) && name != OPAQUE {
        target.meaning = Meaning::Ignored;
        return Ok(target);
    }
    if is_directory {
        return Err(Error::WhiteoutDirectory);
    }
    if name == OPAQUE {
        let directory = target.parent().to_vec();
        let split = directory.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
        return Ok(WhiteoutTarget { path: directory, split, meaning: Meaning::Opaque });
    }
    let hidden = name.strip_prefix(PREFIX).unwrap_or(name);
    if matches!(hidden, b"" | b"." | b"..") {
        return Err(Error::Whiteout);
    }
    let path = [target.path.get(..target.split).unwrap_or(b""), hidden].concat();
    Ok(WhiteoutTarget { path, split: target.split, meaning: Meaning::Whiteout })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(path: &[u8], is_directory: bool) -> Result<(String, Meaning), Error> {
        let target = target(path, is_directory)?;
        let joined = match target.parent() {
            b"" => target.name().to_vec(),
            parent => [parent, b"/", target.name()].concat(),
        };
        assert_eq!(joined, target.path());
        Ok((String::from_utf8_lossy(target.path()).into_owned(), target.meaning))
    }

    /// Input: member-paths
    #[test]
    fn paths_stay_inside() {
        for (path, clean) in [
            ("/x", "x"),
            ("//x", "x"),
            ("./x", "x"),
            ("a//b/", "a/b"),
            ("..data", "..data"),
            ("...", "..."),
            ("./", ""),
            ("", ""),
            ("/", ""),
            ("a/./b", "a/b"),
        ] {
            assert_eq!(meant(path.as_bytes(), true), Ok((clean.into(), Meaning::Plain)), "{path}");
        }
        for path in ["..", "../x", "a/../b", "a/..", "/..", "a/../../x"] {
            assert_eq!(meant(path.as_bytes(), true), Err(Error::Escape), "{path}");
        }
    }

    /// Input: member-names
    #[test]
    fn long_names() {
        assert!(target(&[b'a'; 255], false).is_ok());
        assert_eq!(target(&[b'a'; 256], false), Err(Error::NameTooLong));
        assert!(target(&b"a/".repeat(2048), false).is_ok());
        assert_eq!(target(&b"a/".repeat(2049), false), Err(Error::PathTooLong));
    }

    /// Input: whiteout-names
    #[test]
    fn whiteout_names() {
        for (path, result) in [
            (".wh.x", Ok(("x".into(), Meaning::Whiteout))),
            ("d/e/.wh.x", Ok(("d/e/x".into(), Meaning::Whiteout))),
            ("d/.wh..x", Ok(("d/.x".into(), Meaning::Whiteout))),
            (".wh..wh..opq", Ok(("".into(), Meaning::Opaque))),
            ("a/d/.wh..wh..opq", Ok(("a/d".into(), Meaning::Opaque))),
            ("d/.wh..wh.plnk", Ok(("d/.wh..wh.plnk".into(), Meaning::Ignored))),
            (".wh..wh.plnk/1.2", Ok((".wh..wh.plnk/1.2".into(), Meaning::Ignored))),
            (".wh..wh.aufs", Ok((".wh..wh.aufs".into(), Meaning::Ignored))),
            (".wh.", Err(Error::Whiteout)),
            (".wh..", Err(Error::Whiteout)),
            ("d/.wh...", Err(Error::Whiteout)),
            (".wh.d/x", Err(Error::WhiteoutDirectory)),
            (".wh..wh..opq/x", Err(Error::WhiteoutDirectory)),
            ("x.wh.y", Ok(("x.wh.y".into(), Meaning::Plain))),
            (".whx", Ok((".whx".into(), Meaning::Plain))),
        ] {
            assert_eq!(meant(path.as_bytes(), false), result, "{path}");
        }
        assert_eq!(meant(b"a/.wh.d", true), Err(Error::WhiteoutDirectory));
        assert_eq!(meant(b".wh..wh..opq", true), Err(Error::WhiteoutDirectory));
        assert!(matches!(meant(b".wh..wh.plnk", true), Ok((_, Meaning::Ignored))));
    }
}
