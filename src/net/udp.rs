//! Requests and answers by UDP, to and from several servers at once.

use crate::net::pure::merge::join;
use crate::net::step::within;
use crate::sys::io::{poll, Poll};
use crate::sys::{io_text, machine};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;

/// The largest answer; a DNS server sends 512 bytes at most to a client without EDNS, and SNTP has 48.
const ANSWER_BYTES: usize = 2048;
/// As many descriptors as `poll` takes.
const SOCKETS_MAX: usize = 8;

/// A packet, or why there is none, in words.
pub type Received<'p> = Result<&'p [u8], String>;

/// A socket for each server, made when it is first sent to: on a port of its own, which the kernel chooses at random.
/// It is connected, so that the kernel drops what others send, and reports ICMP errors.
pub struct Sockets<'a> {
    servers: &'a [SocketAddr],
    open: Vec<(usize, UdpSocket)>,
}

impl<'a> Sockets<'a> {
    pub fn new(servers: &'a [SocketAddr]) -> Sockets<'a> {
        Sockets { servers, open: Vec::new() }
    }

    /// Sends to server number `server`; the error is a reason in words.
    pub fn send(&mut self, server: usize, packet: &[u8]) -> Result<(), String> {
        self.try_send(server, packet).map_err(|error| io_text(&error))
    }

    fn try_send(&mut self, server: usize, packet: &[u8]) -> std::io::Result<()> {
        if !self.open.iter().any(|(number, _)| *number == server) {
            let Some(address) = self.servers.get(server).filter(|_| self.open.len() < SOCKETS_MAX) else {
                return Ok(());
            };
            let any: IpAddr =
                if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let socket = UdpSocket::bind((any, 0))?;
            socket.set_nonblocking(true)?;
            socket.connect(address)?;
            self.open.push((server, socket));
        }
        match self.open.iter().find(|(number, _)| *number == server) {
            Some((_, socket)) => socket.send(packet).map(drop),
            None => Ok(()),
        }
    }

    /// Waits until `until_ms` of the machine's uptime at most, and hands over a packet or an error of each server that
    /// has one.
    pub fn receive(&self, until_ms: u64, take: &mut dyn FnMut(usize, Received)) {
        let wanted: Vec<Poll> = self.open.iter().map(|(_, socket)| Poll { fd: socket.as_fd(), write: false }).collect();
        let wait_ms = until_ms.saturating_sub(machine::uptime_ms()).min(60_000);
        // It fails only where memory is short. Then reading says for each that there is nothing.
        let ready = poll(&wanted, wait_ms as i32).unwrap_or(u32::MAX);
        let mut buffer = [0; ANSWER_BYTES];
        for (at, (server, socket)) in self.open.iter().enumerate() {
            if ready >> at & 1 == 0 {
                continue;
            }
            match socket.recv(&mut buffer) {
                Ok(length) => take(*server, Ok(buffer.get(..length).unwrap_or_default())),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => take(*server, Err(io_text(&error))),
            }
        }
    }
}

/// `10.0.2.3: no answer in 12 s; 10.0.2.4: connection refused`: what each server did instead of answering.
pub fn told(servers: &[SocketAddr], reasons: &[Option<String>], limit_ms: u64) -> String {
    let silence = format!("no answer{}", within(limit_ms));
    let mut text = String::new();
    for (server, reason) in servers.iter().zip(reasons) {
        join(&mut text, "; ", &format!("{}: {}", server.ip(), reason.as_ref().unwrap_or(&silence)));
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::thread;
    use std::time::Duration;

    /// Answers each datagram with what `replies` makes of it, until nobody asks for five seconds.
    pub fn serve(replies: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let address = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                for reply in replies(&buffer[..length]) {
                    socket.send_to(&reply, from).unwrap();
                }
            }
        });
        address
    }
}
