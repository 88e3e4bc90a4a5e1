//! HTTP authentication challenges (RFC 9110, section 11.6.1; the distribution
//! spec's token authentication) and token answers.

use crate::image::pure::oci;
use crate::net::pure::http::{normal, origin, Url};
use crate::net::pure::restricted::is_restricted_host;
use crate::pure::percent::encode;

/// A `Bearer` challenge: the URL of the token server, and what the token is for.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// The most challenges of an answer that are read; servers send one or two.
const CHALLENGES_MAX: usize = 64;
/// The most ways to log in that are tried.
const WAYS_MAX: usize = 6;

/// The challenges of all `WWW-Authenticate` headers, in their order. After a syntax error the next one is looked for
/// behind the next comma: one that cannot be read must not hide another.
pub fn challenges(headers: &[&str]) -> Vec<Challenge> {
    let mut found = Vec::new();
    for header in headers {
        let mut rest = *header;
        while !rest.is_empty() && found.len() < CHALLENGES_MAX {
            rest = rest.trim_start_matches(BETWEEN);
            rest = match first(rest) {
                Some((challenge, after)) => {
                    found.push(challenge);
                    after
                }
                None => behind_comma(rest),
            };
        }
    }
    found
}

/// One way to answer challenges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// A token for this scope, from the challenge's token server.
    Token(Bearer, String),
    Basic,
}

/// The ways to log in for pulling the repository `path`, in the order of trying: tokens before passwords, as in podman,
/// and a token for what we need before one for what the server names, which may be something else
/// (`registry:catalog:*`) or more than the user may have.
pub fn ways(headers: &[&str], path: &str, has_password: bool) -> Vec<Way> {
    let mut ways = Vec::new();
    let mut is_basic = false;
    for challenge in challenges(headers) {
        match challenge {
            Challenge::Bearer(bearer) => {
                let ours = ["repository:", path, ":pull"].concat();
                let theirs = bearer.scope.clone().filter(|scope| !scope.is_empty());
                for scope in [Some(ours), theirs].into_iter().flatten() {
                    let way = Way::Token(Bearer { scope: None, ..bearer.clone() }, scope);
                    if !ways.contains(&way) && ways.len() < WAYS_MAX {
                        ways.push(way);
                    }
                }
            }
            Challenge::Basic { .. } => is_basic = true,
            Challenge::Other(_) => {}
        }
    }
    ways.extend((is_basic && has_password).then_some(Way::Basic));
    ways
}

fn behind_comma(text: &str) -> &str {
    text.split_once(',').map_or("", |(_, after)| after)
}

const BLANKS: [char; 2] = [' ', '\t'];
const BETWEEN: [char; 3] = [',', ' ', '\t'];

