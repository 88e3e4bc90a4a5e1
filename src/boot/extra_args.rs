//! Extra arguments: options that are fetched when the network is up, and what this machine is called in options.

use crate::boot::options::Sources;
use crate::boot::pure::cmdline::Word;
use crate::boot::pure::extra_args::{self as pure, ExtraArgs};
use crate::boot::pure::interpolate::{self, Form};
use crate::boot::pure::options::Config;
use crate::files;
use crate::image::registry::url_document::{Answer, UrlDocument};
use crate::image::source::Error;
use crate::image::verify;
use crate::net::dns::Resolver;
use crate::net::http::{Client, Tls, CERTS_DIR};
use crate::net::links::Network;
use crate::net::pure::dns;
use crate::net::pure::http::origin;
use crate::net::pure::proxy::Proxies;
use crate::net::rtnetlink::{wired, Kernel};
use crate::pure::base64;
use crate::pure::digest;
use crate::report::{Failure, Outcome, Report, Section};
use std::path::Path;
use std::sync::Arc;

const STEP: &str = "options";
/// Where the firmware tells what a machine is: DMI, and the device tree's root.
const UUID: [&str; 1] = ["/sys/class/dmi/id/product_uuid"];
const SERIAL: [&str; 3] = [
    "/sys/class/dmi/id/product_serial",
    "/proc/device-tree/serial-number",
    "/sys/firmware/devicetree/base/serial-number",
];
const FIRMWARE_MAX: u64 = 4 << 10;

const SIGN: &str =
    "openssl pkeyutl -sign -rawin -inkey KEY -in FILE -out FILE.sig makes a signature by Ed25519, openssl \
                    dgst -sha256 -sign one by P-256";
const PAGE: &str = "it may ask for a password, or tell that something is not there: open the URL in a browser";

/// How long a server may take.
pub struct Limits {
    /// For one body.
    pub body_ms: u64,
    /// For all tries.
    pub total_ms: u64,
}

/// A lab's server that is not there yet is waited for, as its registry is.
pub const LIMITS: Limits = Limits { body_ms: 30_000, total_ms: 180_000 };

/// Fetches the extra arguments, if there are any, and applies them. Then what this machine is called is known.
pub fn apply(
    config: &mut Config,
    sources: &mut Sources,
    network: &Network,
    resolver: &Arc<Resolver>,
    report: &mut Report,
) -> Outcome<()> {
    if let Some(url) = config.extra_args.url.clone() {
        report.section(Section::ParseExtraCmdline);
        let url = interpolated("b2c.extra_args_url", &url, Form::Url, network)?;
        let proxies = Proxies::parse(&config.proxy);
        let proxies = proxies.map_err(|error| Failure::new(STEP, ["b2c.proxy: ", error.text()].concat()))?;
        let (plain, authorization) = pure::without_user(&url).map_err(|why| Failure::new(STEP, why))?;
        let home = origin(&plain).map_or("", |(_, authority)| authority).into();
        let tls = Tls { verify: true, cert_dirs: vec![CERTS_DIR.into()], home };
        let server = Server {
            client: Client::new(resolver.clone(), proxies, tls),
            url: plain,
            authorization,
            limits: LIMITS,
            report,
        };
        let document = server.document(&config.extra_args)?;
        let from = [server.url.as_str(), server.checked_by(&config.extra_args)].concat();
        let words = sources.add(&document, config, report)?;
        tell(words, &from, report);
        sources.evaluate(config, report)?;
    }
    let name = interpolated("b2c.hostname", &config.hostname, Form::HostName, network)?;
    config.hostname = dns::hostname(&name).map_err(|why| Failure::new(STEP, ["b2c.hostname: ", why].concat()))?;
    Ok(())
}

/// The server of the extra arguments.
pub struct Server<'a> {
    pub client: Client,
    /// Without its user.
    pub url: String,
    pub authorization: Option<String>,
    pub limits: Limits,
    pub report: &'a Report,
}

