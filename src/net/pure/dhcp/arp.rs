//! ARP (RFC 826) as far as address conflict detection (RFC 5227) has it.

use core::net::Ipv4Addr;

const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: u8 = 1;

/// Asks who has `address`, without a sender's address, so that no cache takes us for it (RFC 5227 section 2.1.1).
pub fn probe(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    [&ETHERNET_IPV4[..], &[0, REQUEST], &mac, &[0; 4], &[0; 6], &address.octets()].concat()
}

/// The station that says it has `address`, if it is another than `mac`.
pub fn conflict(packet: &[u8], mac: [u8; 6], address: Ipv4Addr) -> Option<[u8; 6]> {
    let sender: [u8; 6] = packet.get(8..14)?.try_into().ok()?;
    let is_arp = packet.starts_with(&ETHERNET_IPV4) && matches!(packet.get(6..8)?, [0, 1 | 2]);
    (is_arp && packet.get(14..18)? == address.octets() && packet.len() >= 28 && sender != mac).then_some(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

    #[test]
    fn an_answer_of_another_station_is_a_conflict_and_nothing_else_is() {
        let mut answer = probe(OTHER, Ipv4Addr::UNSPECIFIED);
        answer[7] = 2;
        answer[14..18].copy_from_slice(&ADDRESS.octets());
        assert_eq!(conflict(&answer, OWN, ADDRESS), Some(OTHER));
        assert_eq!(conflict(&answer, OTHER, ADDRESS), None, "its own");
        assert_eq!(conflict(&answer, OWN, Ipv4Addr::new(10, 0, 2, 16)), None);
        assert_eq!(conflict(&probe(OTHER, ADDRESS), OWN, ADDRESS), None, "another's probe");
        for length in 0..answer.len() {
            assert_eq!(conflict(&answer[..length], OWN, ADDRESS), None, "cut at {length}");
        }
        answer[1] = 6;
        assert_eq!(conflict(&answer, OWN, ADDRESS), None, "not Ethernet");
    }
}
