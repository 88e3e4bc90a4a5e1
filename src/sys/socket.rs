//! Sockets that std does not have (packet, netlink, non-blocking connect), and `poll(2)`.

use super::{cvt, cvt_size, Error, Result};
use std::mem::{size_of, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Notifications of links that appear, disappear, or change their carrier.
pub const LINK_EVENTS: u32 = libc::RTMGRP_LINK as u32;

/// Notifications of IPv6 addresses that come, go, or were checked for duplicates.
pub const ADDRESS_EVENTS: u32 = libc::RTMGRP_IPV6_IFADDR as u32;

/// The kernel's own uevents (Linux, lib/kobject_uevent.c). Group 2 has what udev sends on.
pub const UEVENTS: u32 = 1;

/// A non-blocking socket; `protocol` as `socket(2)` wants it.
fn socket(domain: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> Result<OwnedFd> {
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes numbers only.
    let fd = cvt("socket", unsafe { libc::socket(domain, kind, protocol) })?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A datagram socket, for requests about interfaces.
pub fn datagram() -> Result<OwnedFd> {
    socket(libc::AF_INET, libc::SOCK_DGRAM, 0)
}

/// Raises the interface `name` (15 bytes at most) by a [`datagram`] socket.
pub fn raise(fd: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<()> {
    // SAFETY: ifreq is plain bytes; zero is a valid value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes().iter().take(15)) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the struct is ours and lives through the call.
    cvt("ioctl(SIOCSIFFLAGS)", unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) })?;
    Ok(())
}

/// A non-blocking rtnetlink socket. Requests need no bind: the kernel assigns a port at the first send.
pub fn netlink_route() -> Result<OwnedFd> {
    socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)
}

/// A non-blocking socket for uevents: the kernel's notifications of devices that come and go. Messages have their
/// sender's credentials.
pub fn netlink_uevent() -> Result<OwnedFd> {
    let fd = socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_KOBJECT_UEVENT)?;
    set_option(fd.as_fd(), libc::SO_PASSCRED, 1)?;
    Ok(fd)
}

fn set_option(fd: BorrowedFd<'_>, option: libc::c_int, value: u32) -> Result<()> {
    let size = size_of::<u32>() as libc::socklen_t;
    // SAFETY: the value is ours and `size` is its size.
    cvt("setsockopt", unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const value).cast(), size)
    })?;
    Ok(())
}

/// Sets how many bytes of messages the kernel keeps for a socket, beyond the limit for users.
pub fn set_receive_bytes(fd: BorrowedFd<'_>, bytes: u32) -> Result<()> {
    set_option(fd, libc::SO_RCVBUFFORCE, bytes)
}

/// Subscribes a netlink socket to `groups`.
pub fn netlink_bind(fd: BorrowedFd<'_>, groups: u32) -> Result<()> {
    // SAFETY: sockaddr_nl is plain numbers; zero is a valid value.
    let mut address: libc::sockaddr_nl = unsafe { zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = groups;
    let size = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: the address is ours and `size` is its size.
    cvt("bind(netlink)", unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size) })?;
    Ok(())
}

/// The kinds of packets of [`packets`].
pub const IPV4: u16 = libc::ETH_P_IP as u16;
pub const ARP: u16 = libc::ETH_P_ARP as u16;
pub const IPV6: u16 = libc::ETH_P_IPV6 as u16;

/// A non-blocking packet socket that sees the packets of a kind of every interface, without their Ethernet headers, and
/// those with a VLAN tag of number 0, too: it is a priority only, and the kernel takes it off.
pub fn packets(kind: u16) -> Result<OwnedFd> {
    socket(libc::AF_PACKET, libc::SOCK_DGRAM, libc::c_int::from(kind.to_be()))
}

/// From now on the socket receives what the classic BPF `program` lets through.
pub fn attach_filter(fd: BorrowedFd<'_>, program: &[libc::sock_filter]) -> Result<()> {
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    let size = size_of::<libc::sock_fprog>() as libc::socklen_t;
    // SAFETY: pointer and length are of one slice, which the kernel copies and does not write to.
    cvt("setsockopt(SO_ATTACH_FILTER)", unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, (&raw const program).cast(), size)
    })?;
    Ok(())
}

/// A TCP socket that has begun to connect; when it has ended that, it is ready to
/// be written to, or has an error.
pub fn connect(address: &SocketAddr) -> Result<OwnedFd> {
    let domain = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let fd = socket(domain, libc::SOCK_STREAM, 0)?;
    // SAFETY: both are plain numbers; zero is a valid value.
    let (mut v4, mut v6): (libc::sockaddr_in, libc::sockaddr_in6) = unsafe { (zeroed(), zeroed()) };
    let (pointer, size) = match address {
        SocketAddr::V4(address) => {
            v4.sin_family = domain as libc::sa_family_t;
            v4.sin_port = address.port().to_be();
            v4.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
            ((&raw const v4).cast(), size_of::<libc::sockaddr_in>())
        }
        SocketAddr::V6(address) => {
            v6.sin6_family = domain as libc::sa_family_t;
            v6.sin6_port = address.port().to_be();
            v6.sin6_addr.s6_addr = address.ip().octets();
            v6.sin6_scope_id = address.scope_id();
            ((&raw const v6).cast(), size_of::<libc::sockaddr_in6>())
        }
    };
    // SAFETY: the address is one of the two above, which live through the call, and `size` is its size.
    match cvt("connect", unsafe { libc::connect(fd.as_raw_fd(), pointer, size as libc::socklen_t) }) {
        Err(error) if error.errno != libc::EINPROGRESS => Err(error),
        _ => Ok(fd),
    }
}

