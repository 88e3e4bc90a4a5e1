//! Names to addresses: numbers, hosts, the lease's servers.

use crate::files;
use crate::net::pure::dns::{self, Answer, Family};
use crate::net::random::random;
use crate::sys::Error;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

const PORT: u16 = 53;
/// Said where no question can be asked, behind the name.
pub const NO_NAMESERVER: &str = ": no nameserver is known";

/// For one question to one server.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How often each server is asked.
const ROUNDS: usize = 2;
/// Answers that only name another name.
const MAX_ALIASES: usize = 8;
/// Of `/etc/hosts` and `/etc/resolv.conf`.
const MAX_FILE: u64 = 1 << 20;

/// Knows whom to ask; usable from any thread, and before the network is up (for what needs no server).
#[derive(Debug, Clone, Default)]
pub struct Resolver {
    nameservers: Vec<SocketAddr>,
    search: Vec<String>,
    hosts: String,
}

impl Resolver {
    /// Asks the lease's servers; single-label names are looked for in `domain` first.
    pub fn from_lease(nameservers: &[Ipv4Addr], domain: Option<&str>) -> Resolver {
        let nameservers = nameservers.iter().map(|server| SocketAddr::from((*server, PORT))).collect();
        Resolver {
            nameservers,
            search: domain.map(String::from).into_iter().collect(),
            hosts: small_file("/etc/hosts"),
        }
    }

    /// As the host's own programs resolve: `/etc/resolv.conf`, `/etc/hosts`.
    pub fn from_host() -> Resolver {
        let conf = dns::parse_resolv_conf(&small_file("/etc/resolv.conf"));
        let nameservers = conf.nameservers.iter().map(|server| SocketAddr::from((*server, PORT))).collect();
        Resolver { nameservers, search: conf.search, hosts: small_file("/etc/hosts") }
    }

    /// At least one address, or the reason with its object: `example.org: no such name (asked 10.0.2.3)`.
    pub fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, String> {
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
            return Err([name, NO_NAMESERVER].concat());
        }
        let search: &[String] = if name.contains('.') { &[] } else { &self.search };
        let full = search.iter().map(|domain| [name, ".", domain].concat());
        let (mut miss, v6_routed) = (String::new(), is_v6_routed());
        for candidate in full.chain([name.to_string()]) {
            match self.look_up(&candidate, v6_routed) {
                Ok(addresses) => return Ok(addresses),
                Err(Miss::Absent(reason)) => miss = [&candidate, ": ", &reason].concat(),
                Err(Miss::Unknown(reason)) => return Err([&candidate, ": ", &reason].concat()),
            }
        }
        Err(miss)
    }

    /// The name's IPv4 addresses, and IPv6 where that is of use: there is a way
    /// to it, or no IPv4.
    fn look_up(&self, name: &str, v6_routed: bool) -> Result<Vec<IpAddr>, Miss> {
        let (mut addresses, _) = self.of_family(name, Family::V4)?;
        let is_enough = !addresses.is_empty();
        if is_enough && !v6_routed {
            return Ok(addresses);
        }
        match self.of_family(name, Family::V6) {
            Ok((more, _)) if is_enough || !more.is_empty() => addresses.extend(more),
            Ok((_, server)) => return Err(absent("no address", server)),
            // Some servers fail at the question for IPv6 alone.
            Err(_) if is_enough => {}
            Err(miss) => return Err(miss),
        }
        Ok(addresses)
    }

    /// Follows aliases across answers; who says so, too. May be none.
    fn of_family(&self, name: &str, family: Family) -> Result<(Vec<IpAddr>, IpAddr), Miss> {
        let mut name = name.to_string();
        for _ in 0..MAX_ALIASES {
            let (answer, server) = self.ask_all(&name, family)?;
            match answer {
                Answer::Addresses(addresses) => return Ok((addresses, server)),
                Answer::Alias(other) => name = other,
                Answer::NoAddress => return Ok((Vec::new(), server)),
                Answer::NoSuchName => return Err(absent("no such name", server)),
                Answer::Truncated | Answer::Failed(_) => return Err(absent("no address", server)),
            }
        }
        Err(Miss::Unknown(dns::Error::Aliases.text().into()))
    }

    /// The first answer that is one, and whose it is; or what each server did instead.
    fn ask_all(&self, name: &str, family: Family) -> Result<(Answer, IpAddr), Miss> {
        let mut reasons = vec![String::new(); self.nameservers.len()];
        for _ in 0..ROUNDS {
            for (server, reason) in self.nameservers.iter().zip(&mut reasons) {
                let said = match ask(*server, name, family) {
                    Ok(Answer::Failed(code)) => ["refused with code ", &code.to_string()].concat(),
                    Ok(answer) => return Ok((answer, server.ip())),
                    Err(reason) if reason == dns::Error::Name.text() => return Err(Miss::Unknown(reason)),
                    Err(reason) => reason,
                };
                *reason = [&server.ip().to_string(), ": ", &said].concat();
            }
        }
        Err(Miss::Unknown(reasons.join("; ")))
    }
}

enum Miss {
    /// A server says so: another candidate may exist.
    Absent(String),
    /// Nobody could say.
    Unknown(String),
}

