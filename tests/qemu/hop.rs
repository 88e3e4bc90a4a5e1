//! A bad cable between a machine and a network: frames are lost, delayed, duplicated, reordered and cut, by a seed.
//!
//! The machine's end is QEMU's netdev `socket`, a UDP datagram a frame; the other end is a TAP interface of a network
//! namespace. The fate of a direction's N-th frame depends on the seed, the direction and N alone.

use crate::support;
use ocinit::host::qemu::Network;
use ocinit::sys::io::{self, poll, Poll};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

/// The longest delay.
const DELAY_MS: u64 = 200;
/// How long a frame that the next one is to overtake waits for it.
const OVERTAKE_MS: u64 = 300;
/// What is left of a frame that is cut has at least its Ethernet header, which the TAP wants.
const HEADER: usize = 14;
const FRAME_MAX: usize = 1 << 16;
/// Each hop has addresses of its own.
const PORT: u16 = 4711;

/// How many of a hundred frames have each fault, whatever else they have.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub lost: u64,
    pub duplicated: u64,
    pub delayed: u64,
    /// The next frame of the direction goes before.
    pub overtaken: u64,
    /// The end is missing.
    pub cut: u64,
}

/// What happens to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fate {
    copies: usize,
    delay_ms: u64,
    is_overtaken: bool,
    /// How many of its bytes arrive.
    length: usize,
}

/// The fates of one direction's frames.
struct Dice {
    faults: Faults,
    state: u64,
}

impl Dice {
    fn new(faults: Faults, seed: u64, direction: u64) -> Dice {
        Dice { faults, state: seed << 1 | direction }
    }

    /// splitmix64
    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn fate(&mut self, length: usize) -> Fate {
        let Faults { lost, duplicated, delayed, overtaken, cut } = self.faults;
        // As many numbers for each frame, so that its fate does not depend on that of those before.
        let [lost, duplicated, delayed, is_overtaken, cut] =
            [lost, duplicated, delayed, overtaken, cut].map(|percent| self.draw() % 100 < percent);
        let (delay_ms, part) = (1 + self.draw() % DELAY_MS, self.draw() as usize);
        Fate {
            copies: if lost { 0 } else { 1 + usize::from(duplicated) },
            delay_ms: if delayed { delay_ms } else { 0 },
            is_overtaken,
            length: if cut && length > HEADER { HEADER + part % (length - HEADER) } else { length },
        }
    }
}

/// One direction: the frames that are on their way, by the time of their arrival and their number.
struct Way {
    dice: Dice,
    number: u64,
    frames: BTreeMap<(u64, u64), Vec<u8>>,
    /// Of a frame that the next one overtakes.
    held: Option<(u64, u64)>,
}

impl Way {
    fn new(dice: Dice) -> Way {
        Way { dice, number: 0, frames: BTreeMap::new(), held: None }
    }

    /// False where the frame is lost.
    fn enter(&mut self, now_ms: u64, frame: &[u8]) -> bool {
        let fate = self.dice.fate(frame.len());
        let overtaken = self.held.take().and_then(|key| self.frames.remove(&key));
        let mut key = (now_ms + fate.delay_ms, self.number);
        if fate.is_overtaken {
            key.0 = now_ms + OVERTAKE_MS;
        }
        for copy in 0..fate.copies {
            key.1 = self.number;
            self.frames.insert(key, frame[..fate.length].to_vec());
            self.number += 1;
            // A copy stays near the first one.
            if fate.is_overtaken && copy == 0 {
                self.held = Some(key);
            }
        }
        if let Some(frame) = overtaken {
            let at_ms = if fate.copies == 0 || fate.is_overtaken { now_ms } else { key.0 };
            self.frames.insert((at_ms, self.number), frame);
            self.number += 1;
        }
        fate.copies > 0
    }