/// Sends one packet of a kind out of the interface `index` to the station `mac`.
pub fn packet_send(fd: BorrowedFd<'_>, kind: u16, index: u32, mac: [u8; 6], packet: &[u8]) -> Result<()> {
    // SAFETY: sockaddr_ll is plain numbers; zero is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_protocol = kind.to_be();
    address.sll_ifindex = index as libc::c_int;
    address.sll_halen = 6;
    address.sll_addr[..6].copy_from_slice(&mac);
    let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: pointer and length are of one slice; the address is ours and `size` is its size.
    cvt_size("sendto", unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            libc::MSG_NOSIGNAL,
            (&raw const address).cast(),
            size,
        )
    })?;
    Ok(())
}

/// Receives one packet: its length and the interface it came from. EAGAIN when there is none. Packets of another VLAN,
/// or for another station, have no bytes.
pub fn packet_receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, u32)> {
    loop {
        // SAFETY: sockaddr_ll is plain numbers; zero is a valid value.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        let mut size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: pointer and length are of one slice; the address is ours and `size` is its size.
        let received = cvt_size("recvfrom", unsafe {
            libc::recvfrom(
                fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
                (&raw mut address).cast(),
                &raw mut size,
            )
        });
        match received {
            Err(Error { errno: libc::EINTR, .. }) => {}
            other => {
                let own = address.sll_pkttype != libc::PACKET_OTHERHOST;
                return other.map(|length| (if own { length } else { 0 }, address.sll_ifindex as u32));
            }
        }
    }
}

pub fn send(fd: BorrowedFd<'_>, message: &[u8]) -> Result<()> {
    // SAFETY: pointer and length are of one slice.
    cvt_size("send", unsafe {
        libc::send(fd.as_raw_fd(), message.as_ptr().cast(), message.len(), libc::MSG_NOSIGNAL)
    })?;
    Ok(())
}

/// Receives one message: its length. EAGAIN when there is none, ENOBUFS when notifications were lost.
pub fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
    loop {
        // SAFETY: pointer and length are of one slice.
        match cvt_size("recv", unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) }) {
            Err(Error { errno: libc::EINTR, .. }) => {}
            other => return other,
        }
    }
}

/// As [`receive`], for a [`netlink_uevent`] socket; also whether the kernel has sent the message. Its port is 0 then
/// (netlink(7)), as is the process: what a process has given to the kernel to pass on has the port 0, too.
pub fn netlink_receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, bool)> {
    // SAFETY: the three are plain numbers and pointers; zero is a valid value.
    let (mut address, mut message, mut control): (libc::sockaddr_nl, libc::msghdr, [usize; 8]) =
        unsafe { (zeroed(), zeroed(), zeroed()) };
    let mut parts = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    message.msg_name = (&raw mut address).cast();
    message.msg_namelen = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    message.msg_iov = &raw mut parts;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: all that the message points to lives through the call and has the length that it says.
    let length = cvt_size("recvmsg", unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, 0) })?;
    // SAFETY: the call has filled the message, whose control bytes are aligned and still there.
    let credentials = unsafe { libc::CMSG_FIRSTHDR(&message).as_ref() }
        .filter(|header| header.cmsg_level == libc::SOL_SOCKET && header.cmsg_type == libc::SCM_CREDENTIALS)
        // SAFETY: what follows such a header is this struct; it may be unaligned.
        .map(|header| unsafe { libc::CMSG_DATA(header).cast::<libc::ucred>().read_unaligned() });
    let by_kernel = credentials.is_some_and(|credentials| credentials.pid == 0);
    Ok((length, by_kernel && address.nl_pid == 0 && address.nl_groups == UEVENTS))
}

/// Waits until one of `fds` can be read, for at most `timeout_ms` (-1: without a limit), and returns which of them can.
/// An interruption by a signal counts as a timeout.
pub fn poll_readable<const N: usize>(fds: [BorrowedFd<'_>; N], timeout_ms: i32) -> Result<[bool; N]> {
    let mut list = fds.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    // SAFETY: pointer and length are of one array.
    match cvt("poll", unsafe { libc::poll(list.as_mut_ptr(), N as libc::nfds_t, timeout_ms) }) {
        Err(Error { errno: libc::EINTR, .. }) => Ok([false; N]),
        Err(error) => Err(error),
        Ok(_) => Ok(list.map(|entry| entry.revents != 0)),
    }
}
