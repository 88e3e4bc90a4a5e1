//! `uevent group|kernel TEXT…`: a uevent of our own making, sent to everybody who listens as udev does it, or given to
//! the kernel to pass on (Linux 4.18, uevent_net_rcv).

use std::io;

extern "C" {
    fn socket(domain: i32, kind: i32, protocol: i32) -> i32;
    fn sendto(fd: i32, bytes: *const u8, length: usize, flags: i32, address: *const [u8; 12], size: u32) -> isize;
}

const AF_NETLINK: i32 = 16;
const SOCK_RAW: i32 = 3;
const NETLINK_KOBJECT_UEVENT: i32 = 15;
/// The first type of a message that is no control message.
const NLMSG_MIN_TYPE: u16 = 0x10;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;

pub fn send(to: &str, parts: &[String]) -> io::Result<()> {
    let text: Vec<u8> = parts.iter().flat_map(|part| part.bytes().chain([0])).collect();
    let mut address = [0; 12];
    address[..2].copy_from_slice(&(AF_NETLINK as u16).to_ne_bytes());
    let message = match to {
        "group" => {
            address[8] = 1;
            text
        }
        "kernel" => {
            let mut message = ((16 + text.len()) as u32).to_ne_bytes().to_vec();
            message.extend(NLMSG_MIN_TYPE.to_ne_bytes());
            message.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
            message.extend([0; 8]);
            message.extend(text);
            message
        }
        _ => return Err(io::Error::other("uevent group|kernel TEXT…")),
    };
    // SAFETY: takes numbers only.
    let fd = unsafe { socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT) };
    // SAFETY: pointer and length are of one vector; the address has the size of a sockaddr_nl.
    match unsafe { sendto(fd, message.as_ptr(), message.len(), 0, &address, 12) } {
        -1 => Err(io::Error::last_os_error()),
        _ => {
            println!("sent to {to}");
            Ok(())
        }
    }
}
