//! The table of faults: what goes wrong, how often, and how the pull must end.

use crate::support::fake::{body, challenge, header, redirect, status, stream, Ask, Blobs};
use crate::support::relay::Fault as Wire;
use crate::{large, Trial};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tiny_http::ResponseBox;
use End::{Done, Refused};
use Fault::{Answer, Cut};
use What::{Any, Layer, Manifest};

/// Which requests have the fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Manifest,
    Layer,
    Any,
}

enum Fault {
    /// The first so many requests are answered like this.
    Answer(What, usize, fn(&Ask, &Blobs) -> ResponseBox),
    /// The first connections end like this.
    Cut(&'static [Wire]),
}

enum End {
    /// With so many requests more than without the fault, at most.
    Done(usize),
    /// With these words, after so many requests at most.
    Refused(&'static str, usize),
}

struct Scenario {
    name: &'static str,
    flags: &'static [&'static str],
    fault: Fault,
    end: End,
}

const fn row(name: &'static str, fault: Fault, end: End) -> Scenario {
    Scenario { name, flags: &[], fault, end }
}

const ALWAYS: usize = usize::MAX;
const MIB: u64 = 1 << 20;
const IMAGE_MIB: usize = 3;

const SCENARIOS: &[Scenario] = &[
    row("no fault", Answer(Any, 0, |_, _| status(500)), Done(0)),
    row("connections refused, twice", Cut(&[Wire::Reset(0), Wire::Reset(0)]), Done(0)),
    row("closed in the first head", Cut(&[Wire::Close(10)]), Done(1)),
    row("reset in the first head", Cut(&[Wire::Reset(10)]), Done(1)),
    row("closed in mid-layer", Cut(&[Wire::Close(MIB)]), Done(1)),
    row("reset in mid-layer", Cut(&[Wire::Reset(MIB)]), Done(1)),
    row("reset in mid-layer, then refused", Cut(&[Wire::Reset(MIB), Wire::Reset(0), Wire::Reset(0)]), Done(1)),
    row("silent in the first head", Cut(&[Wire::Stall(10)]), Done(1)),
    row("silent in mid-layer", Cut(&[Wire::Stall(MIB)]), Done(1)),
    row("a head that comes byte by byte", Cut(&[Wire::Drip(10)]), Done(1)),
    Scenario {
        name: "silent, and --retry=0",
        flags: &["--retry=0"],
        fault: Cut(&[Wire::Stall(0), Wire::Stall(0)]),
        end: Refused("no answer in time", 0),
    },
    Scenario {
        name: "refused, and --retry=0",
        flags: &["--retry=0"],
        fault: Cut(&[Wire::Reset(0), Wire::Reset(0)]),
        end: Refused("GET http://", 0),
    },
    // A connection that brought something is followed by another: no failure is counted.
    Scenario {
        name: "reset in mid-layer, and --retry=0",
        flags: &["--retry=0"],
        fault: Cut(&[Wire::Reset(MIB)]),
        end: Done(1),
    },
    row("500 for the layer, twice", Answer(Layer, 2, |_, _| status(500)), Done(2)),
    row("502, then 504", Answer(Manifest, 2, |ask, _| status(502 + 2 * ask.number as u16)), Done(2)),
    row("503 for ever", Answer(Manifest, ALWAYS, |_, _| status(503)), Refused("(503)", 3)),
    row("429 without a time", Answer(Manifest, 1, |_, _| status(429)), Done(1)),
    row("503, Retry-After: 0", Answer(Any, 2, |_, _| later("0")), Done(2)),
    row("503, Retry-After in the past", Answer(Any, 2, |_, _| later("Sun, 06 Nov 1994 08:49:37 GMT")), Done(2)),
    row("503, Retry-After nonsense", Answer(Any, 2, |_, _| later("-1, soon")), Done(2)),
    row("403", Answer(Manifest, ALWAYS, |_, _| status(403)), Refused("(403)", 2)),
    row("404", Answer(Manifest, ALWAYS, |_, _| status(404)), Refused("(404)", 2)),
    row("403 for the layer", Answer(Layer, ALWAYS, |_, _| status(403)), Refused("(403)", 4)),
    row("401 without a challenge", Answer(Any, ALWAYS, |_, _| status(401)), Refused("(401)", 2)),
    row("401 of an unknown kind", Answer(Any, ALWAYS, |_, _| challenge("Negotiate")), Refused("(401)", 2)),
    row("204", Answer(Manifest, ALWAYS, |_, _| status(204)), Refused("(204)", 1)),
    row("a page instead of a manifest", Answer(Manifest, ALWAYS, |_, _| body("<html>")), Refused("manifest: ", 1)),
    row("an endless manifest", Answer(Manifest, ALWAYS, |_, _| stream(std::io::repeat(b' '))), Refused("4 MiB", 1)),
    row(
        "an endless layer",
        Answer(Layer, ALWAYS, |_, _| stream(std::io::repeat(0))),
        Refused("longer than its descriptor", 5),
    ),
    row("a part that nobody asked for", Answer(Layer, ALWAYS, |_, _| status(206)), Refused("layer 1/1", 5)),
    row(
        "a redirect to nowhere",
        Answer(Layer, ALWAYS, |_, _| status(307)),
        Refused("redirects without a safe target", 3),
    ),
    row(
        "a redirect to a file",
        Answer(Layer, ALWAYS, |_, _| redirect(307, "file:///etc/passwd")),
        Refused("redirects without a safe target", 3),
    ),
    row(
        "a redirect in a circle",
        Answer(Layer, ALWAYS, |ask, _| redirect(302, &ask.path)),
        Refused("redirects more than 9 times", 2 + 10),
    ),
];

fn later(when: &str) -> ResponseBox {
    status(503).with_header(header("retry-after", when))
}

impl Scenario {
    fn trial(&'static self, number: usize) -> Option<Trial> {
        let name = format!("scenario-{number}");
        let fault = |_: &str, _: &Blobs| -> crate::Fault {
            let Answer(what, times, answer) = self.fault else { return Box::new(|_| None) };
            let (had, blobs) = (AtomicUsize::new(0), large(IMAGE_MIB));
            Box::new(move |ask| {
                let is_it = match what {
                    Manifest => ask.path.contains("/manifests/"),
                    Layer => blobs.is_layer(&ask.path),
                    Any => true,
                };
                (is_it && had.fetch_add(1, Ordering::SeqCst) < times).then(|| answer(ask, &blobs))
            })
        };
        Trial::by(&name, large(IMAGE_MIB), fault, |number| match self.fault {
            Cut(faults) => faults.get(number).copied().unwrap_or(Wire::None),
            Answer(..) => Wire::None,
        })
    }

