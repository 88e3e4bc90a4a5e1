//! HTTP authentication challenges (RFC 9110, section 11.6.1; the distribution
//! spec's token authentication) and token answers.

use crate::image::pure::oci;
use crate::net::pure::restricted::is_restricted_host;
use crate::pure::percent::encode;
use serde_json::Value;

/// A `Bearer` challenge: the URL of the token server, and what the token is for.
#[derive(Debug, PartialEq, Eq)]
pub struct Bearer {
    pub realm: String,
    pub service: Option<String>,
    pub scope: Option<String>,
}

/// One authentication scheme that a server offers.
#[derive(Debug, PartialEq, Eq)]
pub enum Challenge {
    Bearer(Bearer),
    Basic {
        realm: String,
    },
    /// A scheme that is not supported, or a `Bearer` without a realm.
    Other(String),
}

/// The challenges of all `WWW-Authenticate` headers, in their order. A syntax error ends its header, since what follows
/// it is ambiguous.
pub fn challenges(headers: &[&str]) -> Vec<Challenge> {
    let mut found = Vec::new();
    for header in headers {
        let mut rest = *header;
        while let Some((challenge, after)) = first(rest) {
            found.push(challenge);
            rest = after;
        }
    }
    found
}

const BLANKS: [char; 2] = [' ', '\t'];
const BETWEEN: [char; 3] = [',', ' ', '\t'];

/// The first challenge of `text`, and what follows it.
fn first(text: &str) -> Option<(Challenge, &str)> {
    let (scheme, rest) = token_of(text.trim_start_matches(BETWEEN));
    if scheme.is_empty() {
        return None;
    }
    let mut rest = token68(rest).unwrap_or(rest);
    let (mut realm, mut service, mut scope) = (None, None, None);
    loop {
        // A word without `=` is the scheme of the next challenge.
        let (key, after) = token_of(rest.trim_start_matches(BETWEEN));
        let Some(value) = after.trim_start_matches(BLANKS).strip_prefix('=').filter(|_| !key.is_empty()) else { break };
        let (value, after) = value_of(value.trim_start_matches(BLANKS))?;
        for (name, slot) in [("realm", &mut realm), ("service", &mut service), ("scope", &mut scope)] {
            if key.eq_ignore_ascii_case(name) && slot.is_none() {
                *slot = Some(value.clone());
            }
        }
        rest = after;
    }
    let challenge = match (realm, scheme) {
        (Some(realm), _) if scheme.eq_ignore_ascii_case("bearer") => {
            Challenge::Bearer(Bearer { realm, service, scope })
        }
        (realm, _) if scheme.eq_ignore_ascii_case("basic") => Challenge::Basic { realm: realm.unwrap_or_default() },
        _ => Challenge::Other(scheme.into()),
    };
    Some((challenge, rest))
}

/// A token (section 5.6.2), and what follows it.
fn token_of(text: &str) -> (&str, &str) {
    let ends = |c: char| !c.is_ascii_alphanumeric() && !"!#$%&'*+-.^_`|~".contains(c);
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

/// What follows a token68 (section 11.2): `Negotiate abc==`. A token68 that ends in `=` differs from a parameter in
/// that nothing follows it.
fn token68(text: &str) -> Option<&str> {
    let text = text.strip_prefix(BLANKS)?.trim_start_matches(BLANKS);
    let after = text.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c));
    let rest = after.trim_start_matches('=').trim_start_matches(BLANKS);
    (after.len() < text.len() && (rest.is_empty() || rest.starts_with(','))).then_some(rest)
}

/// A quoted string without its escapes (section 5.6.4), or a bare word. A bare word may have more characters than a
/// token, since URLs without quotes are common.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, after) = text.split_at(text.find(BETWEEN).unwrap_or(text.len()));
        return Some((value.into(), after));
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => value.push(chars.next()?),
            c => value.push(c),
        }
    }
}

impl Bearer {
    /// The URL that answers with a token for pulling the repository `path`.
    pub fn token_url(&self, path: &str) -> String {
        self.query(&self.scope_of(path))
    }

    /// In a query, each scope is a parameter of its own (distribution spec, token.md).
    fn query(&self, scopes: &str) -> String {
        let mut url = self.realm.clone();
        let service = self.service.as_deref().map(|service| ("service", service));
        let scopes = scopes.split(' ').filter(|scope| !scope.is_empty()).map(|scope| ("scope", scope));
        for (index, (key, value)) in service.into_iter().chain(scopes).enumerate() {
            url.push(if index > 0 || url.contains('?') { '&' } else { '?' });
            pair(key, value, &mut url);
        }
        url
    }

    /// The form, posted to the realm, that exchanges an identity token for a token (RFC 6749, section 6; distribution
    /// spec, oauth.md: all scopes in one parameter).
    pub fn refresh_form(&self, path: &str, identity_token: &str, client_id: &str) -> String {
        let mut form = String::from("grant_type=refresh_token&");
        pair("refresh_token", identity_token, &mut form);
        form.push('&');
        pair("client_id", client_id, &mut form);
        for (key, value) in [("service", self.service.as_deref()), ("scope", Some(&*self.scope_of(path)))] {
            if let Some(value) = value {
                form.push('&');
                pair(key, value, &mut form);
            }
        }
        form
    }

    fn scope_of(&self, path: &str) -> String {
        match &self.scope {
            Some(scope) if !scope.is_empty() => scope.clone(),
            _ => ["repository:", path, ":pull"].concat(),
        }
    }

