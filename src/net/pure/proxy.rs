//! Proxies: the values of `b2c.proxy`, and which requests go through a proxy.

use crate::net::pure::http::{host_and_port, Url};
use crate::net::pure::iface::masked;
use crate::pure::{base64, percent};
use core::net::IpAddr;

/// An HTTP proxy, reached without TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// The URL as it was given, which a container gets as `http_proxy`.
    pub url: String,
    pub host: String,
    pub port: u16,
    /// The value of `Proxy-Authorization`.
    pub authorization: Option<String>,
}

/// A proxy for each scheme, and the hosts that are asked without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    pub http: Option<Proxy>,
    pub https: Option<Proxy>,
    pub no: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// None of `http=`, `https=`, `no=`.
    Key,
    /// A proxy of https or SOCKS.
    Scheme,
    Url,
}

impl Error {
    pub fn text(self) -> &'static str {
        match self {
            Error::Key => "not http=URL, https=URL or no=LIST",
            Error::Scheme => "a proxy is http://[USER:PASSWORD@]HOST:PORT: https and socks are not supported",
            Error::Url => "not a proxy's URL: http://[USER:PASSWORD@]HOST:PORT",
        }
    }
}

impl Proxies {
    pub fn none() -> Proxies {
        Proxies::default()
    }

    /// Reads the values of `b2c.proxy` in order: a later proxy replaces an earlier one, lists are joined.
    pub fn parse(values: &[String]) -> Result<Proxies, Error> {
        let mut proxies = Proxies::none();
        for value in values {
            // Commas separate both keys and the hosts of a list.
            let mut in_list = false;
            for part in value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                match part.split_once('=') {
                    Some(("http", url)) => proxies.http = Proxy::parse(url)?,
                    Some(("https", url)) => proxies.https = Proxy::parse(url)?,
                    Some(("no", first)) => proxies.no.push(first.into()),
                    None if in_list => proxies.no.push(part.into()),
                    _ => return Err(Error::Key),
                }
                in_list = part.starts_with("no=") || !part.contains('=');
            }
        }
        proxies.no.retain(|pattern| !pattern.is_empty());
        Ok(proxies)
    }

    /// `NAME=value` for programs, in both cases: curl reads only the lower-case `http_proxy`, others the other.
    pub fn env(&self) -> Vec<String> {
        let url = |proxy: &Option<Proxy>| proxy.as_ref().map_or(String::new(), |proxy| proxy.url.clone());
        let mut env = Vec::new();
        let all = [("http_proxy", url(&self.http)), ("https_proxy", url(&self.https)), ("no_proxy", self.no.join(","))];
        for (name, value) in all.iter().filter(|(_, value)| !value.is_empty()) {
            for name in [*name, &*name.to_ascii_uppercase()] {
                env.push(format!("{name}={value}"));
            }
        }
        env
    }

    /// The proxy for a request, if it goes through one.
    pub fn of(&self, url: &Url) -> Option<&Proxy> {
        let proxy = if url.https { &self.https } else { &self.http };
        let is_excepted =
            || is_this_machine(url.host) || self.no.iter().any(|pattern| matches(pattern, url.host, url.port));
        proxy.as_ref().filter(|_| !is_excepted())
    }
}

impl Proxy {
    /// An empty value means no proxy, so that a later option can remove an earlier proxy.
    fn parse(url: &str) -> Result<Option<Proxy>, Error> {
        if url.is_empty() {
            return Ok(None);
        }
        let rest = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err(Error::Scheme),
            None => url,
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        let (host, port) = host_and_port(place, 80).ok_or(Error::Url)?;
        let authorization = user.map(|user| basic(user).ok_or(Error::Url)).transpose()?;
        Ok(Some(Proxy { url: url.into(), host: host.into(), port, authorization }))
    }

    /// `HOST:PORT`, for messages: without the password.
    pub fn name(&self) -> String {
        let (open, close) = if self.host.contains(':') { ("[", "]:") } else { ("", ":") };
        format!("{open}{}{close}{}", self.host, self.port)
    }
}

