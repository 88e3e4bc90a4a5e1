//! DNS queries and answers (RFC 1035), `/etc/hosts` and `/etc/resolv.conf`.

use core::net::IpAddr;

pub mod known;
pub mod lookup;

const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;
/// CNAMEs followed in one answer, and answers in a row that only give another name.
pub const MAX_ALIASES: usize = 8;
const MAX_RECORDS: usize = 256;
const MAX_ADDRESSES: usize = 16;
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCH: usize = 6;

const HEADER: usize = 12;
const CLASS_IN: u16 = 1;
const CNAME: u16 = 5;

/// The family of addresses that a query is for; the values are the record types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4 = 1,
    V6 = 28,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With the seconds for which they may be kept: the least of the records that led to them.
    Addresses(Vec<IpAddr>, u32),
    /// The name is an alias of another, whose addresses are not in the answer: ask for that one.
    Alias(String),
    NoSuchName,
    /// The name exists without addresses of this family.
    NoAddress,
    /// Ask again by TCP.
    Truncated,
    /// Another response code (SERVFAIL, REFUSED): ask another server.
    Failed(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not a host name: empty or over-long labels, over 253 bytes, not ASCII.
    Name,
    /// Not the answer to this query, or a forged one: wait for another.
    Unrelated,
    /// The answer to this query, but malformed.
    Malformed,
    /// Aliases in a circle, or more than eight.
    Aliases,
}

impl Error {
    pub fn text(self) -> &'static str {
        match self {
            Error::Name => "not a host name",
            Error::Unrelated => "answer to another question",
            Error::Malformed => "malformed answer",
            Error::Aliases => "too many aliases",
        }
    }
}

/// A response code in words (RFC 1035, section 4.1.1; RFC 2136, section 2.2).
pub fn failure(code: u8) -> String {
    let text = match code {
        1 => "the name server cannot read the query (FORMERR)",
        2 => "the name server failed (SERVFAIL)",
        4 => "the name server does not answer such queries (NOTIMP)",
        5 => "the name server refuses to answer (REFUSED)",
        9 => "the name server is not in charge of the name (NOTAUTH)",
        _ => return format!("the name server failed (code {code})"),
    };
    text.into()
}

/// A recursive query for one name's addresses.
pub fn query(id: u16, name: &str, family: Family) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(HEADER + MAX_NAME + 4);
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&wire_name(name)?);
    bytes.extend_from_slice(&(family as u16).to_be_bytes());
    bytes.extend_from_slice(&CLASS_IN.to_be_bytes());
    Ok(bytes)
}

/// The answer to `query(id, name, family)`.
pub fn parse(message: &[u8], id: u16, name: &str, family: Family) -> Result<Answer, Error> {
    let mut wanted = wire_name(name)?;
    let flags = u16_at(message, 2).ok_or(Error::Unrelated)?;
    if u16_at(message, 0) != Some(id) || flags & 0x8000 == 0 {
        return Err(Error::Unrelated);
    }
    match (u16_at(message, 4), flags & 0xf) {
        (Some(1), _) => {}
        // A server that cannot or will not answer may send a header alone.
        (Some(0), code @ (1 | 2 | 4..)) => return Ok(Answer::Failed(code as u8)),
        _ => return Err(Error::Unrelated),
    }
    let (asked, at) = read_name(message, HEADER).ok_or(Error::Unrelated)?;
    if asked != wanted || u16_at(message, at) != Some(family as u16) || u16_at(message, at + 2) != Some(CLASS_IN) {
        return Err(Error::Unrelated);
    }
    if flags & 0x0200 != 0 {
        return Ok(Answer::Truncated);
    }
    match flags & 0xf {
        0 => {}
        3 => return Ok(Answer::NoSuchName),
        code => return Ok(Answer::Failed(code as u8)),
    }
    let records = records(message, at + 4).ok_or(Error::Malformed)?;
    let mut kept_s = u32::MAX;
    for hop in 0.. {
        let (mut addresses, mut alias) = (Vec::new(), None);
        for record in records.iter().filter(|record| record.name == wanted) {
            if record.kind == family as u16 && addresses.len() < MAX_ADDRESSES {
                let data = message.get(record.data..record.data + record.length).unwrap_or_default();
                addresses.push(address(data, family).ok_or(Error::Malformed)?);
            } else if record.kind == CNAME {
                alias = alias.or(Some(record.data));
            } else {
                continue;
            }
            kept_s = kept_s.min(record.ttl_s);
        }
        if !addresses.is_empty() {
            return Ok(Answer::Addresses(addresses, kept_s));
        }
        wanted = match alias {
            Some(_) if hop == MAX_ALIASES => return Err(Error::Aliases),
            Some(data) => read_name(message, data).ok_or(Error::Malformed)?.0,
            None if hop == 0 => return Ok(Answer::NoAddress),
            None => break,
        };
    }
    Ok(Answer::Alias(dotted(&wanted).ok_or(Error::Malformed)?))
}

