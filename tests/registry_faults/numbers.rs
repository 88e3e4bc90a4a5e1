//! Promises with numbers: bytes, requests, waits.

use crate::support::fake::{good, header, status};
use crate::support::relay::Fault as Wire;
use crate::{large, Trial};
use ocinit::image::pure::retry::{Failure, Next, Policy, Retry};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const MIB: u64 = 1 << 20;

/// Promise: resumed-layers
#[test]
fn a_reset_every_mebibyte_costs_nothing_twice() {
    let Some(trial) = Trial::by("resets", large(256), good(), |_| Wire::Reset(MIB)) else { return };
    trial.done(&[]);
    let counts = trial.relay.counts();
    trial.tell("256 MiB, reset every MiB", &format!("done, {} resets", counts.faults));
    assert!(counts.faults >= 200, "{counts:?}");
    assert!(counts.down <= 256 * MIB * 105 / 100, "{counts:?}");
    // Each part is where the one before it ended, so that all of them are the layer.
    assert_eq!(trial.client.stored("layers").len(), 1);
}

/// How often we ask until `ms` are over, by our own habit.
fn tries_in(ms: u64) -> usize {
    let mut retry = Retry::new(Policy::default(), false, 0);
    retry.progress();
    let (mut now_ms, mut tries) = (0, 0);
    while now_ms < ms {
        let Next::Wait { ms } = retry.next(now_ms, &Failure::default(), 0) else { panic!("gives up") };
        (now_ms, tries) = (now_ms + ms, tries + 1);
    }
    tries
}

/// The waits are not those of life, but as many.
/// Promise: registry-away
#[test]
fn a_registry_that_is_gone_for_a_minute_in_mid_pull() {
    let gone = tries_in(60_000);
    let plan = move |number| match number {
        0 => Wire::Reset(MIB),
        number if number <= gone => Wire::Reset(0),
        _ => Wire::None,
    };
    let Some(trial) = Trial::by("gone", large(8), good(), plan) else { return };
    trial.done(&[]);
    trial.tell(&format!("gone for {gone} tries (60 s) in mid-layer"), "done");
    let counts = trial.relay.counts();
    assert!(counts.connections >= gone + 2 && counts.down <= 8 * MIB * 105 / 100, "{counts:?}");
}

/// Promise: registry-away
#[test]
fn a_registry_whose_port_is_closed_in_mid_pull() {
    let plan = |number| if number == 0 { Wire::Stall(MIB) } else { Wire::None };
    let Some(trial) = Trial::by("closed", large(8), good(), plan) else { return };
    let name = trial.image();
    let words = ["--tls-verify=false", "--retry-delay=50ms", &name];
    let mut child = trial.client.command(&words).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    trial.relay.until(|counts| counts.faults == 1);
    trial.relay.close();
    // It says that nobody answers; then somebody does.
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let said = lines.find(|line| line.contains("refused"));
    trial.relay.open();
    let rest: Vec<String> = lines.collect();
    assert!(child.wait().unwrap().success(), "{said:?} {rest:?}");
    trial.tell("the port closed in mid-layer, and opened", "done");
    assert!(said.is_some() && trial.relay.counts().down <= 8 * MIB * 105 / 100);
}

/// The second that `seconds` after 1970 is, as RFC 9110, section 5.6.7 writes it.
fn http_date(seconds: u64) -> String {
    let mut date = Command::new("date");
    date.env("LC_ALL", "C").args(["-u", "-d", &format!("@{seconds}"), "+%a, %d %b %Y %H:%M:%S GMT"]);
    String::from_utf8(date.output().unwrap().stdout).unwrap().trim_end().into()
}

/// Promise: registry-away
/// Input: busy-registry
#[test]
fn ten_times_busy_and_every_wait_is_honoured() {
    const BUSY: usize = 10;
    // When the next request may come.
    let promised = Arc::new(Mutex::new(Vec::new()));
    let promises = promised.clone();
    let trial = Trial::new("busy", large(1), move |_, _| {
        Box::new(move |ask| {
            if ask.number >= BUSY {
                return None;
            }
            let (now, clock) = (SystemTime::now().duration_since(UNIX_EPOCH).unwrap(), Instant::now());
            let next = Duration::from_secs(now.as_secs() + 1);
            let (text, wait) = match ask.number % 2 {
                0 => ("1".into(), Duration::from_secs(1)),
                _ => (http_date(next.as_secs()), next - now),
            };
            promises.lock().unwrap().push(clock + wait);
            Some(status(429).with_header(header("retry-after", &text)))
        })
    });
    let Some(trial) = trial else { return };
    trial.done(&[]);
    trial.tell("429 ten times, Retry-After in both forms", "done");
    let promised = promised.lock().unwrap();
    assert_eq!(promised.len(), BUSY);
    for (number, (ask, promise)) in trial.fake.seen().iter().skip(1).zip(promised.iter()).enumerate() {
        assert!(ask.at >= *promise, "request {} came {:?} too early", number + 1, *promise - ask.at);
    }
}

/// Promise: one-head-request
#[test]
fn a_cached_image_costs_one_head_request() {
    let Some(trial) = Trial::new("cached", large(1), good()) else { return };
    trial.done(&[]);
    let (before, first) = (trial.relay.counts(), trial.fake.seen().len());
    trial.done(&[]);
    let after = trial.relay.counts();
    let wire = after.up + after.down - before.up - before.down;
    let asked = trial.fake.seen().split_off(first);
    crate::table::tell("a cached image, both directions", asked.len(), wire, "done");
    assert!(asked.len() == 1 && asked[0].is_head && asked[0].path.starts_with("/v2/demo/manifests/"), "{asked:?}");
    assert!(wire <= 4 << 10, "{wire} bytes");
}
