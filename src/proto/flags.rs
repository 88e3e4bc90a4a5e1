//! The flags of a container line (`b2c.run=`): one table, and what they ask for.

mod values;

use super::authfile::{self, Credentials};
use super::reference::Reference;
use super::retry::Policy;
use super::{oci, words};

/// What a flag sets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sets {
    Tty,
    Interactive,
    Env,
    Entrypoint,
    WorkingDir,
    Volume,
    TlsVerify,
    Privileged,
    Hostname,
    User,
    Network,
    Dns,
    Pull,
    Creds,
    AuthFile,
    CertDir,
    Retry,
    RetryDelay,
    Platform,
    Architecture,
    Variant,
    OperatingSystem,
    HttpProxy,
    /// Asks for what every container has anyway.
    Implied,
    /// Cannot matter on a machine that runs one line: one warning.
    Ignored,
    /// The same, for a value of `no` only.
    Restart,
}

/// One row of the table of flags.
pub struct Row {
    /// Without the dashes.
    pub long: &'static str,
    /// 0 where there is none.
    pub short: u8,
    /// Whether a value follows; without one, `=true` and `=false` are understood.
    valued: bool,
    sets: Sets,
    #[cfg(feature = "host")]
    pub value: &'static str,
    #[cfg(feature = "host")]
    pub meaning: &'static str,
}

/// The texts are for the documentation; the init carries none of them.
#[cfg_attr(not(feature = "host"), allow(unused_variables))]
const fn row(
    long: &'static str,
    short: u8,
    valued: bool,
    sets: Sets,
    value: &'static str,
    meaning: &'static str,
) -> Row {
    Row {
        long,
        short,
        valued,
        sets,
        #[cfg(feature = "host")]
        value,
        #[cfg(feature = "host")]
        meaning,
    }
}

#[cfg(feature = "host")]
impl Row {
    /// Whether it is accepted with a warning, and does nothing.
    pub fn is_ignored(&self) -> bool {
        matches!(self.sets, Sets::Ignored | Sets::Restart)
    }
}

/// Every flag, in the order of the documentation.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    row("tty", b't', false, Sets::Tty, "", "a terminal: standard input, output and error are a pty of the container's own"),
    row("interactive", b'i', false, Sets::Interactive, "", "standard input is the console's; without it, `/dev/null`"),
    row("env", b'e', true, Sets::Env, "`NAME=value`, `NAME`", "an environment variable; `NAME` alone takes its value from the pipeline's variables (on a host: from the environment). Repeatable"),
    row("entrypoint", 0, true, Sets::Entrypoint, "command", "replaces the image's entry point and drops its command; empty removes it"),
    row("workdir", b'w', true, Sets::WorkingDir, "path", "the working directory, absolute"),
    row("volume", b'v', true, Sets::Volume, "`HOST:CONTAINER[:ro]`, `NAME:CONTAINER[:ro]`", "a folder or file of the machine (absolute, or beginning with a dot), or a named volume, in the container. Repeatable"),
    row("tls-verify", 0, false, Sets::TlsVerify, "`=false`", "the registry may speak plain http, or https with a certificate that nobody vouches for"),
    row("privileged", 0, false, Sets::Privileged, "", "what every container has anyway; `=false` is an error: not there yet"),
    row("rm", 0, false, Sets::Implied, "", "what every container has anyway"),
    row("hostname", b'h', true, Sets::Hostname, "name", "the container's host name; otherwise the machine's"),
    row("user", b'u', true, Sets::User, "`USER[:GROUP]`", "names of the image's `/etc/passwd` and `/etc/group`, or numbers; otherwise the image's own"),
    row("net", 0, true, Sets::Network, "`host`, `none`", "`host` (the default) is the machine's network; `none` is a namespace with nothing in it"),
    row("network", 0, true, Sets::Network, "as `--net`", "the longer spelling of `--net`"),
    row("dns", 0, true, Sets::Dns, "`none`", "`/etc/resolv.conf` is the image's own; nothing but `none` is there yet"),
    row("pull", 0, true, Sets::Pull, "`always`, `newer`, `missing`, `never`", "`always` (the default) asks the registry, and takes what is in the store if it cannot be reached; `newer` also where it refuses; `missing` asks only for an image that the store has not; `never` does not ask. `true` is `always`, `false` is `missing`"),
    row("creds", 0, true, Sets::Creds, "`USER:PASS`", "for the registry. Every container can read the kernel's line: a file of credentials is safer"),
    row("authfile", 0, true, Sets::AuthFile, "path", "the file of credentials, podman's or docker's; otherwise `/etc/ocinit/auth.json`"),
    row("cert-dir", 0, true, Sets::CertDir, "path", "certificates for the registry: `*.crt` of authorities, `*.cert` and `*.key` of our own; otherwise `/etc/ocinit/certs.d/HOST`"),
    row("retry", 0, true, Sets::Retry, "number", "how often what failed is tried again; otherwise as long as it may help"),
    row("retry-delay", 0, true, Sets::RetryDelay, "`500ms`, `2s`, `1m30s`", "the wait before each further try; otherwise it grows from half a second to 30 s"),
    row("platform", 0, true, Sets::Platform, "`linux/ARCH[/VARIANT]`", "the image of an index to take; otherwise the machine's own"),
    row("arch", 0, true, Sets::Architecture, "`amd64`, `arm64`, …", "the same, its architecture alone"),
    row("variant", 0, true, Sets::Variant, "`v7`, `v8`, …", "the same, its variant alone"),
    row("os", 0, true, Sets::OperatingSystem, "`linux`", "nothing else runs here"),
    row("http-proxy", 0, false, Sets::HttpProxy, "`=false`", "the container does not get `b2c.proxy` in its environment"),
    row("label", b'l', true, Sets::Ignored, "", ""),
    row("annotation", 0, true, Sets::Ignored, "", ""),
    row("log-driver", 0, true, Sets::Ignored, "", ""),
    row("restart", 0, true, Sets::Restart, "`no`", "only with `no`"),
    row("expose", 0, true, Sets::Ignored, "", ""),
    row("publish", b'p', true, Sets::Ignored, "", ""),
    row("detach", b'd', false, Sets::Ignored, "", ""),
    row("quiet", b'q', false, Sets::Ignored, "", ""),
    row("gpus", 0, true, Sets::Ignored, "", ""),
];

