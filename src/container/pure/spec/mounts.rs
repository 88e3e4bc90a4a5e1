//! What is mounted into a container, in podman's three spellings, and its devices.

use crate::container::pure::paths::below_root;
use crate::container::pure::spec::resources::size;
use crate::container::pure::spec::values::{boolean, mode, name};
use crate::container::pure::spec::{
    Access, Device, DeviceRule, Files, ImageVolumes, Mount, Propagation, PropagationKind, Source, VolumesFrom,
};
use crate::image::pure::pull_options::ExtraLayer;
use crate::pure::digest::Digest;

impl Mount {
    fn new(source: Source, target: &str) -> Result<Mount, String> {
        if !target.starts_with('/') {
            return Err(["'", target, "': a path in the container begins with /"].concat());
        }
        if target.split('/').all(|part| matches!(part, "" | "." | "..")) {
            return Err(["'", target, "': the container's own root cannot be a volume"].concat());
        }
        Ok(Mount::plain(source, target))
    }

    /// A word that all three spellings know; false for one that none does.
    fn option(&mut self, word: &str) -> bool {
        match word {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "suid" | "nosuid" => self.suid = Some(word == "suid"),
            "dev" | "nodev" => self.dev = Some(word == "dev"),
            "exec" | "noexec" => self.exec = Some(word == "exec"),
            "bind" | "rbind" => self.recursive = Some(word == "rbind"),
            // Labels of SELinux, which none of our kernels has.
            "" | "z" | "Z" => {}
            _ => match propagation(word) {
                Some(propagation) => self.propagation = Some(propagation),
                None => return false,
            },
        }
        true
    }
}

fn propagation(word: &str) -> Option<Propagation> {
    let (recursive, word) = match word.strip_prefix('r') {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    let kind = match word {
        "shared" => PropagationKind::Shared,
        "slave" => PropagationKind::Slave,
        "private" => PropagationKind::Private,
        "unbindable" => PropagationKind::Unbindable,
        _ => return None,
    };
    Some(Propagation { kind, recursive })
}

pub(super) fn image_volumes(text: &str) -> Result<ImageVolumes, String> {
    match text {
        "anonymous" | "bind" => Ok(ImageVolumes::Anonymous),
        "tmpfs" => Ok(ImageVolumes::Tmpfs),
        "ignore" => Ok(ImageVolumes::Ignored),
        _ => Err(["'", text, "' is none of anonymous, bind, tmpfs and ignore"].concat()),
    }
}

/// Two mounts at one place are a mistake, as for podman.
fn add(files: &mut Files, mount: Mount) -> Result<(), String> {
    if files.targets.insert(below_root(&mount.target).as_bytes(), 0).is_some() {
        return Err(["'", &mount.target, "': something else is mounted there already"].concat());
    }
    files.mounts.push(mount);
    Ok(())
}

/// A host's path begins with a slash or a dot; all else is a volume's name.
fn source(text: &str) -> Result<Source, String> {
    if text.starts_with(['/', '.']) {
        return Ok(Source::Path(text.into()));
    }
    match name(text) {
        Ok(name) => Ok(Source::Volume(name)),
        Err(_) => Err(["'", text, "' is neither a path (/... or ./...) nor a volume's name"].concat()),
    }
}

/// `[HOST|NAME:]CONTAINER[:options]`.
pub(super) fn volume(files: &mut Files, text: &str) -> Result<(), String> {
    let mut parts = text.splitn(3, ':');
    let first = parts.next().unwrap_or_default();
    let mut mount = match parts.next() {
        Some(target) => Mount::new(source(first)?, target)?,
        None => Mount::new(Source::Anonymous, first)?,
    };
    for option in parts.next().unwrap_or_default().split(',') {
        match option {
            "U" => mount.chown = true,
            "O" => mount.overlay = true,
            "copy" | "nocopy" => mount.copy = Some(option == "copy"),
            _ if mount.option(option) => {}
            _ => return Err(["'", option, "' is not a known option"].concat()),
        }
    }
    add(files, mount)
}

/// `type=bind|volume|tmpfs,src=…,dst=…[,option[=value]]*`.
pub(super) fn mount(files: &mut Files, text: &str) -> Result<(), String> {
    let words = || text.split(',').map(|word| word.split_once('=').unwrap_or((word, "")));
    let find = |names: &[&str]| words().find(|(key, _)| names.contains(key)).map(|(_, value)| value);
    let kind = find(&["type"]).unwrap_or("volume");
    let from = find(&["src", "source"]);
    let from = match kind {
        "bind" => Source::Path(from.filter(|path| !path.is_empty()).ok_or("src= is missing")?.into()),
        "volume" => from.map_or(Ok(Source::Anonymous), |from| name(from).map(Source::Volume))?,
        "tmpfs" => Source::Tmpfs(String::new()),
        _ => return Err(["'", kind, "' is not one of bind, volume, tmpfs"].concat()),
    };
    let target = find(&["dst", "destination", "target"]).ok_or("dst= is missing")?;
    let mut mount = Mount::new(from, target)?;
    for word in text.split(',') {
        mount_word(&mut mount, kind, word)?;
    }
    add(files, mount)
}

fn mount_word(mount: &mut Mount, kind: &str, word: &str) -> Result<(), String> {
    let (key, value) = word.split_once('=').unwrap_or((word, ""));
    let is_true = || boolean(if word.contains('=') { value } else { "true" });
    match (key, kind) {
        ("type" | "dst" | "destination" | "target" | "consistency" | "relabel", _) => {}
        ("src" | "source", "bind" | "volume") => {}
        ("ro" | "readonly", _) => mount.read_only = is_true()?,
        ("rw" | "readwrite", _) => mount.read_only = !is_true()?,
        ("U" | "chown", _) => mount.chown = is_true()?,
        ("bind-nonrecursive", "bind") => mount.recursive = Some(!is_true()?),
        ("bind-propagation", "bind") => {
            let found = propagation(value);
            mount.propagation = Some(found.ok_or_else(|| ["'", value, "' is no propagation"].concat())?);
        }
        ("tmpfs-size", "tmpfs") => tmpfs_word(mount, &["size=", value].concat())?,
        ("tmpfs-mode", "tmpfs") => tmpfs_word(mount, &["mode=", value].concat())?,
        (_, "tmpfs") => tmpfs_word(mount, word)?,
        _ if mount.option(word) => {}
        _ => return Err(["'", word, "' is not an option of type=", kind].concat()),
    }
    Ok(())
}

/// `CONTAINER[:options]`.
pub(super) fn tmpfs(files: &mut Files, text: &str) -> Result<(), String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let mut mount = Mount::new(Source::Tmpfs(String::new()), target)?;
    for word in options.split(',') {
        tmpfs_word(&mut mount, word)?;
    }
    add(files, mount)
}

