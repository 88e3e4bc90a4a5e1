//! One request and its answer by UDP.

use crate::sys::{Error, Result};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// The largest answer; a DNS server sends 512 bytes at most to a client without EDNS, and SNTP has 48.
const ANSWER_BYTES: usize = 2048;

/// Sends `request`, and hands each packet that comes back to `take`, with the time since the request, until `take` says
/// that it was the answer. False where there was none within `timeout`.
pub fn exchange(
    server: SocketAddr,
    request: &[u8],
    timeout: Duration,
    take: &mut dyn FnMut(&[u8], Duration) -> bool,
) -> Result<bool> {
    let failed = |call| move |error: std::io::Error| Error::from_io(call, &error);
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).map_err(failed("bind"))?;
    // Connected, so that the kernel drops what others send and reports ICMP errors.
    socket.connect(server).map_err(failed("connect"))?;
    let sent = Instant::now();
    socket.send(request).map_err(failed("send"))?;
    let mut buffer = [0; ANSWER_BYTES];
    loop {
        let left = timeout.saturating_sub(sent.elapsed());
        // Zero would mean "without a limit" to the socket.
        if left.is_zero() {
            return Ok(false);
        }
        socket.set_read_timeout(Some(left)).map_err(failed("setsockopt"))?;
        match socket.recv(&mut buffer) {
            Ok(length) if take(buffer.get(..length).unwrap_or_default(), sent.elapsed()) => return Ok(true),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(false),
            Err(error) => return Err(failed("recv")(error)),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::thread;

    /// Answers each datagram with what `replies` makes of it, until nobody asks for five seconds.
    pub fn serve(replies: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
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
}
