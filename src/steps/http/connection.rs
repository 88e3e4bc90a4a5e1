//! One connection: a socket with deadlines, and TLS on it where that is wanted.

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

/// A socket that counts, and waits no longer than it may.
pub struct Socket {
    stream: TcpStream,
    traffic: Arc<Traffic>,
    /// By the machine's uptime; without one, each call has its own time.
    end_ms: Option<u64>,
}

impl Socket {
    pub fn new(stream: TcpStream, traffic: Arc<Traffic>) -> Socket {
        Socket { stream, traffic, end_ms: None }
    }

    /// What comes now has to be done by `end_ms`, however it drips.
    pub fn end_by(&mut self, end_ms: u64) {
        self.end_ms = Some(end_ms);
    }

    /// From now on only silence counts.
    pub fn end_by_silence(&mut self, silence_ms: u64) -> Result<()> {
        self.end_ms = None;
        self.limit(silence_ms)
    }

    fn limit(&self, ms: u64) -> Result<()> {
        // Zero would mean «wait for ever» to the socket.
        let time = Some(Duration::from_millis(ms.max(1)));
        self.stream.set_read_timeout(time)?;
        self.stream.set_write_timeout(time)
    }

    fn wait(&self) -> Result<()> {
        let Some(end_ms) = self.end_ms else { return Ok(()) };
        match end_ms.saturating_sub(machine::uptime_ms()) {
            0 => Err(ErrorKind::TimedOut.into()),
            left_ms => self.limit(left_ms),
        }
    }

    /// Does `call` again where only a signal ended it.
    fn call(&mut self, call: &mut dyn FnMut(&mut TcpStream) -> Result<usize>) -> Result<usize> {
        loop {
            self.wait()?;
            match call(&mut self.stream) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
                other => return other,
            }
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = self.call(&mut |stream| stream.read(buffer))?;
        self.traffic.received.fetch_add(count as u64, Ordering::Relaxed);
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

/// What requests go over.
pub struct Connection {
    pub socket: Socket,
    pub tls: Option<Box<ClientConnection>>,
    /// What it leads to; only requests to the same may use it again.
    pub route: String,
}

impl Connection {
    /// Whether nothing has come since the last answer: bytes that nobody asked
    /// for, or the connection's end, make it useless.
    pub fn is_quiet(&self) -> bool {
        let wanted = [sys_io::Poll { fd: self.socket.stream.as_fd(), write: false }];
        sys_io::poll(&wanted, 0) == Ok(0)
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
    /// A TLS connection that is cut is an error (`UnexpectedEof`), and no end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match &mut self.tls {
            None => self.socket.read(buffer),
            Some(tls) => Stream::new(&mut **tls, &mut self.socket).read(buffer),
        }
    }
}

/// The reason that TLS gave, where it is one of its errors.
pub fn tls_reason(error: &Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
