//! Router advertisements (RFC 4861, 8106): what the kernel does not keep of them, and the solicitations that ask for
//! them. Addresses, routes, lifetimes and duplicate address detection are the kernel's.
//!
//! Whole IPv6 packets, as a packet socket has them: with the hop limit, which shows that no router has passed them on,
//! and before the interface has an address.

use crate::net::pure::domains;
use core::net::{IpAddr, Ipv6Addr};

/// Name servers that are kept.
const MAX_SERVERS: usize = 8;
const IP_HEADER: usize = 40;
const HOP_LIMIT: u8 = 255;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// The Ethernet address of [`ALL_ROUTERS`] (RFC 2464, section 7).
pub const ALL_ROUTERS_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 2];

/// A classic BPF program (code, jt, jf, k) that lets ICMPv6 messages of an advertisement's type through: containers'
/// traffic must not wake what waits for one.
pub const FILTER: [(u16, u8, u8, u32); 6] = [
    (LOAD_BYTE, 0, 0, 6),
    (JUMP_EQUAL, 0, 3, ICMPV6 as u32),
    (LOAD_BYTE, 0, 0, IP_HEADER as u32),
    (JUMP_EQUAL, 0, 1, ADVERTISEMENT as u32),
    (RETURN, 0, 0, 0xffff),
    (RETURN, 0, 0, 0),
];
const LOAD_BYTE: u16 = 0x30;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

const RDNSS: u8 = 25;
const DNSSL: u8 = 31;

const FOR_EVER: u32 = u32::MAX;
/// The first pause between solicitations; RFC 4861 has 4 s, and a boot waits for the answer.
const FIRST_RETRY_MS: u64 = 1_000;
/// The longest pause: a switch port that begins to forward should see a solicitation soon.
const MAX_RETRY_MS: u64 = 4_000;
/// For more than a minute. A router that starts later says so by itself.
const MAX_SOLICITATIONS: u32 = 20;

/// Why an advertisement was not used (RFC 4861, section 6.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    Cut,
    HopLimit,
    Source,
    Checksum,
    Code,
    Option,
}

impl Drop {
    pub fn text(self) -> &'static str {
        match self {
            Drop::Cut => "cut short",
            Drop::HopLimit => "hop limit not 255",
            Drop::Source => "source not link-local",
            Drop::Checksum => "wrong checksum",
            Drop::Code => "unknown code",
            Drop::Option => "option of length 0 or past the end",
        }
    }
}

/// What is used of a router's advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    pub router: Ipv6Addr,
    /// For how long it is a default router; 0: it is none.
    pub lifetime_s: u16,
    /// Addresses are to be had by DHCPv6 (M).
    pub managed: bool,
    /// Other information is (O).
    pub other: bool,
    /// With lifetimes: 0 takes back an earlier one.
    pub nameservers: Vec<(IpAddr, u32)>,
    pub search: Vec<(String, u32)>,
}

