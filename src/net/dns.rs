//! Resolves names: by `/etc/hosts`, and by the servers that the lease or `/etc/resolv.conf` gives.

use crate::net::pure::dns::{self, Answer, Family};
use crate::net::random::random;
use crate::net::scope::socket_addr;
use crate::net::udp;
use crate::{files, sys};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const PORT: u16 = 53;
/// For one query to one server.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How often each server is asked for a name.
const ROUNDS: usize = 2;
/// Answers in a row that only give another name (CNAME).
const MAX_ALIASES: usize = 8;
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

impl Error {
    fn new(kind: Kind, text: impl Into<String>) -> Error {
        Error { kind, text: text.into() }
    }

    fn of_name(self, name: &str) -> Error {
        Error { text: [name, ": ", &self.text].concat(), ..self }
    }
}

/// Resolves names from any thread. Without a server it resolves addresses and what `/etc/hosts` has.
#[derive(Debug, Default)]
pub struct Resolver {
    nameservers: Vec<SocketAddr>,
    search: Vec<String>,
    hosts: String,
    /// What is asked in its place, since the lease has changed.
    replaced: Mutex<Option<Arc<Resolver>>>,
}

impl Resolver {
    /// Asks these servers; names of a single label are looked up in the domains `search` first.
    pub fn new(nameservers: &[IpAddr], search: &[String]) -> Resolver {
        let nameservers = nameservers.iter().map(|server| socket_addr(*server, PORT)).collect();
        Resolver { nameservers, search: search.to_vec(), hosts: small_file("/etc/hosts"), ..Resolver::default() }
    }

    /// Asks other servers from now on: a lease has changed.
    pub fn replace(&self, nameservers: &[IpAddr], search: &[String]) {
        let new = Resolver::new(nameservers, search);
        *self.replaced.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(new));
    }

    /// Resolves as the host's own programs do, by `/etc/resolv.conf` and `/etc/hosts`.
    pub fn from_host() -> Resolver {
        let conf = dns::parse_resolv_conf(&small_file("/etc/resolv.conf"));
        Resolver::new(&conf.nameservers, &conf.search)
    }

    /// At least one address.
    pub fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Error> {
        let replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(new) = replaced {
            return new.resolve(name);
        }
        let bare = name.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(name);
        if let Ok(address) = bare.parse() {
            return Ok(vec![address]);
        }
        let known = dns::parse_hosts(&self.hosts, name.trim_end_matches('.'));
        if !known.is_empty() {
            return Ok(known);
        }
        if is_localhost(name) {
            return Ok(vec![Ipv4Addr::LOCALHOST.into()]);
        }
        if self.nameservers.is_empty() {
            return Err(Error::new(Kind::NoNameserver, "no nameserver is known").of_name(name));
        }
        let v6_routed = is_v6_routed();
        let search: &[String] = if name.contains('.') { &[] } else { &self.search };
        for domain in search {
            let full = [name, ".", domain].concat();
            match self.look_up(&full, v6_routed) {
                Err(Error { kind: Kind::NoSuchName, .. }) => {}
                outcome => return outcome.map_err(|error| error.of_name(&full)),
            }
        }
        self.look_up(name, v6_routed).map_err(|error| error.of_name(name))
    }

    /// The name's IPv4 addresses, and its IPv6 addresses where there is a route to them, or no IPv4 address.
    fn look_up(&self, name: &str, v6_routed: bool) -> Result<Vec<IpAddr>, Error> {
        let (mut addresses, _) = self.of_family(name, Family::V4)?;
        let is_enough = !addresses.is_empty();
        if is_enough && !v6_routed {
            return Ok(addresses);
        }
        match self.of_family(name, Family::V6) {
            Ok((more, _)) if is_enough || !more.is_empty() => addresses.extend(more),
            Ok((_, server)) => return Err(absent("no address", server)),
            // Some servers fail at queries for IPv6 only.
            Err(_) if is_enough => {}
            Err(error) => return Err(error),
        }
        Ok(addresses)
    }

    /// The addresses of one family, possibly none, and the server that said so. Follows aliases across answers.
    fn of_family(&self, name: &str, family: Family) -> Result<(Vec<IpAddr>, IpAddr), Error> {
        let mut name = name.to_string();
        for _ in 0..MAX_ALIASES {
            let (answer, server) = self.ask_all(&name, family)?;
            match answer {
                Answer::Addresses(addresses) => return Ok((addresses, server)),
                Answer::Alias(other) => name = other,
                Answer::NoAddress => return Ok((Vec::new(), server)),
                Answer::NoSuchName => return Err(absent("no such host name", server)),
                Answer::Truncated | Answer::Failed(_) => return Err(absent("no address", server)),
            }
        }
        Err(Error::new(Kind::NoAnswer, dns::Error::Aliases.text()))
    }

    /// The first usable answer and its server; or what each server did instead.
    fn ask_all(&self, name: &str, family: Family) -> Result<(Answer, IpAddr), Error> {
        let mut reasons = vec![String::new(); self.nameservers.len()];
        for _ in 0..ROUNDS {
            for (server, reason) in self.nameservers.iter().zip(&mut reasons) {
                let text = match ask(*server, name, family) {
                    Ok(Answer::Failed(code)) => dns::failure(code),
                    Ok(answer) => return Ok((answer, server.ip())),
                    Err(ServerError::Message(error @ dns::Error::Name)) => {
                        return Err(Error::new(Kind::InvalidName, error.text()));
                    }
                    Err(error) => error.text(),
                };
                *reason = [&server.ip().to_string(), ": ", &text].concat();
            }
        }
        Err(Error::new(Kind::NoAnswer, reasons.join("; ")))
    }
}

