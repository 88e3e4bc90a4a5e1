//! The registry client against servers and connections that misbehave on demand.
//! Real registries are in tests/registry_real.rs, tests/cli.rs and tests/qemu. At the end a table shows the results.

#[macro_use]
#[path = "support/skip.rs"]
mod skip;

mod support;

#[path = "registry_faults/absent.rs"]
mod absent;
#[path = "registry_faults/all_faults.rs"]
mod all_faults;
#[path = "registry_faults/answers.rs"]
mod answers;
#[path = "registry_faults/hostile.rs"]
mod hostile;
#[path = "registry_faults/locations.rs"]
mod locations;
#[path = "registry_faults/logins.rs"]
mod logins;
#[path = "registry_faults/numbers.rs"]
mod numbers;
#[path = "registry_faults/secrets.rs"]
mod secrets;
#[path = "registry_faults/surroundings.rs"]
mod surroundings;

use ocinit::container::pure::spec::parse;
use ocinit::host::image::{self, Entry};
use ocinit::image::pull::{self, PullContext};
use ocinit::image::pure::mirror::Mirrors;
use ocinit::net::dns::Resolver;
use ocinit::net::pure::proxy::Proxies;
use ocinit::report::{Failure, Report};
use ocinit::store::layers::Store;
use std::sync::Arc;
use support::client::{Client, Pulled};
use support::fake::{Blobs, Fake, Fault};
use support::relay::{self, Relay};
use support::table;

/// An image of one small layer.
fn small() -> Blobs {
    Blobs::new(vec![image::tar(&[Entry::directory("etc/", 0o755), Entry::file("etc/hello", 0o644, "hello")])])
}

/// An image of one layer of so many MiB.
fn large(mib: usize) -> Blobs {
    Blobs::new(vec![image::tar(&[Entry::file("large", 0o644, vec![b'x'; (mib << 20) - 1536])])])
}

/// A fake with a relay before it, and the program that pulls through both.
struct Trial {
    fake: Fake,
    relay: Relay,
    client: Client,
}

impl Trial {
    fn new(name: &str, blobs: Blobs, fault: impl FnOnce(&str, &Blobs) -> Fault) -> Option<Trial> {
        Trial::by(name, blobs, fault, |_| relay::Fault::None)
    }

    /// `plan`: the fault of each connection.
    fn by(
        name: &str,
        blobs: Blobs,
        fault: impl FnOnce(&str, &Blobs) -> Fault,
        plan: impl Fn(usize) -> relay::Fault + Send + Sync + 'static,
    ) -> Option<Trial> {
        let client = Client::new(&format!("registry-{name}"))?;
        let fake = Fake::start(blobs, fault);
        let relay = Relay::plain(fake.address, plan);
        Some(Trial { fake, relay, client })
    }

    /// The words of a pull that waits for nothing.
    fn words<'a>(&self, more: &[&'a str], name: &'a str) -> Vec<&'a str> {
        [&["--tls-verify=false", "--retry-delay=1ms"], more, &[name]].concat()
    }

    fn image(&self) -> String {
        format!("{}/demo", self.relay.address)
    }

    fn pull(&self, more: &[&str]) -> Pulled {
        self.client.pull(&self.words(more, &self.image()))
    }

    fn done(&self, more: &[&str]) -> Pulled {
        self.client.done(&self.words(more, &self.image()))
    }

    fn refused(&self, why: &str) -> Pulled {
        self.client.refused(&self.words(&[], &self.image()), why)
    }

    /// A line of the table.
    fn tell(&self, scenario: &str, outcome: &str) {
        table::tell(scenario, self.fake.seen().len(), self.relay.counts().down, outcome);
    }

    /// Nothing of an image is in the store, not even half of it.
    fn nothing_is_kept(&self) {
        for directory in ["images", "layers", "blobs"] {
            assert_eq!(self.client.stored(directory), Vec::<String>::new(), "{directory}");
        }
    }
}

/// A fake of the small image, and a store that pulls from it, in this process.
struct Lab {
    fake: Fake,
    directory: tempfile::TempDir,
}

impl Lab {
    fn start(fault: impl FnOnce(&str, &Blobs) -> Fault) -> Lab {
        Lab { fake: Fake::start(small(), fault), directory: tempfile::tempdir().unwrap() }
    }

    fn pull(&self) -> Result<pull::Image, Failure> {
        self.pull_by(&self.fake.image(), false, "store")
    }

    fn pull_by(&self, name: &str, tls_verify: bool, store: &str) -> Result<pull::Image, Failure> {
        let verify = format!("--tls-verify={tls_verify}");
        self.pull_line(&[&verify, name], Mirrors::default(), store)
    }

    fn pull_line(&self, words: &[&str], mirrors: Mirrors, store: &str) -> Result<pull::Image, Failure> {
        let report = Report { quiet: true, ..Report::on_host() };
        let store = Store::open(&self.directory.path().join(store), false, &report).unwrap();
        let words: Vec<String> = ["--retry=2"].iter().chain(words).map(|word| word.to_string()).collect();
        let line = parse::parse(&words).unwrap();
        let resolver = Arc::new(Resolver::from_host());
        let context = PullContext { resolver, proxies: Proxies::none(), mirrors, keys: Vec::new() };
        pull::image(&line.pull, &store, &context, &report)
    }

    /// What the store holds of layers, complete or half done.
    fn layers(&self) -> usize {
        let count = |name: &str| std::fs::read_dir(self.directory.path().join("store").join(name)).unwrap().count();
        count("layers") + count("tmp")
    }
}
