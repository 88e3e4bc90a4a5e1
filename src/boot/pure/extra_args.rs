//! Extra arguments: options from a URL. What the document may be and may set, and how its words are shown.

use crate::boot::pure::cmdline::Word;
use crate::boot::pure::interpolate::{self, Form};
use crate::boot::pure::misspelt;
use crate::boot::pure::option_error::EXTRA;
use crate::boot::pure::option_table::Row;
use crate::container::pure::spec::parse;
use crate::image::pure::cosign::VerifyKey;
use crate::net::pure::http::Url;
use crate::net::pure::proxy;
use crate::pure::digest::Digest;
use crate::pure::scrub::{self, MASK};

/// The largest document: some thousand options.
pub const SIZE_MAX: u64 = 256 << 10;
/// The largest signature file: one in base64 has a hundred bytes.
pub const SIGNATURE_MAX: u64 = 4 << 10;
/// How many options are shown.
pub const SHOWN_MAX: usize = 64;

/// Options that have done their work before the extra arguments are there, and what to do: in them they are ignored,
/// with a warning.
const TOO_LATE: [(&str, &str); 7] = [
    ("b2c.iface", "the network is up"),
    ("b2c.carrier_timeout", "the network is up"),
    ("b2c.lease_timeout", "the network is up"),
    ("b2c.insmods", "modules are loaded"),
    ("b2c.extra_args_url", "they are fetched once"),
    ("b2c.extra_args_sha256", "they are fetched"),
    ("b2c.extra_args_key", "they are fetched"),
];

/// Options whose whole value may be shown, but for what URLs hold.
const SHOWN: [&str; 13] = [
    "b2c.cache_device",
    "b2c.hostname",
    "b2c.keymap",
    "b2c.log",
    "b2c.nbd",
    "b2c.ntp_peer",
    "b2c.onfail",
    "b2c.poweroff_delay",
    "b2c.reboot_cmd",
    "b2c.shutdown_cmd",
    "b2c.storage",
    "b2c.swap",
    "b2c.verify_key",
];

/// The options of extra arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtraArgs {
    /// With `${NAME}`s in it.
    pub url: Option<String>,
    pub sha256: Option<Digest>,
    pub key: Option<VerifyKey>,
}

impl ExtraArgs {
    /// Takes the value of the option `key`, if that is one of these.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "b2c.extra_args_url" => {
                let (plain, _) = without_user(&interpolate::example(value, Form::Url)?)?;
                Url::parse(&plain).map_err(|error| error.text())?;
                self.url = Some(value.into());
            }
            "b2c.extra_args_sha256" => {
                let hex = value.strip_prefix("sha256:").unwrap_or(value).to_ascii_lowercase();
                let digest = Digest::parse(&["sha256:", &hex].concat());
                self.sha256 = Some(digest.map_err(|_| "not the 64 hexadecimal digits of a SHA-256")?);
            }
            "b2c.extra_args_key" => self.key = Some(VerifyKey::parse(value).map_err(|error| error.text())?),
            _ => {}
        }
        Ok(())
    }

    /// Whether what comes is checked, whoever sends it.
    pub fn are_pinned(&self) -> bool {
        self.sha256.is_some() || self.key.is_some()
    }

    /// What to say of a digest or a key for no URL. One of the initramfs may be for some boots only.
    pub fn warning(&self) -> Option<&'static str> {
        let is_idle = self.are_pinned() && self.url.is_none();
        is_idle.then_some("b2c.extra_args_sha256 and b2c.extra_args_key check nothing without b2c.extra_args_url")
    }

    /// Whether a wrong clock would refuse the server.
    pub fn need_a_clock(&self) -> bool {
        self.url.as_ref().is_some_and(|url| url.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("https:")))
    }
}

/// A URL without its user information, and that as a value of `Authorization`.
pub fn without_user(url: &str) -> Result<(String, Option<String>), String> {
    let Some((scheme, rest)) = url.split_once("://") else { return Ok((url.into(), None)) };
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some(at) = rest.get(..authority).and_then(|authority| authority.rfind('@')) else {
        return Ok((url.into(), None));
    };
    let (user, host) = (rest.get(..at).unwrap_or_default(), rest.get(at + 1..).unwrap_or_default());
    let authorization = proxy::basic(user).ok_or("a wrong percent-encoding before the @")?;
    Ok(([scheme, "://", host].concat(), Some(authorization)))
}