fn tmpfs_word(mount: &mut Mount, word: &str) -> Result<(), String> {
    let wrong = || ["'", word, "' is not an option of a tmpfs"].concat();
    match word.split_once('=') {
        None if matches!(word, "tmpcopyup" | "notmpcopyup") => mount.copy = Some(word == "tmpcopyup"),
        None if word == "U" => mount.chown = true,
        None if mount.option(word) => {}
        Some((key, value)) => {
            let good = match key {
                "size" => value.ends_with('%') || size(value).is_ok(),
                "mode" => mode(value).is_ok(),
                "uid" | "gid" | "nr_inodes" | "nr_blocks" => value.bytes().all(|b| b.is_ascii_alphanumeric()),
                _ => false,
            };
            let Source::Tmpfs(data) = &mut mount.source else { return Err(wrong()) };
            if !good || value.is_empty() {
                return Err(wrong());
            }
            let comma = if data.is_empty() { "" } else { "," };
            // The kernel's own units are of one letter.
            let plain = size(value).ok().filter(|_| key == "size").map(|bytes| bytes.to_string());
            *data = [data, comma, key, "=", plain.as_deref().unwrap_or(value)].concat();
        }
        None => return Err(wrong()),
    }
    Ok(())
}

/// `HOST[:CONTAINER][:rwm]`.
pub(super) fn device(text: &str) -> Result<Device, String> {
    let wrong = || ["'", text, "' is not /dev/NAME[:/dev/OTHER][:rwm]"].concat();
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, access) = match parts.as_slice() {
        [source] => (source, source, "rwm"),
        [source, target] if target.starts_with('/') => (source, target, "rwm"),
        [source, access] => (source, source, *access),
        [source, target, access] => (source, target, *access),
        _ => return Err(wrong()),
    };
    if !source.starts_with('/') || !target.starts_with('/') {
        return Err(wrong());
    }
    Ok(Device {
        source: source.to_string(),
        target: target.to_string(),
        access: self::access(access).ok_or_else(wrong)?,
    })
}