impl Server<'_> {
    /// The document, if it is what `extra` says, and holds options.
    pub fn document(&self, extra: &ExtraArgs) -> Outcome<Vec<u8>> {
        // A key that cannot be read is told before the server is waited for.
        let keys = extra.key.as_ref().map(|key| verify::keys_of("b2c.extra_args_key", std::slice::from_ref(key)));
        let keys = keys.transpose()?;
        let answer = self.fetch(&self.url, pure::SIZE_MAX, extra).map_err(|error| failure(&error))?;
        let wrong = |why: &str| Failure::new(STEP, [self.url.as_str(), ": ", why].concat());
        let found = digest::hash(&answer.bytes);
        if let Some(want) = extra.sha256.filter(|want| *want != found) {
            let why = ["SHA-256 ", &found.hex(), " instead of ", &want.hex()].concat();
            return Err(wrong(&why).hint("b2c.extra_args_sha256 names the second one"));
        }
        if let Some(keys) = keys {
            let url = pure::signature_url(&self.url);
            let signature = self.fetch(&url, pure::SIGNATURE_MAX, extra);
            let signature = signature.map_err(|error| failure(&error).hint(SIGN))?;
            let forms = forms(&signature.bytes);
            if !forms.iter().any(|form| keys.iter().any(|key| verify::is_signed_by(key, &answer.bytes, form))) {
                let why = [&url, " is no signature of it by the key of b2c.extra_args_key"].concat();
                return Err(wrong(&why).hint(SIGN));
            }
        }
        if pure::is_page(&answer.content_type, &answer.bytes) {
            return Err(wrong("a page of HTML, and no options").hint(PAGE));
        }
        Ok(answer.bytes)
    }

    fn fetch(&self, url: &str, size_max: u64, extra: &ExtraArgs) -> Result<Answer, Error> {
        let document = UrlDocument {
            step: STEP,
            url,
            authorization: self.authorization.as_deref(),
            from_any_host: extra.are_pinned(),
            size_max,
            body_ms: self.limits.body_ms,
            total_ms: self.limits.total_ms,
        };
        document.fetch(&self.client, self.report)
    }

    fn checked_by(&self, extra: &ExtraArgs) -> &'static str {
        match (extra.sha256.is_some(), extra.key.is_some()) {
            (_, true) => ", signed",
            (true, false) => ", its digest as given",
            (false, false) => "",
        }
    }
}

/// A signature's file may be the bytes of the signature, or their base64.
fn forms(file: &[u8]) -> Vec<Vec<u8>> {
    let decoded = std::str::from_utf8(file).ok().and_then(|text| base64::decode_lines(text.trim_end()));
    [Some(file.to_vec()), decoded].into_iter().flatten().collect()
}

fn failure(error: &Error) -> Failure {
    Failure::new(STEP, error.text.as_str()).hint_of(error.advice())
}

/// Shows what has been received, a line an option.
fn tell(words: &[Word], from: &str, report: &Report) {
    let options = || words.iter().filter(|word| word.is_option());
    let count = options().count();
    report.line(STEP, [&count.to_string(), " from ", from].concat());
    for word in options().take(pure::SHOWN_MAX) {
        report.line(STEP, pure::shown(word));
    }
    if let Some(more) = count.checked_sub(pure::SHOWN_MAX).filter(|more| *more > 0) {
        report.line(STEP, ["and ", &more.to_string(), " more"].concat());
    }
}

/// A value of the option `name` with what this machine is called.
fn interpolated(name: &str, value: &str, form: Form, network: &Network) -> Outcome<String> {
    let expanded = interpolate::expand(value, form, &mut |name| of_machine(name, network));
    expanded.map_err(|why| Failure::new(STEP, [name, ": ", &why].concat()))
}

/// The first interface with an address counts: that is where a lab's gateway sees this machine. A boot that goes on
/// without a network knows no interface, but its cards are there.
fn of_machine(name: &str, network: &Network) -> Option<String> {
    let first = network.interfaces.iter().find(|interface| !interface.addresses.is_empty());
    match name {
        "mac" => match first.or(network.interfaces.first()) {
            Some(interface) => Some(interpolate::mac(interface.mac)),
            None => Some(interpolate::mac(Kernel::open().ok()?.links().ok()?.iter().find(|link| wired(link))?.mac)),
        },
        "ip" => first?.addresses.first().map(|(address, _)| address.to_string()),
        "uuid" => of_firmware(&UUID).map(|uuid| uuid.to_ascii_lowercase()),
        _ => of_firmware(&SERIAL),
    }
}

fn of_firmware(paths: &[&str]) -> Option<String> {
    paths.iter().find_map(|path| interpolate::of_firmware(&files::read(Path::new(path), FIRMWARE_MAX).ok()?))
}
