//! Documents: answers that are read to their end, up to a limit.

use crate::files;
use crate::image::registry::min_rate::{self, Pace};
use crate::image::source::Error;
use crate::inflate::Inflate;
use crate::net::http::Response;
use crate::sys::io_text;
use std::io::{self, Read};

/// Reads a document to its end. One that was packed on the way, though nobody asked for that, is unpacked.
pub fn read_limited(response: Response, max: u64) -> Result<Vec<u8>, Error> {
    read_paced(response, max, min_rate::DOCUMENT)
}

/// The same at another minimum rate.
pub fn read_paced(mut response: Response, max: u64, mut pace: Pace) -> Result<Vec<u8>, Error> {
    let is_packed = response.headers.get("content-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("gzip"));
    let mut paced = Paced { pace: &mut pace, inner: &mut response.body };
    let read = match is_packed {
        false => files::read_stream(&mut paced, max),
        true => {
            // gzip without end that holds nothing has an end, too.
            let mut packed = paced.take(max);
            let mut refuse = |_| Err(io::Error::other("an unknown Content-Encoding"));
            files::read_stream(&mut Inflate::new(&mut packed, &mut refuse), max)
        }
    };
    let read = read.map_err(|error| Error::temporary(&io_text(&error)))?;
    read.ok_or_else(|| Error::refused(&["the document is ", &files::too_large(max)].concat()))
}

struct Paced<'a> {
    pace: &'a mut Pace,
    inner: &'a mut dyn Read,
}

impl Read for Paced<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pace.read(self.inner, buffer)
    }
}
