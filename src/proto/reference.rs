//! Image names, as podman reads them (the grammar of the distribution spec's
//! references), and the transports that need no registry.

use super::digest::{self, Digest};

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    Registry(Remote),
    /// An OCI image layout in a folder; without a tag, its only image.
    Layout {
        dir: String,
        tag: Option<String>,
    },
}

/// An image in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// `docker.io`, `10.42.0.1:8002`.
    pub host: String,
    /// `library/alpine`.
    pub path: String,
    pub tag: String,
    /// Wins over the tag.
    pub digest: Option<Digest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    Empty,
    /// `docker://http://…`
    Scheme,
    Host,
    Path,
    Tag,
    Digest(digest::Error),
    /// `oci-archive:` and `docker-archive:`.
    Archive,
}

impl Error {
    pub fn text(self) -> &'static str {
        match self {
            Error::Empty => "no image is named",
            Error::Scheme => "no http:// or https:// belongs here: write HOST[:PORT]/PATH[:TAG], and --tls-verify=false for plain http",
            Error::Host => "the registry's name is not HOST or HOST:PORT",
            Error::Path => "the path may hold a-z, 0-9, and . _ - between them",
            Error::Tag => "a tag may hold letters, digits and . _ -, up to 128",
            Error::Digest(error) => error.text(),
            Error::Archive => "archives are not there yet: unpack it and write oci:DIR",
        }
    }
}

const TAG_MAX: usize = 128;
const NAME_MAX: usize = 255;
const DEFAULT_HOST: &str = "docker.io";

impl Reference {
    /// Reads `docker://HOST[:PORT]/PATH[:TAG][@sha256:…]`, the same without
    /// `docker://`, a short name (of docker.io), or `oci:DIR[:TAG]`.
    pub fn parse(text: &str) -> Result<Reference, Error> {
        if let Some(layout) = text.strip_prefix("oci:") {
            return layout_in(layout);
        }
        if text.starts_with("oci-archive:") || text.starts_with("docker-archive:") {
            return Err(Error::Archive);
        }
        Remote::parse(text.strip_prefix("docker://").unwrap_or(text)).map(Reference::Registry)
    }

    /// The name in full: the key of an image in the store.
    pub fn name(&self) -> String {
        match self {
            Reference::Registry(remote) => remote.name(),
            Reference::Layout { dir, tag: Some(tag) } => ["oci:", dir, ":", tag].concat(),
            Reference::Layout { dir, tag: None } => ["oci:", dir].concat(),
        }
    }
}

impl Remote {
    fn parse(text: &str) -> Result<Remote, Error> {
        if text.starts_with("http:/") || text.starts_with("https:/") {
            return Err(Error::Scheme);
        }
        let (text, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(Digest::parse(digest).map_err(Error::Digest)?)),
            None => (text, None),
        };
        let (host, rest) = match text.split_once('/') {
            Some((host, rest)) if is_host(host) => (host, rest),
            _ => (DEFAULT_HOST, text),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (rest, "latest"),
        };
        if path.is_empty() {
            return Err(Error::Empty);
        }
        check_host(host)?;
        check_tag(tag)?;
        let host = if host == "index.docker.io" { DEFAULT_HOST } else { host };
        let path = if host == DEFAULT_HOST && !path.contains('/') { ["library/", path].concat() } else { path.into() };
        check_path(&path)?;
        Ok(Remote { host: host.into(), path, tag: tag.into(), digest })
    }

    /// The server that answers for [`Remote::host`].
    pub fn server(&self) -> &str {
        if self.host == DEFAULT_HOST {
            "registry-1.docker.io"
        } else {
            &self.host
        }
    }

    /// What a manifest is asked by: the digest where there is one, else the tag.
    pub fn version(&self) -> String {
        self.digest.as_ref().map_or_else(|| self.tag.clone(), Digest::text)
    }

    pub fn name(&self) -> String {
        match &self.digest {
            Some(digest) => [&self.host, "/", &self.path, "@", &digest.text()].concat(),
            None => [&self.host, "/", &self.path, ":", &self.tag].concat(),
        }
    }
}

