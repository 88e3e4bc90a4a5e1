//! Resolves names: by `/etc/hosts`, and by the servers that the lease or `/etc/resolv.conf` gives.

use crate::files;
use crate::net::pure::dns::known::{self, Cache};
use crate::net::pure::dns::lookup::{Action, Failure, Found, Lookup, LIMIT_MS};
use crate::net::pure::dns::{self, Family};
use crate::net::random::random;
use crate::net::scope::socket_addr;
use crate::net::udp::{told, Sockets};
use crate::sys::{io_text, machine};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const PORT: u16 = 53;
/// For one query by TCP.
const TCP_TIMEOUT: Duration = Duration::from_secs(4);
/// More name servers than a lookup has time for are left out.
const SERVERS_MAX: usize = 6;
/// The largest `/etc/hosts` and `/etc/resolv.conf` that are read.
const MAX_FILE: u64 = 1 << 20;

/// What kept a name from being resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No server is known: none was asked.
    NoNameserver,
    /// Not a host name: no server was asked.
    InvalidName,
    /// A server says that there is no such name, or that it has no address.
    NoSuchName,
    /// No server gave a usable answer.
    NoAnswer,
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub kind: Kind,
    /// With the name: `example.org: no such host name (asked 10.0.2.3)`.
    pub text: String,
}

/// Resolves names from any thread. Without a server it resolves addresses and what `/etc/hosts` has.
#[derive(Debug, Default)]
pub struct Resolver {
    hosts: String,
    /// Held for moments only, and never while a server is asked.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    nameservers: Vec<SocketAddr>,
    search: Vec<String>,
    /// The server that answered last. It is asked first.
    preferred: Option<SocketAddr>,
    cache: Cache,
}

impl Resolver {
    /// Asks these servers; `search` has the domains in which names are looked up, too.
    pub fn new(nameservers: &[IpAddr], search: &[String]) -> Resolver {
        let resolver = Resolver { hosts: small_file("/etc/hosts"), state: Mutex::default() };
        resolver.replace(nameservers, search);
        resolver
    }

    /// Resolves as the host's own programs do, by `/etc/resolv.conf` and `/etc/hosts`.
    pub fn from_host() -> Resolver {
        let conf = dns::parse_resolv_conf(&small_file("/etc/resolv.conf"));
        Resolver::new(&conf.nameservers, &conf.search)
    }

