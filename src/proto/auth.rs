//! HTTP authentication challenges (RFC 9110, section 11.6.1; the distribution
//! spec's token authentication) and token answers.

use serde_json::Value;

/// A `Bearer` challenge: where a token is to be had, and for what.
#[derive(Debug, PartialEq, Eq)]
pub struct Bearer {
    pub realm: String,
    pub service: Option<String>,
    pub scope: Option<String>,
}

/// The `Bearer` challenge of a `WWW-Authenticate` header, if it holds one.
pub fn bearer(header: &str) -> Option<Bearer> {
    let (scheme, mut rest) = header.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service, mut scope) = (None, None, None);
    while let Some((key, value, after)) = parameter(rest) {
        match key {
            "realm" => realm = Some(value),
            "service" => service = Some(value),
            "scope" => scope = Some(value),
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
        let link_local = realm_host.starts_with("169.254.") || realm_host.starts_with("[fe80:");
        own || (!link_local && (realm_scheme == "https" || (realm_scheme == "http" && scheme == "http")))
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
    let answer: Value = serde_json::from_slice(answer).ok()?;
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