/// Linux, `__NEW_UTS_LEN`.
const HOSTNAME_MAX: usize = 64;

/// A host's name: letters, digits and `-` (RFC 1123, section 2.1), and `.` and `_`, which systems
/// accept, too. No white space, no slash, nothing that could forge a line of `/etc/hosts`.
pub fn hostname(text: &str) -> Result<String, &'static str> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if text.is_empty() || text.len() > HOSTNAME_MAX || !text.bytes().all(is_allowed) {
        return Err("1 to 64 letters, digits and - . _");
    }
    Ok(text.into())
}

/// The addresses that a line of `/etc/hosts` gives `name`.
pub fn parse_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let of_line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address: IpAddr = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    };
    let mut found = Vec::new();
    for address in lines.filter_map(of_line) {
        if found.len() < MAX_ADDRESSES {
            found.push(address);
        }
    }
    found
}

/// What is used of `/etc/resolv.conf` (or the kernel's `/proc/net/pnp`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    pub nameservers: Vec<IpAddr>,
    pub search: Vec<String>,
}

/// Name servers and the search domain of a resolv.conf(5).
pub fn parse_resolv_conf(text: &str) -> ResolvConf {
    let mut conf = ResolvConf::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") if conf.nameservers.len() < MAX_NAMESERVERS => {
                // A server with a zone (fe80::1%eth0) is left out: zones are not supported.
                let server = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                conf.nameservers.extend(server.filter(|server| !server.is_unspecified()));
            }
            // The last of these lines counts (resolv.conf(5)).
            Some("search" | "domain") => conf.search = words.take(MAX_SEARCH).map(String::from).collect(),
            _ => {}
        }
    }
    conf
}

/// A record's owner, type, time to live, and the place of its data in the message.
struct Record {
    name: Vec<u8>,
    kind: u16,
    ttl_s: u32,
    data: usize,
    length: usize,
}

/// The answer section; None where it is cut short or has a malformed name.
fn records(message: &[u8], mut at: usize) -> Option<Vec<Record>> {
    let count = usize::from(u16_at(message, 6)?);
    let mut records = Vec::new();
    for _ in 0..count.min(MAX_RECORDS) {
        let (name, end) = read_name(message, at)?;
        let (kind, class, length) =
            (u16_at(message, end)?, u16_at(message, end + 2)?, usize::from(u16_at(message, end + 8)?));
        let data = end + 10;
        message.get(data..data + length)?;
        at = data + length;
        if class == CLASS_IN {
            // RFC 2181, section 8: a time with the highest bit set is none.
            let (high, low) = (u16_at(message, end + 4)?, u16_at(message, end + 6)?);
            let ttl_s = if high & 0x8000 == 0 { u32::from(high) << 16 | u32::from(low) } else { 0 };
            records.push(Record { name, kind, ttl_s, data, length });
        }
    }
    Some(records)
}

