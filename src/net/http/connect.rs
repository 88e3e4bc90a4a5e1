//! TCP connections: all addresses of a name, IPv6 and IPv4, in a race (RFC 8305).

use crate::net::dns::Resolver;
use crate::net::http::error::{Error, Kind};
use crate::net::pure::restricted::is_restricted;
use crate::report::Hint;
use crate::sys::{io, io_text, machine, socket};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;

/// RFC 8305, section 8: the pause before the next address is tried beside the earlier ones.
const NEXT_ATTEMPT_MS: u64 = 250;
/// Attempts at once, which is as many as `poll` takes; a name rarely has more addresses.
const AT_ONCE: usize = 8;

const RESTRICTED_HINT: Hint = Hint::new(
    "a name must not lead to a link-local address or a cloud's metadata service: where that is intended, write the \
     address",
);

/// The addresses of `host` in the order of trying. A DNS server's answer must not lead us, and a password, to a
/// link-local address or a cloud's metadata service: those are left out here, after the last time that the name is
/// resolved. A host that is written as an address was checked with its URL.
pub fn addresses(resolver: &Resolver, host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    let mut found = resolver.resolve(host).map_err(|error| Error::new(Kind::Resolve(error.kind), error.text))?;
    let is_name = host.parse::<IpAddr>().is_err();
    let restricted = found.iter().copied().find(|address| is_name && is_restricted(*address));
    found.retain(|address| !is_name || !is_restricted(*address));
    if let (Some(restricted), true) = (restricted, found.is_empty()) {
        let text = [host, ": the name resolves to ", &restricted.to_string(), ", which is link-local or a cloud's own"]
            .concat();
        return Err(Error::new(Kind::Request, text).hint(Some(RESTRICTED_HINT)));
    }
    Ok(interleaved(&found).into_iter().map(|address| SocketAddr::new(address, port)).collect())
}

/// RFC 8305, section 4: the families take turns, IPv6 first, each in the resolver's order.
fn interleaved(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut v6 = addresses.iter().filter(|address| address.is_ipv6());
    let mut v4 = addresses.iter().filter(|address| address.is_ipv4());
    let mut order = Vec::with_capacity(addresses.len());
    while order.len() < addresses.len() {
        order.extend(v6.next());
        order.extend(v4.next());
    }
    order
}

/// The first connection that is established, by `end_ms` of the machine's uptime.
pub fn race(addresses: &[SocketAddr], end_ms: u64) -> Result<TcpStream, Error> {
    let mut race = Race { waiting: addresses.iter(), running: Vec::new(), reasons: Vec::new(), next_ms: 0 };
    loop {
        race.start(machine::uptime_ms());
        if race.running.is_empty() {
            break;
        }
        if let Some(stream) = race.wait(end_ms)? {
            return Ok(stream);
        }
        if machine::uptime_ms() >= end_ms {
            race.running.iter().for_each(|(_, address)| race.reasons.push((**address, "no answer".into())));
            return Err(Error::new(Kind::Timeout, race.reason()));
        }
    }
    Err(Error::new(Kind::Connect, race.reason()))
}

struct Race<'a> {
    waiting: std::slice::Iter<'a, SocketAddr>,
    running: Vec<(TcpStream, &'a SocketAddr)>,
    reasons: Vec<(SocketAddr, String)>,
    /// When the next one may start while others run.
    next_ms: u64,
}

impl<'a> Race<'a> {
    fn start(&mut self, now_ms: u64) {
        while self.running.len() < AT_ONCE && (self.running.is_empty() || now_ms >= self.next_ms) {
            let Some(address) = self.waiting.next() else { return };
            match socket::connect(address) {
                Ok(fd) => {
                    self.running.push((TcpStream::from(fd), address));
                    self.next_ms = now_ms + NEXT_ATTEMPT_MS;
                }
                Err(error) => self.failed(address, std::io::Error::from_raw_os_error(error.errno)),
            }
        }
    }