/// A folder or file of the machine that the container sees.
#[derive(Debug, PartialEq, Eq)]
pub struct Volume {
    pub source: String,
    pub target: String,
    pub read_only: bool,
}

/// When the registry is asked for an image that the store has (podman's words).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    Always,
    Newer,
    Missing,
    Never,
}

/// What one container line asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Container {
    pub tty: bool,
    pub interactive: bool,
    /// `NAME=value`, later ones win.
    pub env: Vec<String>,
    /// Replaces the image's; an empty one removes it.
    pub entrypoint: Option<Vec<String>>,
    pub working_dir: Option<String>,
    pub volumes: Vec<Volume>,
    pub tls_verify: bool,
    pub pull: PullPolicy,
    pub creds: Option<Credentials>,
    pub authfile: Option<String>,
    pub cert_dir: Option<String>,
    pub retry: Policy,
    /// Go's word; the machine's own where it is not given.
    pub architecture: Option<String>,
    pub variant: Option<String>,
    /// The container gets the machine's proxy in its environment.
    pub http_proxy: bool,
    pub hostname: Option<String>,
    pub user: Option<String>,
    /// A network namespace of its own, with nothing in it.
    pub no_network: bool,
    /// `/etc/resolv.conf` is the image's own (`--dns=none`).
    pub own_resolv_conf: bool,
    pub image: Reference,
    pub command: Vec<String>,
    pub warnings: Vec<String>,
}

/// Reads a container line, variables expanded by `variable`.
pub fn parse_line(line: &str, variable: words::Lookup) -> Result<Container, String> {
    parse(&words::split(line, variable).map_err(|error| String::from(error.text()))?, variable)
}

/// What can be known of a line before it runs. One with variables is read in
/// full only when they have their values.
pub fn check(line: &str) -> Result<(), String> {
    let words = words::split(line, &|_| None).map_err(|error| String::from(error.text()))?;
    if line.contains('$') {
        return Ok(());
    }
    parse(&words, &|_| None).map(drop)
}

/// Reads the words of a container line: flags, image, command. `variable`
/// answers for `-e NAME` without a value. An error names no credentials.
pub fn parse(words: &[String], variable: words::Lookup) -> Result<Container, String> {
    read(words, variable).map_err(|error| authfile::scrub(&error, &secrets(words)))
}