/// Some of the letters of `rwm`.
fn access(text: &str) -> Option<Access> {
    let good = !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
    good.then(|| Access { read: text.contains('r'), write: text.contains('w'), mknod: text.contains('m') })
}

/// `c 42:* rwm` (Linux, cgroup-v1/devices.rst).
pub(super) fn device_rule(text: &str) -> Result<DeviceRule, String> {
    let wrong = || ["'", text, "' is not a rule such as c 42:* rwm"].concat();
    let number = |text: &str| match text {
        "*" => Some(None),
        _ => text.parse().ok().map(Some),
    };
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [kind @ ("a" | "b" | "c"), numbers, access] = words.as_slice() else { return Err(wrong()) };
    let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
    Ok(DeviceRule {
        kind: kind.chars().next().unwrap_or('a'),
        major: number(major).ok_or_else(wrong)?,
        minor: number(minor).ok_or_else(wrong)?,
        access: self::access(access).ok_or_else(wrong)?,
    })
}

/// `CONTAINER[:ro|rw|z]`.
pub(super) fn volumes_from(text: &str) -> Result<VolumesFrom, String> {
    let (container, options) = text.split_once(':').unwrap_or((text, ""));
    let mut from = VolumesFrom { container: name(container)?, read_only: None };
    for option in options.split(',') {
        match option {
            "ro" | "rw" => from.read_only = Some(option == "ro"),
            "" | "z" | "Z" => {}
            _ => return Err(["'", option, "' is not one of ro, rw, z"].concat()),
        }
    }
    Ok(from)
}