fn address(data: &[u8], family: Family) -> Option<IpAddr> {
    match family {
        Family::V4 => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
        Family::V6 => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
    }
}

/// A name in wire format (length, label, …, 0), in lower case.
fn wire_name(name: &str) -> Result<Vec<u8>, Error> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut wire = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        let fits = !label.is_empty() && label.len() <= MAX_LABEL;
        if !fits || !label.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::Name);
        }
        wire.push(label.len() as u8);
        wire.extend(label.bytes().map(|b| b.to_ascii_lowercase()));
    }
    wire.push(0);
    if wire.len() > MAX_NAME {
        return Err(Error::Name);
    }
    Ok(wire)
}

/// The name at `at`, uncompressed and in lower case, and the place behind it. A pointer may only lead to before the
/// labels that it ends (RFC 1035 section 4.1.4: "a prior occurrence"), so there are no loops.
fn read_name(message: &[u8], at: usize) -> Option<(Vec<u8>, usize)> {
    let (mut wire, mut at, mut start, mut after) = (Vec::new(), at, at, None);
    loop {
        let length = *message.get(at)?;
        match length >> 6 {
            0 => {
                let label = message.get(at + 1..at + 1 + usize::from(length))?;
                wire.push(length);
                wire.extend(label.iter().map(u8::to_ascii_lowercase));
                at += 1 + usize::from(length);
                if wire.len() > MAX_NAME {
                    return None;
                }
                if length == 0 {
                    return Some((wire, after.unwrap_or(at)));
                }
            }
            3 => {
                let target = usize::from(u16_at(message, at)? & 0x3fff);
                if target >= start {
                    return None;
                }
                after = after.or(Some(at + 2));
                (at, start) = (target, target);
            }
            // Other label types, as RFC 2673's bit labels, are obsolete.
            _ => return None,
        }
    }
}

