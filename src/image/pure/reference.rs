//! Image names, as podman reads them (the grammar of the distribution spec's references), and the transports without a
//! registry.

use crate::pure::digest::{self, Digest};

/// An image's name: a registry's, a layout's or an archive's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    Registry(Remote),
    /// An OCI image layout in a directory; without a tag (or `@N`), its only image.
    Layout {
        dir: String,
        tag: Option<String>,
    },
    Archive(Archive),
}

/// Images in one tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    pub form: Form,
    /// A path, or an http or https URL.
    pub location: String,
    /// The image in it: a tag, a full name, or `@N`; none for the only one.
    pub image: Option<String>,
    /// The digest that the file at the URL must have.
    pub digest: Option<Digest>,
}

/// The format of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An OCI image layout.
    Oci,
    /// The format of `docker save`.
    Docker,
}

/// An image in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// `docker.io`, `10.42.0.1:8002`.
    pub host: String,
    /// `library/alpine`.
    pub path: String,
    pub tag: String,
    /// If there is one, the tag is ignored.
    pub digest: Option<Digest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    Empty,
    /// `docker://http://HOST`.
    Scheme,
    /// `docker-daemon:IMAGE`.
    Transport,
    Host,
    Path,
    Tag,
    Digest(digest::Error),
    /// The URL of an archive.
    Url,
    /// The name of the image in a layout or an archive.
    Image,
}

impl Error {
    pub fn text(self) -> &'static str {
        match self {
            Error::Empty => "no image is named",
            Error::Scheme => "an image name has no http:// or https://: write HOST[:PORT]/PATH[:TAG], and --tls-verify=false for plain http",
            Error::Transport => "this transport is not supported: write docker://, oci:, oci-archive: or docker-archive:",
            Error::Host => "the registry is not HOST or HOST:PORT",
            Error::Path => "the path may contain a-z, 0-9, and . _ - between them",
            Error::Tag => "a tag has at most 128 letters, digits and . _ -",
            Error::Digest(error) => error.text(),
            Error::Url => "a URL is http[s]://HOST[:PORT]/PATH[:IMAGE][#sha256:...], in ASCII and without a password; a colon in PATH is %3A",
            Error::Image => "after the colon comes the image's tag or name, or @N for image number N, counted from 0",
        }
    }
}

/// podman's other transports (containers-transports(5)), which are never names of images.
const OTHER_TRANSPORTS: [&str; 6] = ["dir", "docker-daemon", "containers-storage", "ostree", "sif", "tarball"];
const TAG_MAX: usize = 128;
const NAME_MAX: usize = 255;
const DEFAULT_HOST: &str = "docker.io";

impl Reference {
    /// Reads `docker://HOST[:PORT]/PATH[:TAG][@sha256:HEX]`, the same without
    /// `docker://`, a short name (of docker.io), `oci:DIR[:TAG]`, or
    /// `oci-archive:` or `docker-archive:` before `FILE[:IMAGE]` or `URL[:IMAGE][#sha256:HEX]`.
    pub fn parse(text: &str) -> Result<Reference, Error> {
        if let Some(layout) = text.strip_prefix("oci:") {
            let (dir, tag) = path_and_image(layout, Form::Oci)?;
            return Ok(Reference::Layout { dir, tag });
        }
        for form in [Form::Oci, Form::Docker] {
            if let Some(archive) = text.strip_prefix(form.prefix()) {
                return Archive::parse(form, archive).map(Reference::Archive);
            }
        }
        if OTHER_TRANSPORTS.iter().any(|name| text.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'))) {
            return Err(Error::Transport);
        }
        Remote::parse(text.strip_prefix("docker://").unwrap_or(text)).map(Reference::Registry)
    }

    /// Whether the image can be read without a network.
    pub fn is_local(&self) -> bool {
        match self {
            Reference::Registry(_) => false,
            Reference::Layout { .. } => true,
            Reference::Archive(archive) => !archive.is_remote(),
        }
    }

