//! One connection: a socket with deadlines, with or without TLS.

use crate::net::cancel::CancelToken;
use crate::sys::{io as sys_io, machine};
use rustls::{ClientConnection, Stream};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// Bytes on the wire, of all connections of a client.
#[derive(Default)]
pub struct Traffic {
    pub sent: AtomicU64,
    pub received: AtomicU64,
}

/// A socket that counts its bytes and waits no longer than its deadline.
pub struct Socket {
    stream: TcpStream,
    traffic: Arc<Traffic>,
    cancel: CancelToken,
    /// The deadline, by the machine's uptime.
    end_ms: u64,
    /// The timeout that the kernel was last given.
    limit_ms: u64,
    /// Something was received.
    pub has_received: bool,
}
/// How often a call that waits checks whether it is cancelled.
const CHECK_MS: u64 = 1000;

impl Socket {
    pub fn new(stream: TcpStream, traffic: Arc<Traffic>, cancel: CancelToken) -> Socket {
        Socket { stream, traffic, cancel, end_ms: 0, limit_ms: 0, has_received: false }
    }

    /// Sets the deadline of the reads and writes that follow, however few bytes each brings.
    pub fn end_by(&mut self, end_ms: u64) {
        self.end_ms = end_ms;
    }

    fn wait(&mut self) -> Result<()> {
        let left_ms = self.end_ms.saturating_sub(machine::uptime_ms());
        if left_ms == 0 {
            return Err(ErrorKind::TimedOut.into());
        }
        let limit_ms = left_ms.min(CHECK_MS);
        if limit_ms != self.limit_ms {
            let time = Some(Duration::from_millis(limit_ms));
            self.stream.set_read_timeout(time)?;
            self.stream.set_write_timeout(time)?;
            self.limit_ms = limit_ms;
        }
        Ok(())
    }

    /// Does `call` again where only a signal, or the time for a check, ended it.
    fn call(&mut self, call: &mut dyn FnMut(&mut TcpStream) -> Result<usize>) -> Result<usize> {
        loop {
            self.wait()?;
            match call(&mut self.stream) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.cancel.is_cancelled() {
                        return Err(Error::other("cancelled"));
                    }
                }
                other => return other,
            }
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = self.call(&mut |stream| stream.read(buffer))?;
        self.traffic.received.fetch_add(count as u64, Ordering::Relaxed);
        self.has_received |= count > 0;
        Ok(count)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let count = self.call(&mut |stream| stream.write(bytes))?;
        self.traffic.sent.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A connection to a server.
pub struct Connection {
    pub socket: Socket,
    pub tls: Option<Box<ClientConnection>>,
    /// The server that it leads to, and its proxy; only requests of the same route may use it again.
    pub route: String,
}

impl Connection {
    /// Whether nothing has come since the last answer: with bytes that were not
    /// requested, or at its end, the connection cannot be used again.
    pub fn is_quiet(&self) -> bool {
        let wanted = [sys_io::Poll { fd: self.socket.stream.as_fd(), write: false }];
        // TLS may have taken more off the socket than the answer was.
        self.tls.as_ref().is_none_or(|tls| tls.wants_read()) && sys_io::poll(&wanted, 0) == Ok(0)
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.tls {
            None => self.socket.write_all(bytes),
            Some(tls) => {
                let mut stream = Stream::new(&mut **tls, &mut self.socket);
                stream.write_all(bytes)?;
                stream.flush()
            }
        }
    }
}

impl Read for Connection {
    /// A TLS connection that is cut is an error (`UnexpectedEof`), not an end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match &mut self.tls {
            None => self.socket.read(buffer),
            Some(tls) => Stream::new(&mut **tls, &mut self.socket).read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that says nothing, and an hour to wait for it.
    /// Promise: refused-pull-ends
    #[test]
    fn a_read_ends_when_it_is_cancelled() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let cancel = CancelToken::default();
        let mut socket = Socket::new(stream, Arc::default(), cancel.clone());
        socket.end_by(machine::uptime_ms() + 3_600_000);
        let reading = std::thread::spawn(move || socket.read(&mut [0; 8]).unwrap_err().to_string());
        cancel.cancel();
        assert_eq!(reading.join().unwrap(), "cancelled");
    }
}