    /// What is wrong with how it went, if something is.
    fn run(&'static self, number: usize) -> Option<String> {
        let start = Instant::now();
        let trial = self.trial(number)?;
        let pulled = trial.pull(self.flags);
        let (requests, down) = (trial.fake.seen().len(), trial.relay.counts().down);
        let seconds = start.elapsed().as_secs();
        let (outcome, good) = match self.end {
            Done(more) => {
                // Where the registry is good in the end, nothing comes twice but heads and documents.
                let bytes_max = (IMAGE_MIB as u64 * MIB) * 105 / 100;
                ("done".into(), pulled.code == 0 && requests <= 3 + more && down <= bytes_max)
            }
            Refused(words, most) => {
                let good = pulled.code == 125 && pulled.text.contains(words) && requests <= most;
                (format!("refused: '{words}'"), good && trial.client.stored("layers").is_empty())
            }
        };
        trial.tell(self.name, &if good { format!("{outcome}, {seconds} s") } else { "NOT AS EXPECTED".into() });
        (!good).then(|| format!("{}: {requests} requests, {down} bytes, {}: {}", self.name, pulled.code, pulled.text))
    }
}

/// All at once, and by its name before other tests: some wait for a limit of half a minute.
/// Promise: fault-table
#[test]
fn every_fault_ends_as_it_must() {
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let run = |(number, scenario): (usize, &'static Scenario)| scope.spawn(move || scenario.run(number));
        let running: Vec<_> = SCENARIOS.iter().enumerate().map(run).collect();
        running.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