/// `line` as it may be shown, to people and to the containers behind it, whether
/// it can be read or not.
pub fn shown(line: &str) -> String {
    let raw = raw_words(line);
    let bare: Vec<String> = raw.iter().map(|word| word.replace(['\'', '"', '\\'], "")).collect();
    let secrets = secrets(&bare);
    if secrets.is_empty() {
        return line.into();
    }
    let mut out = Vec::new();
    let mut is_value = false;
    for (raw, bare) in raw.iter().zip(&bare) {
        out.push(match bare.split_once("--creds=") {
            _ if is_value => authfile::MASK.into(),
            Some((before, _)) => [before, "--creds=", authfile::MASK].concat(),
            None => authfile::scrub(raw, &secrets),
        });
        is_value = !is_value && bare.ends_with("--creds");
    }
    out.join(" ")
}

/// The words of `line` as they stand there, with their quotes; the last takes
/// the rest where a quote is not closed.
fn raw_words(line: &str) -> Vec<&str> {
    let (mut quote, mut escaped) = (None, false);
    let is_end = |c: char| {
        match (c, quote) {
            _ if escaped => escaped = false,
            ('\\', None | Some('"')) => escaped = true,
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (c, None) => return c.is_ascii_whitespace(),
            _ => {}
        }
        false
    };
    line.split(is_end).filter(|word| !word.is_empty()).collect()
}

/// What `--creds` is given, in lines too that cannot be read.
fn secrets(words: &[String]) -> Vec<String> {
    let mut secrets = Vec::new();
    for (index, word) in words.iter().enumerate() {
        // Not only at its start: a line that cannot be read may be no list of words.
        let value = match word.split_once("--creds") {
            Some((_, "")) => words.get(index + 1).map(String::as_str),
            Some((_, rest)) => rest.strip_prefix('='),
            None => None,
        };
        let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
        match Credentials::parse(value) {
            Some(credentials) => secrets.extend(credentials.secrets()),
            None => secrets.push(value.into()),
        }
    }
    secrets
}

fn read(words: &[String], variable: words::Lookup) -> Result<Container, String> {
    let mut container = Container {
        tty: false,
        interactive: false,
        env: Vec::new(),
        entrypoint: None,
        working_dir: None,
        volumes: Vec::new(),
        tls_verify: true,
        pull: PullPolicy::Always,
        creds: None,
        authfile: None,
        cert_dir: None,
        retry: Policy::default(),
        architecture: None,
        variant: None,
        http_proxy: true,
        hostname: None,
        user: None,
        no_network: false,
        own_resolv_conf: false,
        image: Reference::Layout { dir: String::new(), tag: None },
        command: Vec::new(),
        warnings: Vec::new(),
    };
    let mut rest = words.iter();
    let image = loop {
        let Some(word) = rest.next() else { return Err("no image is named".into()) };
        if word == "--" {
            break rest.next().ok_or("no image is named")?;
        }
        let Some(flag) = word.strip_prefix('-').filter(|flag| !flag.is_empty()) else { break word };
        match flag.strip_prefix('-') {
            Some(long) => container.long(long, &mut rest, variable)?,
            None => container.short(flag, &mut rest, variable)?,
        }
    };
    container.image = Reference::parse(image).map_err(|error| ["image «", image, "»: ", error.text()].concat())?;
    container.command = rest.cloned().collect();
    Ok(container)
}

type Rest<'a> = std::slice::Iter<'a, String>;

impl Container {
    /// Which image of an index is wanted, as [`oci::choose`] takes it, on a
    /// machine that Rust calls `machine`.
    pub fn platform(&self, machine: &'static str) -> (&str, &str) {
        let (architecture, variant) = oci::platform(self.architecture.as_deref().unwrap_or(machine));
        (architecture, self.variant.as_deref().unwrap_or(variant))
    }

