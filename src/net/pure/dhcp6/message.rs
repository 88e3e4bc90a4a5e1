//! DHCPv6 messages: the client's, and what is read of a server's (RFC 8415, sections 8 and 21).

use crate::net::pure::domains;
use crate::net::pure::merge::add_new;
use crate::net::pure::ra::{address_at, is_host, number_at};
use core::net::{IpAddr, Ipv6Addr};

/// A lifetime, T1 or T2 without an end.
pub const FOR_EVER: u32 = u32::MAX;
const MAX_ADDRESSES: usize = 4;
const MAX_SERVERS: usize = 8;
/// RFC 8415, section 11.1: two bytes of type and 128 more.
const MAX_DUID: usize = 130;

const ADVERTISE: u8 = 2;
const REPLY: u8 = 7;

const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const IA_NA: u16 = 3;
const IA_ADDRESS: u16 = 5;
const REQUESTED: u16 = 6;
const PREFERENCE: u16 = 7;
const ELAPSED: u16 = 8;
const STATUS: u16 = 13;
const RAPID_COMMIT: u16 = 14;
const DNS: u16 = 23;
const DOMAINS: u16 = 24;
const SNTP: u16 = 31;
const REFRESH: u16 = 32;
const NTP: u16 = 56;
const SOL_MAX_RT: u16 = 82;
const INF_MAX_RT: u16 = 83;
/// The address of a time server within option 56 (RFC 5908).
const NTP_ADDRESS: u16 = 1;

/// Status codes (RFC 8415, section 21.13).
pub const SUCCESS: u16 = 0;
pub const NO_BINDING: u16 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Solicit = 1,
    Request = 3,
    Renew = 5,
    Rebind = 6,
    Decline = 9,
    Information = 11,
}

/// Why a message to the client's port was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    Cut,
    NotReply,
    OtherTransaction,
    OtherClient,
    OptionPastEnd,
    NoServer,
    OtherServer,
    Refused,
    Unexpected,
}

impl Drop {
    pub fn text(self) -> &'static str {
        match self {
            Drop::Cut => "cut short",
            Drop::NotReply => "not from a server",
            Drop::OtherTransaction => "another transaction",
            Drop::OtherClient => "another client",
            Drop::OptionPastEnd => "option past the end",
            Drop::NoServer => "no server identifier",
            Drop::OtherServer => "another server",
            Drop::Refused => "no usable address in it",
            Drop::Unexpected => "out of turn",
        }
    }
}

/// An address and its lifetimes, as the kernel takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leased {
    pub address: Ipv6Addr,
    pub preferred_s: u32,
    pub valid_s: u32,
}

/// What a server says beside addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    pub nameservers: Vec<IpAddr>,
    pub search: Vec<String>,
    pub ntp: Vec<IpAddr>,
    /// When to ask for it again.
    pub refresh_s: Option<u32>,
}

/// A server's addresses. T1, T2 and the last end of validity are in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Its DUID.
    pub server: Vec<u8>,
    pub addresses: Vec<Leased>,
    /// Those that the server has ended, with a lifetime of 0 (section 18.2.10.1).
    pub ended: Vec<Leased>,
    pub renew_s: u32,
    pub rebind_s: u32,
    pub valid_s: u32,
    pub info: Info,
}

/// A server's message for this client.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// An offer only (ADVERTISE).
    pub is_offer: bool,
    pub rapid_commit: bool,
    pub preference: u8,
    /// Of the message, else of its addresses.
    pub status: u16,
    pub lease: Lease,
}

/// The fields that differ between a client's messages.
pub struct Outgoing<'a> {
    pub kind: Kind,
    /// 24 bits.
    pub xid: u32,
    /// Hundredths of a second since the first message of the exchange.
    pub elapsed_cs: u16,
    pub mac: [u8; 6],
    pub server: Option<&'a [u8]>,
    pub addresses: &'a [Leased],
}

/// A message to the servers.
pub fn emit(out: &Outgoing) -> Vec<u8> {
    let mut bytes = out.xid.to_be_bytes().to_vec();
    if let Some(kind) = bytes.first_mut() {
        *kind = out.kind as u8;
    }
    option(&mut bytes, CLIENT_ID, &duid(out.mac));
    if let Some(server) = out.server {
        option(&mut bytes, SERVER_ID, server);
    }
    option(&mut bytes, ELAPSED, &out.elapsed_cs.to_be_bytes());
    if out.kind != Kind::Information {
        let mut body = iaid(out.mac).to_vec();
        // T1 and T2 are the server's to choose.
        body.extend_from_slice(&[0; 8]);
        for leased in out.addresses {
            // Lifetimes of 0: no wish (section 21.6).
            option(&mut body, IA_ADDRESS, &[&leased.address.octets()[..], &[0; 8]].concat());
        }
        option(&mut bytes, IA_NA, &body);
    }
    if out.kind == Kind::Solicit {
        option(&mut bytes, RAPID_COMMIT, &[]);
    }
    if out.kind != Kind::Decline {
        // Options 82 and 83 must be asked for (section 21.24), though the pauses here are shorter ones.
        let asked = match out.kind {
            Kind::Information => [DNS, DOMAINS, SNTP, NTP, REFRESH, INF_MAX_RT],
            _ => [DNS, DOMAINS, SNTP, NTP, SOL_MAX_RT, INF_MAX_RT],
        };
        option(&mut bytes, REQUESTED, asked.map(u16::to_be_bytes).as_flattened());
    }
    bytes
}