/// `URL|FILE[#sha256:…]`.
pub(super) fn layer(text: &str) -> Result<ExtraLayer, String> {
    let (source, digest) = match text.rsplit_once('#') {
        Some((source, digest)) => {
            (source, Some(Digest::parse(digest).map_err(|error| ["'", digest, "': ", error.text()].concat())?))
        }
        None => (text, None),
    };
    let is_url = source.starts_with("http://") || source.starts_with("https://");
    if !(is_url || source.starts_with(['/', '.'])) {
        return Err(["'", source, "' is neither http(s)://... nor a path (/... or ./...)"].concat());
    }
    Ok(ExtraLayer { source: source.into(), digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(read: fn(&mut Files, &str) -> Result<(), String>, texts: &[&str]) -> Vec<Mount> {
        let mut files = Files::default();
        for text in texts {
            read(&mut files, text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
        files.mounts
    }

    fn fault(read: fn(&mut Files, &str) -> Result<(), String>, text: &str) -> String {
        read(&mut Files::default(), text).expect_err(text)
    }

    #[test]
    fn volumes() {
        let texts =
            ["/a:/b", "data:/c:ro,z", "/d", "./e:/e:U,nosuid,noexec,dev,rslave", "/f:/f:O", "/g:/g:rbind,ro,rw"];
        let m = all(volume, &texts);
        assert_eq!(m[0].source, Source::Path("/a".into()));
        assert_eq!((&m[1].source, m[1].read_only), (&Source::Volume("data".into()), true));
        assert_eq!((&m[2].source, m[2].target.as_str()), (&Source::Anonymous, "/d"));
        assert!(m[3].chown && m[3].suid == Some(false) && m[3].exec == Some(false) && m[3].dev == Some(true));
        assert_eq!(m[3].propagation, Some(Propagation { kind: PropagationKind::Slave, recursive: true }));
        assert!(m[4].overlay && m[5].recursive == Some(true) && !m[5].read_only);
        for (text, want) in [
            ("/a:b", "'b': a path in the container begins with /"),
            ("/a:/x:cow", "'cow' is not a known option"),
            ("/a:/", "'/': the container's own root cannot be a volume"),
            ("/a://.", "'//.': the container's own root cannot be a volume"),
            ("a/b:/c", "'a/b' is neither a path (/... or ./...) nor a volume's name"),
            ("", "'': a path in the container begins with /"),
        ] {
            assert_eq!(fault(volume, text), want, "{text}");
        }
    }

    #[test]
    fn mounts() {
        let texts = [
            "type=bind,src=/a,dst=/b,ro=true,bind-propagation=shared",
            "type=volume,source=v,destination=/c,U=true",
            "type=tmpfs,tmpfs-size=512M,target=/d,tmpfs-mode=700,notmpcopyup",
            "source=w,target=/e,readonly",
            "type=bind,source=/f,target=/f,bind-nonrecursive,ro=false",
        ];
        let m = all(mount, &texts);
        assert!(m[0].read_only && m[1].chown && m[3].read_only && !m[4].read_only);
        assert_eq!(m[2].source, Source::Tmpfs("size=536870912,mode=700".into()));
        assert_eq!((m[2].copy, m[4].recursive), (Some(false), Some(false)));
        for (text, want) in [
            ("type=bind,dst=/b", "src= is missing"),
            ("type=bind,src=/b", "dst= is missing"),
            ("type=glob,src=/b,dst=/c", "'glob' is not one of bind, volume, tmpfs"),
            ("type=tmpfs,src=/x,dst=/b", "'src=/x' is not an option of a tmpfs"),
            ("type=volume,dst=/b,bind-propagation=shared", "'bind-propagation=shared' is not an option of type=volume"),
            ("type=bind,src=/b,dst=/c,ro=maybe", "'maybe' is not true or false"),
        ] {
            assert_eq!(fault(mount, text), want, "{text}");
        }
    }

    #[test]
    fn tmpfs_and_places_that_are_taken() {
        let m = all(tmpfs, &["/tmp:rw,size=787448k,mode=1777,exec", "/run"]);
        assert_eq!((&m[0].source, m[0].exec), (&Source::Tmpfs("size=806346752,mode=1777".into()), Some(true)));
        for text in ["/t:size=x", "/t:mode=9", "/t:huge=always", "/t:size", "/t:uid=1,gid=a=b", "t", "/t:nr_inodes="] {
            assert!(fault(tmpfs, text).starts_with('\''), "{text}");
        }
        let mut files = Files::default();
        tmpfs(&mut files, "/a/b").unwrap();
        assert_eq!(
            volume(&mut files, "/x:/a//./c/../b/").unwrap_err(),
            "'/a//./c/../b/': something else is mounted there already"
        );
    }

    #[test]
    fn devices_and_rules() {
        let all = Access { read: true, write: true, mknod: true };
        let read = Access { read: true, write: false, mknod: false };
        let of = |source: &str, target: &str, access| Device { source: source.into(), target: target.into(), access };
        assert_eq!(device("/dev/sda"), Ok(of("/dev/sda", "/dev/sda", all)));
        assert_eq!(device("/dev/sda:/dev/xvda:r"), Ok(of("/dev/sda", "/dev/xvda", read)));
        assert_eq!(device("/dev/sda:r"), Ok(of("/dev/sda", "/dev/sda", read)));
        for text in ["sda", "/dev/sda:x", "/dev/sda:/dev/b:", "/dev/sda:b:r", "/dev/a:/dev/b:r:w", ""] {
            assert!(device(text).is_err(), "{text}");
        }
        assert_eq!(device_rule("c 42:* r"), Ok(DeviceRule { kind: 'c', major: Some(42), minor: None, access: read }));
        for text in ["c 42 r", "d 1:1 r", "c 1:x r", "c 1:1", "c 1:1 r w"] {
            assert!(device_rule(text).is_err(), "{text}");
        }
    }

    #[test]
    fn layers_with_and_without_a_digest() {
        let hex = "5a".repeat(32);
        assert_eq!(layer("/a.tar").unwrap().digest, None);
        assert_eq!(layer(&format!("https://h/a.tar.gz#sha256:{hex}")).unwrap().digest, Some(Digest([0x5a; 32])));
        for text in ["ftp://a", "a.tar", "/a#sha256:5a", "/a#", ""] {
            assert!(layer(text).is_err(), "{text}");
        }
        assert_eq!(volumes_from("db:ro").unwrap().read_only, Some(true));
        assert!(volumes_from(":ro").is_err() && volumes_from("db:x").is_err());
    }
}
