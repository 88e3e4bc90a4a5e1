//! Why a request is not sent, or an answer not taken.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not `http://HOST[:PORT]…` or `https://…`, or with characters that a URL cannot have.
    Url,
    /// `https://USER@HOST`: the user information would appear in logs.
    UserInfo,
    /// A header of the request holds control characters.
    Request,
    NotHttp,
    /// An answer in TLS to a request of plain http.
    Tls,
    HeadTooLong,
    /// An answer that switches to another protocol (101).
    Upgrade,
    Length,
    /// A transfer coding other than chunked.
    Coding,
    Chunk,
    /// The connection ended in the middle of the head.
    HeadEnded,
    /// The connection ended in the middle of the body.
    BodyEnded {
        received: u64,
        total: Option<u64>,
    },
}

impl Error {
    pub fn text(self) -> String {
        match self {
            Error::Url => "not an http or https URL".into(),
            Error::UserInfo => "a URL with user information is not followed".into(),
            Error::Request => "a header holds control characters".into(),
            Error::NotHttp => "does not answer in HTTP/1".into(),
            Error::Tls => "speaks TLS, and was asked in plain http: write https://".into(),
            Error::HeadTooLong => "the answer's head is longer than 256 KiB".into(),
            Error::Upgrade => "the answer switches protocols, which was not requested".into(),
            Error::Length => "the answer's Content-Length is not one number".into(),
            Error::Coding => "the answer has a Transfer-Encoding other than chunked".into(),
            Error::Chunk => "a malformed chunk in the answer's body".into(),
            Error::HeadEnded => "the connection ended in the middle of the answer's head".into(),
            Error::BodyEnded { received, total: Some(total) } => {
                ["the body ended after ", &received.to_string(), " of ", &total.to_string(), " bytes"].concat()
            }
            Error::BodyEnded { received, total: None } => {
                ["the body ended after ", &received.to_string(), " bytes, in the middle of it"].concat()
            }
        }
    }
}