    /// `--name=value`, `--name value`, `--name`.
    fn long(&mut self, flag: &str, rest: &mut Rest, variable: words::Lookup) -> Result<(), String> {
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag, None),
        };
        let row = TABLE.iter().find(|row| row.long == name);
        let row = row.ok_or_else(|| ["--", name, " is not a flag that is there"].concat())?;
        let value = match value {
            None if row.valued => {
                Some(rest.next().ok_or_else(|| ["--", name, ": its value is missing"].concat())?.as_str())
            }
            value => value,
        };
        self.set(row, value, variable).map_err(|error| ["--", name, ": ", &error].concat())
    }

    /// `-ti`, `-eA=b`, `-e A=b`.
    fn short(&mut self, flags: &str, rest: &mut Rest, variable: words::Lookup) -> Result<(), String> {
        for (index, letter) in flags.char_indices() {
            let name = ["-", letter.encode_utf8(&mut [0; 4])].concat();
            let row = TABLE.iter().find(|row| row.short != 0 && char::from(row.short) == letter);
            let row = row.ok_or_else(|| [&name, " is not a flag that is there"].concat())?;
            let fail = |error: String| [&name, ": ", &error].concat();
            let after = flags.get(index + letter.len_utf8()..).unwrap_or_default();
            if let Some(value) = after.strip_prefix('=').filter(|_| !row.valued) {
                // As pflag reads it: `-t=false`.
                return self.set(row, Some(value), variable).map_err(fail);
            }
            if !row.valued {
                self.set(row, None, variable).map_err(fail)?;
                continue;
            }
            let attached = after.strip_prefix('=').unwrap_or(after);
            let value = if attached.is_empty() { rest.next().map(String::as_str) } else { Some(attached) };
            let value = value.ok_or_else(|| fail("its value is missing".into()))?;
            return self.set(row, Some(value), variable).map_err(fail);
        }
        Ok(())
    }

    fn set(&mut self, row: &Row, value: Option<&str>, variable: words::Lookup) -> Result<(), String> {
        let text = || String::from(value.unwrap_or_default());
        match row.sets {
            Sets::Tty => self.tty = values::truth(value)?,
            Sets::Interactive => self.interactive = values::truth(value)?,
            Sets::TlsVerify => self.tls_verify = values::truth(value)?,
            Sets::Privileged if values::truth(value)? => {}
            Sets::Privileged => return Err("containers without privileges are not there yet".into()),
            Sets::Implied => drop(values::truth(value)?),
            Sets::Env => self.env.extend(values::environment(text(), variable)?),
            Sets::Entrypoint => self.entrypoint = Some(values::entry_point(text())),
            Sets::WorkingDir if !text().starts_with('/') => return Err("a working directory begins with /".into()),
            Sets::WorkingDir => self.working_dir = Some(text()),
            Sets::Volume => self.volumes.push(values::volume(&text())?),
            Sets::Hostname => {
                self.hostname =
                    Some(super::options::hostname(&text()).map_err(|_| "1 to 64 letters, digits and - . _")?)
            }
            Sets::User => self.user = Some(text()),
            Sets::Network => self.no_network = values::network(&text())?,
            Sets::Dns if text() == "none" => self.own_resolv_conf = true,
            Sets::Dns => return Err("only none is there yet".into()),
            Sets::Pull => self.pull = values::pull_policy(&text())?,
            Sets::Creds => self.creds = Some(values::credentials(&text())?),
            Sets::AuthFile => self.authfile = Some(text()),
            Sets::CertDir => self.cert_dir = Some(text()),
            Sets::Retry => {
                let retries = text().parse().map_err(|_| ["«", &text(), "» is not a number of tries"].concat())?;
                self.retry.retries = Some(retries);
            }
            Sets::RetryDelay => self.retry.delay_ms = Some(values::duration_ms(&text())?),
            Sets::Platform => {
                let (architecture, variant) = values::platform(&text())?;
                (self.architecture, self.variant) = (Some(architecture), variant);
            }
            Sets::Architecture => self.architecture = Some(values::architecture(&text())?),
            Sets::Variant => self.variant = Some(values::plain(&text())?),
            Sets::OperatingSystem => values::operating_system(&text())?,
            Sets::HttpProxy => self.http_proxy = values::truth(value)?,
            Sets::Restart if text() != "no" => return Err("only no is there: the machine runs its line once".into()),
            Sets::Restart | Sets::Ignored => self.warnings.push(["--", row.long, " has no effect here"].concat()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        (name == "CODE").then(|| "7".into())
    }

    fn read(line: &str) -> Container {
        parse_line(line, &env).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    #[test]
    fn lines_of_labs() {
        let c = read("-ti --tls-verify=false docker://10.42.0.1:8001/infra/machine-registration:latest check");
        assert!(c.tty && c.interactive && !c.tls_verify);
        assert_eq!((c.image.name().as_str(), c.command.len()), ("10.42.0.1:8001/infra/machine-registration:latest", 1));
        let c = read("-v /results:/w -w /w --tls-verify=false --entrypoint sh 10.42.0.1:8002/t/m:1 -euc 'make > out'");
        assert_eq!((c.entrypoint, c.working_dir.as_deref()), (Some(vec!["sh".into()]), Some("/w")));
        assert_eq!(c.command, ["-euc", "make > out"]);
        let c = read("-ti --dns=none --entrypoint=/bin/init docker://10.0.2.2:8088/x");
        assert!(c.own_resolv_conf);
    }

    #[test]
    fn short_flags_bundle_and_carry_values() {
        let c = read("-dit -eA=b -e C=d=e -e CODE -e UNSET -uann:video img -t");
        assert!(c.tty && c.interactive);
        assert_eq!(c.env, ["A=b", "C=d=e", "CODE=7"]);
        assert_eq!((c.user.as_deref(), c.command.len()), (Some("ann:video"), 1));
        assert_eq!(c.warnings, ["--detach has no effect here"]);
    }

    #[test]
    fn truth_of_short_flags() {
        let c = read("-t=false -i=true img");
        assert!(!c.tty && c.interactive);
        let c = read("-ti=false img");
        assert!(c.tty && !c.interactive);
    }

    #[test]
    fn entry_points() {
        let entry = |line: &str| read(line).entrypoint.unwrap_or_default();
        assert_eq!(entry(r#"--entrypoint '["/bin/cat","/x y"]' img"#), ["/bin/cat", "/x y"]);
        assert_eq!(entry(r#"--entrypoint '["a", 1]' img"#), [r#"["a", 1]"#]);
        assert_eq!(entry("--entrypoint '[x' img"), ["[x"]);
        assert_eq!(entry("--entrypoint 7 img"), ["7"]);
        assert_eq!(entry("--entrypoint= img"), [""; 0]);
    }

    #[test]
    fn the_last_of_a_single_valued_flag_wins() {
        let c = read("--hostname a -h b --net=none --net host --tls-verify=false --tls-verify img");
        assert_eq!((c.hostname.as_deref(), c.no_network, c.tls_verify), (Some("b"), false, true));
    }

    #[test]
    fn volumes() {
        let c = read("-v /a:/b -v /c:/d:ro,z --volume=./e:/f:rw img");
        assert_eq!(c.volumes.iter().map(|v| v.read_only).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn errors_name_the_flag() {
        for (line, want) in [
            ("", "no image is named"),
            ("-t", "no image is named"),
            ("--frobnicate img", "--frobnicate is not a flag that is there"),
            ("-tz img", "-z is not a flag that is there"),
            ("-w", "-w: its value is missing"),
            ("--env", "--env: its value is missing"),
            ("-w rel img", "-w: a working directory begins with /"),
            ("--tls-verify=maybe img", "--tls-verify: «maybe» is not true or false"),
            ("--net=bridge img", "--net: «bridge» is not one of host, none"),
            ("-v da,ta:/x img", "-v: «da,ta»: neither a path nor the name of a volume"),
            ("-v /a:/x:cow img", "-v: «cow» is not an option that is there"),
            ("-v /a:/ img", "-v: «/»: the container's own root cannot be a volume"),
            ("-v /a://. img", "-v: «//.»: the container's own root cannot be a volume"),
            ("-t= img", "-t: «» is not true or false"),
            ("-e =x img", "-e: «=x» has no name"),
            ("--restart=always img", "--restart: only no is there: the machine runs its line once"),
            ("--privileged=false img", "--privileged: containers without privileges are not there yet"),
        ] {
            assert_eq!(parse_line(line, &env).unwrap_err(), want, "{line}");
        }
        for (line, want) in [
            ("--creds ann img", "--creds: write USER:PASS, since nobody can be asked here"),
            ("--creds=:pw img", "--creds: write USER:PASS, since nobody can be asked here"),
            ("--pull=often img", "--pull: «often» is not one of always, newer, missing, never"),
            ("--retry=-1 img", "--retry: «-1» is not a number of tries"),
            ("--retry-delay 2 img", "--retry-delay: «2» is not a duration such as 500ms, 2s or 1m30s, up to 1h"),
            ("--os=windows img", "--os: «windows»: only linux runs here"),
            ("--platform=windows/amd64 img", "--platform: «windows»: only linux runs here"),
            ("--platform=amd64 img", "--platform: «amd64» is not linux/ARCH or linux/ARCH/VARIANT"),
            ("--platform=linux/arm/ img", "--platform: «linux/arm/» is not linux/ARCH or linux/ARCH/VARIANT"),
            ("--arch= img", "--arch: «» is not a word such as amd64 or v8"),
            ("--variant=v/8 img", "--variant: «v/8» is not a word such as amd64 or v8"),
            ("--http-proxy=no img", "--http-proxy: «no» is not true or false"),
            ("--decryption-key=k img", "--decryption-key is not a flag that is there"),
        ] {
            assert_eq!(parse_line(line, &env).unwrap_err(), want, "{line}");
        }
        assert!(parse_line("a.b/UPPER", &env).unwrap_err().starts_with("image «a.b/UPPER»: "));
    }

    #[test]
    fn how_an_image_is_fetched() {
        let c = read("img");
        assert!(c.pull == PullPolicy::Always && c.creds.is_none() && c.retry == Policy::default() && c.http_proxy);
        let c =
            read("--creds ann:s3:t --authfile /a --cert-dir=/c --retry 0 --retry-delay 1m30s --http-proxy=false img");
        assert!(c.creds == Credentials::parse("ann:s3:t") && c.creds.is_some());
        assert_eq!((c.authfile.as_deref(), c.cert_dir.as_deref()), (Some("/a"), Some("/c")));
        assert_eq!((c.retry.retries, c.retry.delay_ms, c.http_proxy), (Some(0), Some(90_000), false));
        for (word, policy) in [
            ("always", PullPolicy::Always),
            ("true", PullPolicy::Always),
            ("newer", PullPolicy::Newer),
            ("missing", PullPolicy::Missing),
            ("false", PullPolicy::Missing),
            ("never", PullPolicy::Never),
        ] {
            assert_eq!(read(&format!("--pull={word} img")).pull, policy);
            assert_eq!(read(&format!("--pull {word} img")).pull, policy);
        }
        for (flags, platform) in [
            ("", ("amd64", "v1")),
            ("--platform linux/arm/v6", ("arm", "v6")),
            ("--platform=linux/arm64", ("arm64", "v8")),
            ("--platform linux/arm/v6 --platform linux/arm", ("arm", "v7")),
            ("--os linux --arch aarch64", ("arm64", "v8")),
            ("--variant v3", ("amd64", "v3")),
            ("--arch riscv64", ("riscv64", "")),
        ] {
            assert_eq!(read(&[flags, " img"].concat()).platform("x86_64"), platform, "{flags}");
        }
    }

    #[test]
    fn credentials_are_in_no_error() {
        for text in [
            "--creds=ann:s3cret --frobnicate=s3cret img",
            "--creds ann:s3cret --net s3cret img",
            "--net=ann:s3cret --creds ann:s3cret img",
            "--creds=s3cret img",
            "--creds ann:s3cret a.b/S3/s3cret",
            "--creds=ann:s3cret --env=YW5uOnMzY3JldA== -w ann:s3cret -v YW5uOnMzY3JldA== img",
            "--cred=ann:s3cret img",
        ] {
            let error = parse_line(text, &env).unwrap_err();
            assert!(!error.contains("s3cret") && !error.contains("YW5u"), "{error}");
        }
        for (line, text) in [
            ("-t --creds=ann:s3cret img s3cret", "-t --creds=*** img ***"),
            ("--creds s3cret img", "--creds *** img"),
            ("--creds 'ann:x y' img  z", "--creds *** img z"),
            ("\"--creds=ann:x y\" img", "--creds=*** img"),
            ("--creds ann:'x'\\ \"y\" img --creds u:v", "--creds *** img --creds ***"),
            ("--creds 'ann:x y img", "--creds ***"),
            ("b2c.run=--creds ann:xyz \"img", "b2c.run=--creds *** \"img"),
            ("b2c.run=\"--creds=ann:xyz img", "b2c.run=--creds=***"),
            ("--creds ann:xyz img; $(echo xyz", "--creds *** img; $(echo ***"),
            ("-e  A=$B img 'sh -c'", "-e  A=$B img 'sh -c'"),
        ] {
            assert_eq!(shown(line), text);
        }
        let c = read("--creds ann:s3cret img");
        assert!(!format!("{c:?}").contains("s3cret"));
    }

    #[test]
    fn a_line_with_variables_is_checked_as_far_as_it_can_be() {
        assert!(check("--entrypoint $X img").is_ok());
        assert!(check("--entrypoint $(x) img").is_err());
        assert!(check("--nope img").is_err());
    }
}