/// Why one server gave no answer.
enum ServerError {
    Timeout,
    Call(sys::Error),
    Message(dns::Error),
    /// The TCP connection ended within the answer.
    Closed,
    /// The answer does not fit into TCP's either.
    Truncated,
}

impl ServerError {
    fn text(self) -> String {
        match self {
            ServerError::Timeout => "no answer".into(),
            ServerError::Call(error) => error.to_string(),
            ServerError::Message(error) => error.text().into(),
            ServerError::Closed => "connection closed in mid-answer".into(),
            ServerError::Truncated => "truncated by TCP too".into(),
        }
    }
}

fn absent(reason: &str, server: IpAddr) -> Error {
    Error::new(Kind::NoSuchName, [reason, " (asked ", &server.to_string(), ")"].concat())
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

/// One query to one server, by UDP, and by TCP when the answer does not fit.
fn ask(server: SocketAddr, name: &str, family: Family) -> Result<Answer, ServerError> {
    let id = random(u64::from(server.port())) as u16;
    let query = dns::query(id, name, family).map_err(ServerError::Message)?;
    let parse = |message: &[u8]| dns::parse(message, id, name, family);
    let answer = by_udp(server, &query, &parse)?;
    if answer == Answer::Truncated {
        return by_tcp(server, &query, &parse);
    }
    Ok(answer)
}

type Parse<'a> = &'a dyn Fn(&[u8]) -> Result<Answer, dns::Error>;

fn by_udp(server: SocketAddr, query: &[u8], parse: Parse) -> Result<Answer, ServerError> {
    let mut outcome = Err(ServerError::Timeout);
    let mut take = |message: &[u8], _| {
        outcome = match parse(message) {
            Err(dns::Error::Unrelated) => return false,
            outcome => outcome.map_err(ServerError::Message),
        };
        true
    };
    udp::exchange(server, query, TIMEOUT, &mut take).map_err(ServerError::Call)?;
    outcome
}

/// RFC 1035 section 4.2.2: two bytes of length before each message.
fn by_tcp(server: SocketAddr, query: &[u8], parse: Parse) -> Result<Answer, ServerError> {
    let end = Instant::now() + TIMEOUT;
    let mut stream = TcpStream::connect_timeout(&server, TIMEOUT).map_err(failed("connect"))?;
    let mut message = (query.len() as u16).to_be_bytes().to_vec();
    message.extend_from_slice(query);
    stream.set_write_timeout(Some(TIMEOUT)).map_err(failed("setsockopt"))?;
    stream.write_all(&message).map_err(failed("send"))?;
    let mut length = [0; 2];
    read_until(&mut stream, &mut length, end)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    read_until(&mut stream, &mut message, end)?;
    match parse(&message) {
        Ok(Answer::Truncated) => Err(ServerError::Truncated),
        outcome => outcome.map_err(ServerError::Message),
    }
}

/// Fills `buffer` by `end`, however slowly the other side sends.
fn read_until(stream: &mut TcpStream, mut buffer: &mut [u8], end: Instant) -> Result<(), ServerError> {
    while !buffer.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        // Zero would mean "without a limit" to the socket.
        if left.is_zero() {
            return Err(ServerError::Timeout);
        }
        stream.set_read_timeout(Some(left)).map_err(failed("setsockopt"))?;
        match stream.read(buffer).map_err(failed("recv"))? {
            0 => return Err(ServerError::Closed),
            length => buffer = buffer.get_mut(length..).unwrap_or_default(),
        }
    }
    Ok(())
}