/// Whether `host` is this machine itself: to a proxy the name would mean the proxy's machine (Go has the same rule).
fn is_this_machine(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    host.eq_ignore_ascii_case("localhost") || matches!(host, "127.0.0.1" | "::1")
}

/// Whether the entry `pattern` of a `no=` list means `host`, as Go's net/http (and so podman) reads
/// NO_PROXY.
fn matches(pattern: &str, host: &str, port: u16) -> bool {
    let host = host.trim_end_matches('.');
    let address = host.parse::<IpAddr>();
    if pattern == "*" {
        return true;
    }
    if let Some((network, bits)) = pattern.split_once('/') {
        let (Ok(network), Ok(bits), Ok(address)) = (network.parse(), bits.parse(), address) else { return false };
        return is_in(address, network, bits);
    }
    // A bare IPv6 address has colons, too; with a port it stands in brackets.
    let (name, wanted_port) = match pattern.parse::<IpAddr>() {
        Ok(_) => (pattern, None),
        Err(_) => match pattern.rsplit_once(':') {
            Some((name, digits)) if !digits.ends_with(']') => (name, Some(digits)),
            _ => (pattern, None),
        },
    };
    if wanted_port.is_some_and(|digits| digits.parse() != Ok(port)) {
        return false;
    }
    let name = name.trim_matches(['[', ']']);
    if let (Ok(wanted), Ok(address)) = (name.parse::<IpAddr>(), &address) {
        return wanted == *address;
    }
    // `*.suffix` and `.suffix` mean the names below it, `suffix` also the name itself.
    let suffix = name.strip_prefix('*').unwrap_or(name);
    let bare = suffix.strip_prefix('.').unwrap_or(suffix);
    let Some(start) = host.len().checked_sub(bare.len()) else { return false };
    let (before, tail) = host.split_at_checked(start).unwrap_or_default();
    let is_itself = before.is_empty() && bare.len() == suffix.len();
    !bare.is_empty() && tail.eq_ignore_ascii_case(bare) && (is_itself || before.ends_with('.')) && address.is_err()
}

/// Whether `address` is one of `network`/`bits`.
fn is_in(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let width = if network.is_ipv4() { 32 } else { 128 };
    address.is_ipv4() == network.is_ipv4() && bits <= width && masked(&address, bits) == masked(&network, bits)
}

