//! HTTP authentication challenges (RFC 9110, section 11.6.1; the distribution
//! spec's token authentication) and token answers.

use super::oci;
use core::net::IpAddr;

/// A `Bearer` challenge: where a token is to be had, and for what.
#[derive(Debug, PartialEq, Eq)]
pub struct Bearer {
    pub realm: String,
    pub service: Option<String>,
    pub scope: Option<String>,
}

/// The `Bearer` challenge of a `WWW-Authenticate` header, if it holds one;
/// others may stand before and behind it.
pub fn bearer(header: &str) -> Option<Bearer> {
    let (mut realm, mut service, mut scope) = (None, None, None);
    let (mut rest, mut ours) = (header, false);
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        if rest.is_empty() {
            break;
        }
        // A word without `=` is a scheme, and starts the next challenge.
        let (word, after) = rest.split_at(rest.find([',', ' ', '\t', '=']).unwrap_or(rest.len()));
        if !after.trim_start().starts_with('=') {
            if realm.is_some() {
                break;
            }
            (rest, ours) = (after, word.eq_ignore_ascii_case("bearer"));
            continue;
        }
        let (key, value, after) = parameter(rest)?;
        match key {
            "realm" if ours => realm = Some(value),
            "service" if ours => service = Some(value),
            "scope" if ours => scope = Some(value),
            _ => {}
        }
        rest = after;
    }
    Some(Bearer { realm: realm?, service, scope })
}

/// `key="value"` or `key=value`, and what follows the comma.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let (key, rest) = text.trim_start_matches([',', ' ']).split_once('=')?;
    if let Some(quoted) = rest.strip_prefix('"') {
        let mut value = String::new();
        let mut chars = quoted.chars();
        loop {
            match chars.next()? {
                '"' => return Some((key.trim(), value, chars.as_str())),
                '\\' => value.push(chars.next()?),
                c => value.push(c),
            }
        }
    }
    let (value, after) = rest.split_once(',').unwrap_or((rest, ""));
    Some((key.trim(), value.trim().into(), after))
}

impl Bearer {
    /// The URL that answers with a token.
    pub fn url(&self) -> String {
        let mut url = self.realm.clone();
        let mut separator = if url.contains('?') { "&" } else { "?" };
        for (key, value) in [("service", &self.service), ("scope", &self.scope)] {
            if let Some(value) = value {
                url.push_str(separator);
                url.push_str(key);
                url.push('=');
                percent_encode(value, &mut url);
                separator = "&";
            }
        }
        url
    }

    /// Whether a registry at `scheme`://`host` may send us to this realm: never
    /// from https to plain http, never to another scheme, except to itself.
    pub fn may_follow(&self, scheme: &str, host: &str) -> bool {
        let Some((realm_scheme, rest)) = self.realm.split_once("://") else { return false };
        let realm_host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if realm_host.contains('@') {
            return false;
        }
        let own = realm_scheme == scheme && realm_host == host;
        own || (!is_link_local(realm_host) && (realm_scheme == "https" || (realm_scheme == "http" && scheme == "http")))
    }
}

/// Whether `host`, with its port, is an address that no router forwards: the
/// machine's own surroundings, such as a cloud's metadata at 169.254.169.254.
/// What stands in brackets and is no address counts as one.
fn is_link_local(host: &str) -> bool {
    let address = match host.strip_prefix('[') {
        Some(rest) => rest.split([']', '%']).next(),
        None => host.split(':').next(),
    };
    match address.unwrap_or_default().trim_end_matches('.').parse() {
        Ok(IpAddr::V4(v4)) => v4.is_link_local(),
        Ok(IpAddr::V6(v6)) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.is_link_local(),
            None => v6.is_unicast_link_local(),
        },
        Err(_) => host.starts_with('['),
    }
}

/// RFC 3986, section 2.1: all but the unreserved characters.
fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            let digits = b"0123456789ABCDEF";
            out.push('%');
            out.push(digits[usize::from(byte >> 4)].into());
            out.push(digits[usize::from(byte & 15)].into());
        }
    }
}

/// The token in a token server's answer.
pub fn token(answer: &[u8]) -> Option<String> {
    let answer = oci::json(answer).ok()?;
    let token = answer.get("token").or_else(|| answer.get("access_token"))?.as_str()?;
    // It goes into a header: nothing there may end the line.
    token.bytes().all(|b| b.is_ascii_graphic()).then(|| token.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        r#"Bearer realm="https://auth.example.org/token",service="reg.example.org",scope="repository:a/b:pull,push""#;

    #[test]
    fn a_challenge_and_its_url() {
        let bearer = bearer(HEADER).unwrap();
        assert_eq!(bearer.scope.as_deref(), Some("repository:a/b:pull,push"));
        assert_eq!(
            bearer.url(),
            "https://auth.example.org/token?service=reg.example.org&scope=repository%3Aa%2Fb%3Apull%2Cpush"
        );
    }

    #[test]
    fn a_challenge_among_others() {
        for list in [
            &["Basic realm=\"a, Bearer realm=b\", charset=UTF-8, ", HEADER].concat(),
            &["Negotiate, ", HEADER, ", Basic realm=\"x\", scope=\"y\""].concat(),
            &["Digest abc==,", HEADER].concat(),
        ] {
            assert_eq!(bearer(list), bearer(HEADER), "{list}");
        }
        assert!(bearer(HEADER).is_some());
    }

    #[test]
    fn what_is_no_bearer_challenge() {
        assert_eq!(bearer("Basic realm=\"x\""), None);
        assert_eq!(bearer("Bearer service=\"x\""), None);
        assert_eq!(bearer("Bearer"), None);
        assert_eq!(bearer("Bearer realm=\"unclosed"), None);
    }

    #[test]
    fn a_realm_may_not_weaken_what_was_asked() {
        let realm = |realm: &str| Bearer { realm: realm.into(), service: None, scope: None };
        assert!(realm("https://auth.example.org/t").may_follow("https", "reg.example.org"));
        assert!(!realm("http://auth.example.org/t").may_follow("https", "reg.example.org"));
        assert!(realm("http://10.0.0.1:5000/t").may_follow("http", "10.0.0.1:5000"));
        assert!(realm("http://10.0.0.2/t").may_follow("http", "10.0.0.1:5000"));
        assert!(!realm("http://169.254.169.254/t").may_follow("http", "10.0.0.1:5000"));
        for host in
            ["[::ffff:169.254.169.254]:80", "[FE80::1]", "[fe80::1%25eth0]", "[febf::1]:1", "169.254.0.1.", "[x]"]
        {
            assert!(!realm(&["http://", host, "/t"].concat()).may_follow("http", "10.0.0.1:5000"), "{host}");
        }
        for host in ["[fd00::1]", "[::ffff:10.0.0.1]:80", "169.254.example.org"] {
            assert!(realm(&["http://", host, "/t"].concat()).may_follow("http", "10.0.0.1:5000"), "{host}");
        }
        assert!(!realm("file:///etc/passwd").may_follow("https", "reg.example.org"));
        assert!(!realm("https://reg.example.org@evil.example/").may_follow("https", "reg.example.org"));
    }

    #[test]
    fn tokens_that_would_break_a_header_are_none() {
        assert_eq!(token(br#"{"token":"abc"}"#).as_deref(), Some("abc"));
        assert_eq!(token(br#"{"access_token":"abc"}"#).as_deref(), Some("abc"));
        assert_eq!(token(b"{\"token\":\"a\\r\\nb\"}"), None);
        assert_eq!(token(b"[]"), None);
    }
}
