//! Mirrors of registries (`b2c.registry_mirror=`): the servers that are tried before the registry, and their URLs. The
//! URLs are those of containerd (hosts.md), so that caches made for it work.

use crate::pure::percent;

/// A server with the images of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    pub scheme: &'static str,
    /// With its port, if it has one.
    pub host: String,
    /// The path before `/v2/`: empty, or `/PATH` without a slash at its end.
    pub prefix: String,
}

impl Mirror {
    /// The URL of `object` (`library/alpine/manifests/latest`) of `registry`; of the API's root, if that is empty. The
    /// parameter `ns` names the registry, since one mirror may serve several.
    pub fn url(&self, registry: &str, object: &str) -> String {
        let mut url = [self.scheme, "://", &self.host, &self.prefix, "/v2/", object, "?ns="].concat();
        percent::encode(registry, &mut url);
        url
    }
}

/// All mirrors, by registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrors(Vec<(String, Vec<Mirror>)>);

/// Why a value of the option is invalid; without the value, which may have a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    Form,
    Registry,
    Scheme,
    UserInfo,
    Url,
}

impl Error {
    pub fn text(self) -> &'static str {
        match self {
            Error::Form => "write REGISTRY=URL[,URL...]",
            Error::Registry => "the registry is not HOST, HOST:PORT or _default",
            Error::Scheme => "a mirror's URL begins with http:// or https://",
            Error::UserInfo => "a mirror's URL holds no user and password: put them into /etc/ocinit/auth.json",
            Error::Url => "a mirror's URL is http(s)://HOST[:PORT][/PREFIX]",
        }
    }
}

/// The entry for registries without mirrors of their own; containerd's word.
const DEFAULT: &str = "_default";

impl Mirrors {
    /// Adds a value of the option, `REGISTRY=URL[,URL...]`, after the present ones.
    pub fn add(&mut self, value: &str) -> Result<(), Error> {
        let (registry, urls) = value.split_once('=').ok_or(Error::Form)?;
        let registry = match registry {
            "*" => DEFAULT,
            "index.docker.io" => "docker.io",
            other if other == DEFAULT || is_authority(other) => other,
            _ => return Err(Error::Registry),
        };
        let mut mirrors = Vec::new();
        for url in urls.split(',') {
            mirrors.push(mirror(url)?);
        }
        match self.0.iter_mut().find(|(of, _)| of == registry) {
            Some((_, present)) => present.append(&mut mirrors),
            None => self.0.push((registry.into(), mirrors)),
        }
        Ok(())
    }

    /// The mirrors of the registry `host`, in the order in which they are tried.
    pub fn of(&self, host: &str) -> &[Mirror] {
        let of = |name: &str| self.0.iter().find(|(of, _)| of == name);
        of(host).or_else(|| of(DEFAULT)).map_or(&[], |(_, mirrors)| mirrors)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn mirror(url: &str) -> Result<Mirror, Error> {
    let (scheme, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => ("https", rest),
        (None, Some(rest)) => ("http", rest),
        _ => return Err(Error::Scheme),
    };
    let (host, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if host.contains('@') {
        return Err(Error::UserInfo);
    }
    let prefix = prefix.trim_end_matches('/');
    let good = |b: u8| b.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&b);
    if !is_authority(host) || !prefix.bytes().all(good) {
        return Err(Error::Url);
    }
    // As in containerd, a prefix may end in the API's own path.
    let prefix = prefix.strip_suffix("/v2").unwrap_or(prefix);
    Ok(Mirror { scheme, host: host.into(), prefix: prefix.into() })
}

/// `HOST`, `HOST:PORT`, `[ADDRESS]:PORT`.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) if host.parse::<core::net::Ipv6Addr>().is_ok() => ("v6", rest),
        Some(_) => return false,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let right_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0);
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    !host.is_empty() && host.bytes().all(good) && (port.is_empty() || port.strip_prefix(':').is_some_and(right_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Mirrors {
        let mut mirrors = Mirrors::default();
        values.iter().for_each(|value| mirrors.add(value).unwrap_or_else(|error| panic!("{value}: {}", error.text())));
        mirrors
    }

    /// Promise: mirrors
    #[test]
    fn mirrors_in_their_order_and_the_wildcard_where_there_is_none() {
        let mirrors = read(&[
            "docker.io=https://a.b,http://10.0.0.1:5000/hub/",
            "_default=http://peer:30020",
            "quay.io:443=https://q/v2",
            "index.docker.io=https://last",
        ]);
        let urls = |host: &str| -> Vec<String> {
            mirrors.of(host).iter().map(|mirror| mirror.url(host, "p/q/manifests/latest")).collect()
        };
        assert_eq!(
            urls("docker.io"),
            [
                "https://a.b/v2/p/q/manifests/latest?ns=docker.io",
                "http://10.0.0.1:5000/hub/v2/p/q/manifests/latest?ns=docker.io",
                "https://last/v2/p/q/manifests/latest?ns=docker.io",
            ]
        );
        assert_eq!(urls("quay.io:443"), ["https://q/v2/p/q/manifests/latest?ns=quay.io%3A443"]);
        assert_eq!(urls("quay.io"), ["http://peer:30020/v2/p/q/manifests/latest?ns=quay.io"]);
        assert!(read(&["a.b=http://[fd00::1]:80"]).of("c.d").is_empty() && !mirrors.is_empty());
        assert_eq!(read(&["*=http://x"]), read(&["_default=http://x"]));
    }

    /// Promise: mirrors
    #[test]
    fn values_that_cannot_be_read() {
        for (value, error) in [
            ("http://a.b", Error::Form),
            ("=http://a.b", Error::Registry),
            ("a.b/c=http://d", Error::Registry),
            ("https://a.b=http://d", Error::Registry),
            ("a.b:x=http://d", Error::Registry),
            ("a.b=", Error::Scheme),
            ("a.b=c.d", Error::Scheme),
            ("a.b=http://c,ftp://d", Error::Scheme),
            ("a.b=http://u:p@c", Error::UserInfo),
            ("a.b=http://", Error::Url),
            ("a.b=http:///x", Error::Url),
            ("a.b=http://c:0", Error::Url),
            ("a.b=http://c:+80", Error::Url),
            ("a.b=http://[::g]", Error::Url),
            ("a.b=http://c?x=y", Error::Url),
            ("a.b=http://c/x y", Error::Url),
            ("a.b=http://c/x#y", Error::Url),
        ] {
            assert_eq!(Mirrors::default().add(value), Err(error), "{value}");
        }
    }
}