/// Appends an option; `value` is at most some hundred bytes here.
fn option(bytes: &mut Vec<u8>, code: u16, value: &[u8]) {
    bytes.extend_from_slice(&code.to_be_bytes());
    bytes.extend_from_slice(&(value.len() as u16).to_be_bytes());
    bytes.extend_from_slice(value);
}

/// A DUID-LL (section 11.4): nothing is kept from one boot to the next but the card.
fn duid(mac: [u8; 6]) -> [u8; 10] {
    let [a, b, c, d, e, f] = mac;
    [0, 3, 0, 1, a, b, c, d, e, f]
}

fn iaid(mac: [u8; 6]) -> [u8; 4] {
    let [_, _, c, d, e, f] = mac;
    [c, d, e, f]
}

/// A server's message for the transaction `xid` of the station `mac`.
pub fn parse(bytes: &[u8], xid: u32, mac: [u8; 6]) -> Result<Reply, Drop> {
    let [kind, a, b, c, ref options @ ..] = *bytes else { return Err(Drop::Cut) };
    if kind != ADVERTISE && kind != REPLY {
        return Err(Drop::NotReply);
    }
    if u32::from_be_bytes([0, a, b, c]) != xid {
        return Err(Drop::OtherTransaction);
    }
    let lease = Lease::default();
    let mut reply = Reply { is_offer: kind == ADVERTISE, rapid_commit: false, preference: 0, status: SUCCESS, lease };
    let mut is_ours = false;
    let mut all = Options(options);
    for (code, value) in &mut all {
        match code {
            CLIENT_ID => is_ours = value == duid(mac),
            SERVER_ID if value.len() <= MAX_DUID => reply.lease.server = value.to_vec(),
            IA_NA if value.get(..4) == Some(&iaid(mac)) => reply.take_addresses(value),
            PREFERENCE => reply.preference = value.first().copied().unwrap_or(0),
            STATUS => reply.status = number16(value).unwrap_or(SUCCESS),
            RAPID_COMMIT => reply.rapid_commit = true,
            _ => reply.lease.info.take(code, value),
        }
    }
    if !all.0.is_empty() {
        return Err(Drop::OptionPastEnd);
    }
    // Sections 16.3 and 16.10: both identifiers must be there.
    if !is_ours {
        return Err(Drop::OtherClient);
    }
    if reply.lease.server.is_empty() {
        return Err(Drop::NoServer);
    }
    Ok(reply)
}

impl Reply {
    /// Reads an IA_NA; one whose times are out of order is none (section 21.4).
    fn take_addresses(&mut self, value: &[u8]) {
        let (Some(renew_s), Some(rebind_s)) = (number_at(value, 4), number_at(value, 8)) else { return };
        if renew_s > rebind_s && rebind_s > 0 {
            return;
        }
        for (code, value) in Options(value.get(12..).unwrap_or_default()) {
            match code {
                STATUS if self.status == SUCCESS => self.status = number16(value).unwrap_or(SUCCESS),
                IA_ADDRESS => self.lease.extend(leased(value)),
                _ => {}
            }
        }
        self.lease.set_times(renew_s, rebind_s);
    }
}

impl Lease {
    fn extend(&mut self, leased: Option<Leased>) {
        let Some(leased) = leased else { return };
        let list = if leased.valid_s == 0 { &mut self.ended } else { &mut self.addresses };
        if list.len() < MAX_ADDRESSES {
            list.push(leased);
        }
    }

    /// T1 and T2 where the server leaves them to us or they are past the end: 0.5 and 0.8 of the shortest preferred
    /// lifetime (section 21.4).
    fn set_times(&mut self, renew_s: u32, rebind_s: u32) {
        let preferred_s = self.addresses.iter().map(|leased| leased.preferred_s).min().unwrap_or(0);
        self.valid_s = self.addresses.iter().map(|leased| leased.valid_s).max().unwrap_or(0);
        (self.renew_s, self.rebind_s) = match (renew_s, rebind_s) {
            (1.., 1..) if rebind_s <= self.valid_s => (renew_s, rebind_s),
            _ if preferred_s == FOR_EVER => (FOR_EVER, FOR_EVER),
            // Rounded so that T2 is no earlier than T1, however short the lifetime.
            _ => (preferred_s / 2, preferred_s - preferred_s / 5),
        };
    }
}