/// The challenge at the start of `text`, and what follows it. A parameter that cannot be read ends it.
fn first(text: &str) -> Option<(Challenge, &str)> {
    let (scheme, rest) = token_of(text);
    if scheme.is_empty() {
        return None;
    }
    let mut rest = token68(rest).unwrap_or(rest);
    let (mut realm, mut service, mut scope) = (None, None, None);
    loop {
        // A word without `=` is the scheme of the next challenge.
        let (key, after) = token_of(rest.trim_start_matches(BETWEEN));
        let Some(value) = after.trim_start_matches(BLANKS).strip_prefix('=').filter(|_| !key.is_empty()) else { break };
        let value = value.trim_start_matches(BLANKS);
        let Some((value, after)) = value_of(value) else {
            rest = behind_comma(value);
            break;
        };
        for (name, slot) in [("realm", &mut realm), ("service", &mut service), ("scope", &mut scope)] {
            if key.eq_ignore_ascii_case(name) && slot.is_none() {
                *slot = Some(value.clone());
            }
        }
        rest = after;
    }
    let challenge = match (realm, scheme) {
        (Some(realm), _) if scheme.eq_ignore_ascii_case("bearer") => {
            // As lenient as with a redirect's Location: registries put blanks into both.
            Challenge::Bearer(Bearer { realm: normal(&realm), service, scope })
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
    /// The URL that answers with a token for `scopes`, of which each is a parameter of its own (distribution spec,
    /// token.md).
    pub fn token_url(&self, scopes: &str) -> String {
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
    pub fn refresh_form(&self, scopes: &str, identity_token: &str, client_id: &str) -> String {
        let mut form = String::from("grant_type=refresh_token&");
        pair("refresh_token", identity_token, &mut form);
        form.push('&');
        pair("client_id", client_id, &mut form);
        for (key, value) in [("service", self.service.as_deref()), ("scope", Some(scopes))] {
            if let Some(value) = value {
                form.push('&');
                pair(key, value, &mut form);
            }
        }
        form
    }

    /// Whether a registry at `scheme`://`host` may refer to this realm: never from https to plain http, and never to a
    /// restricted address, except on its own host.
    pub fn may_follow(&self, scheme: &str, host: &str) -> bool {
        let Some((realm_scheme, realm_host)) = origin(&self.realm).filter(|_| Url::parse(&self.realm).is_ok()) else {
            return false;
        };
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
    let text = |name| answer.text(name).filter(|text| !text.is_empty());
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
            bearer.token_url("repository:a/b:pull,push"),
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
            (vec!["Bearer realm=\"HTTPS://A.B/to ken\""], vec![ours("https://a.b/to%20ken", None)]),
            (vec!["Basic"], vec![basic("")]),
            (vec!["Basic realm=\"a\\\"b\\\\, c\"", "BEARER REALM = \"r\""], vec![basic("a\"b\\, c"), ours("r", None)]),
            (vec!["Basic abc=, Basic realm=x"], vec![basic(""), basic("x")]),
            (vec!["NTLM,Negotiate abc+/==, Basic realm=x"], vec![other("NTLM"), other("Negotiate"), basic("x")]),
            (vec!["Bearer realm=https://a/b?c=d,scope=\"x y\""], vec![ours("https://a/b?c=d", Some("x y"))]),
            (vec!["Bearer scope=s, realm=r , Bearer realm=q"], vec![ours("r", Some("s")), ours("q", None)]),
            (vec!["Bearer realm=r,realm=evil"], vec![ours("r", None)]),
            (vec!["Bearer realm=r Basic realm=b"], vec![ours("r", None), basic("b")]),
            (vec!["Bearer error=\"invalid_token\"", "Basic realm=b"], vec![other("Bearer"), basic("b")]),
            // What cannot be read does not hide what follows; a password needs no realm.
            (
                vec!["Basic realm=b, Bearer realm=\"unclosed", "Basic realm=c"],
                vec![basic("b"), other("Bearer"), basic("c")],
            ),
            (vec!["Basic realm=\"unclosed, Bearer realm=r"], vec![basic(""), ours("r", None)]),
            (vec!["Bearer realm=q,service=\"unclosed"], vec![ours("q", None)]),
            (vec!["Basic realm=b, =x, Bearer realm=r"], vec![basic("b"), ours("r", None)]),
            (vec!["=, \"x, y\", Bearer realm=r"], vec![other("y"), ours("r", None)]),
            (vec![";Bearer realm=q, Bearer realm=r"], vec![ours("r", None)]),
            (vec!["\u{e9} x=y, Basic"], vec![basic("")]),
        ] {
            assert_eq!(challenges(&headers), found, "{headers:?}");
        }
    }

    /// Promise: challenges
    #[test]
    fn what_a_token_is_asked_for() {
        let bearer = Bearer { realm: "https://a/t?x=y".into(), service: Some("reg 1".into()), scope: None };
        let ours = "repository:a/b:pull";
        assert_eq!(bearer.token_url(ours), "https://a/t?x=y&service=reg%201&scope=repository%3Aa%2Fb%3Apull");
        assert_eq!(bearer.token_url("s:1 s:2"), "https://a/t?x=y&service=reg%201&scope=s%3A1&scope=s%3A2");
        assert_eq!(
            bearer.refresh_form("s:1 s:2", "i+d=&x", "ocinit"),
            "grant_type=refresh_token&refresh_token=i%2Bd%3D%26x&client_id=ocinit&service=reg%201&scope=s%3A1%20s%3A2"
        );
        let bare = Bearer { realm: "https://a/t".into(), service: None, scope: None };
        assert_eq!(
            bare.refresh_form(ours, "i", "c"),
            "grant_type=refresh_token&refresh_token=i&client_id=c&scope=repository%3Aa%2Fb%3Apull"
        );
    }

    /// Promise: challenges
    /// Input: challenges, scopes
    #[test]
    fn ways_to_log_in_and_their_order() {
        let token = |realm: &str, scope: &str| {
            Way::Token(Bearer { realm: realm.into(), service: None, scope: None }, scope.into())
        };
        let ours = "repository:a/b:pull";
        for (headers, found) in [
            (vec![], vec![]),
            (vec!["Negotiate", "NTLM, Digest realm=x"], vec![]),
            (vec!["Bearer realm=r"], vec![token("r", ours)]),
            (vec!["Bearer realm=r,scope=\"\""], vec![token("r", ours)]),
            (vec!["Bearer realm=r,scope=\"repository:a/b:pull\""], vec![token("r", ours)]),
            // What registry.suse.com names at its root, and what a registry names for who may push.
            (
                vec!["Bearer realm=r,scope=\"registry:catalog:*\""],
                vec![token("r", ours), token("r", "registry:catalog:*")],
            ),
            (vec!["Bearer realm=r,scope=\"s:1 s:2\""], vec![token("r", ours), token("r", "s:1 s:2")]),
            // Tokens before passwords, whatever the order; none twice.
            (
                vec!["Negotiate, Basic realm=x, Bearer realm=r", "Bearer realm=r", "Bearer realm=q,scope=s"],
                vec![token("r", ours), token("q", ours), token("q", "s"), Way::Basic],
            ),
        ] {
            assert_eq!(ways(&headers, "a/b", true), found, "{headers:?}");
        }
        assert_eq!(ways(&["Basic realm=x, Bearer realm=r"], "a/b", false), [token("r", ours)]);
        // A server that offers many is not followed for ever.
        let many: Vec<String> = (0..100).map(|number| format!("Bearer realm={number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(ways(&many, "a/b", true).len(), WAYS_MAX);
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
        assert_eq!(token(br#"{"token":"","access_token":"abc"}"#).as_deref(), Some("abc"));
        assert_eq!(token(br#"{"token":null,"access_token":"abc","expires_in":null}"#).as_deref(), Some("abc"));
        assert_eq!(token(br#"{"access_token":"abc","token":"abcd"}"#).as_deref(), Some("abcd"));
        assert_eq!(token(br#"{"Token":"abc","expires_in":null}"#).as_deref(), Some("abc"));
        assert_eq!(token(br#"{"token":null,"ACCESS_TOKEN":"abc"}"#).as_deref(), Some("abc"));
        assert_eq!(token(b"{\"to\xe2\x84\xaaen\":\"abc\"}").as_deref(), Some("abc"));
        assert_eq!(token(b"{\"token\":\"a\\r\\nb\"}"), None);
        assert_eq!(token(br#"{"token":"","access_token":""}"#), None);
        assert_eq!(token(b"[]"), None);
    }
}