/// `USER:PASSWORD`, percent-encoded as in a URL, as a value of `Authorization` or `Proxy-Authorization` (RFC 7617).
pub fn basic(user: &str) -> Option<String> {
    let mut bytes = percent::decode(user)?;
    if !bytes.contains(&b':') {
        bytes.push(b':');
    }
    Some(["Basic ", &base64::encode(&bytes)].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str]) -> Result<Proxies, Error> {
        Proxies::parse(&values.iter().map(|value| value.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn options_in_every_form() {
        let proxies = parse(&["http=http://10.0.0.1:3128,https=p.lab:8080/,no=a.lab,.b.lab:80,10.0.0.0/8"]).unwrap();
        let http = proxies.http.as_ref().unwrap();
        assert_eq!((http.host.as_str(), http.port, &http.authorization), ("10.0.0.1", 3128, &None));
        assert_eq!(http.url, "http://10.0.0.1:3128");
        assert_eq!(proxies.https.unwrap().name(), "p.lab:8080");
        assert_eq!(proxies.no, ["a.lab", ".b.lab:80", "10.0.0.0/8"]);
        let proxies = parse(&["no=a, b", "http=http://x:1", "no=c,http=http://[::1]:2", "no="]).unwrap();
        assert_eq!(proxies.no, ["a", "b", "c"]);
        assert_eq!(proxies.http.unwrap().name(), "[::1]:2");
        assert_eq!(parse(&["http=http://x:1", "http="]).unwrap(), Proxies::none());
        assert_eq!(parse(&["http=http://x"]).unwrap().http.unwrap().port, 80);
    }

    #[test]
    fn what_is_no_proxy_is_an_error() {
        for value in ["x", "http", "http=http://x:1,y", "ftp=http://x", "no=a,https=http://x,b"] {
            assert_eq!(parse(&[value]), Err(Error::Key), "{value}");
        }
        for value in ["http=https://x:1", "https=socks5://x:1"] {
            assert_eq!(parse(&[value]), Err(Error::Scheme), "{value}");
        }
        for value in ["http=http://", "http=http://x:y", "http=http://u%4@x", "http=http://a b:1", "http=http://[x]:1"]
        {
            assert_eq!(parse(&[value]), Err(Error::Url), "{value}");
        }
    }

    #[test]
    fn a_user_becomes_a_header() {
        let authorization = |user: &str| {
            let url = ["http=http://", user, "@x:1"].concat();
            parse(&[&url]).unwrap().http.unwrap().authorization.unwrap()
        };
        // The example of RFC 7617, section 2.
        assert_eq!(authorization("Aladdin:open%20sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(authorization("u:p%40s%3As"), "Basic dTpwQHM6cw==");
        assert_eq!(authorization("u:p@s"), "Basic dTpwQHM=");
        assert_eq!(authorization("user"), "Basic dXNlcjo=");
    }

    #[test]
    fn what_a_container_gets() {
        let env = parse(&["http=http://u:p@x:1,no=a,.b"]).unwrap().env();
        assert_eq!(env, ["http_proxy=http://u:p@x:1", "HTTP_PROXY=http://u:p@x:1", "no_proxy=a,.b", "NO_PROXY=a,.b"]);
        assert!(Proxies::none().env().is_empty());
    }

    #[test]
    fn the_kind_of_target_chooses() {
        let proxies = parse(&["http=http://x:1,no=c.d"]).unwrap();
        let of = |url: &str| proxies.of(&Url::parse(url).unwrap()).map(Proxy::name);
        assert_eq!(of("http://a.b/"), Some("x:1".into()));
        assert_eq!(of("https://a.b/"), None);
        assert_eq!(of("http://c.d/"), None);
        assert_eq!(
            ["localhost", "127.0.0.1:80", "[::1]"].map(|host| of(&["http://", host].concat())),
            [None, None, None]
        );
    }

    #[test]
    fn no_lists() {
        let yes = [
            ("*", "a"),
            ("a.lab", "a.lab"),
            ("a.lab", "A.LAB."),
            ("a.lab", "x.a.lab"),
            (".a.lab", "x.a.lab"),
            ("*.a.lab", "x.y.a.lab"),
            ("a.lab:80", "a.lab"),
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("10.0.0.0/8", "10.9.8.7"),
            ("10.9.8.7/32", "10.9.8.7"),
            ("0.0.0.0/0", "1.2.3.4"),
            ("::1", "0::1"),
            ("[::1]:80", "::1"),
            ("[::1]", "::1"),
            ("2001:db8::/32", "2001:db8::5"),
            ("localhost", "localhost"),
        ];
        for (pattern, host) in yes {
            assert!(matches(pattern, host, 80), "{pattern} {host}");
        }
        let no = [
            ("a.lab", "xa.lab"),
            ("a.lab", "lab"),
            (".a.lab", "a.lab"),
            ("*.a.lab", "a.lab"),
            ("a.lab:81", "a.lab"),
            ("10.0.0.1", "110.0.0.1"),
            ("0.0.1", "10.0.0.1"),
            ("10.0.0.0/8", "11.0.0.0"),
            ("10.0.0.0/33", "10.0.0.0"),
            ("10.0.0.0/8", "10.a"),
            ("::/0", "1.2.3.4"),
            ("[::1]:81", "::1"),
            ("", "a"),
            (".", "a"),
            ("é", "é"),
            ("a.lab:", "a.lab"),
            ("10.0.0.0/-1", "10.0.0.0"),
            ("ab", "é"),
        ];
        for (pattern, host) in no.iter().filter(|(pattern, host)| pattern != host) {
            assert!(!matches(pattern, host, 80), "{pattern} {host}");
        }
    }
}
