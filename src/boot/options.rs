//! Reads the options, from the kernel's command line and from the initramfs's own file.

use crate::boot::pure::cmdline::{self, UnmatchedQuote, Word};
use crate::boot::pure::options::{policy, Config, OWN_FILE, SOURCES, WHOLE_WORD};
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

/// The largest command line that is read.
const LENGTH_MAX: u64 = 1 << 20;
/// The longest line that the kernel keeps (Linux, arch/*/include/uapi/asm/setup.h, COMMAND_LINE_SIZE without the NUL).
const LINE_MAX: usize = if cfg!(any(target_arch = "arm", target_arch = "riscv64")) { 1023 } else { 2047 };

/// Reads the options into `config`. `b2c.onfail` and `b2c.log` are read first, since they apply even if another option
/// is wrong.
pub fn read(config: &mut Config, report: &mut Report) -> Outcome<()> {
    let line = bytes("/proc/cmdline")?;
    let file = if Path::new(OWN_FILE).exists() { bytes(OWN_FILE) } else { Ok(Vec::new()) };
    let kernel = cmdline::parse(&line);
    let own = file.as_deref().map_or(Ok(Vec::new()), cmdline::parse_file);
    let of_file = own.clone().unwrap_or_else(|_| cmdline::unquoted(file.as_deref().unwrap_or_default()));
    // The kernel's line comes last, and wins.
    let readable = [of_file, kernel.clone().unwrap_or_else(|_| cmdline::unquoted(&line))];
    (config.on_fail, report.sections) = policy(&readable);
    crash::set_note(config.on_fail as usize + 1);
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
    let sources = [unmatched(kernel, SOURCES[0])?, unmatched(own, SOURCES[1])?];
    *config = Config::read(&sources).map_err(|error| {
        let failure = Failure::new("options", error.0);
        if error.1.is_empty() {
            failure
        } else {
            failure.hint(error.1)
        }
    })?;
    crash::set_note(config.on_fail as usize + 1);
    report.line("options", counts(&sources));
    for warning in &config.warnings {
        report.warn("options", warning);
    }
    let has_pipeline = !config.run.is_empty() || config.root.is_some();
    let lost = match cut_name(&sources[0]) {
        Some(name) => Some(["'", name, "': "].concat()),
        None => (!has_pipeline).then(|| "no b2c.run: ".into()),
    };
    if let Some((lost, cut)) = lost.zip(cut) {
        return Err(Failure::new("options", lost + &cut).hint(LONGER));
    }
    if !config.runs_something() {
        report.warn("options", "no b2c.run: there is nothing to run");
    }
    Ok(())
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
    (length >= LINE_MAX).then(|| what.concat())
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

fn unmatched(words: Result<Vec<Word>, UnmatchedQuote>, source: &str) -> Outcome<Vec<Word>> {
    words.map_err(|quote| {
        let what = ["an unmatched double quote: ", &parse::shown_option(&quote.word)].concat();
        Failure::new("options", what).hint([&quote.at.text(), " of ", source, ": ", WHOLE_WORD].concat())
    })
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
pub fn network_limits(config: &Config) -> Limits {
    let usual = if all_local(config) { LOCAL_LIMITS } else { LIMITS };
    Limits { carrier_ms: config.network.carrier_ms.unwrap_or(usual.carrier_ms), ..usual }
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
    config.run_service.iter().chain(&config.run).chain(&config.run_post).chain(&config.root).all(is_local)
}