    /// Waits for a connection, for one to fail, or for the next one's time.
    fn wait(&mut self, end_ms: u64) -> Result<Option<TcpStream>, Error> {
        let is_last = self.waiting.len() == 0 || self.running.len() == AT_ONCE;
        let until_ms = if is_last { end_ms } else { end_ms.min(self.next_ms) };
        let wait_ms = until_ms.saturating_sub(machine::uptime_ms());
        let polls: Vec<io::Poll> =
            self.running.iter().map(|(stream, _)| io::Poll { fd: stream.as_fd(), write: true }).collect();
        let ready = io::poll(&polls, wait_ms.min(60_000) as i32)
            .map_err(|error| Error::new(Kind::Connect, error.to_string()))?;
        let mut index = 0;
        let (ended, running) = std::mem::take(&mut self.running).into_iter().partition(|_| {
            index += 1;
            ready >> (index - 1) & 1 == 1
        });
        self.running = running;
        let ended: Vec<(TcpStream, &SocketAddr)> = ended;
        for (stream, address) in ended {
            match stream.take_error().and_then(|error| error.map_or(Ok(()), Err)).and_then(|()| prepare(&stream)) {
                Ok(()) => return Ok(Some(stream)),
                Err(error) => self.failed(address, error),
            }
        }
        Ok(None)
    }

    /// The next one need not wait for its time (RFC 8305, section 5).
    fn failed(&mut self, address: &SocketAddr, error: std::io::Error) {
        self.reasons.push((*address, io_text(&error)));
        self.next_ms = 0;
    }

    /// Why there is no connection; with each address where there are several.
    fn reason(&self) -> String {
        match self.reasons.as_slice() {
            [(_, reason)] => reason.clone(),
            reasons => {
                let each = reasons.iter().map(|(address, reason)| [&address.ip().to_string(), ": ", reason].concat());
                each.collect::<Vec<_>>().join("; ")
            }
        }
    }
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    // Each request is one write: waiting for more gains nothing.
    stream.set_nodelay(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
    use std::os::fd::OwnedFd;

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// An address where nobody listens.
    fn refusing() -> SocketAddr {
        listener().1
    }

    /// An address that does not answer: a listener whose queue is full.
    fn silent() -> (TcpListener, SocketAddr, Vec<OwnedFd>) {
        let (listener, address) = listener();
        let mut queue = Vec::new();
        loop {
            let fd = socket::connect(&address).unwrap();
            let connected = io::poll(&[io::Poll { fd: fd.as_fd(), write: true }], 0).unwrap() == 1;
            queue.push(fd);
            if !connected {
                return (listener, address, queue);
            }
        }
    }

    fn soon() -> u64 {
        machine::uptime_ms() + 20_000
    }

    #[test]
    fn families_take_turns() {
        let v4 = |last: u8| IpAddr::from(Ipv4Addr::new(10, 0, 0, last));
        let v6 = |last: u16| IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last));
        assert_eq!(interleaved(&[v4(1), v4(2), v4(3), v6(1)]), [v6(1), v4(1), v4(2), v4(3)]);
        assert_eq!(interleaved(&[v6(1), v6(2), v4(1)]), [v6(1), v4(1), v6(2)]);
        assert!(interleaved(&[]).is_empty());
    }

    /// Promise: several-addresses
    #[test]
    fn an_address_that_refuses_is_passed_over() {
        let (_listener, good) = listener();
        assert_eq!(race(&[refusing(), good], soon()).unwrap().peer_addr().unwrap(), good);
        let error = race(&[refusing()], soon()).unwrap_err();
        assert_eq!((error.kind, error.text.as_str()), (Kind::Connect, "connection refused"));
        let error = race(&[refusing(), refusing()], soon()).unwrap_err();
        assert_eq!(error.text, "127.0.0.1: connection refused; 127.0.0.1: connection refused");
    }

    /// Promise: several-addresses
    #[test]
    fn an_address_that_is_silent_is_not_waited_for() {
        let (_listener, good) = listener();
        let (_silent, dead, _queue) = silent();
        assert_eq!(race(&[dead, refusing(), dead, good], soon()).unwrap().peer_addr().unwrap(), good);
        let error = race(&[refusing(), dead], machine::uptime_ms() + 50).unwrap_err();
        assert_eq!(error.kind, Kind::Timeout);
        assert_eq!(error.text, "127.0.0.1: connection refused; 127.0.0.1: no answer");
    }

    #[test]
    fn earlier_attempts_go_on_beside_later_ones() {
        let (_silent, dead, _queue) = silent();
        let addresses = [dead; 3];
        let mut race = Race { waiting: addresses.iter(), running: Vec::new(), reasons: Vec::new(), next_ms: 0 };
        for (now_ms, running) in [(1000, 1), (1249, 1), (1250, 2), (1499, 2), (1500, 3), (9000, 3)] {
            race.start(now_ms);
            assert_eq!(race.running.len(), running, "at {now_ms}");
        }
    }
}
