//! DHCP's IPv4 and UDP headers (RFC 791, RFC 768).

use crate::net::pure::dhcp::drops::Drop;
use core::net::Ipv4Addr;

pub const SERVER_PORT: u16 = 67;
pub const CLIENT_PORT: u16 = 68;

const UDP: u8 = 17;
const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// A filter for a packet socket (classic BPF, linux/filter.h: code, jump if true, jump if not, operand): UDP to the
/// client's port, no later fragments. A busy machine's other packets wake nobody.
pub const FILTER: [(u16, u8, u8, u32); 9] = [
    // The protocol is UDP.
    (0x30, 0, 0, 9),
    (0x15, 0, 6, UDP as u32),
    // The fragment's offset is 0.
    (0x28, 0, 0, 6),
    (0x45, 4, 0, 0x1fff),
    // Behind the header's length is the client's port.
    (0xb1, 0, 0, 0),
    (0x48, 0, 0, 2),
    (0x15, 0, 1, CLIENT_PORT as u32),
    (0x06, 0, 0, 0xffff),
    (0x06, 0, 0, 0),
];

/// An IPv4 packet from the client's port to the server's. `payload` is below 1400 bytes.
pub fn emit(source: Ipv4Addr, destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let udp_length = (UDP_HEADER + payload.len()) as u16;
    let mut udp = Vec::with_capacity(usize::from(udp_length));
    udp.extend_from_slice(&CLIENT_PORT.to_be_bytes());
    udp.extend_from_slice(&SERVER_PORT.to_be_bytes());
    udp.extend_from_slice(&udp_length.to_be_bytes());
    udp.extend_from_slice(&[0, 0]);
    udp.extend_from_slice(payload);
    // A sum of zero is sent as all ones: zero means "no checksum" (RFC 768).
    let check = match !fold(pseudo(source, destination, udp_length) + sum(&udp)) {
        0 => 0xffff,
        check => check,
    };
    udp[6..UDP_HEADER].copy_from_slice(&check.to_be_bytes());

    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, UDP, 0, 0];
    packet[2..4].copy_from_slice(&(IP_HEADER as u16 + udp_length).to_be_bytes());
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&destination.octets());
    let check = !fold(sum(&packet));
    packet[10..12].copy_from_slice(&check.to_be_bytes());
    packet.extend_from_slice(&udp);
    packet
}

/// Source and payload of a packet for the client's port; `Ok(None)` for other packets.
///
/// A UDP checksum is accepted when it is right, when it is absent, and when it is the pseudo header's sum only: a host
/// leaves that for its network card to complete, and the network of a virtual machine has no such card (packets of a
/// dnsmasq on the virtio host are like this).
pub fn parse(packet: &[u8]) -> Result<Option<(Ipv4Addr, &[u8])>, Drop> {
    let Some(first) = packet.first() else { return Ok(None) };
    let header_length = usize::from(first & 0xf) * 4;
    let (Some(header), Some(total)) = (packet.get(..header_length), u16_at(packet, 2)) else { return Ok(None) };
    if first >> 4 != 4 || header_length < IP_HEADER || header.get(9) != Some(&UDP) {
        return Ok(None);
    }
    // A fragment with an offset has no UDP header, and so no port.
    let fragment = u16_at(packet, 6).unwrap_or(0) & 0x3fff;
    if fragment & 0x1fff != 0 || u16_at(packet, header_length + 2) != Some(CLIENT_PORT) {
        return Ok(None);
    }
    if fold(sum(header)) != 0xffff {
        return Err(Drop::IpChecksum);
    }
    if fragment != 0 {
        return Err(Drop::Fragment);
    }
    // Ethernet pads short frames: only the first `total` bytes are the packet.
    let udp = packet.get(header_length..usize::from(total)).ok_or(Drop::Cut)?;
    let length = u16_at(udp, 4).ok_or(Drop::Cut)?;
    let udp = udp.get(..usize::from(length)).ok_or(Drop::Cut)?;
    let payload = udp.get(UDP_HEADER..).ok_or(Drop::Cut)?;
    let check = u16_at(udp, 6).ok_or(Drop::Cut)?;
    let source = address_at(header, 12);
    let pseudo = pseudo(source, address_at(header, 16), length);
    if check != 0 && check != fold(pseudo) && fold(pseudo + sum(udp)) != 0xffff {
        return Err(Drop::UdpChecksum);
    }
    Ok(Some((source, payload)))
}

