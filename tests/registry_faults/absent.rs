//! A registry that is not there yet: a lab powers on as a whole. At boot it is waited for, unless the image is stored.
//! `--retry-delay=1ms` makes the waits short, and leaves their number to the two minutes.

use crate::support::fake::{good, status, Blobs, Fake};
use crate::support::relay::{Fault, Relay};
use crate::{small, Lab};
use ocinit::container::pure::spec::parse;
use ocinit::image::pull::{self, PullContext};
use ocinit::image::pure::mirror::Mirrors;
use ocinit::net::dns::Resolver;
use ocinit::net::pure::proxy::Proxies;
use ocinit::report::{Failure, Report};
use ocinit::store::layers::Store;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};

/// More tries than there are without patience.
const MANY: usize = 25;

/// A pull as on the console of a boot.
pub fn at_boot(words: &[&str], mirrors: Mirrors, resolver: Resolver, store: &Path) -> Result<pull::Image, Failure> {
    pull_by(
        Report { quiet: true, ..Report::at_boot() },
        words,
        PullContext { resolver: Arc::new(resolver), proxies: Proxies::none(), mirrors, keys: Vec::new() },
        store,
    )
}

fn pull_by(report: Report, words: &[&str], context: PullContext, store: &Path) -> Result<pull::Image, Failure> {
    let store = Store::open(store, false, &report).unwrap();
    let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
    pull::image(&parse::parse(&words).unwrap().pull, &store, &context, &report)
}

fn boot(words: &[&str], store: &Path) -> Result<pull::Image, Failure> {
    at_boot(words, Mirrors::default(), Resolver::from_host(), store)
}

const PLAIN: &str = "--tls-verify=false";
const SOON: &str = "--retry-delay=1ms";

/// The kinds of absence that a server or its proxy has, and a host's command line, where a person waits.
/// Promise: absent-registry
#[test]
fn a_registry_that_comes_later_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    for (name, fault) in [("refused", Fault::Reset(0)), ("cut", Fault::Close(0))] {
        let fake = Fake::start(small(), good());
        // Each try is one of http and one of https.
        let plan = move |number: usize| if number < 2 * MANY { fault } else { Fault::None };
        let relay = Relay::plain(fake.address, plan);
        let image = format!("{}/demo", relay.address);
        boot(&[PLAIN, SOON, &image], &dir.path().join(name)).map(drop).unwrap();
        assert!(relay.counts().connections > 2 * MANY, "{name}: {:?}", relay.counts());
    }
    for code in [502, 503, 504] {
        let lab = Lab::start(move |_, _| Box::new(move |ask| (ask.number < MANY).then(|| status(code))));
        boot(&[PLAIN, SOON, &lab.fake.image()], &dir.path().join(code.to_string())).map(drop).unwrap();
        assert!(lab.fake.seen().len() > MANY);
        // On a host it is told after three tries.
        let lab = Lab::start(move |_, _| Box::new(move |_| Some(status(code))));
        let report = Report { quiet: true, ..Report::on_host() };
        let context = PullContext {
            resolver: Arc::new(Resolver::from_host()),
            proxies: Proxies::none(),
            mirrors: Mirrors::default(),
            keys: Vec::new(),
        };
        let failure = pull_by(report, &[PLAIN, SOON, &lab.fake.image()], context, &dir.path().join("host"));
        assert!(failure.is_err() && lab.fake.seen().len() == 3);
    }
}

/// The benign twins: what a server answers that is there is told after three tries, or at once.
/// Promise: absent-registry
#[test]
fn a_registry_that_answers_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    for (code, tries) in [(404, 3), (403, 3), (400, 2), (500, 3), (501, 1)] {
        let lab = Lab::start(move |_, _| Box::new(move |_| Some(status(code))));
        let failure = boot(&[PLAIN, SOON, &lab.fake.image()], &dir.path().join("store")).map(drop).unwrap_err();
        assert!(failure.what.contains(&format!("({code})")), "{}", failure.what);
        assert!(lab.fake.seen().len() <= tries, "{code}: {:?}", lab.fake.seen().len());
    }
}

/// Nobody listens at all (ECONNREFUSED): a mirror, which is asked before each try, counts them.
/// Promise: absent-registry
#[test]
fn connections_that_are_refused() {
    let fake = Fake::start(small(), good());
    let relay = Relay::plain(fake.address, |_| Fault::None);
    relay.close();
    let (tries, enough) = mpsc::channel();
    let mirror = Fake::start(small(), move |_, _: &Blobs| {
        Box::new(move |_| {
            let _ = tries.send(());
            Some(status(404))
        })
    });
    let mut mirrors = Mirrors::default();
    mirrors.add(&format!("{}=http://{}", relay.address, mirror.address)).ok().unwrap();
    let (dir, image) = (tempfile::tempdir().unwrap(), format!("{}/demo", relay.address));
    std::thread::scope(|scope| {
        let store = dir.path().join("store");
        let pulling =
            scope.spawn(move || at_boot(&[PLAIN, SOON, &image], mirrors, Resolver::from_host(), &store).map(drop));
        (0..MANY).for_each(|_| enough.recv_timeout(crate::support::PATIENCE).unwrap());
        relay.open();
        pulling.join().unwrap().unwrap();
    });
}

/// A mirror that comes later, in a lab that cannot reach the registry itself: it is asked again, although it was down.
/// Promise: absent-registry, mirrors
#[test]
fn a_mirror_that_comes_later() {
    let fake = Fake::start(small(), good());
    let tried = Arc::new(AtomicUsize::new(0));
    let count = tried.clone();
    let relay = Relay::plain(fake.address, move |number| {
        count.fetch_add(1, Ordering::SeqCst);
        if number < MANY {
            Fault::Reset(0)
        } else {
            Fault::None
        }
    });
    let mut mirrors = Mirrors::default();
    mirrors.add(&format!("registry.invalid=http://{}", relay.address)).ok().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let words = [SOON, "registry.invalid/demo"];
    at_boot(&words, mirrors, Resolver::default(), &dir.path().join("store")).map(drop).unwrap();
    assert!(tried.load(Ordering::SeqCst) > MANY);
}

/// The image is stored: it runs after three tries, or after ten seconds if nothing answers.
/// Promise: absent-registry, earlier-image
#[test]
fn a_stored_image_is_not_kept_waiting() {
    let fake = Fake::start(small(), good());
    let relay = Relay::plain(fake.address, |number| if number < 3 { Fault::None } else { Fault::Stall(0) });
    let (dir, image) = (tempfile::tempdir().unwrap(), format!("{}/demo", relay.address));
    let store = dir.path().join("store");
    let first = boot(&[PLAIN, &image], &store).unwrap();
    relay.close();
    let start = Instant::now();
    assert_eq!(boot(&[PLAIN, &image], &store).unwrap().layers, first.layers);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
