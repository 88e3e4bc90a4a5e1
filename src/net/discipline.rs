//! The clock while containers run: it is compared with the time servers again and again.

use crate::net::dns::Resolver;
use crate::net::ntp;
use crate::net::pure::sntp::correct::{correction, Correction};
use crate::net::random::random;
use crate::report::Report;
use crate::sys::process::{self, Pid};
use crate::sys::{io, machine, signal};
use std::net::IpAddr;

/// Between two questions: 17 to 30 minutes, so that the machines of a lab do not ask at once. RFC 5905 has 2^10 s as
/// the usual longest interval.
const PAUSE_MS: u64 = 1_024_000;
const SPREAD_MS: u64 = 776_000;

/// Who is asked.
pub struct Peers<'a> {
    pub peer: &'a str,
    pub of_lease: &'a [IpAddr],
    pub resolver: &'a Resolver,
}

/// A process that keeps the clock right until it is dropped. It is no thread, since the boot forks. It sees the name
/// servers of the time when it was started: where they change, it has to be started again.
pub struct Discipline(Pid);

impl Discipline {
    /// Starts it; None, with a warning, where there is no process for it. `each_time` is called after each question.
    pub fn start(peers: &Peers, each_time: &dyn Fn(), report: &Report) -> Option<Discipline> {
        match process::fork(&mut || run(peers, each_time, report)) {
            Ok(pid) => Some(Discipline(pid)),
            Err(error) => {
                report.warn("clock", format_args!("is not kept right while containers run: {error}"));
                None
            }
        }
    }
}

impl Drop for Discipline {
    fn drop(&mut self) {
        // A container in the host's PID namespace may have ended it.
        let _ = process::kill(self.0, signal::SIGKILL);
        let _ = process::wait(self.0);
    }
}

fn run(peers: &Peers, each_time: &dyn Fn(), report: &Report) -> i32 {
    let _ = process::die_with_parent();
    let mut told = false;
    loop {
        let pause_ms = PAUSE_MS + random(PAUSE_MS) % SPREAD_MS;
        if io::poll(&[], pause_ms as i32).is_err() {
            return 0;
        }
        match compare(peers, report) {
            Ok(()) => told = false,
            // Once, until it is well again: a server may be gone for the rest of a long run.
            Err(reason) if !told => {
                report.warn("clock", format_args!("{reason}; the clock goes on by itself"));
                told = true;
            }
            Err(_) => {}
        }
        each_time();
    }
}

/// Asks for the time, and corrects the clock.
fn compare(peers: &Peers, report: &Report) -> Result<(), String> {
    let answer = ntp::ask_peer(peers.peer, peers.of_lease, peers.resolver, true)?;
    let time = answer.now();
    let behind_ms = time.minus_ms(ntp::now());
    let corrected = match correction(behind_ms, answer.delay_ms) {
        Correction::None => return Ok(()),
        Correction::Slew { ms } => machine::slew(ms),
        Correction::Step => ntp::step(time).map(|()| {
            let (time, off, server) = (time.text(), ntp::seconds(behind_ms), answer.server);
            report.line("clock", format_args!("{time} UTC by {server}, was off by {off} and is set again"));
        }),
    };
    corrected.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: clock-kept
    #[test]
    fn it_ends_when_it_is_dropped() {
        let resolver = Resolver::default();
        let peers = Peers { peer: "127.0.0.1", of_lease: &[], resolver: &resolver };
        let running = Discipline::start(&peers, &|| (), &Report::on_host()).unwrap();
        let pid = running.0;
        assert!(process::kill(pid, 0).is_ok());
        drop(running);
        assert!(process::kill(pid, 0).is_err());
    }
}
