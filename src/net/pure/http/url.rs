//! http and https URLs (RFC 3986), as far as requests need them.

use crate::net::pure::http::error::Error;
use core::net::Ipv6Addr;

/// The parts of a URL, without its fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Url<'a> {
    pub https: bool,
    /// `HOST[:PORT]` as it is written, for the header `Host`.
    pub authority: &'a str,
    /// A name or an address, without the brackets of IPv6.
    pub host: &'a str,
    pub port: u16,
    /// With the query; may be empty.
    pub path: &'a str,
}

impl<'a> Url<'a> {
    /// Reads an http or https URL.
    pub fn parse(text: &'a str) -> Result<Url<'a>, Error> {
        let (scheme, rest) = text.split_once("://").ok_or(Error::Url)?;
        let https = scheme.eq_ignore_ascii_case("https");
        if (!https && !scheme.eq_ignore_ascii_case("http")) || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::Url);
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(Error::UserInfo);
        }
        let default = if https { 443 } else { 80 };
        let (host, port) = host_and_port(authority, default).ok_or(Error::Url)?;
        Ok(Url { https, authority, host, port, path })
    }

    pub fn scheme(&self) -> &'static str {
        if self.https {
            "https"
        } else {
            "http"
        }
    }

    /// Whether the host is an IPv6 address.
    pub fn is_v6(&self) -> bool {
        self.host.contains(':')
    }
}

/// `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`.
pub(crate) fn host_and_port(authority: &str, default: u16) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, after)
        }
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            let named = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
            (!host.is_empty() && named).then_some((host, port))?
        }
    };
    // RFC 3986, section 3.2.3: an empty port is the default one.
    if matches!(port, "" | ":") {
        return Some((host, default));
    }
    let digits = port.strip_prefix(':').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((host, digits.parse().ok().filter(|port| *port > 0)?))
}

/// Scheme, host and port of a URL.
pub fn origin(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    Some((scheme, rest.split(['/', '?', '#']).next()?))
}

/// Resolves a reference (RFC 3986, section 5.2) of the two forms that registries
/// send: a URL, or an absolute path. `None` where it would lead from https to http.
pub fn absolute(base: &str, target: &str) -> Option<String> {
    let (scheme, host) = origin(base)?;
    if target.starts_with("https://") || (target.starts_with("http://") && scheme == "http") {
        return Some(target.into());
    }
    (target.starts_with('/') && !target.starts_with("//")).then(|| [scheme, "://", host, target].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<(&str, u16, &str)> {
        Url::parse(text).ok().map(|url| (url.host, url.port, url.path))
    }

    #[test]
    fn urls_in_parts() {
        assert_eq!(parts("https://a.example/v2/?x=1#y"), Some(("a.example", 443, "/v2/?x=1")));
        assert_eq!(parts("HTTP://a_b:8080?x=/"), Some(("a_b", 8080, "?x=/")));
        assert_eq!(parts("http://10.0.0.1:"), Some(("10.0.0.1", 80, "")));
        assert_eq!(parts("http://[2001:db8::1]:5000/"), Some(("2001:db8::1", 5000, "/")));
        assert_eq!(parts("https://[::1]"), Some(("::1", 443, "")));
        assert_eq!(Url::parse("https://[::1]:1/x").unwrap().authority, "[::1]:1");
    }

    #[test]
    fn what_is_no_url_of_ours() {
        for text in [
            "",
            "a",
            "ftp://a/",
            "file:///etc/passwd",
            "http://",
            "http:///x",
            "http://:80/",
            "http://a:0/",
            "http://a:65536/",
            "http://a:+1/",
            "http://a:b/",
            "http://::1/",
            "http://[::1/",
            "http://[::1]x/",
            "http://[x]/",
            "http://[fe80::1%eth0]/",
            "http://a b/",
            "http://a/\r\n",
            "http://a/é",
            "http://a\\b/",
        ] {
            assert_eq!(Url::parse(text), Err(Error::Url), "{text}");
        }
        for text in ["http://u@a/", "https://u:p@a:1/x", "https://a@/"] {
            assert_eq!(Url::parse(text), Err(Error::UserInfo), "{text}");
        }
        assert_eq!(parts("https://a/x@y"), Some(("a", 443, "/x@y")));
    }

    /// Promise: no-fallback-to-http
    /// Input: https-stays, redirects
    #[test]
    fn redirects_never_leave_https() {
        assert_eq!(absolute("https://a/v2/x", "https://b/y").as_deref(), Some("https://b/y"));
        assert_eq!(absolute("https://a/v2/x", "http://b/y"), None);
        assert_eq!(absolute("http://a/v2/x", "http://b/y").as_deref(), Some("http://b/y"));
        assert_eq!(absolute("https://a:1/v2/x", "/y?z").as_deref(), Some("https://a:1/y?z"));
        assert_eq!(absolute("https://a/v2/x", "//b/y"), None);
        assert_eq!(absolute("https://a/v2/x", "file:///etc/passwd"), None);
    }
}