    /// Asks other servers from now on, and forgets what the former ones said: a lease has changed.
    pub fn replace(&self, nameservers: &[IpAddr], search: &[String]) {
        let mut usable = Vec::new();
        for server in nameservers.iter().filter(|server| !server.is_unspecified()).take(SERVERS_MAX) {
            usable.push(socket_addr(*server, PORT));
        }
        *self.lock() = State { nameservers: usable, search: search.to_vec(), ..State::default() };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At least one address.
    pub fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Error> {
        let bare = name.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(name);
        if let Ok(address) = bare.parse() {
            return Ok(vec![address]);
        }
        let known = dns::parse_hosts(&self.hosts, name.trim_end_matches('.'));
        if !known.is_empty() {
            return Ok(known);
        }
        if is_localhost(name) {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let error = |kind, reason: &str| Err(Error { kind, text: format!("{name}: {reason}") });
        let (is_known, search) = {
            let state = self.lock();
            (!state.nameservers.is_empty(), state.search.clone())
        };
        if !is_known {
            return error(Kind::NoNameserver, "no nameserver is known");
        }
        if let Err(invalid) = dns::query(0, name, Family::V4) {
            return error(Kind::InvalidName, invalid.text());
        }
        self.by_servers(name, &search, is_v6_routed())
    }

    /// The addresses of the first of the name's candidates that has some. Otherwise the error of the name as it is,
    /// unless there is one that may pass.
    fn by_servers(&self, name: &str, search: &[String], v6_routed: bool) -> Result<Vec<IpAddr>, Error> {
        let mut error: Option<Error> = None;
        for candidate in known::candidates(name, search) {
            match self.look_up(&candidate, v6_routed) {
                Ok(addresses) => return Ok(addresses),
                Err((Kind::InvalidName, _, _)) => {}
                Err((kind, reason, is_silent)) => {
                    let replaces = match &error {
                        None => true,
                        Some(earlier) => {
                            earlier.kind == Kind::NoSuchName && (kind != earlier.kind || candidate == name)
                        }
                    };
                    if replaces {
                        error = Some(Error { kind, text: format!("{candidate}: {reason}") });
                    }
                    if is_silent {
                        break;
                    }
                }
            }
        }
        let nobody = || Error { kind: Kind::InvalidName, text: format!("{name}: {}", dns::Error::Name.text()) };
        Err(error.unwrap_or_else(nobody))
    }

    /// The name's IPv4 addresses, and its IPv6 addresses where there is a route to them, or no IPv4 address. An error
    /// has its kind and reason, and whether no server has sent anything at all.
    fn look_up(&self, name: &str, v6_routed: bool) -> Result<Vec<IpAddr>, (Kind, String, bool)> {
        let (servers, first) = {
            let state = self.lock();
            if let Some(answer) = state.cache.get(name, v6_routed, machine::uptime_ms()) {
                return answer.map_err(|reason| (Kind::NoSuchName, reason, false));
            }
            let first = state.nameservers.iter().position(|server| Some(*server) == state.preferred);
            (state.nameservers.clone(), first.unwrap_or_default())
        };
        let outcome = ask(name, v6_routed, &servers, first);
        let (answer, ttl_s, number) = match outcome {
            Ok(found) => (Ok(found.addresses), found.ttl_s, found.server),
            Err(Failure::NoSuchName(server)) => (Err("no such host name"), 0, server),
            Err(Failure::NoAddress(server)) => (Err("no address"), 0, server),
            Err(Failure::Aliases(server)) => (Err(dns::Error::Aliases.text()), 0, server),
            Err(Failure::Name) => return Err((Kind::InvalidName, String::new(), false)),
            Err(Failure::NoAnswer(reasons)) => {
                let is_silent = reasons.iter().all(Option::is_none);
                return Err((Kind::NoAnswer, told(&servers, &reasons, LIMIT_MS), is_silent));
            }
        };
        let server = servers.get(number).copied();
        let answer = answer.map_err(|reason| {
            let asked = server.map_or(String::new(), |server| server.ip().to_string());
            format!("{reason} (asked {asked})")
        });
        let mut state = self.lock();
        // It may have got other servers meanwhile.
        if state.nameservers == servers {
            state.preferred = server;
            state.cache.put((name, v6_routed), answer.clone(), ttl_s, machine::uptime_ms());
        }
        answer.map_err(|reason| (Kind::NoSuchName, reason, false))
    }
}

/// Whether the kernel has a route to IPv6 addresses beyond the link. To connect a datagram socket sends nothing.
fn is_v6_routed() -> bool {
    const ANYWHERE: Ipv6Addr = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1);
    UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok_and(|socket| socket.connect((ANYWHERE, PORT)).is_ok())
}

/// RFC 6761 section 6.3.
fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    let last = name.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

/// Asks the servers for one name, number `first` before the others.
fn ask(name: &str, both: bool, servers: &[SocketAddr], first: usize) -> Result<Found, Failure> {
    let now_ms = machine::uptime_ms;
    let mut lookup = Lookup::new(name, both, (servers.len(), first), random(name.len() as u64), now_ms())?;
    let mut sockets = Sockets::new(servers);
    loop {
        match lookup.poll(now_ms()) {
            Action::Done(outcome) => return outcome,
            Action::Send { server, query, stream: false } => {
                if let Err(error) = sockets.send(server, &query) {
                    lookup.failed(now_ms(), server, &error);
                }
            }
            Action::Send { server, query, stream: true } => {
                let Some(address) = servers.get(server) else { continue };
                let answer = by_tcp(*address, &query).map_err(tcp_failed);
                let failure = match &answer {
                    Ok(message) if lookup.handle(now_ms(), server, message, true) => continue,
                    Ok(_) => dns::Error::Unrelated.text(),
                    Err(reason) => reason,
                };
                lookup.failed(now_ms(), server, failure);
            }
            Action::Wait { until_ms } => sockets.receive(until_ms, &mut |server, packet| match packet {
                Ok(message) => drop(lookup.handle(now_ms(), server, message, false)),
                Err(error) => lookup.failed(now_ms(), server, &error),
            }),
        }
    }
}

/// RFC 1035 section 4.2.2: two bytes of length before each message.
fn by_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let end = Instant::now() + TCP_TIMEOUT;
    let mut stream = TcpStream::connect_timeout(&server, TCP_TIMEOUT)?;
    let mut message = (query.len() as u16).to_be_bytes().to_vec();
    message.extend_from_slice(query);
    stream.set_write_timeout(Some(TCP_TIMEOUT))?;
    stream.write_all(&message)?;
    let mut length = [0; 2];
    read_until(&mut stream, &mut length, end)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    read_until(&mut stream, &mut message, end)?;
    Ok(message)
}

