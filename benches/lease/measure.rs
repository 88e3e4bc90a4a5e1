//! The measurement: a cable between two namespaces, a DHCP server behind it, and a client that begins.

use super::netns::{shown, within, Pair};
use super::numbers::median;
use ocinit::net::links;
use ocinit::net::step::LIMITS;
use ocinit::report::Report;
use ocinit::sys::io::{poll, Poll};
use ocinit::sys::socket;
use std::os::fd::AsFd;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The clients, in the order of the report. dhcpcd twice: its check for duplicates takes five seconds (RFC 5227 wants
/// as much), and ours 15 ms; udhcpc has none.
pub const CLIENTS: [&str; 4] = ["ocinit", "udhcpc", "dhcpcd --noarp", "dhcpcd"];
/// RTMGRP_IPV4_ROUTE of rtnetlink(7): notifications of routes.
const ROUTE_EVENTS: u32 = 0x40;
const LIMIT: Duration = Duration::from_secs(30);
/// What [`step`] prints before its milliseconds.
const STEP: &str = "step ms: ";

/// Milliseconds by client.
pub struct Outcome {
    routes_ms: [Vec<f64>; CLIENTS.len()],
    steps_ms: Vec<f64>,
}

impl Outcome {
    /// From the call of the client's program to the default route: median, least, most.
    pub fn route_ms(&self, client: usize) -> (f64, f64, f64) {
        let all = &self.routes_ms[client];
        let (least, most) = all.iter().fold((f64::INFINITY, 0.0f64), |(a, b), ms| (a.min(*ms), b.max(*ms)));
        (median(all.clone()), least, most)
    }

    /// ocinit's network step alone, without the start of a program: the median.
    pub fn step_ms(&self) -> f64 {
        median(self.steps_ms.clone())
    }
}

pub fn run(rounds: u32) -> Result<Outcome, String> {
    let mut outcome = Outcome { routes_ms: Default::default(), steps_ms: Vec::new() };
    for round in 0..=rounds {
        for (index, name) in CLIENTS.iter().enumerate() {
            let (route_ms, said) = once(name, &format!("{round}-{index}")).map_err(|why| format!("{name}: {why}"))?;
            let step_ms = said.lines().find_map(|line| line.strip_prefix(STEP)?.parse::<f64>().ok());
            // The first round warms the caches.
            if round > 0 {
                outcome.routes_ms[index].push(route_ms);
                outcome.steps_ms.extend(step_ms);
            }
        }
        eprintln!("round {round} of {rounds}");
    }
    Ok(outcome)
}

/// One lease: milliseconds from the call to the default route, and what the client said.
fn once(client: &str, name: &str) -> Result<(f64, String), String> {
    let mut lan = Pair::new(name);
    lan.join("eth0", "srv0");
    lan.server.ip(&["address", "add", "10.77.0.1/24", "dev", "srv0"]);
    lan.server.dnsmasq(&["--dhcp-range=10.77.0.50,10.77.0.59,255.255.255.0,2h", "--dhcp-authoritative"]);
    let mut command = command(client, &lan)?;
    let (ready, is_ready) = mpsc::channel();
    let routed = within(&lan.client, move || {
        let events = socket::netlink_route().map_err(|error| error.to_string())?;
        socket::netlink_bind(events.as_fd(), ROUTE_EVENTS).map_err(|error| error.to_string())?;
        ready.send(()).map_err(|error| error.to_string())?;
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            poll(&[Poll { fd: events.as_fd(), write: false }], 1000).map_err(|error| error.to_string())?;
            let at = Instant::now();
            while socket::receive(events.as_fd(), &mut [0; 4096]).is_ok() {}
            let routes = std::fs::read_to_string("/proc/thread-self/net/route").map_err(|error| error.to_string())?;
            // INTERFACE DESTINATION GATEWAY …
            if routes.lines().any(|line| line.split('\t').nth(1) == Some("00000000")) {
                return Ok(at);
            }
        }
        Err(format!("no default route in {} s", LIMIT.as_secs()))
    });
    is_ready.recv().map_err(|_| "no notifications of routes")?;
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    let at: Result<Instant, String> = routed.join().map_err(|_| "the observer ended")?;
    at.map(|at| (at.duration_since(start).as_secs_f64() * 1000.0, said.clone())).map_err(|why| format!("{why}: {said}"))
}

/// A client that ends when it has a lease. Nothing that it keeps survives it.
fn command(client: &str, lan: &Pair) -> Result<Command, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let script = std::fs::canonicalize("benches/peer/udhcpc.sh").map_err(|error| error.to_string())?;
    let (own, script) = (own.to_string_lossy(), script.to_string_lossy());
    let dhcpcd = "mount -t tmpfs none /var/lib && mount -t tmpfs none /run && exec dhcpcd -4 -1 -f /dev/null -c";
    let line = match client {
        "ocinit" => format!("exec {own}"),
        // Its script writes a resolv.conf, which would be the host's.
        "udhcpc" => format!(
            "mount -t tmpfs none /etc && ip link set eth0 up && exec busybox udhcpc -i eth0 -f -n -q -s {script}"
        ),
        "dhcpcd" => format!("{dhcpcd} /bin/true eth0"),
        _ => format!("{dhcpcd} /bin/true -A eth0"),
    };
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &lan.client, "unshare", "--mount", "sh", "-c", &line]);
    command.env("OCINIT_TEST_ROLE", "client");
    Ok(command)
}

/// The client ocinit: its network step, as its boot calls it.
pub fn step() -> ExitCode {
    let report = Report { sections: false, times: false, quiet: true, live: false };
    let start = Instant::now();
    match links::up(&LIMITS, &report) {
        Ok(_) => {
            println!("{STEP}{}", start.elapsed().as_secs_f64() * 1000.0);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{}\n{}", failure.what, shown(&["link"]));
            ExitCode::FAILURE
        }
    }
}
