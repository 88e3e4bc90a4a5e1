//! A body that outlives its connections: where one breaks, the rest is asked
//! for (RFC 9110, section 14), until nothing has come for too long.

use crate::image::pure::distribution::content_range;
use crate::image::registry::min_rate::{self, Pace};
use crate::image::registry::retry_state::RetryState;
use crate::image::source::Error;
use crate::net::http::{Body, Response};
use crate::sys::io_text;
use std::io::{self, Read};

/// Asks for the body from a byte on: 200 with all of it, 206, or 416. Is told
/// whether the answer before, if there was one, was worth it.
pub type Open = Box<dyn FnMut(u64, bool) -> Result<Response, Error> + Send>;

/// A connection that has brought so much was worth it: another is tried at once.
/// A server that brings less each time is one that fails.
const PROGRESS_BYTES: u64 = 64 << 10;

/// A body as it comes.
pub struct Download {
    open: Open,
    /// Of the whole, where that is known.
    size: Option<u64>,
    at: u64,
    /// Bytes since the last failure.
    fresh: u64,
    body: Option<Body>,
    /// The answer itself says where it ends.
    has_end: bool,
    /// The answer is a part.
    is_part: bool,
    /// The last answer had brought something.
    was_worth_it: bool,
    /// The server's parts are those that are asked for.
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
            was_worth_it: true,
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
        let response = (self.open)(if self.takes_ranges { self.at } else { 0 }, self.was_worth_it)?;
        self.was_worth_it = false;
        self.is_part = response.status == 206;
        let is_part = match response.status {
            206 => content_range(response.headers.get("content-range").unwrap_or_default()),
            416 => None,
            _ => Some((0, self.size)),
        };
        let Some((first, total)) = is_part.filter(|(first, total)| {
            // Whoever knows another length has another blob.
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

    /// Passes over what came before.
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
            (self.fresh, self.was_worth_it) = (0, true);
            self.retry_state.progress();
            return Ok(());
        }
        self.retry_state.wait(error)
    }

    /// The end of an answer: whether it is that of the whole.
    fn ended(&self) -> Result<(), Error> {
        let Some(size) = self.size.filter(|size| self.at < *size) else { return Ok(()) };
        let text = ["ends after ", &self.at.to_string(), " of ", &size.to_string(), " bytes"].concat();
        // One that has all that it says was not cut: it is another blob. But a part may be a smaller one than
        // was asked for (RFC 9110, section 15.3.7): caches that keep slices do that.
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
            // What broke was only the goodbye.
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
                // Another answer may be whole, but not the rest of this one.
                Err(error) if !error.is_unreachable() => return Err(error.into()),
                Err(error) => self.failed(error).map_err(io::Error::from)?,
            }
        }
    }
}