/// Fills `buffer` by `end`, however slowly the other side sends.
fn read_until(stream: &mut TcpStream, mut buffer: &mut [u8], end: Instant) -> io::Result<()> {
    while !buffer.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        // Zero would mean "without a limit" to the socket.
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => buffer = buffer.get_mut(length..).unwrap_or_default(),
        }
    }
    Ok(())
}

fn tcp_failed(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer by TCP".into(),
        io::ErrorKind::UnexpectedEof => "connection closed in mid-answer".into(),
        _ => ["by TCP: ", &io_text(&error)].concat(),
    }
}

/// The text of a file; empty where it cannot be read.
fn small_file(path: &str) -> String {
    String::from_utf8_lossy(&files::read(Path::new(path), MAX_FILE).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod hostile;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::net::udp::tests::serve;
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::Arc;
    use std::thread;

    pub(super) fn with(nameservers: &[SocketAddr], search: &[&str]) -> Resolver {
        let search = search.iter().map(|domain| domain.to_string()).collect();
        let state = State { nameservers: nameservers.to_vec(), search, ..State::default() };
        Resolver { state: Mutex::new(state), hosts: "10.9.8.7 db db.lab\n".into() }
    }

    fn asks_v4(query: &[u8]) -> bool {
        query[query.len() - 3] == 1
    }

    /// The query turned into an answer: `flags`, and the given address if there is one and it is of the query's family.
    pub fn reply(query: &[u8], flags: [u8; 2], address: Option<[u8; 4]>) -> Vec<u8> {
        let mut bytes = query.to_vec();
        bytes[2..4].copy_from_slice(&flags);
        if let Some(octets) = address.filter(|_| asks_v4(query)) {
            bytes[7] = 1;
            bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            bytes.extend(octets);
        }
        bytes
    }

    pub const OK: [u8; 2] = [0x81, 0x80];
    const NO_SUCH_NAME: [u8; 2] = [0x81, 0x83];
    const SERVER_FAILURE: [u8; 2] = [0x81, 0x82];
    pub const TRUNCATED: [u8; 2] = [0x83, 0x80];
    const ADDRESS: [u8; 4] = [192, 0, 2, 1];

    fn found(address: [u8; 4]) -> Result<Vec<IpAddr>, Error> {
        Ok(vec![IpAddr::from(address)])
    }

    fn text(outcome: Result<Vec<IpAddr>, Error>) -> (Kind, String) {
        let error = outcome.unwrap_err();
        (error.kind, error.text)
    }

    /// A server that counts what it is asked for IPv4.
    fn counting(reply: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = count.clone();
        let address = serve(move |query| {
            counter.fetch_add(usize::from(asks_v4(query)), Ordering::SeqCst);
            reply(query)
        });
        (address, count)
    }

    #[test]
    fn numbers_hosts_and_localhost_need_no_server() {
        let resolver = with(&[], &[]);
        assert_eq!(resolver.resolve("192.0.2.1"), found(ADDRESS));
        assert_eq!(resolver.resolve("[2001:db8::1]"), Ok(vec!["2001:db8::1".parse().unwrap()]));
        assert_eq!(resolver.resolve("DB.lab."), found([10, 9, 8, 7]));
        let both = vec![IpAddr::from([127, 0, 0, 1]), "::1".parse().unwrap()];
        assert_eq!(resolver.resolve("a.localhost"), Ok(both));
        let error = text(resolver.resolve("example.org"));
        assert_eq!(error, (Kind::NoNameserver, "example.org: no nameserver is known".into()));
    }

    #[test]
    fn a_server_that_fails_is_passed_over_and_named_when_all_do() {
        let bad = serve(|query| vec![reply(query, SERVER_FAILURE, None)]);
        let good = serve(|query| vec![reply(query, OK, Some(ADDRESS))]);
        assert_eq!(with(&[bad, good], &[]).resolve("example.org"), found(ADDRESS));
        let error = text(with(&[bad], &[]).resolve("example.org"));
        assert_eq!(error, (Kind::NoAnswer, "example.org: 127.0.0.1: the name server failed (SERVFAIL)".into()));
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = text(with(&[closed], &[]).resolve("example.org"));
        assert_eq!(error.1, "example.org: 127.0.0.1: connection refused");
        let error = text(with(&[bad], &["lab"]).resolve("a..b"));
        assert_eq!(error, (Kind::InvalidName, "a..b: not a host name".into()));
    }

    /// Promise: name-servers-in-turn
    #[test]
    fn a_dead_first_server_is_asked_once_and_not_for_each_name() {
        let (dead, asked) = counting(|_| vec![]);
        let (good, answered) = counting(|query| vec![reply(query, OK, Some(ADDRESS))]);
        let resolver = with(&[dead, good], &[]);
        for name in ["a.org", "b.org", "c.org", "d.org"] {
            assert_eq!(resolver.resolve(name), found(ADDRESS));
        }
        assert_eq!((asked.load(Ordering::SeqCst), answered.load(Ordering::SeqCst)), (1, 4));
    }

    /// Promise: names-are-kept
    #[test]
    fn a_name_is_asked_for_once_also_by_threads_and_one_that_is_not_there() {
        let (server, asked) = counting(|query| match query.windows(4).any(|part| part == b"gone") {
            true => vec![reply(query, NO_SUCH_NAME, None)],
            false => vec![reply(query, OK, Some(ADDRESS))],
        });
        let resolver = with(&[server], &[]);
        assert_eq!(resolver.resolve("a.org"), found(ADDRESS));
        thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(|| assert_eq!(resolver.resolve("A.org"), found(ADDRESS)))));
        });
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let absent = text(resolver.resolve("gone.org"));
        assert_eq!(text(resolver.resolve("gone.org")), absent);
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    /// Promise: names-are-kept
    #[test]
    fn other_servers_are_asked_anew() {
        let (old, _) = counting(|query| vec![reply(query, OK, Some(ADDRESS))]);
        let resolver = Arc::new(with(&[old], &["lab"]));
        assert_eq!(resolver.resolve("a"), found(ADDRESS));
        resolver.replace(&[], &[]);
        assert_eq!(text(resolver.resolve("a")).0, Kind::NoNameserver);
        resolver.replace(&[[0, 0, 0, 0].into(), [127, 0, 0, 9].into()], &["org".into()]);
        let state = resolver.lock();
        assert_eq!(state.nameservers, ["127.0.0.9:53".parse().unwrap()]);
        assert_eq!((state.search.as_slice(), state.preferred), (["org".to_string()].as_slice(), None));
    }

    /// Promise: search-list
    #[test]
    fn names_are_looked_for_in_each_search_domain() {
        let server = serve(|query| match query.windows(8).any(|part| part == b"rack\x03lab") {
            true => vec![reply(query, OK, Some(ADDRESS))],
            false if query.windows(3).any(|part| part == b"bad") => vec![reply(query, SERVER_FAILURE, None)],
            false => vec![reply(query, NO_SUCH_NAME, None)],
        });
        for name in ["rack", "db.rack"] {
            assert_eq!(with(&[server], &["org", "lab"]).resolve(name), found(ADDRESS), "{name}");
            assert_eq!(with(&[server], &["bad", "lab"]).resolve(name), found(ADDRESS), "{name}: another domain fails");
        }
        let error = text(with(&[server], &["org"]).resolve("rack"));
        assert_eq!(error, (Kind::NoSuchName, "rack: no such host name (asked 127.0.0.1)".into()));
        let error = text(with(&[server], &["org", "lab"]).resolve("rack."));
        assert_eq!(error.1, "rack.: no such host name (asked 127.0.0.1)");
        let error = text(with(&[server], &["bad", "org"]).resolve("rack"));
        let expected = "rack.bad: 127.0.0.1: the name server failed (SERVFAIL)";
        assert_eq!(error, (Kind::NoAnswer, expected.into()), "it may be there");
    }

    /// Input: dns-answers
    #[test]
    fn what_does_not_fit_comes_by_tcp_in_any_pieces() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                udp.send_to(&reply(&buffer[..length], TRUNCATED, None), from).unwrap();
            }
        });
        thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut query).unwrap();
                let answer = reply(&query, OK, Some(ADDRESS));
                let mut message = (answer.len() as u16).to_be_bytes().to_vec();
                message.extend(answer);
                for byte in message {
                    stream.write_all(&[byte]).unwrap();
                }
            }
        });
        assert_eq!(with(&[address], &[]).resolve("example.org"), found(ADDRESS));
    }

    #[test]
    fn silence_is_told_by_the_name_of_the_server() {
        let servers = ["10.0.2.3:53".parse().unwrap(), "[2001:db8::3]:53".parse().unwrap()];
        let reasons = vec![None, Some("connection refused".to_string())];
        assert_eq!(told(&servers, &reasons, LIMIT_MS), "10.0.2.3: no answer in 12 s; 2001:db8::3: connection refused");
    }
}
