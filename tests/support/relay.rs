//! A TCP relay in front of any server, which makes faults of the connection and counts bytes.

use ocinit::sys::io::{poll, Poll};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};

/// What happens to a connection after this number of bytes of answers.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    None,
    /// RST; after 0 bytes the connection is refused.
    Reset(u64),
    /// FIN, although the answer announced more.
    Close(u64),
    /// Nothing more is sent, and the connection stays open.
    Stall(u64),
    /// The rest comes byte by byte, two a second.
    Drip(u64),
}

/// What has passed so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub connections: usize,
    /// Bytes of requests, and of answers.
    pub up: u64,
    pub down: u64,
    /// Connections that had their fault.
    pub faults: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    Closing,
    Closed,
    Gone,
}

struct State {
    counts: Counts,
    gate: Gate,
    open: Vec<Weak<TcpStream>>,
}

struct Shared {
    upstream: SocketAddr,
    /// The server speaks no TLS and closes connections that begin with it; tiny_http would wait.
    is_plain: bool,
    plan: Box<dyn Fn(usize) -> Fault + Send + Sync>,
    state: Mutex<State>,
    changed: Condvar,
}

pub struct Relay {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Relay {
    /// A relay to `upstream`; `plan` gives the fault of each connection by its number.
    pub fn start(upstream: SocketAddr, plan: impl Fn(usize) -> Fault + Send + Sync + 'static) -> Relay {
        Relay::before(upstream, false, Box::new(plan))
    }

    /// A relay to a server that closes TLS connections.
    pub fn plain(upstream: SocketAddr, plan: impl Fn(usize) -> Fault + Send + Sync + 'static) -> Relay {
        Relay::before(upstream, true, Box::new(plan))
    }

    fn before(upstream: SocketAddr, is_plain: bool, plan: Box<dyn Fn(usize) -> Fault + Send + Sync>) -> Relay {
        let listener = TcpListener::bind((super::loopback(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { counts: Counts::default(), gate: Gate::Open, open: Vec::new() };
        let state = Mutex::new(state);
        let shared = Arc::new(Shared { upstream, is_plain, plan, state, changed: Condvar::new() });
        let own = shared.clone();
        std::thread::spawn(move || own.listen(listener));
        Relay { address, shared }
    }

    /// The first connections have these faults, the later ones none.
    pub fn with_faults(upstream: SocketAddr, faults: &'static [Fault]) -> Relay {
        Relay::start(upstream, |number| faults.get(number).copied().unwrap_or(Fault::None))
    }

    pub fn counts(&self) -> Counts {
        self.shared.lock().counts
    }

    /// Returns when `enough` holds.
    pub fn until(&self, enough: impl Fn(&Counts) -> bool) {
        let is_early = |state: &mut State| !enough(&state.counts);
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), super::PATIENCE, is_early);
        let (state, waited) = waited.unwrap();
        assert!(!waited.timed_out(), "never: {:?}", state.counts);
    }

    /// Stops listening, and closes all connections.
    pub fn close(&self) {
        self.set(Gate::Closing);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        drop(self.shared.changed.wait_while(self.shared.lock(), |state| state.gate == Gate::Closing).unwrap());
    }

    /// Listens again, at the same address: no other program takes ports of that.
    pub fn open(&self) {
        self.set(Gate::Open);
    }

    fn set(&self, gate: Gate) {
        self.shared.lock().gate = gate;
        self.shared.changed.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.set(Gate::Gone);
        let _ = TcpStream::connect(self.address);
        self.shared.cut();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.lock().counts);
        self.changed.notify_all();
    }