/// The URL of the signature: `.sig` is appended to the path. Without a path it would become a part of the host's name.
pub fn signature_url(url: &str) -> String {
    let url = url.split('#').next().unwrap_or_default();
    let (path, query) = url.split_at(url.find('?').unwrap_or(url.len()));
    let sig = if path.get("https://".len()..).is_some_and(|rest| rest.contains('/')) { ".sig" } else { "/.sig" };
    [path, sig, query].concat()
}

/// Whether the document is a page for people: where to log in, or that something is not there. Some frameworks call all
/// that they send HTML, so that counts only where there is no option.
pub fn is_page(content_type: &str, document: &[u8]) -> bool {
    let first = document.iter().find(|byte| !byte.is_ascii_whitespace() && !b"\0\xef\xbb\xbf\xff\xfe".contains(byte));
    let is_html = content_type.to_ascii_lowercase().starts_with("text/html");
    first == Some(&b'<') || (is_html && first.is_some() && !document.windows(4).any(|part| part == b"b2c."))
}

/// Whether it is another document: a machine that runs nothing and reports success hides that.
pub fn has_no_option(words: &[Word]) -> bool {
    !words.is_empty() && !words.iter().any(Word::is_option)
}

/// Refuses a key where others are set: they decide which images may run.
pub fn adds_no_key(name: &str) -> Result<(), &'static str> {
    let is_key = name == "b2c.verify_key";
    (!is_key).then_some(()).ok_or("there are keys already, and extra arguments may not add to them")
}

/// Why an option of the source of that number is ignored, if it is.
pub fn too_late(name: &str, source: usize) -> Option<String> {
    let (name, why) = TOO_LATE.iter().find(|(late, _)| *late == name && source == EXTRA)?;
    Some([name, " in the extra arguments comes too late, as ", why, ": ignored"].concat())
}

