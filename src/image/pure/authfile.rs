//! Credentials for registries: `auth.json` as podman and docker write it (containers-auth.json(5)).

use crate::image::pure::oci;
use crate::pure::base64;
use crate::pure::json::Value;
use core::fmt;

/// What authenticates us to a registry or its token server.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    Basic {
        user: String,
        password: String,
    },
    /// A refresh token (RFC 6749, section 1.5), which is exchanged for tokens.
    IdentityToken(String),
}

/// Prints no secret, since messages of tests are printed as well.
impl fmt::Debug for Credentials {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("Credentials(***)")
    }
}

impl Credentials {
    /// Reads `USER:PASSWORD`; a password may have colons, and may be empty. `None` if there is no user or no colon,
    /// since nobody is there to type a password.
    pub fn parse(text: &str) -> Option<Credentials> {
        let (user, password) = text.split_once(':').filter(|(user, _)| !user.is_empty())?;
        Some(Credentials::Basic { user: user.into(), password: password.into() })
    }

    /// The value of an `Authorization` header (RFC 7617, section 2); an identity
    /// token has none, it is posted.
    pub fn basic(&self) -> Option<String> {
        match self {
            Credentials::Basic { user, password } => {
                Some(["Basic ", &base64::encode([user, ":", password].concat().as_bytes())].concat())
            }
            Credentials::IdentityToken(_) => None,
        }
    }

    /// The secrets that [`crate::pure::scrub`] removes from messages.
    pub fn secrets(&self) -> Vec<String> {
        match self {
            Credentials::Basic { user, password } => vec![[user, ":", password].concat(), password.clone()],
            Credentials::IdentityToken(token) => vec![token.clone()],
        }
    }
}

/// What a file has for a repository.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub credentials: Option<Credentials>,
    pub warning: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    TooLarge,
    Document(oci::Error),
    /// The entry of that key cannot be read.
    Entry(String),
}

impl Error {
    /// The message, which has keys of the file but never its secrets.
    pub fn text(&self) -> String {
        match self {
            Error::TooLarge => "larger than 1 MiB, the limit of a credentials file".into(),
            Error::Document(error) => error.text(),
            Error::Entry(key) => ["the entry '", key, "' has no 'auth' that is the base64 of USER:PASSWORD"].concat(),
        }
    }
}

/// The largest credentials file.
pub const FILE_MAX: usize = 1 << 20;

/// The credentials in the file `bytes` for the repository `path` of `host`. Keys may have paths; the longest one that
/// contains the repository wins.
pub fn lookup(bytes: &[u8], host: &str, path: &str) -> Result<Found, Error> {
    if bytes.len() > FILE_MAX {
        return Err(Error::TooLarge);
    }
    let file = oci::json(bytes).map_err(Error::Document)?;
    let auths = file.object("auths");
    let auths = auths.members().ok_or(Error::Document(oci::Error::Member("auths")))?;
    let ranked = auths.iter().filter_map(|(key, entry)| Some((rank(key, host, path)?, key, entry)));
    let Some((_, key, entry)) = ranked.max_by_key(|(rank, ..)| *rank) else {
        return Ok(Found { credentials: None, warning: helper(&file, host) });
    };
    let credentials = credentials(entry).ok_or_else(|| Error::Entry(key.clone()))?;
    let is_unused = credentials.is_none() && entry.text("auth").is_some_and(|auth| !auth.is_empty());
    let unused = || ["the entry '", key, "' names no user, and is not used"].concat();
    let warning = if is_unused { Some(unused()) } else { helper(&file, host) };
    Ok(Found { warning: warning.filter(|_| credentials.is_none()), credentials })
}

/// How well `key` fits, or `None` if it does not. docker's old keys are URLs, whose path is that of the API and not of
/// a repository.
fn rank(key: &str, host: &str, path: &str) -> Option<(usize, bool)> {
    let address = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let (key_host, scope) = address.unwrap_or(key).split_once('/').unwrap_or((address.unwrap_or(key), ""));
    let scope = if address.is_some() { "" } else { scope.trim_end_matches('/') };
    let holds = match path.strip_prefix(scope) {
        Some(rest) => scope.is_empty() || rest.is_empty() || rest.starts_with('/'),
        None => false,
    };
    (canonical(key_host) == canonical(host) && holds).then_some((scope.len(), address.is_none() && key_host == host))
}