    /// The name for messages, without a URL's query, which may hold a secret (that of an S3 server does).
    pub fn shown(&self) -> String {
        match self {
            Reference::Archive(archive) => {
                let location = archive.location.split('?').next().unwrap_or_default().into();
                Archive { location, ..archive.clone() }.name()
            }
            other => other.name(),
        }
    }

    /// The full name, by which the store knows the image.
    pub fn name(&self) -> String {
        match self {
            Reference::Registry(remote) => remote.name(),
            Reference::Layout { dir, tag: Some(tag) } => ["oci:", dir, ":", tag].concat(),
            Reference::Layout { dir, tag: None } => ["oci:", dir].concat(),
            Reference::Archive(archive) => archive.name(),
        }
    }
}

impl Form {
    fn prefix(self) -> &'static str {
        match self {
            Form::Oci => "oci-archive:",
            Form::Docker => "docker-archive:",
        }
    }
}

impl Archive {
    fn parse(form: Form, text: &str) -> Result<Archive, Error> {
        if !is_url(text) {
            let (location, image) = path_and_image(text, form)?;
            return Ok(Archive { form, location, image, digest: None });
        }
        let (text, digest) = match text.split_once('#') {
            Some((text, digest)) => (text, Some(Digest::parse(digest).map_err(Error::Digest)?)),
            None => (text, None),
        };
        let (scheme, rest) = text.split_once("://").ok_or(Error::Url)?;
        let (host, path) = rest.split_once('/').ok_or(Error::Url)?;
        let (path, image) = match path.split_once(':') {
            Some((path, image)) => (path, Some(image_in(image, form)?)),
            None => (path, None),
        };
        if path.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) || host.contains('@') {
            return Err(Error::Url);
        }
        check_host(host)?;
        Ok(Archive { form, location: [scheme, "://", host, "/", path].concat(), image, digest })
    }

    /// Whether it is on a server.
    pub fn is_remote(&self) -> bool {
        is_url(&self.location)
    }

    fn name(&self) -> String {
        let mut name = [self.form.prefix(), &self.location].concat();
        if let Some(image) = &self.image {
            name = [&name, ":", image].concat();
        }
        match &self.digest {
            Some(digest) => [&name, "#", &digest.text()].concat(),
            None => name,
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

    /// The last part of a manifest's URL: the digest if there is one, else the tag.
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

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// Splits `PATH[:IMAGE]` at the first colon, as podman does (containers-transports(5)).
fn path_and_image(text: &str, form: Form) -> Result<(String, Option<String>), Error> {
    let (path, image) = match text.split_once(':') {
        Some((path, image)) => (path, Some(image_in(image, form)?)),
        None => (text, None),
    };
    if path.is_empty() {
        return Err(Error::Empty);
    }
    // The path is normalized, so that an image has one name in the store.
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let path = match (path.starts_with('/'), parts.join("/")) {
        (true, path) => ["/", &path].concat(),
        (false, path) if path.is_empty() => ".".into(),
        (false, path) => path,
    };
    Ok((path, image))
}

/// The image in a layout or archive: `@N`, or its name in the index. OCI restricts only the characters of that name
/// (image spec, annotations.md, `ref.name`), and podman writes full names there; docker's are names as of a registry.
fn image_in(text: &str, form: Form) -> Result<String, Error> {
    if let Some(number) = text.strip_prefix('@') {
        let number = number.parse::<u16>().map_err(|_| Error::Image)?;
        return Ok(["@", &number.to_string()].concat());
    }
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"-._:@/+".contains(&b);
    match form {
        Form::Docker if text.contains('@') => Err(Error::Image),
        Form::Docker => Remote::parse(text).map(|remote| remote.name()),
        Form::Oci if text.is_empty() || text.len() > NAME_MAX || !text.bytes().all(letter) => Err(Error::Image),
        Form::Oci => Ok(text.into()),
    }
}

/// The full form of docker's name: `alpine:3` is `docker.io/library/alpine:3`. An invalid name is returned unchanged.
pub(super) fn full_name(text: &str) -> String {
    Remote::parse(text).map_or_else(|_| text.into(), |remote| remote.name())
}

/// Whether the first component is a host: it is if it cannot be a path component of docker.io.
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
    let is_port =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    match port {
        Some(port) if !is_port(port) => Err(Error::Host),
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
    fn one_path_has_one_name() {
        named("oci:./images//demo/", "oci:images/demo");
        named("oci:.", "oci:.");
        named("oci:/", "oci:/");
        named("oci:../demo:@2", "oci:../demo:@2");
        named(
            "oci-archive:/images/./a.tar:docker.io/library/alpine:3",
            "oci-archive:/images/a.tar:docker.io/library/alpine:3",
        );
        named("docker-archive:a.tar", "docker-archive:a.tar");
        named("docker-archive:a.tar:@01", "docker-archive:a.tar:@1");
        named("docker-archive:a.tar:alpine", "docker-archive:a.tar:docker.io/library/alpine:latest");
        named("docker-archive:a#b.tar:localhost/x:1", "docker-archive:a#b.tar:localhost/x:1");
    }

    #[test]
    fn archives_on_servers() {
        let digest = ["#sha256:", &"ab".repeat(32)].concat();
        let text = ["oci-archive:http://10.0.0.1:80/a//b.tar?c=d:v1", &digest].concat();
        named(&text, &text);
        let Ok(Reference::Archive(archive)) = Reference::parse(&text) else { panic!() };
        assert_eq!(
            (archive.location.as_str(), archive.image.as_deref()),
            ("http://10.0.0.1:80/a//b.tar?c=d", Some("v1"))
        );
        assert!(archive.is_remote() && archive.digest.is_some());
        let shown = Reference::parse(&text).unwrap().shown();
        assert_eq!(shown, ["oci-archive:http://10.0.0.1:80/a//b.tar:v1", &digest].concat());
        named(
            "docker-archive:https://[::1]:8443/x.tar:alpine:3",
            "docker-archive:https://[::1]:8443/x.tar:docker.io/library/alpine:3",
        );
        named("docker-archive:https://a.b/x.tar", "docker-archive:https://a.b/x.tar");
        for (text, error) in [
            ("oci-archive:http://a.b", Error::Url),
            ("oci-archive:http://a.b/", Error::Url),
            ("oci-archive:http://a.b/x y.tar", Error::Url),
            ("oci-archive:http://user:word@a.b/x.tar", Error::Url),
            ("oci-archive:http:///x.tar", Error::Host),
            ("oci-archive:http://a.b/x.tar#sha512:00", Error::Digest(digest::Error::Algorithm)),
            ("oci-archive:http://a.b/x.tar:", Error::Image),
        ] {
            assert_eq!(Reference::parse(text), Err(error), "{text}");
        }
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
            ("a.b:+5/x", Error::Host),
            ("a.b:0/x", Error::Host),
            ("dir:/x", Error::Transport),
            ("docker-daemon:x:latest", Error::Transport),
            ("containers-storage:x", Error::Transport),
            ("a.b/UPPER", Error::Path),
            ("a.b/../x", Error::Path),
            ("a.b/x//y", Error::Path),
            ("a.b/x:t@g", Error::Digest(digest::Error::Algorithm)),
            ("a.b/x:", Error::Tag),
            ("a.b/x:-t", Error::Tag),
            ("oci:", Error::Empty),
            ("oci::v1", Error::Empty),
            ("oci:x:", Error::Image),
            ("oci:x:@", Error::Image),
            ("oci-archive:", Error::Empty),
            ("oci-archive:x.tar:a b", Error::Image),
            ("docker-archive:x.tar:@-1", Error::Image),
            ("docker-archive:x.tar:UPPER", Error::Path),
            ("docker-archive:x.tar:a@sha256:0", Error::Image),
        ] {
            assert_eq!(Reference::parse(text), Err(error), "{text}");
        }
    }
}
