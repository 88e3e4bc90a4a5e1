//! An answer's body, read straight from its connection.

use crate::files;
use crate::net::http::connection::Connection;
use crate::net::http::pool::Pool;
use crate::net::pure::http::{self, Framing};
use crate::sys::machine;
use std::io::{Error, ErrorKind, Read, Result};
use std::sync::Arc;

/// A server that sends nothing of a body for this long has failed.
const SILENCE_MS: u64 = 30_000;
/// How much of an unwanted body is read so that its connection can be used
/// again: more than an error's page, less than a new handshake takes.
const DISCARD_MAX: u64 = 16 << 10;
const DISCARD_MS: u64 = 1000;
/// How much of an error's page is read, which may give the reason.
const REFUSAL_MAX: u64 = 4 << 10;
const REFUSAL_MS: u64 = 5000;

/// The bytes of a body without their framing. A body that is cut short is an
/// error, however often it is read.
pub struct Body {
    decoder: http::Body,
    /// What came with the head.
    rest: Vec<u8>,
    connection: Option<Connection>,
    /// Where the connection goes when the body is complete.
    pool: Option<Arc<Pool>>,
    /// When all of it has to be there, if it has to.
    end_ms: Option<u64>,
}

impl Body {
    pub(super) fn new(framing: Framing, rest: Vec<u8>, connection: Connection, pool: Option<Arc<Pool>>) -> Body {
        let mut body =
            Body { decoder: http::Body::new(framing), rest, connection: Some(connection), pool, end_ms: None };
        body.release_if_done();
        body
    }

    /// Reads a short rest, so that the connection can be used again.
    pub fn discard(mut self) {
        self.end_ms = Some(machine::uptime_ms() + DISCARD_MS);
        // Where that fails, the connection is closed with the body.
        let _ = files::copy(&mut self.by_ref().take(DISCARD_MAX), &mut std::io::sink());
    }

    /// The beginning of an error's page, as far as it comes in a short time.
    pub fn refusal(mut self) -> Vec<u8> {
        self.end_ms = Some(machine::uptime_ms() + REFUSAL_MS);
        let mut page = Vec::new();
        // What has come of a page that is cut may give the reason.
        let _ = self.by_ref().take(REFUSAL_MAX).read_to_end(&mut page);
        page
    }

    /// Reads bytes with their framing; 0 at the connection's end.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if !self.rest.is_empty() {
            let count = self.rest.as_slice().read(buffer)?;
            self.rest.drain(..count);
            return Ok(count);
        }
        let Some(connection) = &mut self.connection else { return Ok(0) };
        match connection.read(buffer) {
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                let seconds = (SILENCE_MS / 1000).to_string();
                Err(Error::new(ErrorKind::TimedOut, ["no data for ", &seconds, " s"].concat()))
            }
            // Where the length is known, the error says how much is missing.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                self.decoder.end().map_err(io_error).and(Err(error))
            }
            outcome => outcome,
        }
    }

    /// Moves the body's own bytes to the start of `buffer` and returns their number.
    fn strip(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let (mut from, mut length) = (0, 0);
        while from < buffer.len() && !self.decoder.is_done() {
            let step = self.decoder.feed(buffer.get(from..).unwrap_or_default()).map_err(io_error)?;
            let size = step.data.len();
            let start = from + step.data.start;
            if start != length {
                buffer.copy_within(start..start + size, length);
            }
            length += size;
            from += step.consumed;
        }
        if from < buffer.len() {
            // Bytes after the end would be taken for the next request's answer.
            self.pool = None;
        }
        Ok(length)
    }

    fn release_if_done(&mut self) {
        if !self.decoder.is_done() {
            return;
        }
        let connection = self.connection.take();
        if let (Some(connection), Some(pool), true) = (connection, self.pool.take(), self.rest.is_empty()) {
            pool.put(connection);
        }
    }
}

impl Read for Body {
    /// One call ends within `SILENCE_MS`, also where only framing, trailers or TLS records come.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if let Some(connection) = &mut self.connection {
            connection.socket.end_by(self.end_ms.unwrap_or_else(|| machine::uptime_ms() + SILENCE_MS));
        }
        while !buffer.is_empty() && !self.decoder.is_done() {
            let most = self.decoder.wants().map_or(buffer.len(), |left| left.min(buffer.len() as u64) as usize);
            let input = buffer.get_mut(..most).unwrap_or_default();
            let count = self.fill(input)?;
            if count == 0 {
                self.connection = None;
                return self.decoder.end().map_err(io_error).map(|()| 0);
            }
            let length = self.strip(input.get_mut(..count).unwrap_or_default())?;
            self.release_if_done();
            if length > 0 {
                return Ok(length);
            }
        }
        Ok(0)
    }
}

fn io_error(error: http::Error) -> Error {
    let kind = match error {
        http::Error::BodyEnded { .. } => ErrorKind::UnexpectedEof,
        _ => ErrorKind::InvalidData,
    };
    Error::new(kind, error.text())
}
