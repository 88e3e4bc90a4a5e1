//! No name leads to a link-local address or a cloud's metadata service (docs/inputs.md#link-local): neither the name of
//! the registry, nor a realm's, nor a redirect's, whatever the DNS server answers at any time. The tests run in a
//! network namespace of their own, with a DNS server, and a canary at the addresses that must not be contacted.

use crate::absent::at_boot;
use crate::small;
use crate::support::fake::{challenge, redirect, Fake};
use crate::support::PATIENCE;
use ocinit::container::pure::spec::parse;
use ocinit::image::pull::{self, PullContext};
use ocinit::image::pure::mirror::Mirrors;
use ocinit::net::dns::Resolver;
use ocinit::net::pure::proxy::Proxies;
use ocinit::report::{Failure, Report};
use ocinit::store::layers::Store;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;

const PASSWORD: &str = "S3CRET-of-jane";
/// More queries than without patience.
const MANY: usize = 30;
const NEAR: [&str; 3] = ["169.254.7.7", "fd00:ec2::254", "fd20:ce::254"];

/// Runs `test` on a thread in a network namespace of its own; false, with a line, where there can be none.
fn in_own_network(test: impl FnOnce() + Send + 'static) -> bool {
    let thread = std::thread::spawn(move || {
        // SAFETY: changes what this thread sees of the network, and no memory.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            skip!("a network namespace takes root");
        }
        let ip = |words: &str| {
            let ended = Command::new("ip").args(words.split(' ')).status();
            assert!(ended.is_ok_and(|status| status.success()), "ip {words}");
        };
        ip("link set lo up");
        for address in NEAR {
            // Without nodad the kernel may not have finished duplicate address detection when the address is bound.
            let end = if address.contains(':') { "/128 dev lo nodad" } else { "/32 dev lo" };
            ip(&format!("address add {address}{end}"));
        }
        test();
        true
    });
    thread.join().unwrap()
}

/// The addresses of the names here; `asked` is how often the name was asked for before.
fn addresses(name: &str, good: Ipv4Addr, asked: usize) -> Vec<IpAddr> {
    let near = |index: usize| NEAR[index].parse::<IpAddr>().unwrap();
    match name {
        "good.lab" => vec![good.into()],
        "near.lab" => vec![near(0)],
        "mapped.lab" => vec![IpAddr::V6("169.254.7.7".parse::<Ipv4Addr>().unwrap().to_ipv6_mapped())],
        "aws.lab" => vec![near(1)],
        "google.lab" => vec![near(2)],
        "many.lab" => vec![near(0), near(0), "169.254.7.8".parse().unwrap()],
        "mixed.lab" => vec![near(0), good.into()],
        "rebind.lab" if asked == 0 => vec![good.into()],
        "rebind.lab" => vec![near(0)],
        "late.lab" => vec![good.into()],
        _ => Vec::new(),
    }
}

/// A server of names at 127.0.0.1:53 (RFC 1035), until nobody has asked for some time.
fn serve_names(good: Ipv4Addr) {
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    std::thread::spawn(move || {
        let (mut buffer, mut asked) = ([0; 512], Vec::<String>::new());
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let mut answer = buffer[..length].to_vec();
            let mut labels = Vec::new();
            let mut at = 12;
            while answer[at] > 0 {
                let end = at + 1 + usize::from(answer[at]);
                labels.push(String::from_utf8_lossy(&answer[at + 1..end]).into_owned());
                at = end;
            }
            let (name, is_v6) = (labels.join("."), answer[at + 2] == 28);
            let before = asked.iter().filter(|other| **other == name).count();
            let found = addresses(&name, good, before);
            let found: Vec<IpAddr> = found.into_iter().filter(|address| address.is_ipv6() == is_v6).collect();
            // A forwarder that does not reach its own server yet (SERVFAIL), and a name that there is not (NXDOMAIN).
            let code = match name.as_str() {
                "late.lab" if before < MANY => 2,
                "gone.lab" => 3,
                _ => 0,
            };
            asked.push(name);
            answer[2..4].copy_from_slice(&[0x81, 0x80 | code]);
            answer[7] = found.len() as u8;
            for address in found {
                let bytes = match address {
                    IpAddr::V4(v4) => v4.octets().to_vec(),
                    IpAddr::V6(v6) => v6.octets().to_vec(),
                };
                answer.extend([0xc0, 12, 0, if is_v6 { 28 } else { 1 }, 0, 1, 0, 0, 0, 0, 0, bytes.len() as u8]);
                answer.extend(bytes);
            }
            socket.send_to(&answer, from).unwrap();
        }
    });
}

