//! A machine whose network has IPv6 only: QEMU's user network without its IPv4.

use crate::lab::{boot_with, lab, POWER_DOWN};
use ocinit::host::qemu::Network;
use std::net::{Ipv6Addr, Shutdown, TcpListener, TcpStream};

/// Passes what comes to a port of ::1, which guests reach as fec0::2, to the registry's address.
fn pass_on(to: String) -> u16 {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("this host has IPv6");
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let (near, far) = (near.unwrap(), TcpStream::connect(&to).unwrap());
            for (mut from, mut into) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                std::thread::spawn(move || {
                    // Either side may end the connection at any time.
                    let _ = std::io::copy(&mut from, &mut into);
                    let _ = into.shutdown(Shutdown::Write);
                });
            }
        }
    });
    port
}

/// Promise: ipv6-only
#[test]
fn a_container_from_a_registry_with_ipv6_only() {
    let Some(lab) = lab() else { return };
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        skip!("this host has no IPv6");
    }
    let port = pass_on(lab.registry.here());
    let words = format!("b2c.run=\"--tls-verify=false docker://[fec0::2]:{port}/guest echo by-ipv6\"");
    let seen = boot_with("ipv6-only", &words, |machine| {
        machine.network = Network::User(vec!["ipv4=off".into(), "ipv6=on".into()]);
    });
    let Some(seen) = seen else { return };
    seen.over(0, POWER_DOWN);
    // The prefix and the router are QEMU's.
    seen.says("/64 gw fe80::2");
    seen.says("by-ipv6");
}