fn layout_in(text: &str) -> Result<Reference, Error> {
    let (dir, tag) = match text.rsplit_once(':') {
        Some((dir, tag)) if !tag.contains('/') => (dir, Some(tag)),
        _ => (text, None),
    };
    if dir.is_empty() {
        return Err(Error::Empty);
    }
    tag.map_or(Ok(()), check_tag)?;
    Ok(Reference::Layout { dir: dir.into(), tag: tag.map(String::from) })
}

/// The first component is a host if it could not be a folder of docker.io.
fn is_host(component: &str) -> bool {
    component.contains(['.', ':']) || component == "localhost"
}

fn check_host(host: &str) -> Result<(), Error> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let bracketed = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let good = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-'),
    };
    match port {
        Some(port) if port.parse::<u16>().is_err() => Err(Error::Host),
        _ if !good => Err(Error::Host),
        _ => Ok(()),
    }
}

fn check_path(path: &str) -> Result<(), Error> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let good = |part: &str| edge(part.bytes().next()) && edge(part.bytes().last()) && part.bytes().all(inner);
    if path.len() <= NAME_MAX && path.split('/').all(good) {
        Ok(())
    } else {
        Err(Error::Path)
    }
}

fn check_tag(tag: &str) -> Result<(), Error> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let good = tag.len() <= TAG_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-');
    if good {
        Ok(())
    } else {
        Err(Error::Tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn named(text: &str, name: &str) {
        assert_eq!(Reference::parse(text).unwrap().name(), name, "{text}");
    }

    #[test]
    fn names_of_labs() {
        named("alpine", "docker.io/library/alpine:latest");
        named("docker.io/library/alpine:latest", "docker.io/library/alpine:latest");
        named("docker.io/alpine", "docker.io/library/alpine:latest");
        named("index.docker.io/alpine", "docker.io/library/alpine:latest");
        named("user/image:1", "docker.io/user/image:1");
        named(
            "docker://10.42.0.1:8001/infra/machine-registration:latest",
            "10.42.0.1:8001/infra/machine-registration:latest",
        );
        named("10.42.0.1:8002/tests/mesa:12345", "10.42.0.1:8002/tests/mesa:12345");
        named("docker://10.0.2.2:8088/x", "10.0.2.2:8088/x:latest");
        named("localhost/a/b", "localhost/a/b:latest");
        named("localhost:5000/a", "localhost:5000/a:latest");
        named("[::1]:5000/a", "[::1]:5000/a:latest");
        named("oci:/images/demo", "oci:/images/demo");
        named("oci:demo:v1", "oci:demo:v1");
    }

    #[test]
    fn a_digest_wins_over_the_tag() {
        let digest = ["sha256:", &"ab".repeat(32)].concat();
        let Reference::Registry(remote) = Reference::parse(&["a.b/c:tag@", &digest].concat()).unwrap() else {
            panic!()
        };
        assert_eq!((remote.tag.as_str(), remote.version()), ("tag", digest));
    }

    #[test]
    fn what_is_no_name_says_why() {
        for (text, error) in [
            ("", Error::Empty),
            ("docker://", Error::Empty),
            ("docker://http://10.0.0.1/x", Error::Scheme),
            ("https://a.b/c", Error::Scheme),
            ("a.b:port/x", Error::Host),
            ("a.b/UPPER", Error::Path),
            ("a.b/../x", Error::Path),
            ("a.b/x//y", Error::Path),
            ("a.b/x:t@g", Error::Digest(digest::Error::Algorithm)),
            ("a.b/x:", Error::Tag),
            ("a.b/x:-t", Error::Tag),
            ("oci:", Error::Empty),
            ("oci-archive:x.tar", Error::Archive),
        ] {
            assert_eq!(Reference::parse(text), Err(error), "{text}");
        }
    }
}