    /// Whether a registry at `scheme`://`host` may refer to this realm: never from https to plain http, and never to a
    /// restricted address, except on its own host.
    pub fn may_follow(&self, scheme: &str, host: &str) -> bool {
        let Some((realm_scheme, rest)) = self.realm.split_once("://") else { return false };
        let realm_host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if realm_host.contains('@') {
            return false;
        }
        let own = realm_scheme == scheme && realm_host == host;
        own || (!is_restricted_host(realm_host)
            && (realm_scheme == "https" || (realm_scheme == "http" && scheme == "http")))
    }
}

fn pair(key: &str, value: &str, out: &mut String) {
    out.push_str(key);
    out.push('=');
    encode(value, out);
}

/// The token in a token server's answer. Its lifetime is ignored, since a 401 shows when it has expired.
pub fn token(answer: &[u8]) -> Option<String> {
    let answer = oci::json(answer).ok()?;
    let text = |name| answer.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let token = text("token").or_else(|| text("access_token"))?;
    // The token goes into a header, so it must not have a line end.
    token.bytes().all(|b| b.is_ascii_graphic()).then(|| token.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The `Bearer` challenge of one header, if it holds one.
    fn bearer(header: &str) -> Option<Bearer> {
        challenges(&[header]).into_iter().find_map(|challenge| match challenge {
            Challenge::Bearer(bearer) => Some(bearer),
            _ => None,
        })
    }

    const HEADER: &str =
        r#"Bearer realm="https://auth.example.org/token",service="reg.example.org",scope="repository:a/b:pull,push""#;

    #[test]
    fn a_challenge_and_its_url() {
        let bearer = bearer(HEADER).unwrap();
        assert_eq!(bearer.scope.as_deref(), Some("repository:a/b:pull,push"));
        assert_eq!(
            bearer.token_url("x"),
            "https://auth.example.org/token?service=reg.example.org&scope=repository%3Aa%2Fb%3Apull%2Cpush"
        );
    }

    /// Input: challenges
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

    /// Promise: challenges
    /// Input: challenges
    #[test]
    fn all_challenges_of_all_headers() {
        let basic = |realm: &str| Challenge::Basic { realm: realm.into() };
        let other = |scheme: &str| Challenge::Other(scheme.into());
        let ours = |realm: &str, scope: Option<&str>| {
            Challenge::Bearer(Bearer { realm: realm.into(), service: None, scope: scope.map(String::from) })
        };
        for (headers, found) in [
            (vec![], vec![]),
            (vec!["", " , ,"], vec![]),
            (vec!["Basic"], vec![basic("")]),
            (vec!["Basic realm=\"a\\\"b\\\\, c\"", "BEARER REALM = \"r\""], vec![basic("a\"b\\, c"), ours("r", None)]),
            (vec!["Basic abc=, Basic realm=x"], vec![basic(""), basic("x")]),
            (vec!["NTLM,Negotiate abc+/==, Basic realm=x"], vec![other("NTLM"), other("Negotiate"), basic("x")]),
            (vec!["Bearer realm=https://a/b?c=d,scope=\"x y\""], vec![ours("https://a/b?c=d", Some("x y"))]),
            (vec!["Bearer scope=s, realm=r , Bearer realm=q"], vec![ours("r", Some("s")), ours("q", None)]),
            (vec!["Bearer realm=r,realm=evil"], vec![ours("r", None)]),
            (vec!["Bearer realm=r Basic realm=b"], vec![ours("r", None), basic("b")]),
            (vec!["Bearer error=\"invalid_token\"", "Basic realm=b"], vec![other("Bearer"), basic("b")]),
            (vec!["Basic realm=b, Bearer realm=\"unclosed", "Basic realm=c"], vec![basic("b"), basic("c")]),
            (vec!["Basic realm=b, =x, Bearer realm=r"], vec![basic("b")]),
        ] {
            assert_eq!(challenges(&headers), found, "{headers:?}");
        }
    }

    /// Promise: challenges
    #[test]
    fn what_a_token_is_asked_for() {
        let ask = |scope: Option<&str>| Bearer {
            realm: "https://a/t?x=y".into(),
            service: Some("reg 1".into()),
            scope: scope.map(String::from),
        };
        for scope in [None, Some("")] {
            assert_eq!(ask(scope).token_url("a/b"), "https://a/t?x=y&service=reg%201&scope=repository%3Aa%2Fb%3Apull");
        }
        assert_eq!(ask(Some("s:1 s:2")).token_url("a/b"), "https://a/t?x=y&service=reg%201&scope=s%3A1&scope=s%3A2");
        assert_eq!(
            ask(Some("s:1 s:2")).refresh_form("a/b", "i+d=&x", "ocinit"),
            "grant_type=refresh_token&refresh_token=i%2Bd%3D%26x&client_id=ocinit&service=reg%201&scope=s%3A1%20s%3A2"
        );
        let bare = Bearer { realm: "https://a/t".into(), service: None, scope: None };
        assert_eq!(
            bare.refresh_form("a/b", "i", "c"),
            "grant_type=refresh_token&refresh_token=i&client_id=c&scope=repository%3Aa%2Fb%3Apull"
        );
    }

    #[test]
    fn what_is_no_bearer_challenge() {
        assert_eq!(bearer("Basic realm=\"x\""), None);
        assert_eq!(bearer("Bearer service=\"x\""), None);
        assert_eq!(bearer("Bearer"), None);
        assert_eq!(bearer("Bearer realm=\"unclosed"), None);
    }

    /// Promise: token-realms
    /// Input: token-realms
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
        assert_eq!(token(br#"{"token":"","access_token":""}"#), None);
        assert_eq!(token(b"[]"), None);
    }
}