/// An IA Address option. None where it cannot be used: no host's address, lifetimes out of order, a status.
fn leased(value: &[u8]) -> Option<Leased> {
    let address = address_at(value, 0)?;
    let (preferred_s, valid_s) = (number_at(value, 16)?, number_at(value, 20)?);
    let refused = Options(value.get(24..)?).any(|(code, value)| code == STATUS && number16(value) != Some(SUCCESS));
    let is_usable = is_host(address) && !address.is_unicast_link_local() && preferred_s <= valid_s;
    (is_usable && !refused).then_some(Leased { address, preferred_s, valid_s })
}

impl Info {
    fn take(&mut self, code: u16, value: &[u8]) {
        match code {
            DNS => add(&mut self.nameservers, value),
            DOMAINS if self.search.is_empty() => self.search = domains::parse(value),
            SNTP => add(&mut self.ntp, value),
            NTP => {
                for (code, value) in Options(value) {
                    if code == NTP_ADDRESS {
                        add(&mut self.ntp, value);
                    }
                }
            }
            REFRESH => self.refresh_s = number_at(value, 0),
            _ => {}
        }
    }
}

fn add(to: &mut Vec<IpAddr>, addresses: &[u8]) {
    for address in addresses.chunks_exact(16).filter_map(|bytes| address_at(bytes, 0)) {
        if is_host(address) && to.len() < MAX_SERVERS {
            add_new(to, &[address.into()]);
        }
    }
}

/// Code and value of each option; what is left when it stops is not an option, or runs past the end.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [a, b, c, d, ref rest @ ..] = *self.0 else { return None };
        let value = rest.get(..usize::from(u16::from_be_bytes([c, d])))?;
        self.0 = rest.get(value.len()..)?;
        Some((u16::from_be_bytes([a, b]), value))
    }
}

fn number16(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?))
}

#[cfg(test)]
pub(in crate::net::pure::dhcp6) mod tests {
    use super::*;

    pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    pub const ONE: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 1];
    pub const ADDRESS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, 0x99);
    const SERVER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53);

    /// A server's message: type, transaction, our DUID, its own DUID if it has one, and these options.
    pub fn message(kind: u8, xid: u32, server: &[u8], options: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = xid.to_be_bytes().to_vec();
        bytes[0] = kind;
        option(&mut bytes, CLIENT_ID, &duid(MAC));
        if !server.is_empty() {
            option(&mut bytes, SERVER_ID, server);
        }
        options.iter().for_each(|(code, value)| option(&mut bytes, *code, value));
        bytes
    }

    /// An IA_NA with one address.
    pub fn addresses(times: [u32; 2], address: Ipv6Addr, lifetimes: [u32; 2]) -> (u16, Vec<u8>) {
        let mut value = iaid(MAC).to_vec();
        value.extend(times.map(u32::to_be_bytes).as_flattened());
        let inner = [&address.octets()[..], lifetimes.map(u32::to_be_bytes).as_flattened()].concat();
        option(&mut value, IA_ADDRESS, &inner);
        (IA_NA, value)
    }

    /// An IA_NA with a status only.
    pub fn refusal(status: u16) -> (u16, Vec<u8>) {
        let mut value = iaid(MAC).to_vec();
        value.extend([0; 8]);
        option(&mut value, STATUS, &status.to_be_bytes());
        (IA_NA, value)
    }

    fn read(options: &[(u16, Vec<u8>)]) -> Lease {
        parse(&message(REPLY, 7, ONE, options), 7, MAC).unwrap().lease
    }

    #[test]
    fn a_solicit_to_the_byte() {
        let out =
            Outgoing { kind: Kind::Solicit, xid: 0x123456, elapsed_cs: 250, mac: MAC, server: None, addresses: &[] };
        let mut expected = vec![1, 0x12, 0x34, 0x56, 0, 1, 0, 10, 0, 3, 0, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56];
        expected.extend([0, 8, 0, 2, 0, 250, 0, 3, 0, 12, 0, 0x12, 0x34, 0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0, 14, 0, 0]);
        expected.extend([0, 6, 0, 12, 0, 23, 0, 24, 0, 31, 0, 56, 0, 82, 0, 83]);
        assert_eq!(emit(&out), expected);
        let leased = [Leased { address: ADDRESS, preferred_s: 1, valid_s: 2 }];
        let decline = emit(&Outgoing { kind: Kind::Decline, server: Some(ONE), addresses: &leased, ..out });
        assert!(decline.windows(16).any(|window| window == ADDRESS.octets()));
        assert!(decline.windows(ONE.len()).any(|window| window == ONE));
        assert!(!decline.windows(4).any(|window| window == [0, 6, 0, 12]), "one that declines asks for nothing");
        let information =
            emit(&Outgoing { kind: Kind::Information, xid: 1, elapsed_cs: 0, mac: MAC, server: None, addresses: &[] });
        assert!(!information.windows(4).any(|window| window == [0, 3, 0, 12]), "nor for addresses");
    }

    #[test]
    fn a_reply_with_everything() {
        let mut ntp = Vec::new();
        option(&mut ntp, 3, b"\x03ntp\x03lab\x00");
        option(&mut ntp, NTP_ADDRESS, &SERVER.octets());
        let lease = read(&[
            addresses([0, 0], ADDRESS, [1000, 2000]),
            (DNS, [SERVER.octets(), ADDRESS.octets()].concat()),
            (DOMAINS, b"\x03lab\x00".to_vec()),
            (SNTP, ADDRESS.octets().to_vec()),
            (NTP, ntp),
            (REFRESH, 700u32.to_be_bytes().to_vec()),
        ]);
        assert_eq!(lease.server, ONE);
        assert_eq!(lease.addresses, [Leased { address: ADDRESS, preferred_s: 1000, valid_s: 2000 }]);
        assert_eq!((lease.renew_s, lease.rebind_s, lease.valid_s), (500, 800, 2000), "left to us");
        assert_eq!(lease.info.nameservers, [SERVER, ADDRESS].map(IpAddr::from));
        assert_eq!((lease.info.search, lease.info.ntp), (vec!["lab".into()], vec![ADDRESS.into(), SERVER.into()]));
        assert_eq!(lease.info.refresh_s, Some(700));
    }

    #[test]
    fn times_are_in_order() {
        let times = |times, lifetimes| {
            let lease = read(&[addresses(times, ADDRESS, lifetimes)]);
            (lease.renew_s, lease.rebind_s, lease.addresses.len())
        };
        assert_eq!(times([300, 600], [1000, 2000]), (300, 600, 1));
        assert_eq!(times([600, 300], [1000, 2000]), (0, 0, 0), "T1 after T2: no such addresses");
        assert_eq!(times([600, 0], [1000, 2000]), (500, 800, 1));
        assert_eq!(times([300, 6000], [1000, 2000]), (500, 800, 1), "T2 after the end");
        assert_eq!(times([0, 0], [FOR_EVER, FOR_EVER]), (FOR_EVER, FOR_EVER, 1));
        assert_eq!(times([0, 0], [3, 2000]), (1, 3, 1), "T2 after T1, however short");
        assert_eq!(times([0, 0], [2000, 1000]).2, 0, "preferred for longer than valid");
        assert_eq!(times([0, 0], [0, 0]).2, 0, "over");
        let new = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, 0x9a);
        let lease = read(&[addresses([300, 600], ADDRESS, [0, 0]), addresses([300, 600], new, [1000, 2000])]);
        assert_eq!((lease.addresses[0].address, lease.ended[0].address, lease.renew_s), (new, ADDRESS, 300));
        for odd in ["::", "::1", "ff02::1", "fe80::1", "::ffff:10.0.0.1"] {
            assert_eq!(read(&[addresses([0, 0], odd.parse().unwrap(), [1, 2])]).addresses, [], "{odd}");
        }
    }

    /// Input: dhcp6-reply
    #[test]
    fn what_is_not_for_this_client_is_dropped() {
        let whole = message(REPLY, 7, ONE, &[addresses([0, 0], ADDRESS, [1000, 2000])]);
        assert_eq!(parse(&whole, 8, MAC), Err(Drop::OtherTransaction));
        assert_eq!(parse(&whole, 7, [1; 6]), Err(Drop::OtherClient));
        assert_eq!(parse(&message(3, 7, ONE, &[]), 7, MAC), Err(Drop::NotReply));
        assert_eq!(parse(&message(REPLY, 7, &[], &[]), 7, MAC), Err(Drop::NoServer));
        assert_eq!(parse(&message(REPLY, 7, &[1; 131], &[]), 7, MAC), Err(Drop::NoServer));
        for length in 0..whole.len() {
            let cut = parse(&whole[..length], 7, MAC);
            assert!(cut.is_err() || length == 32, "cut at {length}: {cut:?}");
        }
        let mut other = addresses([0, 0], ADDRESS, [1, 2]);
        other.1[0] ^= 1;
        assert_eq!(read(&[other]).addresses, [], "another identity association");
        let many: Vec<_> = (0..20).map(|_| addresses([0, 0], ADDRESS, [1, 2])).collect();
        assert_eq!(read(&many).addresses.len(), MAX_ADDRESSES);
        assert_eq!(read(&[(DNS, [0x20; 1600].to_vec())]).info.nameservers.len(), 1, "the same one is one");
    }
}
