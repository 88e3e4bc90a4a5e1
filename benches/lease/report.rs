//! The results for people (Markdown, bars, a table on the console) and for programs (JSON).

use super::draw::{bars, Bar};
use super::measure::{Outcome, CLIENTS};
use super::numbers::{self, rounded, short};
use std::fmt::Write;

/// The promise: on a quiet network, with a server that answers at once.
pub const STEP_MAX_MS: f64 = 20.0;

fn ratio(outcome: &Outcome, client: usize) -> f64 {
    outcome.route_ms(client).0 / outcome.route_ms(0).0
}

/// The table for the console.
pub fn table(outcome: &Outcome) -> String {
    let mut text = format!("{:16} {:>14} {:>12}\n", "", "route, ms", "over ocinit");
    for (client, name) in CLIENTS.iter().enumerate() {
        let ratio = short(ratio(outcome, client));
        let _ = writeln!(text, "{name:16} {:>14.1} {ratio:>11}×", outcome.route_ms(client).0);
    }
    let _ = writeln!(text, "ocinit's network step alone: {:.1} ms", outcome.step_ms());
    text
}

pub fn markdown(outcome: &Outcome, rounds: u32, load: f64) -> String {
    let mut text = String::from("# From a call to a default route by DHCP\n\n![bars](lease.svg)\n\n");
    let _ = writeln!(
        text,
        "Written by `./dev bench lease`: medians of {rounds} rounds, in which the clients take turns.\n\n\
         | | default route, ms | least … most | over ocinit |\n|---|---:|---:|---:|"
    );
    for (client, name) in CLIENTS.iter().enumerate() {
        let (ms, least, most) = outcome.route_ms(client);
        let _ = writeln!(text, "| {name} | {ms:.1} | {least:.1} … {most:.1} | {}× |", short(ratio(outcome, client)));
    }
    let _ = write!(
        text,
        "\nocinit's network step alone, as its boot calls it, is **{:.1} ms**; at most {STEP_MAX_MS} are promised.\n\n\
         ## How\n\
         - Machine: {}; load {load:.1}. {}.\n\
         - Each lease in two new network namespaces, joined by a cable, with a new {} that answers at once.\n\
         - From the start of a process to the kernel's notification of the default route. ocinit's is a program \
         without optimization that calls the network step of the boot, with all that it does there: it raises the \
         link, listens for IPv6, and checks for 15 ms that nobody has the address. udhcpc checks nothing; dhcpcd \
         checks for five seconds, and not with `--noarp`. All start without knowledge of an earlier lease.\n",
        outcome.step_ms(),
        numbers::processors(),
        versions(),
        numbers::version_of("dnsmasq").split("  ").next().unwrap_or_default(),
    );
    text
}

fn versions() -> String {
    let busybox = numbers::version_of("busybox");
    let busybox = if busybox == "unknown" { numbers::first_line("busybox", &[]) } else { busybox };
    format!("{}, {}", busybox.split(" (").next().unwrap_or_default(), numbers::version_of("dhcpcd"))
}

pub fn svg(outcome: &Outcome) -> String {
    let all: Vec<Bar> = (CLIENTS.iter().enumerate())
        .map(|(client, name)| Bar { name, value: outcome.route_ms(client).0, ratio: ratio(outcome, client) })
        .collect();
    let title = "A default route by DHCP: ocinit, udhcpc and dhcpcd";
    let heading = "From a call to a default route by DHCP";
    bars(title, heading, &format!("{}; median milliseconds", numbers::processors()), &all)
}

/// The results for programs.
pub fn json(outcome: &Outcome, rounds: u32, load: f64) -> String {
    let mut map = serde_json::Map::new();
    for (client, name) in CLIENTS.iter().enumerate() {
        let key = name.replace(" --", "_");
        map.insert(format!("{key}_route_ms"), rounded(outcome.route_ms(client).0).into());
        if client > 0 {
            map.insert(format!("ratio_{key}"), rounded(ratio(outcome, client)).into());
        }
    }
    map.insert("step_ms".into(), rounded(outcome.step_ms()).into());
    map.insert("rounds".into(), rounds.into());
    map.insert("load".into(), rounded(load).into());
    map.insert("versions".into(), versions().into());
    numbers::json(map)
}
