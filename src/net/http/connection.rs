//! One connection: a socket with deadlines, and TLS on it where that is wanted.

use crate::net::cancel::Halt;
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
    halt: Halt,
    /// When the call that runs has to be done, by the machine's uptime.
    end_ms: u64,
    /// What the kernel was last told.
    limit_ms: u64,
}
/// How often a call that waits looks whether it is still wanted.
const LOOK_MS: u64 = 1000;

impl Socket {
    pub fn new(stream: TcpStream, traffic: Arc<Traffic>, halt: Halt) -> Socket {
        Socket { stream, traffic, halt, end_ms: 0, limit_ms: 0 }
    }

    /// What comes now has to be done by `end_ms`, however it drips.
    pub fn end_by(&mut self, end_ms: u64) {
        self.end_ms = end_ms;
    }

    fn wait(&mut self) -> Result<()> {
        let left_ms = self.end_ms.saturating_sub(machine::uptime_ms());
        if left_ms == 0 {
            return Err(ErrorKind::TimedOut.into());
        }
        let limit_ms = left_ms.min(LOOK_MS);
        if limit_ms != self.limit_ms {
            let time = Some(Duration::from_millis(limit_ms));
            self.stream.set_read_timeout(time)?;
            self.stream.set_write_timeout(time)?;
            self.limit_ms = limit_ms;
        }
        Ok(())
    }

    /// Does `call` again where only a signal, or the time for a look, ended it.
    fn call(&mut self, call: &mut dyn FnMut(&mut TcpStream) -> Result<usize>) -> Result<usize> {
        loop {
            self.wait()?;
            match call(&mut self.stream) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.halt.is_raised() {
                        return Err(Error::other("given up"));
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
    /// A TLS connection that is cut is an error (`UnexpectedEof`), and no end.
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
    #[test]
    fn who_waits_is_called_off() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let halt = Halt::default();
        let mut socket = Socket::new(stream, Arc::default(), halt.clone());
        socket.end_by(machine::uptime_ms() + 3_600_000);
        let reading = std::thread::spawn(move || socket.read(&mut [0; 8]).unwrap_err().to_string());
        halt.raise();
        assert_eq!(reading.join().unwrap(), "given up");
    }
}