/// One name for Docker Hub's three host names.
fn canonical(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    }
}

/// The credentials of an entry. An empty entry is what a credential helper leaves, and not an error.
fn credentials(entry: &Value) -> Option<Option<Credentials>> {
    let text = |name| entry.text(name).filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Some(Some(Credentials::IdentityToken(token.into())));
    }
    if let Some(auth) = text("auth") {
        let decoded = String::from_utf8(base64::decode_lines(auth)?).ok()?;
        // Old versions of docker padded the password with NUL. Without a user it is no login, as in podman.
        return Some(Credentials::parse(decoded.trim_end_matches('\0')));
    }
    let Some(user) = text("username") else { return Some(None) };
    let password = text("password").unwrap_or_default().into();
    Some(Some(Credentials::Basic { user: user.into(), password }))
}

/// A warning if a credential helper has this host's credentials instead of the file.
fn helper(file: &Value, host: &str) -> Option<String> {
    let of_host = file.get("credHelpers").and_then(Value::members).and_then(|all| {
        all.iter().find(|(key, _)| canonical(key) == canonical(host)).and_then(|(_, name)| name.as_str())
    });
    let name = of_host.or_else(|| file.text("credsStore")).filter(|name| !name.is_empty())?;
    let what = [
        "the credentials of ",
        host,
        " are kept by the program docker-credential-",
        name,
        ", which cannot run here: write them to a file (podman login --authfile)",
    ];
    Some(what.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(user: &str, password: &str) -> Credentials {
        Credentials::Basic { user: user.into(), password: password.into() }
    }

    fn find(file: &str, host: &str, path: &str) -> Option<Credentials> {
        lookup(file.as_bytes(), host, path).unwrap().credentials
    }

    /// Promise: auth-json
    /// Input: auth-entries
    #[test]
    fn the_longest_path_wins_by_whole_components() {
        let file = r#"{"auths": {
            "r.x:5000": {"username": "host", "password": "p"},
            "r.x:5000/team": {"username": "team", "password": "p"},
            "r.x:5000/team/app/": {"username": "app", "password": "p"},
            "r.x": {"username": "other port", "password": "p"}}}"#;
        for (path, user) in [
            ("team/app", "app"),
            ("team/app/deep", "app"),
            ("team/apple", "team"),
            ("team", "team"),
            ("teams/app", "host"),
            ("x", "host"),
        ] {
            assert!(find(file, "r.x:5000", path) == Some(basic(user, "p")), "{path}");
        }
        assert_eq!(find(file, "r.x", "team/app"), Some(basic("other port", "p")));
        assert_eq!(find(file, "r.y", "team/app"), None);
        // What names no user: "nocolon", ":x".
        for auth in ["bm9jb2xvbg==", "Ong="] {
            let found =
                lookup(format!(r#"{{"auths": {{"a.b": {{"auth": "{auth}"}}}}}}"#).as_bytes(), "a.b", "c").unwrap();
            let warning = found.warning.as_deref();
            assert_eq!((found.credentials, warning), (None, Some("the entry 'a.b' names no user, and is not used")));
        }
    }

    #[test]
    fn a_file_of_skopeo_login() {
        let entry = |key: &str| format!("\t\t{key:?}: {{\n\t\t\t\"auth\": \"YW5uOnBhOnNz\"\n\t\t}}");
        let file = [entry("127.0.0.1:5971"), entry("127.0.0.1:5971/team/app")].join(",\n");
        let file = format!("{{\n\t\"auths\": {{\n{file}\n\t}}\n}}");
        assert_eq!(find(&file, "127.0.0.1:5971", "team/app"), Some(basic("ann", "pa:ss")));
        assert_eq!(find(&file, "127.0.0.1:5971", "other"), Some(basic("ann", "pa:ss")));
        assert_eq!(find(&file, "127.0.0.1", "team/app"), None);
    }

    /// Promise: auth-json
    /// Input: auth-entries
    #[test]
    fn the_forms_of_an_entry() {
        for (entry, found) in [
            (r#"{"auth": "dXNlcjpwYTpzcw=="}"#, Some(basic("user", "pa:ss"))),
            (r#"{"auth": "dXNlcjo="}"#, Some(basic("user", ""))),
            (r#"{"auth": "dXNl\r\ncjpwYTpz\ncw==\n"}"#, Some(basic("user", "pa:ss"))),
            (r#"{"Auth": "\ndXNlcjo=", "email": null}"#, Some(basic("user", ""))),
            (r#"{"AUTH": null, "Username": "u", "PassWord": "p"}"#, Some(basic("u", "p"))),
            ("null", None),
            (r#"{"auth": "dXNlcjpwYQAA"}"#, Some(basic("user", "pa"))),
            (r#"{"username": "u", "password": "p"}"#, Some(basic("u", "p"))),
            (r#"{"auth": "", "username": "u", "password": "p"}"#, Some(basic("u", "p"))),
            (r#"{"auth": "dTpw", "identitytoken": "t"}"#, Some(Credentials::IdentityToken("t".into()))),
            ("{}", None),
        ] {
            let file = [r#"{"auths": {"a.b": "#, entry, "}}"].concat();
            assert!(find(&file, "a.b", "c") == found, "{entry}");
        }
    }

    /// Promise: auth-json
    #[test]
    fn docker_hub_by_all_its_names() {
        for key in ["docker.io", "index.docker.io", "https://index.docker.io/v1/", "https://registry-1.docker.io/v2/"] {
            let file = [r#"{"auths": {"#, "\"", key, r#"": {"auth": "dTpw"}}}"#].concat();
            assert_eq!(find(&file, "docker.io", "library/alpine"), Some(basic("u", "p")), "{key}");
            assert_eq!(find(&file, "quay.io", "library/alpine"), None, "{key}");
        }
        let file = r#"{"auths": {"https://a.b/v1/": {"username": "old"}, "a.b": {"username": "new"}}}"#;
        assert_eq!(find(file, "a.b", "c"), Some(basic("new", "")));
        // Without a scheme it is a path, as the manual has it.
        assert_eq!(find(r#"{"auths": {"a.b/v1": {"username": "x"}}}"#, "a.b", "c"), None);
    }

    #[test]
    fn helpers_are_named_where_they_are_missed() {
        let file =
            r#"{"auths": {"a.b": {}, "c.d": {"auth": "dTpw"}}, "credHelpers": {"a.b": "pass"}, "credsStore": "x"}"#;
        let warning = |host| lookup(file.as_bytes(), host, "p").unwrap().warning.unwrap_or_default();
        assert!(warning("a.b").contains("docker-credential-pass,"));
        assert!(warning("e.f").contains("docker-credential-x,"));
        assert_eq!(warning("c.d"), "");
    }

    #[test]
    fn files_that_cannot_be_read() {
        let of = |text: &str| lookup(text.as_bytes(), "a.b", "c").unwrap_err();
        assert_eq!(of("{"), Error::Document(oci::Error::Json));
        assert_eq!(of(r#"{"auths": []}"#), Error::Document(oci::Error::Member("auths")));
        assert_eq!(of(&" ".repeat(FILE_MAX + 1)), Error::TooLarge);
        for auth in ["not base64", "dXNlcjo =", "dXNlcjo\\t=", "dXNlcjo\\u00a0=", "/w=="] {
            let error = of(&[r#"{"auths": {"a.b": {"auth": ""#, auth, r#""}}}"#].concat());
            assert_eq!(error, Error::Entry("a.b".into()), "{auth}");
            assert!(!error.text().contains(auth));
        }
        // Another registry's entry is none of our business.
        assert_eq!(find(r#"{"auths": {"x.y": {"auth": "!"}}}"#, "a.b", "c"), None);
        for none in ["{}", r#"{"auths":null}"#, r#"{"auths":{}}"#, r#"{"auths":{"a.b":null},"credHelpers":null}"#] {
            assert_eq!(find(none, "a.b", "c"), None, "{none}");
        }
        // The names of registries are data, whose case counts.
        assert_eq!(find(r#"{"Auths": {"a.b": {"auth": "dTpw"}}}"#, "a.b", "c"), Some(basic("u", "p")));
        assert_eq!(find(r#"{"auths": {"A.B": {"auth": "dTpw"}}}"#, "a.b", "c"), None);
    }
}