/// The text of a name in wire format; None where it is not a host name (not UTF-8, or a dot inside a label).
fn dotted(mut wire: &[u8]) -> Option<String> {
    let mut name = String::new();
    while let [length, rest @ ..] = wire {
        if *length == 0 {
            break;
        }
        let label = core::str::from_utf8(rest.get(..usize::from(*length))?).ok()?;
        if label.contains('.') {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(label);
        wire = rest.get(label.len()..)?;
    }
    wire_name(&name).ok().map(|_| name)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u16 = 0xbeef;
    /// Where the question's name stands.
    const QUESTION: [u8; 2] = [0xc0, 12];

    /// An answer to a question for `name`; records are (owner, type, data).
    fn answer(name: &str, flags: u16, records: &[(&[u8], u16, &[u8])]) -> Vec<u8> {
        let mut bytes = query(ID, name, Family::V4).unwrap();
        bytes[2..4].copy_from_slice(&flags.to_be_bytes());
        bytes[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        for (owner, kind, data) in records {
            bytes.extend(*owner);
            bytes.extend(kind.to_be_bytes());
            bytes.extend([0, 1, 0, 0, 0, 60]);
            bytes.extend((data.len() as u16).to_be_bytes());
            bytes.extend(*data);
        }
        bytes
    }

    fn read(bytes: &[u8], name: &str) -> Result<Answer, Error> {
        parse(bytes, ID, name, Family::V4)
    }

    fn one(octets: [u8; 4]) -> Result<Answer, Error> {
        Ok(Answer::Addresses(vec![IpAddr::from(octets)], 60))
    }

    #[test]
    fn addresses_with_and_without_aliases() {
        let plain = answer("Example.org", 0x8180, &[(&QUESTION, 1, &[192, 0, 2, 1]), (&QUESTION, 1, &[192, 0, 2, 2])]);
        let both = vec![IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])];
        assert_eq!(read(&plain, "example.ORG."), Ok(Answer::Addresses(both, 60)));
        let www = wire_name("www.example.net").unwrap();
        let aliased = answer("example.org", 0x8180, &[(&QUESTION, CNAME, &www), (&www, 1, &[192, 0, 2, 1])]);
        assert_eq!(read(&aliased, "example.org"), one([192, 0, 2, 1]));
        let reversed = answer("example.org", 0x8180, &[(&www, 1, &[192, 0, 2, 1]), (&QUESTION, CNAME, &www)]);
        assert_eq!(read(&reversed, "example.org"), one([192, 0, 2, 1]));
        let open = answer("example.org", 0x8180, &[(&QUESTION, CNAME, &www)]);
        assert_eq!(read(&open, "example.org"), Ok(Answer::Alias("www.example.net".into())));
        let stranger = answer("example.org", 0x8180, &[(&www, 1, &[192, 0, 2, 1])]);
        assert_eq!(read(&stranger, "example.org"), Ok(Answer::NoAddress), "nobody asked for that name");
    }

    /// Promise: names-are-kept
    #[test]
    fn the_least_time_to_live_of_the_records_counts() {
        let www = wire_name("www.example.net").unwrap();
        let other: (&[u8], u16, &[u8]) = (&www, 1, &[192, 0, 2, 1]);
        let good = answer("example.org", 0x8180, &[(&QUESTION, CNAME, &www), other]);
        // The alias is at 29, its time to live at 35; the address's own is eight bytes before the end.
        let kept_s = |alias: [u8; 4], address: [u8; 4]| {
            let mut bytes = good.clone();
            bytes[35..39].copy_from_slice(&alias);
            let at = bytes.len() - 10;
            bytes[at..at + 4].copy_from_slice(&address);
            match read(&bytes, "example.org") {
                Ok(Answer::Addresses(_, kept_s)) => kept_s,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(kept_s([0, 0, 0, 9], [0, 1, 0, 0]), 9);
        assert_eq!(kept_s([0, 1, 0, 0], [0, 0, 0, 7]), 7);
        assert_eq!(kept_s([0, 1, 0, 0], [0x80, 0, 0, 7]), 0, "RFC 2181, section 8");
    }

    /// Promise: forged-dns
    /// Input: dns-answers
    #[test]
    fn alias_chains_end_after_eight() {
        let chain = |length: usize| {
            let names: Vec<Vec<u8>> = (0..=length).map(|i| wire_name(&format!("n{i}")).unwrap()).collect();
            let mut records: Vec<(&[u8], u16, &[u8])> =
                names.windows(2).map(|pair| (&pair[0][..], CNAME, &pair[1][..])).collect();
            records.push((&names[length], 1, &[192, 0, 2, 1]));
            read(&answer("n0", 0x8180, &records), "n0")
        };
        assert_eq!(chain(8), one([192, 0, 2, 1]));
        assert_eq!(chain(9), Err(Error::Aliases));
        let circle = answer("a", 0x8180, &[(&QUESTION, CNAME, &QUESTION)]);
        assert_eq!(read(&circle, "a"), Err(Error::Aliases));
    }

    /// Input: dns-answers
    #[test]
    fn answers_to_other_questions_are_unrelated() {
        let good = answer("example.org", 0x8180, &[(&QUESTION, 1, &[192, 0, 2, 1])]);
        assert_eq!(parse(&good, ID ^ 1, "example.org", Family::V4), Err(Error::Unrelated));
        assert_eq!(read(&good, "example.com"), Err(Error::Unrelated));
        assert_eq!(parse(&good, ID, "example.org", Family::V6), Err(Error::Unrelated));
        let echoed = query(ID, "example.org", Family::V4).unwrap();
        assert_eq!(read(&echoed, "example.org"), Err(Error::Unrelated), "a query is no answer");
        for length in 0..good.len() {
            let error = if length < 29 { Error::Unrelated } else { Error::Malformed };
            assert_eq!(read(&good[..length], "example.org"), Err(error), "cut at {length}");
        }
    }

    /// Promise: forged-dns
    /// Input: dns-answers
    #[test]
    fn pointers_only_lead_back_and_labels_are_short() {
        let owner = |owner: &[u8]| read(&answer("example.org", 0x8180, &[(owner, 1, &[192, 0, 2, 1])]), "example.org");
        // The record starts at 29.
        assert_eq!(owner(&[0xc0, 29]), Err(Error::Malformed), "to itself");
        assert_eq!(owner(&[0xc0, 45]), Err(Error::Malformed), "forward");
        assert_eq!(owner(&[1, b'a', 0xc0, 29]), Err(Error::Malformed), "to the labels it ends: a loop");
        assert_eq!(owner(&[0xc0, 31, 0xc0, 29]), Err(Error::Malformed), "two that point at each other");
        assert_eq!(owner(&[7, b'E', b'x', b'a', b'm', b'p', b'l', b'e', 0xc0, 20]), one([192, 0, 2, 1]));
        let mut long = vec![64];
        long.extend([b'a'; 64]);
        long.push(0);
        assert_eq!(owner(&long), Err(Error::Malformed), "a 64-byte label");
        let mut endless: Vec<u8> = [1, b'a'].repeat(128);
        endless.push(0);
        assert_eq!(owner(&endless), Err(Error::Malformed), "257 bytes");
    }

    #[test]
    fn refusals_and_truncation() {
        assert_eq!(read(&answer("a.b", 0x8183, &[]), "a.b"), Ok(Answer::NoSuchName));
        assert_eq!(read(&answer("a.b", 0x8182, &[]), "a.b"), Ok(Answer::Failed(2)));
        assert_eq!(read(&answer("a.b", 0x8380, &[]), "a.b"), Ok(Answer::Truncated));
        assert_eq!(read(&answer("a.b", 0x8180, &[]), "a.b"), Ok(Answer::NoAddress));
        assert_eq!(read(&answer("a.b", 0x8180, &[(&QUESTION, 1, &[1, 2, 3])]), "a.b"), Err(Error::Malformed));
        let header = |code: u8| read(&[0xbe, 0xef, 0x81, 0x80 | code, 0, 0, 0, 0, 0, 0, 0, 0], "a.b");
        for code in [1, 2, 4, 5] {
            assert_eq!(header(code), Ok(Answer::Failed(code)), "some servers leave the question out");
        }
        assert_eq!((header(0), header(3)), (Err(Error::Unrelated), Err(Error::Unrelated)));
    }

    #[test]
    fn names_that_cannot_be_asked_for() {
        for name in ["", ".", "a..b", ".a", "a b", "ä.org", &"a".repeat(64), &"abcdefg.".repeat(32)] {
            assert_eq!(query(1, name, Family::V4), Err(Error::Name), "{name}");
        }
        assert!(query(1, &"a".repeat(63), Family::V4).is_ok());
    }

    #[test]
    fn files_of_a_host() {
        let hosts = "127.0.0.1 localhost # me\n#10.0.0.9 db\n10.0.0.1\tDB db.lab\n::5 db\nbad db\n";
        assert_eq!(parse_hosts(hosts, "db"), [IpAddr::from([10, 0, 0, 1]), "::5".parse().unwrap()]);
        assert_eq!(parse_hosts(hosts, "me"), [] as [IpAddr; 0]);
        let text = "#PROTO: DHCP\ndomain old\nnameserver 0.0.0.0\nnameserver 10.0.2.3\nnameserver fe80::1%eth0\n\
                    nameserver ::1\nsearch a.org b.org\noptions ndots:5\n";
        let conf = parse_resolv_conf(text);
        assert_eq!(conf.nameservers, [IpAddr::from([10, 0, 2, 3]), "::1".parse().unwrap()]);
        assert_eq!(conf.search, ["a.org", "b.org"]);
    }
}
