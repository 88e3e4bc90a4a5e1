//! When the network is up: with IPv4, with IPv6, or with both; and which addresses the kernel has.

use core::net::Ipv6Addr;

/// How long after the first advertisement a DHCPv4 server may answer: most labs' registries have IPv4. The
/// advertisement shows that packets get through, and the caller has the DHCPv4 client ask again at that moment.
const OTHER_MS: u64 = 2_000;
/// How long the answer of a DHCPv6 server that the router promised may take, or a default router. It is asked from the
/// link-local address, whose check for duplicates may take the kernel two seconds.
const PROMISED_MS: u64 = 5_000;
/// The same where nobody names a name server: such a network is worth little, and packets to a DHCPv4 server get lost.
const UNNAMED_MS: u64 = 15_000;

const TENTATIVE: u32 = 0x40;
const DUPLICATE: u32 = 0x08;
const DEPRECATED: u32 = 0x20;
const SCOPE_GLOBAL: u32 = 0;
const SCOPE_LINK: u32 = 0x20;
/// fec0::/10, which is deprecated (RFC 3879) and QEMU's user network has.
const SCOPE_SITE: u32 = 0x40;

/// An IPv6 address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    pub index: u32,
    pub address: Ipv6Addr,
    pub prefix: u8,
    scope: u32,
    flags: u32,
}

impl Own {
    /// The check for duplicates is under way: nothing may come from it yet.
    pub fn is_tentative(&self) -> bool {
        self.flags & (TENTATIVE | DUPLICATE) == TENTATIVE
    }

    /// Another machine has it.
    pub fn is_duplicate(&self) -> bool {
        self.flags & DUPLICATE != 0
    }

    fn is_ready(&self) -> bool {
        self.flags & (TENTATIVE | DUPLICATE) == 0
    }

    /// Reaches further than the link.
    pub fn is_usable(&self) -> bool {
        matches!(self.scope, SCOPE_GLOBAL | SCOPE_SITE) && self.is_ready() && self.flags & DEPRECATED == 0
    }

    /// What DHCPv6 is asked from.
    pub fn is_link_local(&self) -> bool {
        self.scope == SCOPE_LINK && self.is_ready()
    }
}

/// The addresses in `/proc/net/if_inet6` (proc_net(5)): `ADDRESS INDEX PREFIX SCOPE FLAGS NAME`, in hexadecimal.
pub fn parse_if_inet6(text: &str) -> Vec<Own> {
    let own = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = u128::from_str_radix(words.next()?, 16).ok()?;
        let mut number = || u32::from_str_radix(words.next()?, 16).ok();
        let (index, prefix, scope, flags) = (number()?, number()?, number()?, number()?);
        Some(Own { index, address: Ipv6Addr::from_bits(address), prefix: prefix.min(128) as u8, scope, flags })
    };
    let mut all = Vec::new();
    for line in text.lines() {
        all.extend(own(line));
    }
    all
}

/// An interface's IPv6 that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V6 {
    /// When the first advertisement came.
    pub heard_ms: u64,
    /// Since when it has an address that is no duplicate.
    pub since_ms: u64,
    pub routed: bool,
    /// A name server is known.
    pub named: bool,
    /// A DHCPv6 server has not answered yet.
    pub asking: bool,
}

impl V6 {
    /// When the boot goes on with this IPv6 alone. With a DHCPv4 lease it goes on at once.
    pub fn ready_ms(&self) -> u64 {
        let wait_ms = match (self.named, self.asking) {
            (false, false) => UNNAMED_MS,
            (true, false) if self.routed => OTHER_MS,
            _ => PROMISED_MS,
        };
        self.heard_ms.saturating_add(wait_ms).max(self.since_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_addresses() {
        let text = "00000000000000000000000000000001 01 80 10 80       lo\n\
                    20010db8000000005054 bad\n\
                    20010db800000000505400fffe123456 02 40 00 40     eth0\n\
                    20010db8000000000000000000000099 02 80 00 00     eth0\n\
                    20010db8000000000000000000000098 02 80 00 20     eth0\n\
                    fe80000000000000505400fffe123456 02 40 20 c8     eth0\n\
                    fec0000000000000505400fffe123456 03 40 40 00     eth2\n\
                    fe80000000000000505400fffe123457 0b 40 20 80     eth1\n";
        let all = parse_if_inet6(text);
        assert_eq!(all.len(), 7);
        assert_eq!(all[1].address, "2001:db8::5054:ff:fe12:3456".parse::<Ipv6Addr>().unwrap());
        assert_eq!((all[1].index, all[1].prefix, all[1].is_tentative(), all[1].is_usable()), (2, 64, true, false));
        let usable: Vec<bool> = all.iter().map(Own::is_usable).collect();
        assert_eq!(usable, [false, false, true, false, false, true, false]);
        assert!(all[4].is_duplicate() && !all[4].is_link_local() && !all[4].is_tentative());
        assert!(all[6].is_link_local() && all[6].index == 11);
        assert_eq!(parse_if_inet6(""), []);
    }

    #[test]
    fn ipv6_alone_waits_for_ipv4_and_for_what_was_promised() {
        let v6 = V6 { heard_ms: 1000, since_ms: 2700, routed: true, named: true, asking: false };
        let ready_ms = |routed, named, asking| V6 { routed, named, asking, ..v6 }.ready_ms();
        assert_eq!(ready_ms(true, true, false), 3000, "a DHCPv4 server may still answer");
        assert_eq!(ready_ms(true, true, true), 6000, "DHCPv6 may have an NTP server and search domains");
        assert_eq!(ready_ms(true, false, false), 16_000, "DHCPv4 may have a name server");
        assert_eq!(ready_ms(true, false, true), 6000, "DHCPv6 may have one");
        assert_eq!(ready_ms(false, true, false), 6000, "a default router may come");
        assert_eq!(V6 { since_ms: 9000, ..v6 }.ready_ms(), 9000, "a late address is not waited with");
    }
}
