//! Reads the options, from the kernel's command line and from the initramfs's own file.

use crate::boot::pure::cmdline::{self, Word};
use crate::boot::pure::options::{policy, Config};
use crate::container::pure::spec::parse;
use crate::disk::pure::cache_device::CacheDevice;
use crate::files;
use crate::image::pull::PullContext;
use crate::image::verify;
use crate::net::dns::Resolver;
use crate::net::links::Network;
use crate::net::pure::proxy::Proxies;
use crate::net::step::{Limits, LIMITS};
use crate::report::{Failure, Outcome, Report, Section};
use crate::sys::crash;
use std::path::Path;

const KERNELS: &str = "/proc/cmdline";
/// Options in the initramfs, for boards whose boot loader cannot pass a long line (`build --cmdline`).
const OWN_FILE: &str = "/etc/ocinit/cmdline";
/// The largest command line that is read.
const LENGTH_MAX: u64 = 1 << 20;

/// Reads the options into `config`. `b2c.onfail` and `b2c.log` are read first, since they apply even if another option
/// is wrong.
pub fn read(config: &mut Config, report: &mut Report) -> Outcome<()> {
    let (kernel, own) = (Line::read(KERNELS), Line::read(OWN_FILE));
    // The kernel's line comes last, and wins.
    (config.on_fail, report.sections) = policy(&[own.for_policy(), kernel.for_policy()].concat());
    crash::set_note(config.on_fail as usize + 1);
    if report.sections {
        crash::set_section(Section::KernelBoot as usize);
    }
    report.section(Section::Setup);
    let (kernel, own) = (kernel.words?, own.words?);
    *config = Config::read(&[kernel, own]).map_err(|error| {
        Failure::new("options", error.0).hint("the options are in docs/options.md; b2c.onfail says what happens now")
    })?;
    crash::set_note(config.on_fail as usize + 1);
    for warning in &config.warnings {
        report.warn("options", warning);
    }
    if config.run.is_empty() && config.run_service.is_empty() && config.run_post.is_empty() {
        report.warn("options", "no b2c.run: there is nothing to run");
    }
    Ok(())
}

/// A source of options.
struct Line {
    bytes: Vec<u8>,
    words: Outcome<Vec<Word>>,
}

impl Line {
    /// A file that is not there has no words; the kernel's line must be there.
    fn read(path: &str) -> Line {
        let fail = |why: &str| Failure::new("options", [path, ": ", why].concat());
        if path == OWN_FILE && !Path::new(path).exists() {
            return Line { bytes: Vec::new(), words: Ok(Vec::new()) };
        }
        let bytes = match files::read(Path::new(path), LENGTH_MAX) {
            Ok(bytes) => bytes,
            Err(why) => return Line { bytes: Vec::new(), words: Err(fail(&why)) },
        };
        let words = cmdline::parse(&bytes).map_err(|quote| {
            fail(&["an unmatched double quote: ", &parse::shown_option(&quote.0)].concat())
                .hint("quote the whole word: \"b2c.run=IMAGE COMMAND\"")
        });
        Line { bytes, words }
    }

    /// The words that say what happens after a failure: also after that of reading the line.
    fn for_policy(&self) -> Vec<Word> {
        self.words.clone().unwrap_or_else(|_| cmdline::unquoted(&self.bytes))
    }
}

/// The options of pulls.
pub fn pull_context(config: &Config, resolver: Resolver) -> Outcome<PullContext> {
    let proxies = Proxies::parse(&config.proxy);
    let proxies = proxies.map_err(|error| Failure::new("options", ["b2c.proxy: ", error.text()].concat()))?;
    let keys = verify::keys(&config.verify_keys)?;
    Ok(PullContext { resolver: resolver.into(), proxies, mirrors: config.mirrors.clone(), keys })
}

/// Where all images are in the initramfs, the network is optional, and a missing cable or card holds the boot for less
/// time.
const LOCAL_LIMITS: Limits = Limits { carrier_ms: 3_000, ..LIMITS };

/// How long to wait for the network.
pub fn network_limits(config: &Config) -> &'static Limits {
    if all_local(config) {
        &LOCAL_LIMITS
    } else {
        &LIMITS
    }
}

/// Goes on without a network, with a warning, if no image needs a registry, or if there is a cache, which may hold
/// images from an earlier boot. Otherwise the failure ends the boot.
pub fn without_network(config: &Config, failure: Failure, report: &Report) -> Outcome<Network> {
    if all_local(config) || config.cache_device != CacheDevice::None {
        report.warn("network", &failure.what);
        return Ok(Network::default());
    }
    Err(failure)
}

fn all_local(config: &Config) -> bool {
    let is_local = |line: &String| {
        let parsed = parse::parse_line(line, &|_| None);
        parsed.is_ok_and(|spec| spec.pull.image.is_local())
    };
    config.run_service.iter().chain(&config.run).chain(&config.run_post).all(is_local)
}