    /// The next frame that has arrived.
    fn arrived(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        let key = *self.frames.keys().next().filter(|(at_ms, _)| *at_ms <= now_ms)?;
        self.held = self.held.filter(|held| *held != key);
        self.frames.remove(&key)
    }

    fn next_ms(&self) -> Option<u64> {
        self.frames.keys().next().map(|(at_ms, _)| *at_ms)
    }
}

/// How many frames came in from the machine, and from the network; and how many of all were lost.
#[derive(Default)]
struct Counts {
    frames: [AtomicUsize; 2],
    lost: AtomicUsize,
}

/// A cable, until it is dropped.
pub struct Hop {
    /// What the machine's card is connected to.
    pub network: Network,
    counts: Arc<Counts>,
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Hop {
    /// Between a machine and this TAP, which does not block.
    pub fn new(tap: File, faults: Faults, seed: u64) -> Hop {
        let (own, machine) = ((support::loopback(), PORT), (support::loopback(), PORT));
        let socket = UdpSocket::bind(own).unwrap();
        // What anybody else sends is not received.
        socket.connect(machine).unwrap();
        socket.set_nonblocking(true).unwrap();
        let network = format!("socket,udp={}:{PORT},localaddr={}:{PORT}", own.0, machine.0);
        let (end, stop) = io::pipe().unwrap();
        let counts = Arc::new(Counts::default());
        let ways = [0, 1].map(|direction| Way::new(Dice::new(faults, seed, direction)));
        let pump = Pump { socket, tap, end, ways, start: Instant::now(), counts: counts.clone() };
        let thread = Some(std::thread::spawn(move || pump.run()));
        Hop { network: Network::Raw(network), counts, stop: Some(stop), thread }
    }

    /// How many frames have come from the machine and from the network, and how many of all were lost.
    pub fn counts(&self) -> ([usize; 2], usize) {
        let Counts { frames, lost } = &*self.counts;
        ([0, 1].map(|way| frames[way].load(Ordering::Relaxed)), lost.load(Ordering::Relaxed))
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        drop(self.stop.take());
        // What it panicked about is on the console.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Pump {
    socket: UdpSocket,
    tap: File,
    /// Has its end when the hop is dropped.
    end: OwnedFd,
    /// To the network, and to the machine.
    ways: [Way; 2],
    start: Instant,
    counts: Arc<Counts>,
}

impl Pump {
    fn run(mut self) {
        let mut buffer = vec![0; FRAME_MAX];
        loop {
            let now_ms = self.now_ms();
            // An end that takes nothing, as QEMU's before it runs, loses the frame as a cable does.
            while let Some(frame) = self.ways[0].arrived(now_ms) {
                let _ = self.tap.write(&frame);
            }
            while let Some(frame) = self.ways[1].arrived(now_ms) {
                let _ = self.socket.send(&frame);
            }
            let wake_ms = self.ways.iter().filter_map(Way::next_ms).min();
            let timeout_ms = wake_ms.map_or(-1, |wake_ms| wake_ms.saturating_sub(now_ms) as i32);
            let read = |fd| Poll { fd, write: false };
            let fds = [read(self.socket.as_fd()), read(self.tap.as_fd()), read(self.end.as_fd())];
            let ready = poll(&fds, timeout_ms).unwrap();
            if ready & 4 != 0 {
                return;
            }
            while let Ok(length) = self.socket.recv(&mut buffer) {
                self.enter(0, &buffer[..length]);
            }
            while let Ok(length) = self.tap.read(&mut buffer) {
                self.enter(1, &buffer[..length]);
            }
        }
    }

    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn enter(&mut self, way: usize, frame: &[u8]) {
        let now_ms = self.now_ms();
        let is_lost = !self.ways[way].enter(now_ms, frame);
        self.counts.frames[way].fetch_add(1, Ordering::Relaxed);
        self.counts.lost.fetch_add(is_lost.into(), Ordering::Relaxed);
    }
}

#[test]
fn faults_come_as_often_as_was_asked_for() {
    let faults = Faults { lost: 30, duplicated: 10, delayed: 20, overtaken: 5, cut: 2 };
    for (seed, direction) in [(1, 0), (1, 1), (10, 0), (u64::MAX, 1)] {
        let mut dice = Dice::new(faults, seed, direction);
        let fates: Vec<Fate> = (0..20_000).map(|_| dice.fate(1514)).collect();
        let arrived = fates.iter().filter(|fate| fate.copies > 0).count();
        for (name, percent, found, of) in [
            ("lost", 30, 20_000 - arrived, 20_000),
            ("duplicated", 10, fates.iter().filter(|fate| fate.copies == 2).count(), arrived),
            ("delayed", 20, fates.iter().filter(|fate| fate.delay_ms > 0).count(), 20_000),
            ("overtaken", 5, fates.iter().filter(|fate| fate.is_overtaken).count(), 20_000),
            ("cut", 2, fates.iter().filter(|fate| fate.length < 1514).count(), 20_000),
        ] {
            let share = found as f64 * 100.0 / of as f64;
            assert!((share - f64::from(percent)).abs() < 1.0, "seed {seed}, {direction}: {name}: {share} percent");
        }
        assert!(fates.iter().all(|fate| (HEADER..=1514).contains(&fate.length) && fate.delay_ms <= DELAY_MS));
        // A run of losses is as long as chance makes it: none of 30 in a row, and some of 5.
        let runs: Vec<usize> = fates.split(|fate| fate.copies > 0).map(<[Fate]>::len).collect();
        assert!(runs.iter().any(|run| *run >= 5) && runs.iter().all(|run| *run < 30));
        // The same again, whatever the frames' lengths; another way in the other direction.
        let mut same = Dice::new(faults, seed, direction);
        assert!(fates.iter().all(|fate| same.fate(60).copies == fate.copies));
        let mut other = Dice::new(faults, seed, 1 - direction);
        assert!(fates.iter().any(|fate| other.fate(1514).copies != fate.copies));
    }
}

#[test]
fn frames_arrive_in_time_and_overtaken_ones_after_the_next() {
    let always = |faults: Faults| Way::new(Dice::new(faults, 1, 0));
    let arrive = |way: &mut Way, now_ms| std::iter::from_fn(|| way.arrived(now_ms)).collect::<Vec<_>>();
    let mut good = always(Faults::default());
    assert!(good.enter(5, b"one") && good.enter(5, b"two"));
    assert_eq!(arrive(&mut good, 5), [b"one", b"two"]);
    assert_eq!(good.next_ms(), None);
    let mut twice = always(Faults { duplicated: 100, ..Faults::default() });
    assert!(twice.enter(5, b"one"));
    assert_eq!(arrive(&mut twice, 5), [b"one", b"one"]);
    let mut lost = always(Faults { lost: 100, ..Faults::default() });
    assert!(!lost.enter(5, b"one") && lost.next_ms().is_none());
    let mut late = always(Faults { delayed: 100, ..Faults::default() });
    assert!(late.enter(5, b"one"));
    let at_ms = late.next_ms().unwrap();
    assert!((6..=5 + DELAY_MS).contains(&at_ms) && arrive(&mut late, at_ms - 1).is_empty());
    assert_eq!(arrive(&mut late, at_ms), [b"one"]);
    let mut cut = always(Faults { cut: 100, ..Faults::default() });
    assert!(cut.enter(5, &[7; 1514]));
    assert!(arrive(&mut cut, 5)[0].len() < 1514);
    let mut swap = always(Faults { overtaken: 100, ..Faults::default() });
    assert!(swap.enter(5, b"one"));
    assert_eq!(swap.next_ms(), Some(5 + OVERTAKE_MS), "without a next one");
    swap.dice.faults = Faults::default();
    assert!(swap.enter(6, b"two"));
    assert_eq!(arrive(&mut swap, 6), [b"two", b"one"]);
}
