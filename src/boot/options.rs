//! Reads the options, from the kernel's command line, from the initramfs's own file, and from the extra arguments.

use crate::boot::pure::cmdline::{self, Word};
use crate::boot::pure::extra_args;
use crate::boot::pure::option_error::{readable, Mistake};
use crate::boot::pure::options::{policy, Config, EXTRA, OWN_FILE, SOURCES};
use crate::container::pure::spec::parse;
use crate::disk::pure::cache_device::CacheDevice;
use crate::files;
use crate::image::pull::PullContext;
use crate::image::verify;
use crate::net::dns::Resolver;
use crate::net::links::Network;
use crate::net::pure::proxy::Proxies;
use crate::net::step::{Limits, LIMITS, PATIENT};
use crate::report::{Failure, Outcome, Report, Section};
use crate::sys::crash;
use std::path::Path;
use std::sync::Arc;

/// The largest command line that is read.
const LENGTH_MAX: u64 = 1 << 20;

/// Reads the options into `config`. `b2c.onfail` and `b2c.log` are read first, since they apply even if another option
/// is wrong.
pub fn read(config: &mut Config, report: &mut Report) -> Outcome<Sources> {
    let line = bytes("/proc/cmdline")?;
    let file = if Path::new(OWN_FILE).exists() { bytes(OWN_FILE) } else { Ok(Vec::new()) };
    let kernel = cmdline::parse(&line);
    let own = file.as_deref().map_or(Ok(Vec::new()), cmdline::parse_file);
    let of_file = own.clone().unwrap_or_else(|_| cmdline::unquoted(file.as_deref().unwrap_or_default()));
    // The kernel's line comes last, and wins.
    let by_policy = [of_file, kernel.clone().unwrap_or_else(|_| cmdline::unquoted(&line))];
    apply_policy(config, report, &by_policy);
    if report.sections {
        crash::set_section(Section::KernelBoot as usize);
    }
    report.section(Section::Setup);
    // The kernel ends the line with a line feed; a blank at its end is a byte of it.
    let cut = cut(line.strip_suffix(b"\n").unwrap_or(&line).len());
    if let Some(cut) = &cut {
        report.warn("options", [cut, "; ", LONGER].concat());
    }
    file?;
    let mut mistakes = Vec::new();
    let words = vec![readable(kernel, 0, &mut mistakes), readable(own, 1, &mut mistakes)];
    let mut sources = Sources { mistakes, ..Sources::new(words, cut) };
    sources.evaluate(config, report)?;
    Ok(sources)
}

/// Applies `b2c.onfail` and `b2c.log` at once. The last source counts most.
fn apply_policy(config: &mut Config, report: &mut Report, by_policy: &[Vec<Word>]) {
    (config.on_fail, report.sections) = policy(by_policy);
    crash::set_note(config.on_fail as usize + 1);
}

/// What the options are read from.
pub struct Sources {
    words: Vec<Vec<Word>>,
    /// What is wrong with them as they are written.
    mistakes: Vec<Mistake>,
    /// What to say of the kernel's line if it was probably cut.
    cut: Option<String>,
    /// The warnings that were shown.
    told: Vec<String>,
}

impl Sources {
    /// Of the words of the kernel's line and of the initramfs's own file.
    pub fn new(words: Vec<Vec<Word>>, cut: Option<String>) -> Sources {
        Sources { words, mistakes: Vec::new(), cut, told: Vec::new() }
    }

    /// Adds the extra arguments, of which `b2c.onfail` and `b2c.log` apply at once; returns their words.
    pub fn add(&mut self, document: &[u8], config: &mut Config, report: &mut Report) -> Outcome<&[Word]> {
        let words = cmdline::parse_file(document);
        let mut all: Vec<Vec<Word>> = self.words.iter().rev().cloned().collect();
        all.push(words.clone().unwrap_or_else(|_| cmdline::unquoted(document)));
        apply_policy(config, report, &all);
        let words = readable(words, EXTRA, &mut self.mistakes);
        if extra_args::has_no_option(&words) {
            let count = words.len().to_string();
            let what = ["none of the ", &count, " words of ", SOURCES[EXTRA], " is an option"].concat();
            return Err(Failure::new("options", what).hint("options begin with b2c."));
        }
        self.words.push(words);
        Ok(self.words.last().map_or(&[], Vec::as_slice))
    }

    /// Reads the options into `config`, and tells what is odd about them.
    pub fn evaluate(&mut self, config: &mut Config, report: &Report) -> Outcome<()> {
        let (settled, mistakes) = Config::collect(&self.words, self.mistakes.clone());
        if let Some(last) = tell(&mistakes, report) {
            return Err(last);
        }
        *config = settled;
        crash::set_note(config.on_fail as usize + 1);
        if self.words.len() == EXTRA {
            report.line("options", counts(&self.words));
        }
        for warning in config.warnings.iter().filter(|warning| !self.told.contains(warning)) {
            report.warn("options", warning);
        }
        self.told.clone_from(&config.warnings);
        let awaits_more = config.awaits_extra_args(self.words.len());
        let has_pipeline = !config.run.is_empty() || config.root.is_some() || awaits_more;
        let lost = match self.words.first().and_then(|words| cut_name(words)) {
            Some(name) => Some(["'", name, "': "].concat()),
            None => (!has_pipeline).then(|| "no b2c.run: ".into()),
        };
        if let Some((lost, cut)) = lost.zip(self.cut.as_deref()) {
            return Err(Failure::new("options", lost + cut).hint(LONGER));
        }
        if !config.runs_something() && !awaits_more {
            report.warn("options", "no b2c.run: there is nothing to run");
        }
        Ok(())
    }
}

