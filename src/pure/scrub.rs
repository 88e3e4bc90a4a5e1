//! Removes secrets from what is printed, and control characters from foreign texts.

use crate::pure::{base64, percent};

/// What stands where a secret was.
pub const MASK: &str = "***";

/// The longest text of a line, in bytes. A name in a document may have megabytes, for which a serial console takes
/// minutes.
const TEXT_MAX: usize = 8 << 10;

/// `text` without `secrets`, plain, in base64 and in percent-encoding, and without
/// the user information and queries of URLs.
pub fn scrub(text: &str, secrets: &[String]) -> String {
    let mut forms = Vec::new();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        let base64 = base64::encode(secret.as_bytes());
        let mut escaped = String::new();
        percent::encode(secret, &mut escaped);
        forms.extend([secret.clone(), base64.trim_end_matches('=').into(), base64, escaped]);
    }
    // Longest first: a shorter secret may be the start of a longer one.
    forms.sort_unstable_by_key(|form| core::cmp::Reverse(form.len()));
    let mut text = text.to_string();
    for form in forms {
        text = text.replace(&form, MASK);
    }
    urls(&text)
}

/// `text` without the user information of URLs (RFC 3986, section 3.2.1), and without their queries: an S3 server's
/// holds a signature.
pub fn urls(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("//") {
        let (before, after) = rest.split_at(at + 2);
        let end = after.find(|c: char| c.is_whitespace() || "\"'".contains(c)).unwrap_or(after.len());
        let (url, tail) = after.split_at(end);
        out.push_str(before);
        let host = userinfo(url).unwrap_or_default();
        if host > 0 {
            out.push_str(MASK);
        }
        let url = url.get(host..).unwrap_or_default();
        match url.split_once('?').filter(|(_, query)| !query.is_empty()) {
            Some((start, query)) => {
                let fragment = query.find('#').and_then(|at| query.get(at..)).unwrap_or_default();
                [start, "?", MASK, fragment].iter().for_each(|part| out.push_str(part));
            }
            None => out.push_str(url),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// `NAME=URL,URL` without user information, also of a URL without a scheme: `http=u:p@proxy:3128`. What stands before
/// the last `@` is hidden, since a password may hold any sign.
pub fn list_of_urls(value: &str) -> String {
    match value.rsplit_once('@') {
        Some((_, host)) => [value.split_once('=').map_or("", |(name, _)| name), "=", MASK, "@", host].concat(),
        None => urls(value),
    }
}

/// Where the user information ends in what follows `//`. A password without percent-encoding may hold `/`, `?` and
/// `@`, so the last `@` counts: hiding too much is better than hiding too little.
fn userinfo(url: &str) -> Option<usize> {
    let authority = url.find(['/', '?', '#']).unwrap_or(url.len());
    let is_digest = |at: usize| url.get(at..).is_some_and(|tail| tail.starts_with("@sha"));
    let (at, _) = url.rmatch_indices('@').find(|(at, _)| !is_digest(*at))?;
    (at < authority || url.find(['@', ':']).is_some_and(|sign| sign < at)).then_some(at)
}

/// `text` as it may be printed on a line: a foreign text (a header, a file name) must not move the cursor, forge a line
/// or change the direction of writing.
pub fn clean(text: &str) -> String {
    let cleaned: String = text.chars().map(|c| if is_unseen(c) { '?' } else { c }).collect();
    let shown = urls(&cleaned);
    let length = shown.len();
    if length <= TEXT_MAX {
        return shown;
    }
    // The reason is at the end, so the middle is cut.
    let boundary = |from: usize| (from..length).find(|at| shown.is_char_boundary(*at)).unwrap_or_default();
    let (start, end) = (boundary(TEXT_MAX / 2), boundary(length - TEXT_MAX / 2));
    let part = |range: core::ops::Range<usize>| shown.get(range).unwrap_or_default();
    [part(0..start), " ... (", &length.to_string(), " bytes) ... ", part(end..length)].concat()
}

/// Controls, and what Unicode calls format characters (Cf) and separators of lines and paragraphs (Zl, Zp).
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
            | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::pure::authfile::Credentials;

    fn basic(user: &str, password: &str) -> Credentials {
        Credentials::Basic { user: user.into(), password: password.into() }
    }

    /// Promise: no-secret-in-messages
    #[test]
    fn nothing_of_a_secret_is_printed() {
        let credentials = basic("ann", "s3cr+t");
        let header = credentials.basic().unwrap();
        assert_eq!(header, "Basic YW5uOnMzY3IrdA==");
        let unpadded = header.trim_end_matches('=');
        let said = ["--creds ann:s3cr+t ", &header, " s3cr%2Bt ", &base64::encode(b"s3cr+t"), " ", unpadded].concat();
        assert_eq!(scrub(&said, &credentials.secrets()), "--creds *** Basic *** *** *** Basic ***");
        assert_eq!(format!("{credentials:?}"), "Credentials(***)");
        let token = Credentials::IdentityToken("tok".into());
        assert_eq!((scrub("a tok", &token.secrets()), token.basic()), ("a ***".into(), None));
        // An empty password is none, and a text without secrets stays.
        assert_eq!(scrub("abc", &basic("u", "").secrets()), "abc");
    }

    #[test]
    fn a_secret_that_begins_another() {
        assert_eq!(scrub("abc ab", &["ab".into(), "abc".into()]), "*** ***");
    }

    /// Promise: no-secret-in-messages
    #[test]
    fn users_and_queries_in_urls() {
        for (text, shown) in [
            ("proxy http://u:p@h:3128/x, then", "proxy http://***@h:3128/x, then"),
            ("https://u@h http://a:b@c", "https://***@h http://***@c"),
            ("«https://u:p@x@h/»: a", "«https://***@h/»: a"),
            ("https://u:p/s?s#s@h/x", "https://***@h/x"),
            ("docker://u:p@h/x@sha256:0", "docker://***@h/x@sha256:0"),
            ("FTP://u:p@h //u:p@h/share", "FTP://***@h //***@h/share"),
            ("docker.io=http://a,http://u:p@b", "docker.io=http://***@b"),
            ("https://h/x?sig=a@b/c?d#sha256:00 y", "https://h/x?***#sha256:00 y"),
            ("http://u:p@h/x?y", "http://***@h/x?***"),
            ("https://h?", "https://h?"),
        ] {
            assert_eq!(urls(text), shown, "{text}");
        }
        for plain in [
            "https://h/@ a@b",
            "https://h/@scope/x",
            "docker://h:5000/p@sha256:0 http://",
            "a//b /c?d e@f g:h@i",
            "http://[::1]:80/x",
            "",
        ] {
            assert_eq!(urls(plain), plain);
        }
    }

    /// Promise: no-secret-in-messages
    #[test]
    fn users_of_urls_without_a_scheme() {
        for (value, text) in [
            ("http=u:SECRET@proxy:3128", "http=***@proxy:3128"),
            ("http=http://u:SECRET@proxy:3128,no=a.lab", "http=***@proxy:3128,no=a.lab"),
            ("http=u:SEC//x@RET=,SECRET@proxy", "http=***@proxy"),
            ("http=u:SECRET@http://v:w@proxy", "http=***@proxy"),
            ("docker.io=u:SECRET@h", "docker.io=***@h"),
            ("docker.io=http://a,https://b/x", "docker.io=http://a,https://b/x"),
            ("u:SECRET@h", "=***@h"),
            ("http=proxy:3128", "http=proxy:3128"),
        ] {
            assert_eq!(list_of_urls(value), text);
        }
    }

    /// Promise: foreign-text
    #[test]
    fn a_strangers_text_stays_on_its_line() {
        // Overrides and isolates of direction, separators, zero width, C0, C1, tags.
        let bad = "\u{0}\u{1b}\n\r\t\u{7f}\u{85}\u{9b}\u{ad}\u{61c}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\
                   \u{2028}\u{2029}\u{202a}\u{202e}\u{2060}\u{2066}\u{2067}\u{2068}\u{2069}\u{feff}\u{fffb}\u{e0041}";
        for c in bad.chars() {
            assert_eq!(clean(&["a", &c.to_string(), "b"].concat()), "a?b", "{:x}", u32::from(c));
        }
        // One in a password does not end it.
        assert_eq!(clean("http://u:p\n\u{2028}q@h/"), "http://***@h/");
        let good = "«Größe» 東京 Привет עברית e\u{301} 😀 … µ";
        assert_eq!(clean(good), good);
    }

    /// Promise: foreign-text
    #[test]
    fn a_text_without_an_end_is_cut() {
        let long = clean(&["x", &"ä".repeat(1 << 20), ": why"].concat());
        assert!(long.len() < TEXT_MAX + 40 && long.contains("ä ... (2097158 bytes) ... ä"), "{}", long.len());
        assert!(long.starts_with("xää") && long.ends_with("ää: why"));
        assert_eq!(clean(&"x".repeat(TEXT_MAX)).len(), TEXT_MAX);
    }
}
