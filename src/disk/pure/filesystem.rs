//! The values of `b2c.filesystem`.

/// A file system that the user has given a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    pub name: String,
    /// `ext4`, `nfs`, `9p`, …
    pub kind: String,
    pub source: String,
    /// `MS_…` of mount(2).
    pub flags: u64,
    /// The other options, which are the file system's own.
    pub data: String,
}

/// The options of mount(8) that are flags of mount(2): the flag, and whether it is set or cleared (Linux,
/// include/uapi/linux/mount.h).
const FLAGS: [(&str, u64, bool); 23] = [
    ("ro", 1, true),
    ("rw", 1, false),
    ("nosuid", 1 << 1, true),
    ("suid", 1 << 1, false),
    ("nodev", 1 << 2, true),
    ("dev", 1 << 2, false),
    ("noexec", 1 << 3, true),
    ("exec", 1 << 3, false),
    ("sync", 1 << 4, true),
    ("async", 1 << 4, false),
    ("dirsync", 1 << 7, true),
    ("noatime", 1 << 10, true),
    ("atime", 1 << 10, false),
    ("nodiratime", 1 << 11, true),
    ("diratime", 1 << 11, false),
    ("relatime", 1 << 21, true),
    ("norelatime", 1 << 21, false),
    ("strictatime", 1 << 24, true),
    ("lazytime", 1 << 25, true),
    ("nolazytime", 1 << 25, false),
    // For mount(8) only: the kernel does not see them.
    ("defaults", 0, true),
    ("auto", 0, true),
    ("_netdev", 0, true),
];

impl FileSystem {
    /// Parses `NAME,type=T,src=S,opts=a|b|c`.
    pub fn parse(value: &str) -> Result<FileSystem, String> {
        let (name, rest) = fields(value)?;
        let (mut kind, mut source, mut options) = ("", "", "");
        for (key, value) in rest {
            match key {
                "type" => kind = value,
                "src" => source = value,
                "opts" => options = value,
                _ => return Err(["'", key, "' is not one of type, src, opts"].concat()),
            }
        }
        if kind.is_empty() {
            return Err(["'", name, "': write type=: ext4, nfs, 9p, virtiofs, ..."].concat());
        }
        let (flags, data) = mount_options(options);
        // Types such as tmpfs have no source. mount(8) uses this word.
        let source = if source.is_empty() { "none" } else { source };
        Ok(FileSystem { name: name.into(), kind: kind.into(), source: source.into(), flags, data })
    }
}

/// The kernel's flags and the file system's own options in `a|b|c`; later ones win.
fn mount_options(text: &str) -> (u64, String) {
    let (mut flags, mut data) = (0, Vec::new());
    for option in text.split('|').filter(|option| !option.is_empty()) {
        match FLAGS.iter().find(|(name, _, _)| *name == option) {
            Some((_, flag, true)) => flags |= flag,
            Some((_, flag, false)) => flags &= !flag,
            None => data.push(option),
        }
    }
    (flags, data.join(","))
}

/// The name and the fields of `NAME,key=value,...`.
pub fn fields(value: &str) -> Result<(&str, impl Iterator<Item = (&str, &str)>), String> {
    let mut parts = value.split(',');
    let name = checked(parts.next().unwrap_or_default())?;
    Ok((name, parts.map(|part| part.split_once('=').unwrap_or((part, "")))))
}

/// Checks the name of a volume or filesystem. It is the name of a directory, so only podman's letters are allowed, and
/// no name leads to another directory.
pub fn checked(name: &str) -> Result<&str, String> {
    match is_name(name) {
        true => Ok(name),
        false => Err(["'", name, "' is not a name: letters, digits, and after the first one also _ . -"].concat()),
    }
}

/// Whether `name` is a valid name of a volume or filesystem.
pub fn is_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric) && name.len() < 256 && name.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filesystems() {
        let fs = FileSystem::parse("share,type=nfs,src=10.0.0.1:/a,b=c,opts=ro").unwrap_err();
        assert_eq!(fs, "'b' is not one of type, src, opts");
        let fs = FileSystem::parse("share,type=nfs,src=10.0.0.1:/a,opts=ro|vers=4|nodev|rw|timeo=5|defaults").unwrap();
        assert_eq!((fs.name.as_str(), fs.kind.as_str(), fs.source.as_str()), ("share", "nfs", "10.0.0.1:/a"));
        assert_eq!((fs.flags, fs.data.as_str()), (4, "vers=4,timeo=5"));
        assert_eq!(FileSystem::parse("mem,type=tmpfs").unwrap().source, "none");
        assert!(FileSystem::parse("mem").unwrap_err().contains("write type="));
    }
}
