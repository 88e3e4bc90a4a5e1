//! http and https URLs (RFC 3986), as far as requests need them.

use crate::net::pure::http::error::Error;
use crate::pure::{base64, percent};
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

/// Whether two URLs lead to the same server: scheme, host and port.
pub fn is_same_origin(one: &str, other: &str) -> bool {
    match (Url::parse(one), Url::parse(other)) {
        (Ok(one), Ok(other)) => {
            one.https == other.https && one.port == other.port && one.host.eq_ignore_ascii_case(other.host)
        }
        _ => false,
    }
}

/// The URL that `location`, a redirect's, stands for at `base`, with its scheme and host in lower case. `None` where it
/// is no http or https URL, or would lead from https to http.
fn absolute(base: &str, location: &str) -> Option<String> {
    let target = resolve(base, location);
    let url = Url::parse(&target).ok()?;
    let leaves_https = !url.https && Url::parse(base).is_ok_and(|base| base.https);
    (!leaves_https).then(|| [url.scheme(), "://", &url.authority.to_ascii_lowercase(), url.path].concat())
}

/// The redirect `location` at `base`: its URL without the user information (RFC 3986, section 3.2.1), and what that is
/// decoded, `USER:PASSWORD`, or nothing. As with Go's client, a path alone keeps `user`, that of `base`.
pub fn redirect(base: &str, location: &str, user: String) -> Option<(String, String)> {
    let target = resolve(base, location);
    let (scheme, authority) = origin(&target)?;
    let Some((written, _)) = authority.rsplit_once('@') else {
        // A scheme ends with a colon, and stands before all else.
        let first = location.split(['/', '?', '#']).next().unwrap_or_default();
        let is_path = !location.starts_with("//") && !first.contains(':');
        return Some((absolute(base, &target)?, if is_path { user } else { String::new() }));
    };
    let rest = target.get(scheme.len() + "://".len() + written.len() + "@".len()..)?;
    let url = absolute(base, &[scheme, "://", rest].concat())?;
    let colon = if written.contains(':') { "" } else { ":" };
    let user = percent::decode(&[written, colon].concat())?;
    Some((url, String::from_utf8(user).ok()?))
}

/// The value of `Authorization` for `USER:PASSWORD` (RFC 7617).
pub fn basic(user: &str) -> String {
    ["Basic ", &base64::encode(user.as_bytes())].concat()
}

/// A URL as it is asked for: encoded, and with its scheme and host in lower case. What is no such URL stays as it is.
pub fn normal(url: &str) -> String {
    let whole = Parts::of(url).authority.and_then(|_| absolute(url, url));
    whole.unwrap_or_else(|| url.into())
}

/// The parts of a URI reference (RFC 3986, section 3), without its fragment.
struct Parts<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Parts<'a> {
        let text = text.split('#').next().unwrap_or_default();
        let (text, query) = text.split_once('?').map_or((text, None), |(text, query)| (text, Some(query)));
        let scheme = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme));
        let (scheme, text) = scheme.map_or((None, text), |(scheme, text)| (Some(scheme), text));
        let Some(rest) = text.strip_prefix("//") else { return Parts { scheme, authority: None, path: text, query } };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Parts { scheme, authority: Some(authority), path, query }
    }
}

/// RFC 3986, section 3.1.
fn is_scheme(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic) && text.bytes().all(is_part)
}