/// A router solicitation. It comes from `::`, since it is sent before the kernel has checked the link-local address,
/// and so names no Ethernet address (RFC 4861, section 4.1).
pub fn solicitation() -> Vec<u8> {
    let mut icmp = [SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    let check = !checksum(&[0; 16], &ALL_ROUTERS.octets(), &icmp);
    icmp[2..4].copy_from_slice(&check.to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0, 0, icmp.len() as u8, ICMPV6, HOP_LIMIT];
    packet.extend_from_slice(&[0; 16]);
    packet.extend_from_slice(&ALL_ROUTERS.octets());
    packet.extend_from_slice(&icmp);
    packet
}

/// The advertisement in an IPv6 packet; `Ok(None)` for other packets.
pub fn parse(packet: &[u8]) -> Result<Option<Advertisement>, Drop> {
    let (Some(header), Some(rest)) = (packet.get(..IP_HEADER), packet.get(IP_HEADER..)) else { return Ok(None) };
    let [first, _, _, _, high, low, ICMPV6, hop_limit, ..] = *header else { return Ok(None) };
    if first >> 4 != 6 || rest.first() != Some(&ADVERTISEMENT) {
        return Ok(None);
    }
    // Ethernet pads short frames: only so many bytes are the packet.
    let icmp = rest.get(..usize::from(u16::from_be_bytes([high, low]))).ok_or(Drop::Cut)?;
    let source = address_at(header, 8).ok_or(Drop::Cut)?;
    let destination = address_at(header, 24).ok_or(Drop::Cut)?;
    if hop_limit != HOP_LIMIT {
        return Err(Drop::HopLimit);
    }
    if !source.is_unicast_link_local() {
        return Err(Drop::Source);
    }
    let [_, code, _, _, _, flags, life_high, life_low, ..] = *icmp else { return Err(Drop::Cut) };
    if checksum(&source.octets(), &destination.octets(), icmp) != 0xffff {
        return Err(Drop::Checksum);
    }
    if code != 0 {
        return Err(Drop::Code);
    }
    let mut advertisement = Advertisement {
        router: source,
        lifetime_s: u16::from_be_bytes([life_high, life_low]),
        managed: flags & 0x80 != 0,
        other: flags & 0x40 != 0,
        nameservers: Vec::new(),
        search: Vec::new(),
    };
    let mut options = icmp.get(16..).ok_or(Drop::Cut)?;
    while let [kind, units, ..] = *options {
        let option = options.get(..usize::from(units) * 8).filter(|_| units > 0).ok_or(Drop::Option)?;
        advertisement.take(kind, option);
        options = options.get(option.len()..).unwrap_or_default();
    }
    match options {
        [] => Ok(Some(advertisement)),
        _ => Err(Drop::Option),
    }
}

impl Advertisement {
    /// Takes an option, whole; an unknown one and one that is too short change nothing (RFC 4861, section 4.6).
    fn take(&mut self, kind: u8, option: &[u8]) {
        let (Some(lifetime_s), Some(list)) = (number_at(option, 4), option.get(8..)) else { return };
        match kind {
            RDNSS => {
                for server in list.chunks_exact(16).filter_map(|server| address_at(server, 0)) {
                    if is_host(server) && self.nameservers.len() < MAX_SERVERS {
                        self.nameservers.push((server.into(), lifetime_s));
                    }
                }
            }
            DNSSL => {
                for name in domains::parse(list) {
                    if self.search.len() < domains::MAX_DOMAINS {
                        self.search.push((name, lifetime_s));
                    }
                }
            }
            _ => {}
        }
    }
}

/// Whether an address can be a host's.
pub fn is_host(address: Ipv6Addr) -> bool {
    let reserved = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    !reserved && address.to_ipv4_mapped().is_none()
}

/// Asks for advertisements until there is one, and keeps what they say of DNS and DHCPv6.
pub struct Discovery {
    random: u32,
    wake_ms: u64,
    sent: u32,
    seen: u32,
    dropped: u32,
    last_drop: Option<Drop>,
    router: Option<Ipv6Addr>,
    managed: bool,
    other: bool,
    /// Each with the time of its end.
    nameservers: Vec<(IpAddr, u64)>,
    search: Vec<(String, u64)>,
}

impl Discovery {
    /// The first solicitation is due at once.
    pub fn new(now_ms: u64, seed: u32) -> Discovery {
        Discovery {
            random: seed,
            wake_ms: now_ms,
            sent: 0,
            seen: 0,
            dropped: 0,
            last_drop: None,
            router: None,
            managed: false,
            other: false,
            nameservers: Vec::new(),
            search: Vec::new(),
        }
    }

    /// Takes any IPv6 packet; true where it was an advertisement.
    pub fn handle(&mut self, now_ms: u64, packet: &[u8]) -> bool {
        match parse(packet) {
            Ok(Some(advertisement)) => {
                self.take(now_ms, &advertisement);
                true
            }
            Ok(None) => false,
            Err(reason) => {
                self.dropped = self.dropped.saturating_add(1);
                self.last_drop = Some(reason);
                false
            }
        }
    }

    /// A solicitation, where one is due.
    pub fn poll(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        if now_ms < self.wake_ms {
            return None;
        }
        let base_ms = (FIRST_RETRY_MS << self.sent.min(8)).min(MAX_RETRY_MS);
        // An eighth up or down, so that machines of one rack do not ask at once.
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.wake_ms = now_ms + base_ms - base_ms / 8 + u64::from(self.random >> 8) % (base_ms / 4);
        self.sent += 1;
        if self.sent >= MAX_SOLICITATIONS {
            self.wake_ms = u64::MAX;
        }
        Some(solicitation())
    }

    /// The last solicitation was probably lost on our own side. So was what a router said meanwhile, perhaps: the
    /// kernel makes no address of an advertisement that comes before the queues run.
    pub fn resend_now(&mut self, now_ms: u64) {
        self.wake_ms = now_ms;
    }

    pub fn next_wake(&self) -> Option<u64> {
        (self.wake_ms != u64::MAX).then_some(self.wake_ms)
    }

    /// Whether an advertisement has come.
    pub fn is_seen(&self) -> bool {
        self.seen > 0
    }

    /// Whether a router says that addresses come by DHCPv6.
    pub fn managed(&self) -> bool {
        self.managed
    }

    /// Whether a router says that other information comes by DHCPv6.
    pub fn other(&self) -> bool {
        self.other
    }

    /// The last default router that was heard of.
    pub fn router(&self) -> Option<Ipv6Addr> {
        self.router
    }

    pub fn nameservers(&self, now_ms: u64) -> Vec<IpAddr> {
        valid(&self.nameservers, now_ms)
    }

    pub fn search(&self, now_ms: u64) -> Vec<String> {
        valid(&self.search, now_ms)
    }

    /// How many advertisements were dropped, and why the last one was.
    pub fn drops(&self) -> Option<(u32, Drop)> {
        Some((self.dropped, self.last_drop?))
    }

    fn take(&mut self, now_ms: u64, advertisement: &Advertisement) {
        self.seen = self.seen.saturating_add(1);
        self.wake_ms = u64::MAX;
        if advertisement.lifetime_s > 0 {
            self.router = Some(advertisement.router);
        } else if self.router == Some(advertisement.router) {
            self.router = None;
        }
        self.managed |= advertisement.managed;
        self.other |= advertisement.other;
        for (server, lifetime_s) in &advertisement.nameservers {
            keep(&mut self.nameservers, server, end_ms(now_ms, *lifetime_s), now_ms, MAX_SERVERS);
        }
        for (name, lifetime_s) in &advertisement.search {
            keep(&mut self.search, name, end_ms(now_ms, *lifetime_s), now_ms, domains::MAX_DOMAINS);
        }
    }
}

/// The values that have not ended.
fn valid<T: Clone>(kept: &[(T, u64)], now_ms: u64) -> Vec<T> {
    let mut values = Vec::new();
    for (value, end_ms) in kept {
        if *end_ms > now_ms {
            values.push(value.clone());
        }
    }
    values
}

/// Adds a value or renews its end. Values that have ended make room (RFC 8106, section 5.3.1).
fn keep<T: Clone + PartialEq>(kept: &mut Vec<(T, u64)>, value: &T, end_ms: u64, now_ms: u64, limit: usize) {
    kept.retain(|(_, end_ms)| *end_ms > now_ms);
    if let Some(known) = kept.iter_mut().find(|(known, _)| known == value) {
        known.1 = end_ms;
    } else if kept.len() < limit {
        kept.push((value.clone(), end_ms));
    }
}

fn end_ms(now_ms: u64, lifetime_s: u32) -> u64 {
    match lifetime_s {
        FOR_EVER => u64::MAX,
        seconds => now_ms.saturating_add(u64::from(seconds) * 1000),
    }
}

/// The sum over the pseudo header and the message (RFC 8200, section 8.1): all ones where its own checksum is right.
fn checksum(source: &[u8; 16], destination: &[u8; 16], icmp: &[u8]) -> u16 {
    let mut sum = u32::from(ICMPV6) + icmp.len() as u32;
    for part in [&source[..], destination, icmp] {
        for pair in part.chunks(2) {
            let [high, low] = [pair.first(), pair.get(1)].map(|byte| u32::from(byte.copied().unwrap_or(0)));
            sum += high << 8 | low;
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The address that stands there.
pub fn address_at(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    Some(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?.into())
}

/// The number of four bytes that stands there.
pub fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    const DNS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53);
    const MTU: u8 = 5;

    /// An advertisement with these flags, this lifetime and these options, checksum and all.
    fn packet(flags: u8, lifetime_s: u16, options: &[u8]) -> Vec<u8> {
        let mut icmp = vec![ADVERTISEMENT, 0, 0, 0, 64, flags];
        icmp.extend(lifetime_s.to_be_bytes());
        icmp.extend([0; 8]);
        icmp.extend(options);
        from(ROUTER, HOP_LIMIT, icmp)
    }

    fn from(source: Ipv6Addr, hop_limit: u8, mut icmp: Vec<u8>) -> Vec<u8> {
        icmp[2..4].fill(0);
        let check = !checksum(&source.octets(), &ALL_NODES.octets(), &icmp);
        icmp[2..4].copy_from_slice(&check.to_be_bytes());
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((icmp.len() as u16).to_be_bytes());
        packet.extend([ICMPV6, hop_limit]);
        packet.extend(source.octets());
        packet.extend(ALL_NODES.octets());
        packet.extend(icmp);
        packet
    }

    fn rdnss(lifetime_s: u32, servers: &[Ipv6Addr]) -> Vec<u8> {
        let mut option = vec![RDNSS, (1 + 2 * servers.len()) as u8, 0, 0];
        option.extend(lifetime_s.to_be_bytes());
        servers.iter().for_each(|server| option.extend(server.octets()));
        option
    }

    fn dnssl(lifetime_s: u32, names: &[u8]) -> Vec<u8> {
        let mut option = vec![DNSSL, (1 + names.len().div_ceil(8)) as u8, 0, 0];
        option.extend(lifetime_s.to_be_bytes());
        option.extend(names);
        option.resize(option.len().next_multiple_of(8), 0);
        option
    }

    #[test]
    fn the_filter_lets_advertisements_through() {
        let passes = |packet: &[u8]| {
            let (mut at, mut loaded) = (0, 0);
            loop {
                let (code, if_equal, if_not, value) = FILTER[at];
                at += 1;
                match code {
                    LOAD_BYTE => loaded = u32::from(packet[value as usize]),
                    JUMP_EQUAL => at += usize::from(if loaded == value { if_equal } else { if_not }),
                    _ => return value > 0,
                }
            }
        };
        let advertisement = packet(0, 1800, &[]);
        assert!(passes(&advertisement) && !passes(&solicitation()));
        assert!(!passes(&[&advertisement[..6], &[17], &advertisement[7..]].concat()));
    }

    #[test]
    fn an_advertisement_with_all_options() {
        // The kernel's own: its prefixes, and its MTU.
        let prefix = [&[3, 4, 64, 0xc0][..], &86400u32.to_be_bytes(), &[0; 8], &DNS.octets()].concat();
        let mtu = [MTU, 1, 0, 0, 0, 0, 5, 120];
        let unknown = [200, 1, 0, 0, 0, 0, 0, 0];
        let names = dnssl(600, b"\x03lab\x00\x07example\x03org\x00");
        let options = [&prefix[..], &mtu, &unknown, &rdnss(300, &[DNS]), &names].concat();
        let mut bytes = packet(0xc0, 1800, &options);
        bytes.extend([0; 6]);
        let read = parse(&bytes).unwrap().unwrap();
        assert_eq!((read.router, read.lifetime_s, read.managed, read.other), (ROUTER, 1800, true, true));
        assert_eq!(read.nameservers, [(DNS.into(), 300)]);
        assert_eq!(read.search, [("lab".to_string(), 600), ("example.org".to_string(), 600)]);
    }

    /// Input: router-advertisement
    #[test]
    fn what_no_router_of_this_link_sends_is_dropped() {
        let icmp = packet(0, 1800, &[])[IP_HEADER..].to_vec();
        assert_eq!(parse(&from(ROUTER, 254, icmp.clone())), Err(Drop::HopLimit));
        assert_eq!(parse(&from(DNS, HOP_LIMIT, icmp.clone())), Err(Drop::Source));
        let mut other_code = icmp.clone();
        other_code[1] = 1;
        assert_eq!(parse(&from(ROUTER, HOP_LIMIT, other_code)), Err(Drop::Code));
        assert_eq!(parse(&from(ROUTER, HOP_LIMIT, icmp[..12].to_vec())), Err(Drop::Cut));
        let mut wrong = packet(0, 1800, &[]);
        wrong[50] ^= 1;
        assert_eq!(parse(&wrong), Err(Drop::Checksum));
        let mut solicitation = icmp;
        solicitation[0] = SOLICITATION;
        assert_eq!(parse(&from(ROUTER, HOP_LIMIT, solicitation)), Ok(None));
    }

    /// Input: router-advertisement
    #[test]
    fn an_option_without_length_or_past_the_end_spoils_the_advertisement() {
        for options in [&[RDNSS, 0, 0, 0, 0, 0, 0, 0][..], &[RDNSS, 2, 0, 0, 0, 0, 0, 0], &[MTU], &[MTU, 1, 0]] {
            assert_eq!(parse(&packet(0, 1800, options)), Err(Drop::Option), "{options:?}");
        }
        let whole = packet(0, 1800, &[rdnss(300, &[DNS]), dnssl(1, b"\x03lab\x00")].concat());
        for length in 0..whole.len() {
            assert!(!matches!(parse(&whole[..length]), Ok(Some(_))), "cut at {length}");
        }
    }

    /// Input: router-advertisement
    #[test]
    fn lists_have_limits_and_odd_values_are_left_out() {
        let servers: Vec<Ipv6Addr> = (1..=100).map(|host| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host)).collect();
        let names: Vec<u8> = (b'a'..=b'z').flat_map(|letter| dnssl(1, &[1, letter, 0])).collect();
        let read = parse(&packet(0, 0, &[rdnss(1, &servers), rdnss(1, &servers), names].concat())).unwrap().unwrap();
        assert_eq!((read.nameservers.len(), read.search.len()), (MAX_SERVERS, domains::MAX_DOMAINS));
        let odd = [Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST, ALL_NODES, "::ffff:10.0.0.1".parse().unwrap(), ROUTER];
        let read = parse(&packet(0, 0, &rdnss(1, &odd))).unwrap().unwrap();
        assert_eq!(read.nameservers, [(ROUTER.into(), 1)], "a link-local server is one");
    }

    #[test]
    fn solicitations_are_right_and_slow_down_until_an_advertisement_comes() {
        let mut discovery = Discovery::new(500, 7);
        let mut times = Vec::new();
        while times.len() < 5 {
            let now_ms = discovery.next_wake().unwrap();
            let packet = discovery.poll(now_ms).unwrap();
            assert_eq!((packet.len(), packet[7], packet[40]), (48, 255, 133));
            assert_eq!(checksum(&[0; 16], &ALL_ROUTERS.octets(), &packet[40..]), 0xffff);
            assert_eq!(discovery.poll(now_ms), None);
            times.push(now_ms);
        }
        assert_eq!(times[0], 500);
        for (pair, base) in times.windows(2).zip([1000, 2000, 4000, 4000]) {
            assert!((base * 7 / 8..=base * 9 / 8).contains(&(pair[1] - pair[0])), "{times:?}");
        }
        let mut quiet = Discovery::new(0, 7);
        let sent = std::iter::from_fn(|| quiet.next_wake().and_then(|now_ms| quiet.poll(now_ms))).count();
        assert_eq!(sent, MAX_SOLICITATIONS as usize);
        discovery.handle(20_000, &from(DNS, HOP_LIMIT, vec![ADVERTISEMENT; 16]));
        assert_eq!(discovery.drops(), Some((1, Drop::Source)));
        assert!(discovery.next_wake().is_some() && !discovery.is_seen());
        assert!(discovery.handle(20_000, &packet(0x40, 1800, &[])));
        assert!(discovery.is_seen() && discovery.router() == Some(ROUTER) && discovery.other() && !discovery.managed());
        assert_eq!(discovery.next_wake(), None);
        // The kernel made no address of what came before the queues ran.
        discovery.resend_now(20_001);
        assert!(discovery.poll(20_001).is_some());
        assert!(discovery.handle(20_002, &packet(0x40, 1800, &[])));
        assert_eq!(discovery.next_wake(), None, "nothing is asked for any more");
    }

    #[test]
    fn servers_end_with_their_lifetimes_and_zero_takes_one_back() {
        let mut discovery = Discovery::new(0, 7);
        let other = "2001:db8::54".parse().unwrap();
        let options = [rdnss(300, &[DNS]), rdnss(u32::MAX, &[other]), dnssl(10, b"\x03lab\x00")].concat();
        discovery.handle(0, &packet(0, 1800, &options));
        assert_eq!(discovery.nameservers(299_999), [DNS, other].map(IpAddr::from));
        assert_eq!(discovery.nameservers(300_000), [IpAddr::from(other)]);
        assert_eq!((discovery.search(9_999), discovery.search(10_000)), (vec!["lab".into()], vec![]));
        discovery.handle(200_000, &packet(0, 1800, &rdnss(300, &[DNS])));
        assert_eq!(discovery.nameservers(300_000), [DNS, other].map(IpAddr::from), "renewed");
        discovery.handle(300_000, &packet(0, 0, &rdnss(0, &[other])));
        assert_eq!(discovery.nameservers(300_000), [IpAddr::from(DNS)]);
        assert_eq!(discovery.router(), None, "a lifetime of 0: no default router any more");
        let many: Vec<Ipv6Addr> = (1..=100).map(|host| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, host)).collect();
        for chunk in many.chunks(8) {
            discovery.handle(300_001, &packet(0, 0, &rdnss(9, chunk)));
        }
        assert_eq!(discovery.nameservers(300_002).len(), MAX_SERVERS);
        assert_eq!(discovery.nameservers(300_002)[0], IpAddr::from(DNS), "newer ones do not push out older ones");
    }
}
