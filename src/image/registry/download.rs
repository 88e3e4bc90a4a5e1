//! Downloads a body over several connections: if one breaks, the rest is requested by a range (RFC 9110, section 14),
//! until nothing was received for too long.

use crate::image::pure::distribution::content_range;
use crate::image::registry::min_rate::{self, Pace};
use crate::image::registry::retry_state::RetryState;
use crate::image::source::Error;
use crate::net::http::{Body, Response};
use crate::sys::io_text;
use std::io::{self, Read};

/// Requests the body from a byte on; the answer is 200 with all of it, 206, or 416. The second argument tells whether
/// the answer before made progress.
pub type Open = Box<dyn FnMut(u64, bool) -> Result<Response, Error> + Send>;

/// A connection that received so much made progress, and another is tried at once. If each one receives less, the
/// server counts as failing.
const PROGRESS_BYTES: u64 = 64 << 10;

/// A reader of a body.
pub struct Download {
    open: Open,
    /// The length of the whole body, if it is known.
    size: Option<u64>,
    at: u64,
    /// Bytes since the last failure.
    fresh: u64,
    body: Option<Body>,
    /// The answer says where it ends: by its length or by chunks.
    has_end: bool,
    /// The answer is a range (206).
    is_part: bool,
    /// The last answer made progress.
    made_progress: bool,
    /// Ranges are requested; false after the server sent a wrong one.
    takes_ranges: bool,
    pace: Pace,
    retry_state: RetryState,
}

impl Download {
    /// Returns with the first answer.
    pub fn start(open: Open, size: Option<u64>, retry_state: RetryState) -> Result<Download, Error> {
        let (takes_ranges, pace) = (true, min_rate::BLOB);
        let mut download = Download {
            open,
            size,
            at: 0,
            fresh: 0,
            body: None,
            has_end: false,
            is_part: false,
            made_progress: true,
            takes_ranges,
            pace,
            retry_state,
        };
        while let Err(error) = download.reopen() {
            download.failed(error)?;
        }
        Ok(download)
    }

    fn reopen(&mut self) -> Result<(), Error> {
        let response = (self.open)(if self.takes_ranges { self.at } else { 0 }, self.made_progress)?;
        self.made_progress = false;
        self.is_part = response.status == 206;
        let is_part = match response.status {
            206 => content_range(response.headers.get("content-range").unwrap_or_default()),
            416 => None,
            _ => Some((0, self.size)),
        };
        let Some((first, total)) = is_part.filter(|(first, total)| {
            // A different total length means a different blob.
            let fits = total.is_none_or(|total| self.size.is_none_or(|size| size == total));
            fits && (*first == self.at || response.status == 200)
        }) else {
            self.takes_ranges = false;
            return Err(Error::temporary("sends another range than the one requested"));
        };
        let headers = &response.headers;
        self.has_end = headers.get("content-length").or(headers.get("transfer-encoding")).is_some();
        if self.size.is_none() {
            self.size = total.or_else(|| headers.length().ok().flatten().filter(|_| !self.is_part));
        }
        let mut body = response.body;
        self.skip(&mut body, self.at - first)?;
        self.body = Some(body);
        Ok(())
    }

    /// Skips bytes that were received before.
    fn skip(&mut self, body: &mut Body, mut count: u64) -> Result<(), Error> {
        let mut buffer = [0; 8 << 10];
        while count > 0 {
            let most = buffer.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            let Some(room) = buffer.get_mut(..most) else { break };
            match self.pace.read(body, room) {
                Ok(0) => return Err(Error::temporary("is shorter than in the first answer")),
                Ok(read) => count -= read as u64,
                Err(error) => return Err(Error::temporary(&io_text(&error))),
            }
        }
        Ok(())
    }

    fn failed(&mut self, error: Error) -> Result<(), Error> {
        self.body = None;
        if error.may_heal() && self.fresh >= PROGRESS_BYTES {
            (self.fresh, self.made_progress) = (0, true);
            self.retry_state.progress();
            return Ok(());
        }
        self.retry_state.wait(error)
    }

    /// At the end of an answer: fails unless the whole body was received.
    fn ended(&self) -> Result<(), Error> {
        let Some(size) = self.size.filter(|size| self.at < *size) else { return Ok(()) };
        let text = ["ends after ", &self.at.to_string(), " of ", &size.to_string(), " bytes"].concat();
        // An answer as long as it says was not cut: the blob is a different one. But a server may send a smaller range
        // than requested (RFC 9110, section 15.3.7), as caches that keep slices do.
        Err(if self.has_end && !self.is_part { Error::damaged(&text) } else { Error::temporary(&text) })
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        if self.body.is_none() {
            self.reopen()?;
        }
        let Some(body) = &mut self.body else { return Ok(None) };
        match self.pace.read(body, buffer) {
            Ok(0) => self.ended().map(|()| Some(0)),
            Ok(count) => {
                self.at += count as u64;
                self.fresh += count as u64;
                Ok(Some(count))
            }
            // All bytes were received: an error at the close does not matter.
            Err(_) if self.size == Some(self.at) => Ok(Some(0)),
            Err(error) => Err(Error::temporary(&io_text(&error))),
        }
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.try_read(buffer) {
                Ok(Some(count)) => return Ok(count),
                Ok(None) => {}
                // The rest of this answer cannot be used, though a new request may succeed.
                Err(error) if !error.is_unreachable() => return Err(error.into()),
                Err(error) => self.failed(error).map_err(io::Error::from)?,
            }
        }
    }
}