/// An option as the log shows it: without passwords and keys.
pub fn shown(word: &Word) -> String {
    let key = misspelt::shown(&word.key);
    if key != word.key {
        return [key, MASK].concat();
    }
    let Some(value) = &word.value else { return key.into() };
    let value = match value.split_once(',') {
        _ if Row::of(word).is_some_and(Row::is_container_line) => parse::logged(value),
        _ if key == "b2c.proxy" || key == "b2c.registry_mirror" => scrub::list_of_urls(value),
        _ if SHOWN.contains(&key) => scrub::urls(value),
        // The name alone: options of file systems and volumes hold passwords.
        Some((name, _)) if ["b2c.minio", "b2c.filesystem", "b2c.volume"].contains(&key) && !name.contains('=') => {
            [scrub::urls(name).as_str(), ",", MASK].concat()
        }
        None if key == "b2c.volume" && !value.contains('=') => scrub::urls(value),
        _ => MASK.into(),
    };
    [key, "=", &value].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::pure::cmdline;
    use crate::boot::pure::options::TABLE;

    fn set(key: &str, value: &str) -> Result<ExtraArgs, String> {
        let mut extra = ExtraArgs::default();
        extra.set(key, value).map(|()| extra)
    }

    /// Promise: extra-arguments
    #[test]
    fn urls_and_what_is_none() {
        for url in ["http://h/x", "https://h:8443/${mac}?a=${uuid}", "HTTP://u:p@[fd00::1]/x#y", "http://${ip}/x"] {
            assert_eq!(set("b2c.extra_args_url", url).unwrap().url.as_deref(), Some(url));
        }
        for (url, why) in [
            ("", "not an http or https URL"),
            ("h/x", "not an http or https URL"),
            ("ftp://h/x", "not an http or https URL"),
            ("http://u:%zz@h/x", "a wrong percent-encoding before the @"),
            ("http://h/${name}", "${name} is not one of ${mac}, ${ip}, ${uuid} and ${serial}"),
        ] {
            assert_eq!(set("b2c.extra_args_url", url).unwrap_err(), why, "{url}");
        }
    }

    /// Promise: extra-arguments
    #[test]
    fn digests_and_keys() {
        let hex = "0123456789abcdef".repeat(4);
        for text in [hex.clone(), hex.to_uppercase(), format!("sha256:{hex}")] {
            assert_eq!(set("b2c.extra_args_sha256", &text).unwrap().sha256.unwrap().hex(), hex);
        }
        for text in ["", "abc", &hex[1..], &hex.replace('a', "g"), &format!("{hex}0")] {
            let why = "not the 64 hexadecimal digits of a SHA-256";
            assert_eq!(set("b2c.extra_args_sha256", text).unwrap_err(), why, "{text}");
        }
        assert_eq!(set("b2c.extra_args_key", "/k").unwrap().key, Some(VerifyKey::File("/k".into())));
        assert!(set("b2c.extra_args_key", "k.pub").unwrap_err().starts_with("neither the path of a file"));
        let lone = set("b2c.extra_args_key", "/k").unwrap();
        assert!(lone.are_pinned() && lone.warning().is_some() && !lone.need_a_clock());
        assert!(set("b2c.extra_args_url", "HTTPS://h/").unwrap().need_a_clock());
    }

    #[test]
    fn users_and_signatures_of_urls() {
        let basic = "Basic dTpwQA==";
        for (url, plain, authorization) in [
            ("http://u:p%40@h/x@y", "http://h/x@y", Some(basic)),
            ("http://h/x@y", "http://h/x@y", None),
            ("http://h?x@y", "http://h?x@y", None),
            ("x", "x", None),
        ] {
            assert_eq!(without_user(url), Ok((plain.into(), authorization.map(String::from))), "{url}");
        }
        for (url, signature) in [
            ("http://h/x", "http://h/x.sig"),
            ("http://h/x?a=b#c", "http://h/x.sig?a=b"),
            ("http://h/x#c", "http://h/x.sig"),
            ("http://h", "http://h/.sig"),
            ("https://h:8443?a=/b#c", "https://h:8443/.sig?a=/b"),
        ] {
            assert_eq!(signature_url(url), signature);
        }
    }

    /// Promise: extra-arguments
    /// Input: extra-arguments
    #[test]
    fn pages_for_people() {
        let page = |kind, text: &str| is_page(kind, text.as_bytes());
        assert!(
            page("text/plain", "<!doctype html>") && page("", "\u{feff}\r\n <html>") && page("TEXT/HTML", "log in")
        );
        assert!(is_page("", b"\xff\xfe<\0h\0"));
        assert!(!page("text/html", "") && !page("text/html", "\r\n") && page("text/html", " x"));
        assert!(!page("text/html; charset=utf-8", "b2c.run=x") && !page("", "") && !page("text/plain", "a <b"));
    }

    /// Promise: extra-arguments, no-secret-in-messages
    #[test]
    fn options_are_shown_without_secrets() {
        let of = |line: &str| shown(&cmdline::parse(line.as_bytes()).unwrap()[0]);
        for (line, want) in [
            ("b2c.pipefail", "b2c.pipefail"),
            ("b2c.hostname=dut-7", "b2c.hostname=dut-7"),
            ("b2c.minio=job,http://h,KEY,SECRET", "b2c.minio=job,***"),
            ("b2c.volume=v,encrypt_key=SECRET", "b2c.volume=v,***"),
            ("b2c.volume=fscrypt_key=SECRET,v", "b2c.volume=***"),
            ("b2c.volume=fscrypt_key=SECRET", "b2c.volume=***"),
            ("b2c.volume=tmp", "b2c.volume=tmp"),
            ("b2c.filesystem=c,type=cifs,opts=password=SECRET", "b2c.filesystem=c,***"),
            ("b2c.filesystem=SECRET", "b2c.filesystem=***"),
            ("b2c.proxy=http=http://u:SECRET@p:1", "b2c.proxy=http=***@p:1"),
            ("b2c.proxy=http=u:SECRET@p:1", "b2c.proxy=http=***@p:1"),
            ("b2c.registry_mirror=docker.io=u:SECRET@h", "b2c.registry_mirror=docker.io=***@h"),
            ("b2c.unknown=SECRET", "b2c.unknown=***"),
            ("b2c.runner_token=SECRET", "b2c.runner_token=***"),
            ("b2c.minio:job,http://h:9000,ACCESS,SECRET", "b2c.minio***"),
            (r#"b2c.run:"--creds=u:SECRET img""#, "b2c.run***"),
            (r#"b2c.run="-e TOKEN=SECRET img""#, "b2c.run=-e TOKEN=*** img"),
            ("b2c.extra_args_url=http://u:SECRET@h/x", "b2c.extra_args_url=***"),
            (r#"b2c.run="--creds u:SECRET img""#, "b2c.run=--creds *** img"),
        ] {
            assert_eq!(of(line), want);
        }
    }

    /// Promise: extra-arguments
    #[test]
    fn what_comes_too_late_is_an_option() {
        for (name, _) in TOO_LATE {
            assert!(TABLE.iter().any(|row| row.name == name) && !SHOWN.contains(&name), "{name}");
        }
        let told = too_late("b2c.insmods", EXTRA).unwrap();
        assert_eq!(told, "b2c.insmods in the extra arguments comes too late, as modules are loaded: ignored");
        assert_eq!((too_late("b2c.hostname", EXTRA), too_late("b2c.insmods", 0)), (None, None));
    }
}
