//! HTTP/1.1 as a client needs it (RFC 9110, RFC 9112): heads of requests and
//! answers, bodies in their framings, URLs.

mod body;
mod error;
mod field;
mod head;
mod request;
pub mod retry_after;
mod url;

pub use crate::net::pure::http::body::{Body, Step};
pub use crate::net::pure::http::error::Error;
pub use crate::net::pure::http::head::{Framing, Head, HeadReader, Headers};
pub use crate::net::pure::http::request::{request, Method, Target};
pub(super) use crate::net::pure::http::url::host_and_port;
pub use crate::net::pure::http::url::{basic, is_same_origin, normal, origin, redirect, Url};