fn absent(reason: &str, server: IpAddr) -> Miss {
    Miss::Absent([reason, " (asked ", &server.to_string(), ")"].concat())
}

/// Whether the kernel knows a way to IPv6 beyond the link: to connect a
/// datagram socket sends nothing.
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

/// One question to one server, by UDP, and by TCP when the answer does not fit.
fn ask(server: SocketAddr, name: &str, family: Family) -> Result<Answer, String> {
    let id = random(u64::from(server.port())) as u16;
    let query = dns::query(id, name, family).map_err(|error| error.text().to_string())?;
    let parse = |message: &[u8]| dns::parse(message, id, name, family);
    let answer = by_udp(server, &query, &parse)?;
    if answer == Answer::Truncated {
        return by_tcp(server, &query, &parse);
    }
    Ok(answer)
}

type Parse<'a> = &'a dyn Fn(&[u8]) -> Result<Answer, dns::Error>;

fn by_udp(server: SocketAddr, query: &[u8], parse: Parse) -> Result<Answer, String> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).map_err(|error| said("bind", &error))?;
    // Connected, so that the kernel drops what others send and tells an ICMP error.
    socket.connect(server).map_err(|error| said("connect", &error))?;
    socket.send(query).map_err(|error| said("send", &error))?;
    let end = Instant::now() + TIMEOUT;
    let mut buffer = [0; dns::UDP_BYTES];
    loop {
        socket.set_read_timeout(Some(left(end)?)).map_err(|error| said("setsockopt", &error))?;
        let length = socket.recv(&mut buffer).map_err(|error| said("recv", &error))?;
        match parse(buffer.get(..length).unwrap_or_default()) {
            Ok(answer) => return Ok(answer),
            Err(dns::Error::Unrelated) => {}
            Err(error) => return Err(error.text().into()),
        }
    }
}

/// RFC 1035 section 4.2.2: two bytes of length before each message.
fn by_tcp(server: SocketAddr, query: &[u8], parse: Parse) -> Result<Answer, String> {
    let end = Instant::now() + TIMEOUT;
    let mut stream = TcpStream::connect_timeout(&server, TIMEOUT).map_err(|error| said("connect", &error))?;
    let mut message = (query.len() as u16).to_be_bytes().to_vec();
    message.extend_from_slice(query);
    stream.set_write_timeout(Some(TIMEOUT)).map_err(|error| said("setsockopt", &error))?;
    stream.write_all(&message).map_err(|error| said("send", &error))?;
    let mut length = [0; 2];
    read_until(&mut stream, &mut length, end)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    read_until(&mut stream, &mut message, end)?;
    match parse(&message) {
        Ok(Answer::Truncated) => Err("truncated by TCP too".into()),
        Ok(answer) => Ok(answer),
        Err(error) => Err(error.text().into()),
    }
}

/// Fills `buffer` by `end`, however slowly the other side drips.
fn read_until(stream: &mut TcpStream, mut buffer: &mut [u8], end: Instant) -> Result<(), String> {
    while !buffer.is_empty() {
        stream.set_read_timeout(Some(left(end)?)).map_err(|error| said("setsockopt", &error))?;
        match stream.read(buffer).map_err(|error| said("recv", &error))? {
            0 => return Err("connection closed in mid-answer".into()),
            length => buffer = buffer.get_mut(length..).unwrap_or_default(),
        }
    }
    Ok(())
}

fn left(end: Instant) -> Result<Duration, String> {
    let left = end.saturating_duration_since(Instant::now());
    // Zero would mean «wait for ever» to the socket.
    if left.is_zero() {
        return Err("no answer".into());
    }
    Ok(left)
}

fn said(call: &'static str, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => "no answer".into(),
        _ => Error::from_io(call, error).to_string(),
    }
}

/// Empty where there is none: then what it would say is not known.
fn small_file(path: &str) -> String {
    String::from_utf8_lossy(&files::read(Path::new(path), MAX_FILE).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    fn with(nameservers: &[SocketAddr], search: &[&str]) -> Resolver {
        let search = search.iter().map(|domain| domain.to_string()).collect();
        Resolver { nameservers: nameservers.to_vec(), search, hosts: "10.9.8.7 db db.lab\n".into() }
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

    /// Answers each datagram with what `replies` makes of it, until nobody asks for five seconds.
    fn serve(replies: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
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
        assert_eq!(resolver.resolve("example.org"), Err("example.org: no nameserver is known".into()));
    }

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
        assert_eq!(error, Err("example.org: 127.0.0.1: refused with code 2".into()));
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = with(&[closed], &[]).resolve("example.org");
        assert_eq!(error, Err("example.org: 127.0.0.1: recv: connection refused".into()));
        let error = with(&[bad], &[]).resolve("a..b");
        assert_eq!(error, Err("a..b: not a host name".into()));
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
        assert_eq!(error, Err("cache.org: no such name (asked 127.0.0.1)".into()));
        let resolver = with(&[server], &["org"]);
        assert_eq!(resolver.resolve("cache"), Err("cache: no such name (asked 127.0.0.1)".into()));
    }

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
