//! The distribution spec's error bodies, and HTTP's content ranges.

use crate::image::pure::oci;

/// The most characters of a reason that are shown.
const REASON_MAX: usize = 200;

/// The first reason in an error body (distribution spec, 'Error Codes'): `DENIED: requested access is denied`.
pub fn refusal(body: &[u8]) -> Option<String> {
    let body = oci::json(body).ok()?;
    let first = body.list("errors")?.first()?;
    let text = |name| first.text(name).filter(|text| !text.is_empty());
    let reason = match (text("code"), text("message")) {
        (Some(code), Some(message)) => [code, ": ", message].concat(),
        (code, message) => code.or(message)?.into(),
    };
    // A server's text must not break the console's line.
    Some(reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON_MAX).collect())
}

/// Whether the page of a 400 says that plain http was sent to a server of TLS: Go, nginx and Apache name it.
pub fn wants_tls(page: &[u8]) -> bool {
    ["to an HTTPS server", "to HTTPS port", "SSL-enabled server"]
        .iter()
        .any(|word| page.windows(word.len()).any(|part| part == word.as_bytes()))
}

/// The first byte and the total length in a `Content-Range` (RFC 9110, section 14.4): `bytes 5-9/10`. The length may be
/// unknown.
pub fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    (first <= last && total.is_none_or(|total| last < total)).then_some((first, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_refusals() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\r\n\u001b[2Jway","detail":null},{"code":"X"}]}"#;
        assert_eq!(refusal(body).as_deref(), Some("DENIED: no   [2Jway"));
        assert_eq!(refusal(br#"{"errors":[{"message":"x"}]}"#).as_deref(), Some("x"));
        assert_eq!(refusal(br#"{"Errors":[{"CODE":"A","Message":"b"}]}"#).as_deref(), Some("A: b"));
        let long = ["{\"errors\":[{\"code\":\"", &"x".repeat(999), "\"}]}"].concat();
        assert_eq!(refusal(long.as_bytes()).unwrap().len(), REASON_MAX);
        for other in [
            "",
            "<html>",
            "{}",
            "[]",
            r#"{"errors":null}"#,
            r#"{"errors":[null]}"#,
            r#"{"errors":[]}"#,
            r#"{"errors":{"0":1}}"#,
            r#"{"errors":[{"code":5}]}"#,
        ] {
            assert_eq!(refusal(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn pages_of_servers_of_tls() {
        for page in [
            "Client sent an HTTP request to an HTTPS server.\n",
            "<center>The plain HTTP request was sent to HTTPS port</center>",
            "Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
        ] {
            assert!(wants_tls(page.as_bytes()), "{page}");
        }
        assert!(!wants_tls(b"<center>No required SSL certificate was sent</center> HTTPS") && !wants_tls(b""));
    }

    #[test]
    fn parts_of_blobs() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 0-0/*"), Some((0, None)));
        for other in ["bytes 5-9", "bytes */10", "bytes 9-5/10", "bytes 5-10/10", "items 0-1/2", "bytes a-b/c", ""] {
            assert_eq!(content_range(other), None, "{other}");
        }
    }
}