/// The last word, if it is the beginning of an option's name or may be one. What is behind it may protect something.
fn cut_name(words: &[Word]) -> Option<&str> {
    let last = words.last().filter(|word| word.value.is_none() && word.key != "b2c.pipefail")?;
    (last.is_option() || ["b2", "b2c"].contains(&last.key.as_str())).then_some(&last.key)
}

/// What to say of a line of so many bytes, if the kernel may have received a longer one.
fn cut(length: usize) -> Option<String> {
    let what = [
        "the kernel's line has ",
        &length.to_string(),
        " bytes, as many as the kernel keeps: its end was probably cut off",
    ];
    (length >= cmdline::LINE_MAX).then(|| what.concat())
}

const LONGER: &str = "put options into the initramfs (ocinit-host build --cmdline FILE), or behind b2c.extra_args_url";

/// `9 from the kernel's line, 1 from /etc/ocinit/cmdline`
fn counts(sources: &[Vec<Word>]) -> String {
    let mut parts = Vec::new();
    for (words, name) in sources.iter().zip(SOURCES) {
        let count = words.iter().filter(|word| word.is_option()).count();
        if count > 0 || parts.is_empty() {
            parts.push([&count.to_string(), " from ", name].concat());
        }
    }
    parts.join(", ")
}

fn bytes(path: &str) -> Outcome<Vec<u8>> {
    files::read(Path::new(path), LENGTH_MAX).map_err(|why| Failure::new("options", [path, ": ", &why].concat()))
}

/// How many mistakes of a boot are told.
const TOLD_MAX: usize = 20;

/// Tells all that is wrong if that ends the boot: warnings first, since their words may be meant as what is missing.
/// The last failure is the result.
fn tell(mistakes: &[Mistake], report: &Report) -> Option<Failure> {
    let (fatal, warnings): (Vec<&Mistake>, Vec<&Mistake>) = mistakes.iter().partition(|mistake| mistake.is_fatal());
    let (last, others) = fatal.split_last()?;
    for warning in warnings.iter().take(TOLD_MAX) {
        report.warn("options", &warning.text);
    }
    let failure = |mistake: &Mistake| {
        let failure = Failure::new("options", mistake.text.as_str());
        if mistake.hint.is_empty() {
            failure
        } else {
            failure.hint(mistake.hint.as_str())
        }
    };
    for mistake in others.iter().take(TOLD_MAX) {
        report.fail(&failure(mistake));
    }
    match fatal.len().saturating_sub(TOLD_MAX) {
        more @ 2.. => Some(Failure::new("options", ["and ", &more.to_string(), " more mistakes"].concat())),
        _ => Some(failure(last)),
    }
}

/// The options of pulls.
pub fn pull_context(config: &Config, resolver: Arc<Resolver>) -> Outcome<PullContext> {
    let proxies = Proxies::parse(&config.proxy);
    let proxies = proxies.map_err(|error| Failure::new("options", ["b2c.proxy: ", error.text()].concat()))?;
    let keys = verify::keys(&config.verify_keys)?;
    Ok(PullContext { resolver, proxies, mirrors: config.mirrors.clone(), keys })
}

/// Where all images are in the initramfs, the network is optional, and a missing cable or card holds the boot for less
/// time.
const LOCAL_LIMITS: Limits = Limits { carrier_ms: 3_000, ..LIMITS };

/// How long to wait for the network.
pub fn network_limits(config: &Config) -> Limits {
    let usual = match (all_local(config), can_do_without(config)) {
        (true, _) => LOCAL_LIMITS,
        (false, true) => LIMITS,
        (false, false) => PATIENT,
    };
    let (carrier_ms, lease_ms) = (config.network.carrier_ms, config.network.lease_ms);
    Limits { carrier_ms: carrier_ms.unwrap_or(usual.carrier_ms), lease_ms: lease_ms.unwrap_or(usual.lease_ms), ..usual }
}

/// Goes on without a network, with a warning, if no image needs a registry, or if there is a cache, which may hold
/// images from an earlier boot. Otherwise the failure ends the boot, as it does where options are to be fetched.
pub fn without_network(config: &Config, failure: Failure, report: &Report) -> Outcome<Network> {
    if can_do_without(config) {
        report.warn("network", &failure.what);
        let is_named = !(config.network.ifaces.is_empty() && config.network.kernel.is_empty());
        return Ok(Network { is_named, ..Network::default() });
    }
    Err(failure)
}

fn can_do_without(config: &Config) -> bool {
    all_local(config) || (config.cache_device != CacheDevice::None && config.extra_args.url.is_none())
}

fn all_local(config: &Config) -> bool {
    if config.extra_args.url.is_some() {
        return false;
    }
    let is_local = |line: &String| {
        let parsed = parse::parse_line(line, &|_| None);
        parsed.is_ok_and(|spec| spec.pull.image.is_local())
    };
    config.run_service.iter().chain(&config.run).chain(&config.run_post).chain(&config.root).all(is_local)
}