/// The sum over addresses, protocol and length that UDP's checksum includes.
fn pseudo(source: Ipv4Addr, destination: Ipv4Addr, udp_length: u16) -> u32 {
    sum(&source.octets()) + sum(&destination.octets()) + u32::from(UDP) + u32::from(udp_length)
}

/// The sum of all 16-bit words; does not overflow below 128 KiB.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
}

fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn address_at(bytes: &[u8], at: usize) -> Ipv4Addr {
    let octets = bytes.get(at..at + 4).and_then(|b| <[u8; 4]>::try_from(b).ok()).unwrap_or_default();
    Ipv4Addr::from(octets)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

    /// Turns an emitted packet round: to the client's port; the sums stay right, being sums.
    pub fn to_client(payload: &[u8]) -> Vec<u8> {
        let mut packet = emit(SERVER, Ipv4Addr::BROADCAST, payload);
        packet[20..24].rotate_left(2);
        packet
    }

    #[test]
    fn checksums_right_absent_and_partial_are_accepted_and_wrong_is_not() {
        let packet = to_client(b"hello");
        assert_eq!(parse(&packet), Ok(Some((SERVER, &b"hello"[..]))));
        let with_check = |check: u16| {
            let mut packet = packet.clone();
            packet[26..28].copy_from_slice(&check.to_be_bytes());
            packet
        };
        assert_eq!(parse(&with_check(0)), Ok(Some((SERVER, &b"hello"[..]))));
        let partial = fold(pseudo(SERVER, Ipv4Addr::BROADCAST, 13));
        assert_eq!(parse(&with_check(partial)), Ok(Some((SERVER, &b"hello"[..]))));
        assert_eq!(parse(&with_check(partial ^ 1)), Err(Drop::UdpChecksum));
        let mut wrong = packet.clone();
        wrong[8] ^= 1;
        assert_eq!(parse(&wrong), Err(Drop::IpChecksum));
    }

    #[test]
    fn a_known_packet_has_its_known_checksum() {
        // 4500 + 001c + 4000 + 4011 + ffff + ffff = 2c52b, folded c52d, inverted 3ad2.
        let packet = emit(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, &[]);
        assert_eq!(packet[10..12], [0x3a, 0xd2]);
        // Pseudo header ffff + ffff + 0011 + 0008, ports 0044 + 0043, length 0008: a8 with carries, inverted ff57.
        assert_eq!(packet[26..28], [0xff, 0x57]);
    }

    #[test]
    fn padding_is_not_payload_and_cuts_are_told() {
        let mut packet = to_client(b"hello");
        let whole = packet.len();
        packet.extend([0; 20]);
        assert_eq!(parse(&packet), Ok(Some((SERVER, &b"hello"[..]))));
        for length in 0..whole {
            let expected = if length < 24 { Ok(None) } else { Err(Drop::Cut) };
            assert_eq!(parse(&packet[..length]), expected, "cut at {length}");
        }
        assert_eq!(parse(&emit(SERVER, Ipv4Addr::BROADCAST, b"to the server")), Ok(None));
    }

    #[test]
    fn the_udp_length_counts_inside_of_the_ip_length() {
        let with_length = |length: u8| {
            let mut packet = to_client(b"hello");
            packet[24..28].copy_from_slice(&[0, length, 0, 0]);
            packet
        };
        assert_eq!(parse(&with_length(10)), Ok(Some((SERVER, &b"he"[..]))));
        assert_eq!(parse(&with_length(14)), Err(Drop::Cut), "one more than there is");
        assert_eq!(parse(&with_length(7)), Err(Drop::Cut), "less than its own header");
    }
}