fn failed(call: &'static str) -> impl Fn(io::Error) -> ServerError {
    move |error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ServerError::Timeout,
        _ => ServerError::Call(sys::Error::from_io(call, &error)),
    }
}

/// The text of a file; empty where it cannot be read.
fn small_file(path: &str) -> String {
    String::from_utf8_lossy(&files::read(Path::new(path), MAX_FILE).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::udp::tests::serve;
    use std::net::TcpListener;
    use std::thread;

    fn with(nameservers: &[SocketAddr], search: &[&str]) -> Resolver {
        let search = search.iter().map(|domain| domain.to_string()).collect();
        Resolver {
            nameservers: nameservers.to_vec(),
            search,
            hosts: "10.9.8.7 db db.lab\n".into(),
            ..Resolver::default()
        }
    }

    /// The query turned into an answer: `flags`, and the given address if there is one.
    fn reply(query: &[u8], flags: [u8; 2], address: Option<[u8; 4]>) -> Vec<u8> {
        let mut bytes = query.to_vec();
        bytes[2..4].copy_from_slice(&flags);
        if let Some(octets) = address {
            bytes[7] = 1;
            bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            bytes.extend(octets);
        }
        bytes
    }

    const OK: [u8; 2] = [0x81, 0x80];
    const NO_SUCH_NAME: [u8; 2] = [0x81, 0x83];
    const SERVER_FAILURE: [u8; 2] = [0x81, 0x82];
    const TRUNCATED: [u8; 2] = [0x83, 0x80];

    #[test]
    fn numbers_hosts_and_localhost_need_no_server() {
        let resolver = with(&[], &[]);
        assert_eq!(resolver.resolve("192.0.2.1"), Ok(vec![IpAddr::from([192, 0, 2, 1])]));
        assert_eq!(resolver.resolve("[2001:db8::1]"), Ok(vec!["2001:db8::1".parse().unwrap()]));
        assert_eq!(resolver.resolve("DB.lab."), Ok(vec![IpAddr::from([10, 9, 8, 7])]));
        assert_eq!(resolver.resolve("a.localhost"), Ok(vec![IpAddr::from([127, 0, 0, 1])]));
        let error = resolver.resolve("example.org").unwrap_err();
        assert_eq!((error.kind, error.text.as_str()), (Kind::NoNameserver, "example.org: no nameserver is known"));
    }

    /// Promise: forged-dns
    #[test]
    fn forged_answers_are_waited_past() {
        let server = serve(|query| {
            let mut wrong_id = reply(query, OK, Some([6, 6, 6, 6]));
            wrong_id[0] ^= 1;
            let mut wrong_name = reply(query, OK, Some([6, 6, 6, 6]));
            wrong_name[13] ^= 1;
            vec![wrong_id, wrong_name, b"x".to_vec(), reply(query, OK, Some([192, 0, 2, 1]))]
        });
        assert_eq!(with(&[server], &[]).resolve("example.org"), Ok(vec![IpAddr::from([192, 0, 2, 1])]));
    }

    #[test]
    fn a_server_that_fails_is_passed_over_and_named_when_all_do() {
        let bad = serve(|query| vec![reply(query, SERVER_FAILURE, None)]);
        let good = serve(|query| vec![reply(query, OK, Some([192, 0, 2, 1]))]);
        assert_eq!(with(&[bad, good], &[]).resolve("example.org"), Ok(vec![IpAddr::from([192, 0, 2, 1])]));
        let error = with(&[bad], &[]).resolve("example.org");
        assert_eq!(error.unwrap_err().text, "example.org: 127.0.0.1: the name server failed (SERVFAIL)");
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = with(&[closed], &[]).resolve("example.org");
        assert_eq!(error.unwrap_err().text, "example.org: 127.0.0.1: recv: connection refused");
        let error = with(&[bad], &[]).resolve("a..b").unwrap_err();
        assert_eq!((error.kind, error.text.as_str()), (Kind::InvalidName, "a..b: not a host name"));
    }

    #[test]
    fn single_labels_are_looked_for_in_the_search_domain_first() {
        let server = serve(|query| match query.windows(3).any(|part| part == b"lab") {
            true => vec![reply(query, OK, Some([192, 0, 2, 1]))],
            false => vec![reply(query, NO_SUCH_NAME, None)],
        });
        let resolver = with(&[server], &["lab"]);
        assert_eq!(resolver.resolve("cache"), Ok(vec![IpAddr::from([192, 0, 2, 1])]));
        let error = resolver.resolve("cache.org");
        assert_eq!(error.unwrap_err().text, "cache.org: no such host name (asked 127.0.0.1)");
        let resolver = with(&[server], &["org"]);
        let error = resolver.resolve("cache").unwrap_err();
        assert_eq!((error.kind, error.text.as_str()), (Kind::NoSuchName, "cache: no such host name (asked 127.0.0.1)"));
    }

    /// Input: dns-answers
    #[test]
    fn what_does_not_fit_comes_by_tcp_in_any_pieces() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 512];
            let (length, from) = udp.recv_from(&mut buffer).unwrap();
            udp.send_to(&reply(&buffer[..length], TRUNCATED, None), from).unwrap();
            let (mut stream, _) = tcp.accept().unwrap();
            let mut query = vec![0; length + 2];
            stream.read_exact(&mut query).unwrap();
            let answer = reply(&query[2..], OK, Some([192, 0, 2, 1]));
            let mut message = (answer.len() as u16).to_be_bytes().to_vec();
            message.extend(answer);
            for byte in message {
                stream.write_all(&[byte]).unwrap();
            }
        });
        assert_eq!(with(&[address], &[]).resolve("example.org"), Ok(vec![IpAddr::from([192, 0, 2, 1])]));
    }

    /// The query for IPv6 turned into an answer.
    fn reply_v6(query: &[u8]) -> Vec<u8> {
        let mut answer = reply(query, OK, None);
        answer[7] = 1;
        answer.extend([0xc0, 12, 0, 28, 0, 1, 0, 0, 0, 60, 0, 16]);
        answer.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        answer
    }

    fn asks_v4(query: &[u8]) -> bool {
        query[query.len() - 3] == 1
    }

    #[test]
    fn both_families_are_asked_for_where_both_are_of_use() {
        let server = serve(|query| match asks_v4(query) {
            true => vec![reply(query, OK, Some([192, 0, 2, 1]))],
            false => vec![reply_v6(query)],
        });
        let (v4, v6) = (IpAddr::from([192, 0, 2, 1]), "2001:db8::1".parse().unwrap());
        let look_up = |server, routed| with(&[server], &[]).look_up("a.org", routed).ok();
        assert_eq!(look_up(server, true), Some(vec![v4, v6]));
        assert_eq!(look_up(server, false), Some(vec![v4]));
        let half = serve(|query| match asks_v4(query) {
            true => vec![reply(query, OK, Some([192, 0, 2, 1]))],
            false => vec![reply(query, SERVER_FAILURE, None)],
        });
        assert_eq!(look_up(half, true), Some(vec![v4]));
    }

    #[test]
    fn names_without_ipv4_are_asked_for_ipv6() {
        let server = serve(|query| match asks_v4(query) {
            true => vec![reply(query, OK, None)],
            false => vec![reply_v6(query)],
        });
        assert_eq!(with(&[server], &[]).resolve("six.org"), Ok(vec!["2001:db8::1".parse().unwrap()]));
    }
}