    fn cut(&self) {
        for stream in self.lock().open.drain(..).filter_map(|stream| stream.upgrade()) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    fn listen(self: Arc<Shared>, mut listener: TcpListener) {
        let address = listener.local_addr().unwrap();
        loop {
            let accepted = listener.accept();
            let gate = self.lock().gate;
            match (gate, accepted) {
                (Gate::Open, Ok((stream, _))) => self.clone().accept(stream),
                (Gate::Open, Err(_)) | (Gate::Gone, _) => return,
                (Gate::Closing | Gate::Closed, accepted) => {
                    drop((accepted, listener));
                    self.cut();
                    self.lock().gate = Gate::Closed;
                    self.changed.notify_all();
                    let state = self.changed.wait_while(self.lock(), |state| state.gate == Gate::Closed).unwrap();
                    if state.gate == Gate::Gone {
                        return;
                    }
                    listener = TcpListener::bind(address).unwrap();
                }
            }
        }
    }

    fn accept(self: Arc<Shared>, client: TcpStream) {
        let client = Arc::new(client);
        let mut number = 0;
        self.count(|counts| {
            number = counts.connections;
            counts.connections += 1;
        });
        self.lock().open.push(Arc::downgrade(&client));
        let fault = (self.plan)(number);
        std::thread::spawn(move || {
            if let Some(server) = TcpStream::connect(self.upstream).ok().filter(|_| !matches!(fault, Fault::Reset(0))) {
                self.pass(&client, &server, fault);
            }
            if matches!(fault, Fault::Reset(_)) {
                self.reset(&client);
            }
        });
    }

    /// Passes bytes in both directions until a side ends or the fault happens.
    fn pass(&self, client: &TcpStream, server: &TcpStream, fault: Fault) {
        let mut left = match fault {
            Fault::None => u64::MAX,
            Fault::Reset(bytes) | Fault::Close(bytes) | Fault::Stall(bytes) | Fault::Drip(bytes) => bytes,
        };
        let mut buffer = vec![0; 64 << 10];
        // RFC 8446, section 5.1: a handshake.
        if self.is_plain && client.peek(&mut buffer[..1]).is_ok() && buffer[0] == 22 {
            return;
        }
        loop {
            if left == 0 {
                self.count(|counts| counts.faults += 1);
                return match fault {
                    Fault::Stall(_) => hold(client),
                    Fault::Drip(_) => self.drip(client, server),
                    _ => (),
                };
            }
            let ready = wait(&[client, server], -1);
            if ready & 1 != 0 {
                match copy(client, server, &mut buffer) {
                    0 => return,
                    count => self.count(|counts| counts.up += count),
                }
            }
            if ready & 2 != 0 {
                let most = left.min(buffer.len() as u64) as usize;
                match copy(server, client, &mut buffer[..most]) {
                    0 => return,
                    count => {
                        left -= count;
                        self.count(|counts| counts.down += count);
                    }
                }
            }
        }
    }

    fn drip(&self, client: &TcpStream, server: &TcpStream) {
        // The client's end, or the time for the next byte.
        while wait(&[client], 500) == 0 && copy(server, client, &mut [0]) > 0 {
            self.count(|counts| counts.down += 1);
        }
    }

    /// The next close is an RST. All that was passed on has left by then: what
    /// is counted is what the client can read.
    fn reset(&self, client: &TcpStream) {
        while unsent(client) > 0 && wait(&[client], 0) == 0 {
            std::thread::yield_now();
        }
        let now = libc::linger { l_onoff: 1, l_linger: 0 };
        let size = size_of::<libc::linger>() as libc::socklen_t;
        // SAFETY: the structure is ours, and has the size that is told.
        unsafe {
            libc::setsockopt(client.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const now).cast(), size)
        };
    }
}

/// Bytes that the kernel still has to send; on loopback, what is sent has arrived.
fn unsent(client: &TcpStream) -> i32 {
    /// linux/sockios.h
    const SIOCOUTQNSD: libc::c_ulong = 0x894b;
    let mut count = 0;
    // SAFETY: an integer of ours is written.
    unsafe { libc::ioctl(client.as_raw_fd(), SIOCOUTQNSD, &mut count) };
    count
}

/// Until the client ends it.
fn hold(client: &TcpStream) {
    while copy(client, &mut std::io::sink(), &mut [0; 1024]) > 0 {}
}

/// The bits of those that have something to read.
fn wait(streams: &[&TcpStream], timeout_ms: i32) -> u32 {
    let wanted: Vec<Poll> = streams.iter().map(|stream| Poll { fd: stream.as_fd(), write: false }).collect();
    poll(&wanted, timeout_ms).unwrap()
}

/// One read and its write; 0 at the end of either side.
fn copy(mut from: &TcpStream, mut to: impl Write, buffer: &mut [u8]) -> u64 {
    match from.read(buffer) {
        Ok(count) if to.write_all(&buffer[..count]).is_ok() => count as u64,
        _ => 0,
    }
}
