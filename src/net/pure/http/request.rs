//! The head of a request.

use crate::net::pure::http::error::Error;
use crate::net::pure::http::field::{is_field, is_token};
use crate::net::pure::http::url::Url;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
}

/// The form of the request target (RFC 9112, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Path and query: to the server itself.
    Origin,
    /// The whole URL: to a proxy.
    Absolute,
    /// `HOST:PORT` with the method CONNECT: a tunnel through a proxy.
    Connect,
}

/// The head of a request. A header that holds a control character is an error, so that none can end its line early.
pub fn request(method: Method, target: Target, url: &Url, headers: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
    let port = url.port.to_string();
    let verb = match (target, method) {
        (Target::Connect, _) => "CONNECT ",
        (_, Method::Get) => "GET ",
        (_, Method::Head) => "HEAD ",
        (_, Method::Post) => "POST ",
    };
    // The target of CONNECT always has a port (RFC 9110, section 9.3.6).
    let tunnel = if url.is_v6() { ["[", url.host, "]:", &port] } else { ["", url.host, ":", &port] }.concat();
    let host = if target == Target::Connect { &tunnel } else { url.authority };
    let slash = if url.path.starts_with('/') { "" } else { "/" };
    let mut head = Vec::with_capacity(512);
    let mut put = |parts: &[&str]| parts.iter().for_each(|part| head.extend_from_slice(part.as_bytes()));
    match target {
        Target::Origin => put(&[verb, slash, url.path]),
        Target::Absolute => put(&[verb, url.scheme(), "://", url.authority, slash, url.path]),
        Target::Connect => put(&[verb, &tunnel]),
    }
    put(&[" HTTP/1.1\r\nhost: ", host, "\r\n"]);
    for (name, value) in headers {
        if name.is_empty() || !name.bytes().all(is_token) || !value.bytes().all(is_field) {
            return Err(Error::Request);
        }
        put(&[name, ": ", value, "\r\n"]);
    }
    put(&["\r\n"]);
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(method: Method, target: Target, url: &str, headers: &[(&str, &str)]) -> Result<String, Error> {
        request(method, target, &Url::parse(url)?, headers).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn requests_in_each_form() {
        let url = "https://a.example:5000/v2/x?n=1#part";
        assert_eq!(
            text(Method::Get, Target::Origin, url, &[("accept", "*/*"), ("range", "bytes=5-")]).unwrap(),
            "GET /v2/x?n=1 HTTP/1.1\r\nhost: a.example:5000\r\naccept: */*\r\nrange: bytes=5-\r\n\r\n"
        );
        assert_eq!(
            text(Method::Head, Target::Absolute, "http://a/?q", &[]).unwrap(),
            "HEAD http://a/?q HTTP/1.1\r\nhost: a\r\n\r\n"
        );
        assert_eq!(
            text(Method::Get, Target::Origin, "http://a?q", &[]).unwrap(),
            "GET /?q HTTP/1.1\r\nhost: a\r\n\r\n"
        );
        assert_eq!(
            text(Method::Get, Target::Connect, "https://[2001:db8::1]/x", &[]).unwrap(),
            "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nhost: [2001:db8::1]:443\r\n\r\n"
        );
    }

    #[test]
    fn nothing_of_a_request_can_end_its_line() {
        for (name, value) in [("a", "b\r\nc: d"), ("a", "b\n"), ("a", "\0"), ("a b", "c"), ("a:", "c"), ("", "c")] {
            assert_eq!(text(Method::Get, Target::Origin, "http://a/", &[(name, value)]), Err(Error::Request), "{name}");
        }
        assert!(text(Method::Get, Target::Origin, "http://a/", &[("a", "tab\tand é")]).is_ok());
        assert_eq!(text(Method::Get, Target::Origin, "http://a/\r\nx: y", &[]), Err(Error::Url));
    }
}