/// Resolves a URI reference (RFC 3986, section 5.2.2). Characters that no URI has are encoded first, as browsers and
/// curl do: some servers put white space and UTF-8 into `Location`.
fn resolve(base: &str, reference: &str) -> String {
    let reference = encoded(reference);
    let (base, reference) = (Parts::of(base), Parts::of(&reference));
    let mut target = Parts { scheme: reference.scheme.or(base.scheme), ..reference };
    let merged;
    if reference.scheme.is_none() && reference.authority.is_none() {
        target.authority = base.authority;
        if reference.path.is_empty() {
            (target.path, target.query) = (base.path, reference.query.or(base.query));
        } else if !reference.path.starts_with('/') {
            // Section 5.2.3.
            let above = base.path.rfind('/').and_then(|end| base.path.get(..=end)).unwrap_or("/");
            merged = [above, reference.path].concat();
            target.path = &merged;
        }
    }
    let mut text = String::new();
    for (before, part, after) in [("", target.scheme, ":"), ("//", target.authority, "")] {
        if let Some(part) = part {
            text += &[before, part, after].concat();
        }
    }
    text += &without_dots(target.path);
    if let Some(query) = target.query {
        text += &["?", query].concat();
    }
    text
}

/// RFC 3986, section 5.2.4.
fn without_dots(path: &str) -> String {
    let Some(path) = path.strip_prefix('/') else { return path.into() };
    let mut kept = Vec::new();
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        if segment == ".." {
            kept.pop();
        }
        if !matches!(segment, "." | "..") {
            kept.push(segment);
        } else if segments.peek().is_none() {
            // What ends in dots is a directory.
            kept.push("");
        }
    }
    ["/", &kept.join("/")].concat()
}