/// Passes all that comes to `listener` on to `to`.
fn pass_on(listener: TcpListener, to: SocketAddr) {
    std::thread::spawn(move || {
        for (client, server) in
            listener.incoming().map_while(|client| Some((client.ok()?, TcpStream::connect(to).ok()?)))
        {
            for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
}

/// A pull by this server of names, with a password.
fn pull(name: &str) -> Result<pull::Image, Failure> {
    let report = Report { quiet: true, ..Report::on_host() };
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store"), false, &report).unwrap();
    let creds = format!("--creds=jane:{PASSWORD}");
    let words = ["--tls-verify=false", "--retry=0", "--retry-delay=1ms", &creds, name].map(String::from);
    let resolver = Arc::new(Resolver::new(&[Ipv4Addr::LOCALHOST.into()], &[]));
    let context = PullContext { resolver, proxies: Proxies::none(), mirrors: Mirrors::default(), keys: Vec::new() };
    pull::image(&parse::parse(&words).unwrap().pull, &store, &context, &report)
}

/// A registry that wants a login, by the challenge for it, and sends elsewhere for blobs where it says so.
fn guarded(challenge_text: String, elsewhere: Option<String>) -> Fake {
    Fake::start(small(), move |_, _| {
        Box::new(move |ask| match (&ask.authorization, &elsewhere) {
            (None, _) => Some(challenge(&challenge_text)),
            (Some(_), Some(to)) if ask.path.contains("/blobs/") => Some(redirect(307, &format!("{to}{}", ask.path))),
            _ => None,
        })
    })
}

fn refused(name: &str, why: &str) {
    let failure = pull(name).map(drop).expect_err(name);
    assert!(failure.what.contains(why), "{name}: {}", failure.what);
    assert!(!failure.what.contains(PASSWORD));
}

/// Promise: no-link-local-names
/// Input: link-local
#[test]
fn no_name_leads_into_the_machines_surroundings() {
    in_own_network(|| {
        let canary = Fake::start(small(), |_, _| Box::new(|_| None));
        let IpAddr::V4(good) = canary.address.ip() else { panic!() };
        serve_names(good);
        // The canary answers, as a whole registry, at the same port of each address.
        let port = canary.address.port();
        let near = NEAR.map(|address| SocketAddr::new(address.parse().unwrap(), port));
        near.iter().for_each(|address| pass_on(TcpListener::bind(address).unwrap(), canary.address));
        let why = ", which is link-local or a cloud's own";
        for name in ["near.lab", "mapped.lab", "aws.lab", "google.lab", "many.lab"] {
            refused(&format!("{name}:{port}/demo"), why);
            let realm = guarded(format!("Bearer realm=\"http://{name}:{port}/token\""), None);
            refused(&realm.image(), why);
            let sends = guarded("Basic realm=\"x\"".into(), Some(format!("http://{name}:{port}")));
            refused(&sends.image(), why);
        }
        assert!(canary.seen().is_empty(), "{:?}", canary.seen());
        // What is written as such an address is refused from a realm and a redirect, and is the user's own to name.
        for address in near {
            let realm = guarded(format!("Bearer realm=\"http://{address}/token\""), None);
            refused(&realm.image(), "which is not safe");
            let sends = guarded("Basic realm=\"x\"".into(), Some(format!("http://{address}")));
            refused(&sends.image(), "redirects without a safe target");
        }
        assert!(canary.seen().is_empty(), "{:?}", canary.seen());
        for address in near {
            pull(&format!("{address}/demo")).map(drop).unwrap();
        }
        assert!(!canary.seen().is_empty(), "the canary is deaf");
    });
}

/// Of a name's addresses the others are taken, and a name that changes its address is looked at each time.
/// Promise: no-link-local-names
/// Input: link-local
#[test]
fn a_name_of_more_than_one_address() {
    in_own_network(|| {
        let registry = Fake::start(small(), |_, _| Box::new(|_| None));
        let canary = Fake::start(small(), |_, _| Box::new(|_| None));
        let IpAddr::V4(good) = registry.address.ip() else { panic!() };
        serve_names(good);
        let port = registry.address.port();
        pass_on(TcpListener::bind((NEAR[0], port)).unwrap(), canary.address);
        for name in ["good.lab", "mixed.lab", "mixed.lab", "rebind.lab"] {
            pull(&format!("{name}:{port}/demo")).map(drop).expect(name);
        }
        assert!(!registry.seen().is_empty());
        refused(&format!("rebind.lab:{port}/demo"), ", which is link-local or a cloud's own");
        assert!(canary.seen().is_empty(), "{:?}", canary.seen());
        pull(&format!("{}:{port}/demo", NEAR[0])).map(drop).unwrap();
        assert!(!canary.seen().is_empty(), "the canary is deaf");
    });
}

/// DNS that does not answer yet is waited for at boot; a name that there is not is told, in words.
/// Promise: absent-registry
#[test]
fn a_name_server_that_comes_later() {
    in_own_network(|| {
        let registry = Fake::start(small(), |_, _| Box::new(|_| None));
        let IpAddr::V4(good) = registry.address.ip() else { panic!() };
        serve_names(good);
        let dir = tempfile::tempdir().unwrap();
        let pull = |name: &str| {
            let image = format!("{name}:{}/demo", registry.address.port());
            let resolver = Resolver::new(&[Ipv4Addr::LOCALHOST.into()], &[]);
            let words = ["--tls-verify=false", "--retry-delay=1ms", &image];
            at_boot(&words, Mirrors::default(), resolver, &dir.path().join("store")).map(drop)
        };
        pull("late.lab").unwrap();
        let failure = pull("gone.lab").unwrap_err();
        assert!(failure.what.contains("gone.lab: no such host name (asked 127.0.0.1)"), "{}", failure.what);
    });
}