/// `text` with what no URI has percent-encoded (section 2); what is encoded stays so.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '!'..='~' if !"\"<>\\^`{|}".contains(c) => out.push(c),
            _ => percent::encode(c.encode_utf8(&mut [0; 4]), &mut out),
        }
    }
    out
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
        assert_eq!(absolute("http://a/v2/x", "http://b/y").as_deref(), Some("http://b/y"));
        assert_eq!(absolute("https://a:1/v2/x", "/y?z").as_deref(), Some("https://a:1/y?z"));
        assert_eq!(absolute("https://a/v2/x", "//b/y").as_deref(), Some("https://b/y"));
        for plain in ["http://b/y", "HTTP://b/y", "http://a/v2/x", "http:y", "http:/y"] {
            assert_eq!(absolute("https://a/v2/x", plain), None, "{plain}");
        }
    }

    /// Promise: redirects
    /// Input: redirects
    #[test]
    fn locations_of_all_forms() {
        for (location, target) in [
            ("HTTPS://B.example:443/X#top", "https://b.example:443/X"),
            ("//b.example/x", "http://b.example/x"),
            ("//b.example", "http://b.example"),
            ("//[FD00::1]:81/x?y#z", "http://[fd00::1]:81/x?y"),
            ("/x/../y/./z", "http://a:5000/y/z"),
            ("../uploads/1", "http://a:5000/v2/p/uploads/1"),
            ("../../../../..", "http://a:5000/"),
            ("sha256:1", ""),
            ("./sha256:1", "http://a:5000/v2/p/blobs/sha256:1"),
            ("x", "http://a:5000/v2/p/blobs/x"),
            ("?q=a/../b", "http://a:5000/v2/p/blobs/d?q=a/../b"),
            ("", "http://a:5000/v2/p/blobs/d?ns=q"),
            ("#top", "http://a:5000/v2/p/blobs/d?ns=q"),
            ("/a b/\u{e9}\u{1f980}?c d=\"\u{fc}|", "http://a:5000/a%20b/%C3%A9%F0%9F%A6%80?c%20d=%22%C3%BC%7C"),
            ("/a%20b%2Fc?X-Sig=%3D+", "http://a:5000/a%20b%2Fc?X-Sig=%3D+"),
            // What is no server of http is not followed.
            ("file:///etc/passwd", ""),
            ("ftp://b/x", ""),
            ("data:,x", ""),
            ("http:x", ""),
            ("http:///x", ""),
            ("//", ""),
            ("///x", ""),
            ("http://u:p@b/x", ""),
            ("//u@b/x", ""),
            ("http://b c/x", ""),
            ("http://b:0/x", ""),
            ("http://\u{e9}/x", ""),
            ("http://[fe80::1%25eth0]/", ""),
        ] {
            let followed = absolute("http://a:5000/v2/p/blobs/d?ns=q", location);
            assert_eq!(followed.unwrap_or_default(), target, "{location}");
        }
        assert_eq!(absolute("http://a", "x").as_deref(), Some("http://a/x"));
        assert_eq!(absolute("http://a?q", "x/").as_deref(), Some("http://a/x/"));
    }

    /// Promise: redirects
    #[test]
    fn users_in_locations() {
        let at = |user: &str, location| redirect("http://a:1/v2/x", location, user.into());
        for (location, url, user) in [
            ("http://u:p@B/x?y", "http://b/x?y", "u:p"),
            ("//u:p@b:2", "http://b:2", "u:p"),
            ("//u@b/x@y", "http://b/x@y", "u:"),
            ("//@b/", "http://b/", ":"),
            ("//u%3A:p:%40%2f@b/", "http://b/", "u::p:@/"),
            ("//a@b:c@d/", "http://d/", "a@b:c"),
            ("http://b/@x", "http://b/@x", ""),
            ("//b/x", "http://b/x", ""),
            ("/y", "http://a:1/y", "old:one"),
            ("y?z", "http://a:1/v2/y?z", "old:one"),
            ("?to=https://b/", "http://a:1/v2/x?to=https://b/", "old:one"),
            ("HTTP://a:1/y", "http://a:1/y", ""),
            ("//[u:p]@[::1]:3/", "http://[::1]:3/", "[u:p]"),
        ] {
            assert_eq!(at("old:one", location), Some((url.into(), user.into())), "{location}");
        }
        assert_eq!(at("", "/y"), Some(("http://a:1/y".into(), String::new())));
        for bad in ["//u:%zz@b/", "//u:%ff@b/", "//u:p@", "//u:p@/x", "//u:p@c d/", "ftp://u:p@b/", "//u:p@b:0/"] {
            assert_eq!(at("", bad), None, "{bad}");
        }
        assert_eq!(redirect("https://a/", "http://u:p@a/", String::new()), None);
        assert_eq!(basic("Aladdin:open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }

    /// The examples of RFC 3986, sections 5.4.1 and 5.4.2, for `http://a/b/c/d;p?q`.
    /// Input: redirects
    #[test]
    fn examples_of_the_rfc() {
        for (reference, target) in [
            ("g:h", "g:h"),
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            ("g?y#s", "http://a/b/c/g?y"),
            (";x", "http://a/b/c/;x"),
            ("g;x", "http://a/b/c/g;x"),
            ("g;x?y#s", "http://a/b/c/g;x?y"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../", "http://a/"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("../../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            (".g", "http://a/b/c/.g"),
            ("g..", "http://a/b/c/g.."),
            ("..g", "http://a/b/c/..g"),
            ("./../g", "http://a/b/g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/./h", "http://a/b/c/g/h"),
            ("g/../h", "http://a/b/c/h"),
            ("g;x=1/./y", "http://a/b/c/g;x=1/y"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/./x", "http://a/b/c/g?y/./x"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("g#s/./x", "http://a/b/c/g"),
            ("g#s/../x", "http://a/b/c/g"),
            ("http:g", "http:g"),
        ] {
            assert_eq!(resolve("http://a/b/c/d;p?q", reference), target, "{reference}");
        }
    }

    /// Promise: credentials
    #[test]
    fn the_same_server() {
        let same = |one, other| is_same_origin(one, other) && is_same_origin(other, one);
        assert!(same("https://A.example/x", "HTTPS://a.EXAMPLE:443") && same("http://a:80/", "http://a?x"));
        for other in ["http://a/", "https://b/", "https://a:444/", "https://a.b/", "https://u@a/", "a", ""] {
            assert!(!same("https://a/", other), "{other}");
        }
        assert!(!is_same_origin("", ""));
    }
}
