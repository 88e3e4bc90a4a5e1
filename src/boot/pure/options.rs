//! The options of boot2container's command line: their table, and the configuration that they give.

pub use crate::boot::pure::option_error::{Error, OWN_FILE, SOURCES, WHOLE_WORD};

use crate::boot::pure::cmdline::Word;
use crate::boot::pure::misspelt;
use crate::boot::pure::option_error::QUOTES;
use crate::boot::pure::shutdown::{self, duration_ms, NO_DURATION};
use crate::container::pure::spec::parse;
use crate::disk::pure::cache_device::CacheDevice;
use crate::disk::pure::filesystem::FileSystem;
use crate::image::pure::cosign::VerifyKey;
use crate::image::pure::mirror::Mirrors;
use crate::net::pure::dns;
use crate::net::pure::plan::NetworkConfig;
use crate::net::pure::proxy::Proxies;
use crate::store::pure::volume::{self, Volume};
use std::collections::BTreeSet;

/// How an option takes values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// No value: its presence counts.
    Nothing,
    /// One value; a later one overrides.
    One,
    /// A value each time; they accumulate in order.
    Many,
}

/// One row of the table of options.
pub struct Row {
    pub name: &'static str,
    pub takes: Takes,
    /// False for an option of boot2container that only gives a warning so far.
    pub supported: bool,
    #[cfg(feature = "host")]
    pub value: &'static str,
    #[cfg(feature = "host")]
    pub meaning: &'static str,
}

/// The texts are for the documentation, and are not part of the init.
#[cfg_attr(not(feature = "host"), allow(unused_variables))]
const fn row(name: &'static str, takes: Takes, supported: bool, value: &'static str, meaning: &'static str) -> Row {
    Row {
        name,
        takes,
        supported,
        #[cfg(feature = "host")]
        value,
        #[cfg(feature = "host")]
        meaning,
    }
}

impl Row {
    fn is_container_line(&self) -> bool {
        ["run", "container", "service", "root"].iter().any(|part| self.name.contains(part))
    }

    /// Whether single quotes mean in the value what they mean for a shell.
    fn is_read_as_by_a_shell(&self) -> bool {
        self.is_container_line() || self.name.ends_with("_cmd")
    }
}

/// Every option, in the order of the documentation.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    row("b2c.run", Takes::Many, true, "flags image command", "one container of the pipeline; run in order"),
    row("b2c.container", Takes::Many, true, "as `b2c.run`", "the older spelling of `b2c.run`"),
    row("b2c.run_post", Takes::Many, true, "as `b2c.run`", "run after the pipeline, whatever its outcome"),
    row("b2c.post_container", Takes::Many, true, "as `b2c.run`", "the older spelling of `b2c.run_post`"),
    row("b2c.run_service", Takes::Many, true, "as `b2c.run`", "started before the pipeline, left running, stopped after the post containers"),
    row("b2c.service", Takes::Many, true, "as `b2c.run`", "the older spelling of `b2c.run_service`"),
    row("b2c.root", Takes::One, true, "flags image init", "**new**: the image becomes the machine's root, and its own init process 1, when the pipeline and the post containers have run"),
    row("b2c.pipefail", Takes::Nothing, true, "", "the first failing container ends the pipeline (post containers still run)"),
    row("b2c.cache_device", Takes::One, true, "`none`, `auto`, `/dev/…`, `LABEL=…`, a name", "where images and volumes are kept: the directory `ocinit` of an ext4 partition that exists, by its name or label, or of a `b2c.filesystem`; `auto` is the label `B2C_CACHE`. Default `none`: in memory"),
    row("b2c.filesystem", Takes::Many, true, "`NAME,type=T,src=S,opts=a|b|c`", "a filesystem (ext4, nfs, 9p, virtiofs, tmpfs, …), mounted when a volume or the cache first needs it; `|` separates mount options"),
    row("b2c.volume", Takes::Many, true, "`NAME[,filesystem=FS][,expiration=never|pipeline_end]`", "a named volume: kept with the images, or on a `b2c.filesystem`; `expiration=pipeline_end` removes it at the end"),
    row("b2c.ntp_peer", Takes::One, true, "`none`, `auto`, host", "set the clock by SNTP before anything is downloaded; `auto` is pool.ntp.org. Default `none`"),
    row("b2c.hostname", Takes::One, true, "name", "the machine's name, and the containers'. Default `boot2container`"),
    row("b2c.iface", Takes::Many, true, "`NAME[,dhcp][,address=CIDR][,gateway=IP][,route=CIDR:VIA][,nameserver=IP][,forward]`", "an interface by name, in place of DHCP on every wired one; **new**: several addresses, `mtu=`, IPv6, VLANs (`eth0.12`), `bond=eth0+eth1[,mode=…]`, `bridge=eth0+eth1` ([network.md](network.md))"),
    row("b2c.carrier_timeout", Takes::One, true, "seconds", "**new**: how long the network may be without a carrier, or an interface that is named absent. Default 40; 3 if all images are in the initramfs"),
    row("b2c.insmods", Takes::One, true, "`a.ko,b.ko`", "kernel modules from `/usr_mods`, loaded first, in order"),
    row("b2c.poweroff_delay", Takes::One, true, "seconds", "wait between `It's now safe to turn off your computer` and the shutdown command; fractions (`0.5`) and units (`2m`) as `sleep` takes them"),
    row("b2c.shutdown_cmd", Takes::One, true, "commands", "the commands that end the machine: `echo WORDS`, `sleep S`, `poweroff`, `reboot`, `halt`, joined by `;`. Default `poweroff -f`"),
    row("b2c.reboot_cmd", Takes::One, true, "commands", "the same, used when a container asked for a reboot. Default `reboot -f`"),
    row("b2c.proxy", Takes::Many, true, "`http=URL`, `https=URL`, `no=LIST`", "the proxies for registries of plain http and of https (by CONNECT), and the hosts that need no proxy, separated by commas"),
    row("b2c.registry_mirror", Takes::Many, true, "`REGISTRY=URL[,URL…]`", "**new**: the mirrors to ask before the registry itself, in order; `_default` stands for registries without mirrors. A URL is `http(s)://HOST[:PORT][/PREFIX]`, and is asked with `ns=REGISTRY`, as containerd does"),
    row("b2c.verify_key", Takes::Many, true, "`/FILE`, base64", "**new**: an image from a registry must have a cosign signature by one of these keys: a file of the initramfs (PEM or DER), or its content in base64. P-256 or Ed25519"),
    row("b2c.onfail", Takes::One, true, "`poweroff`, `reboot`, `hang`", "**new**: what follows a failure of ocinit itself. Default `poweroff`"),
    row("b2c.log", Takes::One, true, "`sections`, `plain`", "**new**: `plain` turns GitLab's log sections off. Default `sections`"),
    row("b2c.swap", Takes::One, false, "`SIZE[,swappiness=N]`", "swap file on the cache, or a swap device"),
    row("b2c.minio", Takes::Many, false, "`ALIAS,URL,ACCESS_KEY,SECRET_KEY`", "an S3 endpoint for volumes"),
    row("b2c.storage", Takes::One, false, "`additionalimagestores=FSNAME`", "a read-only image store"),
    row("b2c.nbd", Takes::Many, false, "`/dev/nbdN,host=H,port=P`", "a network block device"),
    row("b2c.extra_args_url", Takes::One, false, "URL", "more options, fetched after the network is up"),
    row("b2c.keymap", Takes::One, false, "name", "console keymap"),
];

/// What follows a failure of ocinit itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFail {
    PowerOff,
    Reboot,
    Hang,
}

/// The parsed options.
pub struct Config {
    /// Container lines with variables in them: these are known when each container starts.
    pub run: Vec<String>,
    pub run_service: Vec<String>,
    pub run_post: Vec<String>,
    /// The line of the image that becomes the machine's root.
    pub root: Option<String>,
    pub pipefail: bool,
    pub filesystems: Vec<FileSystem>,
    pub volumes: Vec<Volume>,
    pub cache_device: CacheDevice,
    pub network: NetworkConfig,
    /// `None`: the clock is left as it is. For `auto` it is the host that this stands for.
    pub ntp_peer: Option<String>,
    /// Values of `b2c.proxy`, not parsed: `http=…`, `https=…`, `no=…`.
    pub proxy: Vec<String>,
    pub mirrors: Mirrors,
    /// If there is one, every image from a registry must be signed.
    pub verify_keys: Vec<VerifyKey>,
    pub hostname: String,
    pub insmods: Vec<String>,
    pub poweroff_delay_ms: u64,
    pub shutdown_cmd: String,
    pub reboot_cmd: String,
    pub on_fail: OnFail,
    pub sections: bool,
    /// A warning for each option that is ignored.
    pub warnings: Vec<String>,
}

/// Options of boot2container that are not supported yet and must not be ignored (see [`misspelt`]), and what to do.
const REFUSED: [(&str, &str); 4] = [
    ("b2c.minio", "take it out, and copy what is needed in a container"),
    ("b2c.storage", "take it out, and name images by their registry"),
    ("b2c.nbd", "take it out, and name another b2c.cache_device"),
    ("b2c.extra_args_url", "put these options into the initramfs: ocinit-host build --cmdline FILE"),
];

/// The machine's name without `b2c.hostname`.
pub const DEFAULT_HOSTNAME: &str = "boot2container";
const NTP_AUTO: &str = "pool.ntp.org";

impl Default for Config {
    fn default() -> Config {
        Config {
            run: Vec::new(),
            run_service: Vec::new(),
            run_post: Vec::new(),
            root: None,
            pipefail: false,
            filesystems: Vec::new(),
            volumes: Vec::new(),
            cache_device: CacheDevice::None,
            network: NetworkConfig::default(),
            ntp_peer: None,
            proxy: Vec::new(),
            mirrors: Mirrors::default(),
            verify_keys: Vec::new(),
            hostname: DEFAULT_HOSTNAME.into(),
            insmods: Vec::new(),
            poweroff_delay_ms: 0,
            shutdown_cmd: "poweroff -f".into(),
            reboot_cmd: "reboot -f".into(),
            on_fail: OnFail::PowerOff,
            sections: true,
            warnings: Vec::new(),
        }
    }
}

impl Config {
    /// Reads the sources: first the kernel's line, then the initramfs's own file. An option with one value takes it
    /// from the first source that has it; the values of a repeatable option accumulate.
    pub fn read(sources: &[Vec<Word>]) -> Result<Config, Error> {
        let mut config = Config::default();
        let (mut not_a_container, mut not_an_option) = (None, None);
        for (number, words) in sources.iter().enumerate().rev() {
            for word in words {
                let row = TABLE.iter().find(|row| row.name == word.key);
                let read = row.map_or(Ok(()), |row| config.apply_single(word, row));
                let read = read.and_then(|()| config.misspelt(word, row));
                if let Some((error, is_pipeline)) = read.map_err(|error| error.at(word, number))? {
                    let first = if is_pipeline { &mut not_a_container } else { &mut not_an_option };
                    first.get_or_insert_with(|| error.at(word, number));
                }
            }
        }
        for (number, words) in sources.iter().enumerate() {
            for word in words {
                config.apply_repeated(word).map_err(|error| error.at(word, number))?;
            }
        }
        // Where a container was asked for and none can run, no status but a failure is true.
        let failure = not_a_container.filter(|_| config.run.is_empty());
        if let Some(error) = failure.or(not_an_option.filter(|_| !config.runs_something())) {
            return Err(error);
        }
        config.check_names()?;
        Ok(config)
    }

    /// Whether no container line is given.
    pub fn has_no_container(&self) -> bool {
        self.run.is_empty() && self.run_service.is_empty() && self.run_post.is_empty()
    }

    /// Whether there is a container to run, or a root to enter.
    pub fn runs_something(&self) -> bool {
        !self.has_no_container() || self.root.is_some()
    }

    /// Warns of a word that seems to be meant as an option, or to hold one. What it gives is the error if nothing else
    /// asks for a container, and whether this word does. It is an error in any case if it must not be ignored.
    fn misspelt(&mut self, word: &Word, row: Option<&Row>) -> Result<Option<(Error, bool)>, Error> {
        let found = match row {
            Some(row) if row.is_container_line() => None,
            Some(_) => misspelt::enclosed(word),
            None => misspelt::find(&TABLE.iter().map(|row| row.name).collect::<Vec<_>>(), word),
        };
        let Some(found) = found else { return Ok(None) };
        if found.must_not_be_ignored {
            return Err(Error(
                found.text,
                "without it data would be lost or unprotected: correct it, or take it out".into(),
            ));
        }
        self.warnings.push(found.text.clone());
        let cure = match word.key.starts_with(QUOTES) {
            true => WHOLE_WORD,
            false => "no word that can be read asks for a container of the pipeline",
        };
        let error = Error(found.text, cure.into());
        Ok(Some((error, found.is_pipeline)))
    }

    fn apply_repeated(&mut self, word: &Word) -> Result<(), Error> {
        let value = word.value.clone().unwrap_or_default();
        let list = match word.key.as_str() {
            "b2c.run" | "b2c.container" => &mut self.run,
            "b2c.run_service" | "b2c.service" => &mut self.run_service,
            "b2c.run_post" | "b2c.post_container" => &mut self.run_post,
            "b2c.filesystem" => {
                self.filesystems.push(FileSystem::parse(&value).map_err(|error| wrong(&word.key, &error))?);
                return Ok(());
            }
            "b2c.iface" => {
                let added = self.network.add(&value, &mut self.warnings);
                return added.map_err(|error| wrong(&word.key, &error));
            }
            "ip" | "nameserver" | "BOOTIF" => {
                // A word of others never stops the boot.
                if let Err(why) = self.network.add_word(&word.key, &value) {
                    self.warnings.push([&word.key, "=", &value, ": ignored: ", &why].concat());
                }
                return Ok(());
            }
            "b2c.volume" => return self.add_volume(&value).map_err(|error| wrong(&word.key, &error)),
            "b2c.proxy" => {
                Proxies::parse(std::slice::from_ref(&value)).map_err(|error| wrong(&word.key, error.text()))?;
                self.proxy.push(value);
                return Ok(());
            }
            "b2c.registry_mirror" => {
                return self.mirrors.add(&value).map_err(|error| wrong(&word.key, error.text()));
            }
            "b2c.verify_key" => {
                self.verify_keys.push(VerifyKey::parse(&value).map_err(|error| wrong(&word.key, &error.text()))?);
                return Ok(());
            }
            _ => return Ok(()),
        };
        parse::check(&value, false).map_err(|error| wrong(&word.key, &error))?;
        list.push(value);
        Ok(())
    }

    fn add_volume(&mut self, value: &str) -> Result<(), String> {
        let mut unsupported = Vec::new();
        let volume = volume::volume(value, &mut unsupported)?;
        for key in unsupported {
            self.warnings.push(["b2c.volume=", &volume.name, ": ", &key, " is not supported yet: ignored"].concat());
        }
        self.volumes.push(volume);
        Ok(())
    }

    /// Checks that every `b2c.filesystem` that is referred to exists.
    fn check_names(&mut self) -> Result<(), Error> {
        self.network.plan(true).map_err(|why| wrong("b2c.iface", &why))?;
        let known: BTreeSet<&str> = self.filesystems.iter().map(|filesystem| filesystem.name.as_str()).collect();
        let unknown = |name: &str| !known.contains(name);
        for volume in &self.volumes {
            if let Some(name) = volume.filesystem.as_deref().filter(|name| unknown(name)) {
                return Err(wrong("b2c.volume", &[&volume.name, ": no b2c.filesystem is named '", name, "'"].concat()));
            }
        }
        match &self.cache_device {
            CacheDevice::FileSystem(name) if unknown(name) => {
                let why =
                    ": not one of none, auto, /dev/..., LABEL=..., nor a b2c.filesystem; images are kept in memory";
                self.warnings.push(["b2c.cache_device=", name, why].concat());
                self.cache_device = CacheDevice::None;
            }
            _ => {}
        }
        Ok(())
    }

    fn not_supported(&mut self, key: &str) -> Result<(), Error> {
        if let Some((_, cure)) = REFUSED.iter().find(|(name, _)| *name == key) {
            return Err(Error([key, " is not supported yet, and cannot be ignored"].concat(), (*cure).into()));
        }
        self.warnings.push([key, " is not supported yet: ignored"].concat());
        Ok(())
    }

    fn apply_single(&mut self, word: &Word, row: &Row) -> Result<(), Error> {
        let key = row.name;
        if !row.supported {
            return self.not_supported(key);
        }
        if row.takes != Takes::Nothing && word.value.is_none() {
            return Err(wrong(key, "a value is missing: write it after ="));
        }
        let value = word.value.as_deref().unwrap_or_default();
        if value.starts_with(QUOTES) && !row.is_read_as_by_a_shell() {
            return Err(wrong(key, "the value begins with a quote that holds no words together"));
        }
        match key {
            "b2c.pipefail" => self.pipefail = true,
            "b2c.root" => {
                parse::check(value, true).map_err(|error| wrong(key, &error))?;
                self.root = Some(value.into());
            }
            "b2c.cache_device" => match CacheDevice::parse(value) {
                Ok(device) => self.cache_device = device,
                // A machine without its disk still boots.
                Err(why) => self.warnings.push([key, ": ", why, "; images are kept in memory"].concat()),
            },
            "b2c.ntp_peer" => {
                self.ntp_peer = match value {
                    "none" | "" => None,
                    "auto" => Some(NTP_AUTO.into()),
                    host => Some(host.into()),
                }
            }
            "b2c.hostname" => self.hostname = dns::hostname(value).map_err(|why| wrong(key, why))?,
            "b2c.carrier_timeout" => {
                self.network.carrier_ms = Some(duration_ms(value).ok_or_else(|| wrong(key, NO_DURATION))?)
            }
            "b2c.insmods" => {
                self.insmods = value.split(',').filter(|name| !name.is_empty()).map(String::from).collect()
            }
            "b2c.poweroff_delay" => {
                self.poweroff_delay_ms = duration_ms(value).ok_or_else(|| wrong(key, NO_DURATION))?
            }
            "b2c.shutdown_cmd" | "b2c.reboot_cmd" => {
                shutdown::parse(value, &|_| None).map_err(|error| wrong(key, &error.text()))?;
                let command = if key == "b2c.reboot_cmd" { &mut self.reboot_cmd } else { &mut self.shutdown_cmd };
                *command = value.into();
            }
            "b2c.onfail" => {
                self.on_fail = match value {
                    "poweroff" => OnFail::PowerOff,
                    "reboot" => OnFail::Reboot,
                    "hang" => OnFail::Hang,
                    _ => return Err(wrong(key, "not one of poweroff, reboot, hang")),
                }
            }
            "b2c.log" => {
                self.sections = match value {
                    "sections" => true,
                    "plain" => false,
                    _ => return Err(wrong(key, "not one of sections, plain")),
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The values of `b2c.onfail` and `b2c.log` (true for sections), which apply even if another option is wrong. The last
/// source counts most.
pub fn policy(sources: &[Vec<Word>]) -> (OnFail, bool) {
    let mut config = Config::default();
    for word in sources.iter().flatten() {
        if let Some(row) =
            TABLE.iter().find(|row| row.name == word.key && ["b2c.onfail", "b2c.log"].contains(&row.name))
        {
            // A wrong one keeps the default. `read` reports the error.
            let _ = config.apply_single(word, row);
        }
    }
    (config.on_fail, config.sections)
}

fn wrong(key: &str, why: &str) -> Error {
    Error([key, ": ", why].concat(), String::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::pure::cmdline;

    fn read(lines: &[&str]) -> Result<Config, Error> {
        let sources: Vec<_> = lines.iter().map(|line| cmdline::parse(line.as_bytes()).unwrap()).collect();
        Config::read(&sources)
    }

    /// Promise: options
    #[test]
    fn the_line_of_a_lab() {
        let config = read(&[r#"console=ttyS0,115200 b2c.run="-ti img" b2c.container="x y" b2c.pipefail
            b2c.ntp_peer=auto b2c.cache_device=/dev/mmcblk0p2 b2c.insmods=a.ko,b.ko b2c.poweroff_delay=15
            b2c.shutdown_cmd="echo JOB_RESULT=$B2C_PIPELINE_PREV_CONTAINER_EXIT_CODE; poweroff -f""#])
        .unwrap();
        assert_eq!(config.run, ["-ti img", "x y"]);
        assert!(config.pipefail && config.warnings.is_empty());
        assert_eq!(config.ntp_peer.as_deref(), Some("pool.ntp.org"));
        assert_eq!(config.cache_device, CacheDevice::Path("/dev/mmcblk0p2".into()));
        assert_eq!((config.insmods.len(), config.poweroff_delay_ms), (2, 15_000));
    }

    #[test]
    fn the_kernels_line_wins_on_single_values_and_lists_grow() {
        let config = read(&["b2c.hostname=a b2c.hostname=b b2c.run=one", "b2c.hostname=c b2c.log=plain b2c.run=two"]);
        let config = config.unwrap();
        assert_eq!((config.hostname.as_str(), config.sections), ("b", false));
        assert_eq!(config.run, ["one", "two"]);
    }

    #[test]
    fn where_images_come_from_and_who_signs_them() {
        let key = "MCowBQYDK2VwAyEAAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let line = format!("b2c.verify_key=/etc/cosign.pub b2c.proxy=http=http://p:3128 b2c.verify_key={key}");
        let config =
            read(&[&line, "b2c.registry_mirror=docker.io=http://m b2c.registry_mirror=*=https://n b2c.proxy=no=a,b"]);
        let config = config.unwrap();
        assert_eq!(config.proxy, ["http=http://p:3128", "no=a,b"]);
        let hosts =
            |registry| config.mirrors.of(registry).iter().map(|mirror| mirror.host.as_str()).collect::<Vec<_>>();
        assert_eq!((hosts("docker.io"), hosts("quay.io")), (vec!["m"], vec!["n"]));
        let [VerifyKey::File(path), VerifyKey::Keys(keys)] = config.verify_keys.as_slice() else { panic!() };
        assert_eq!((path.as_str(), keys[0].bytes[31]), ("/etc/cosign.pub", 31));
    }

    /// What holds a secret, well and badly spelled: neither an error nor a warning has it.
    /// Promise: no-secret-in-messages
    #[test]
    fn no_option_tells_a_secret() {
        for line in [
            "b2c.minio=a,http://h,key,SECRET",
            "b2c.minio:a,http://h,key,SECRET",
            "b2c.mini0=a,http://h,key,SECRET",
            "b2c.extra_args_url=http://u:SECRET@h/x",
            "b2c.extra_arg_url:http://u:SECRET@h/x",
            "b2c.proxy=http=http://u:SECRET@h:x",
            "b2c.proxy=http=https://u:SECRET@h:1",
            "b2c.proxy=http://u:SECRET@h:1",
            "b2c.proxy:http=http://u:SECRET@h:1",
            "b2c.registry_mirror=docker.io=http://u:SECRET@m",
            "b2c.registry_mirror=http://u:SECRET@m",
            "b2c.registry_mirrors=docker.io=http://u:SECRET@m",
            "b2c.volume=v,fscrypt_key=SECRET",
            "b2c.volume=v,fscrypt_keys=SECRET",
            "b2c.volume=v,encrypt_key=SECRET,filesystem=none",
            "b2c.filesystem=c,type=cifs,src=//u:SECRET@h/x,opts=password=SECRET,option=x",
            "b2c.filesystem=c,opts=password=SECRET",
            "b2c.verify_key=SECRETSECRET",
            "b2c.run=\"--creds=u:SECRET --nope img\"",
            "b2c.run=\"-creds=u:SECRET img\"",
            "b2c.root=\"--creds=u:SECRET --memory=1g img\"",
            "b2c.run=\"docker://u:SECRET@h/img\"",
            "b2c.service=\"--layer=http://u:SECRET@h/x#0 img\"",
        ] {
            let told = match read(&[line]) {
                Ok(config) => config.warnings.join("\n"),
                Err(error) => [error.0, error.1].join("\n"),
            };
            let told = crate::pure::scrub::clean(&told);
            assert!(!told.contains("SECRET") && !told.is_empty(), "{line}: {told}");
        }
    }

    /// Promise: options
    #[test]
    fn what_is_not_known_or_not_there_yet_is_named() {
        let config = read(&["b2c.piepfail b2c.swap=1G b2c.entirely_else=1 quiet b2c.run=x"]).unwrap();
        assert_eq!(
            config.warnings,
            [
                "b2c.piepfail is not an option: did you mean b2c.pipefail?",
                "b2c.swap is not supported yet: ignored",
                "b2c.entirely_else is not an option"
            ]
        );
    }

    /// What asks for a container and is none: without another one, no status but a failure is true.
    /// Promise: nothing-ran
    /// Input: misspelt-options
    #[test]
    fn a_container_that_was_asked_for_and_is_not_there() {
        for (line, what) in [
            ("b2c.contianer=x", "b2c.contianer is not an option: did you mean b2c.container?"),
            ("quiet b2c-run=x", "b2c-run is not an option: did you mean b2c.run?"),
            ("b2c.cache_device=auto b2c.ru", "b2c.ru is not an option: did you mean b2c.run?"),
            ("b2c.cache_device=auto b2c", "b2c is not an option"),
            ("b2c.nothing_like_it", "b2c.nothing_like_it is not an option"),
            ("b2c.piepfail", "b2c.piepfail is not an option: did you mean b2c.pipefail?"),
            (r#"x="y b2c.run=z""#, "x: the double quotes of this word hold b2c.run, too"),
            (r#"b2c.ntp_peer="auto b2c.run=z""#, "b2c.ntp_peer: the double quotes of this word hold b2c.run, too"),
        ] {
            for sources in [vec![line], vec!["quiet", line], vec![line, "b2c.hostname=x"]] {
                assert_eq!(read(&sources).err().map(|error| error.0).as_deref(), Some(what), "{line}");
            }
            // Beside a container it is a warning.
            let config = read(&[&[line, " b2c.run=img"].concat()]).unwrap();
            assert_eq!(config.warnings, [what]);
            // One that only reports what the pipeline did is none of it.
            let only_reports = read(&[&[line, " b2c.run_post=img b2c.run_service=img"].concat()]);
            assert_eq!(only_reports.is_err(), what.contains("b2c.run") || what.contains("b2c.container"), "{line}");
        }
        // None was asked for.
        for line in
            ["", "quiet", "b2c.cache_device=auto b2c.pipefail", "b2c.swap=1G", "root=LABEL=b2c run", "b2c.log=plain"]
        {
            assert!(read(&[line]).is_ok_and(|config| !config.runs_something()), "{line}");
        }
    }

    /// Promise: protecting-options
    /// Input: misspelt-options
    #[test]
    fn what_protects_or_delivers_ends_the_boot() {
        for (line, what) in [
            ("b2c.minio=a,http://h,k,SECRET", "b2c.minio is not supported yet, and cannot be ignored"),
            ("b2c.storage=additionalimagestores=x", "b2c.storage is not supported yet, and cannot be ignored"),
            ("b2c.nbd=/dev/nbd0,host=h,port=1", "b2c.nbd is not supported yet, and cannot be ignored"),
            ("b2c.extra_args_url=http://h/x", "b2c.extra_args_url is not supported yet, and cannot be ignored"),
            ("b2c.extra_args_url", "b2c.extra_args_url is not supported yet, and cannot be ignored"),
            ("b2c.verify_keys=/k", "b2c.verify_keys is not an option: did you mean b2c.verify_key?"),
            ("b2c-verify_key=/k", "b2c-verify_key is not an option: did you mean b2c.verify_key?"),
            ("b2c.extra_args=/k", "b2c.extra_args is not an option"),
            ("b2c.volumes=v,fscrypt_key=SECRET", "b2c.volumes is not an option: did you mean b2c.volume?"),
            ("b2c.volume=v,fscript_key=SECRET", "b2c.volume: 'fscript_key' is not one of"),
            (
                "b2c.volume=v,fscrypt_key=SECRET",
                "b2c.volume: v: fscrypt_key is not supported yet, and cannot be ignored",
            ),
            ("b2c.volume=v,mirror=a/b,push_on=changes", "b2c.volume: v: mirror is not supported yet, and cannot"),
        ] {
            let error = read(&["b2c.run=img", line]).err().unwrap_or_else(|| panic!("{line}"));
            assert!(error.0.starts_with(what), "{line}: {}", error.0);
            assert!(error.1.starts_with("word 1, column 1 of /etc/ocinit/cmdline"), "{line}: {}", error.1);
        }
        let config = read(&["b2c.run=img b2c.swap=8G,swappiness=60 b2c.volume=v,push_on=changes b2c.keymap=de"]);
        assert_eq!(config.unwrap().warnings.len(), 3);
    }

    /// Promise: faulty-values
    #[test]
    fn the_place_and_the_cure_are_told() {
        for (line, place, cure) in [
            ("b2c.run='alpine echo hi'", "word 1, column 1", WHOLE_WORD),
            ("quiet  b2c.run=-ti alpine", "word 2, column 8", WHOLE_WORD),
            ("b2c.run=\u{201c}-ti alpine\u{201d}", "word 1, column 1", WHOLE_WORD),
            ("b2c.hostname='dut'", "word 1, column 1", WHOLE_WORD),
            ("b2c.cache_device='auto'", "word 1, column 1", WHOLE_WORD),
            ("b2c.shutdown_cmd='echo x; poweroff'", "word 1, column 1", WHOLE_WORD),
            ("b2c.volume=a b2c.volume='b'", "word 2, column 14", WHOLE_WORD),
            ("b2c.run=--frobnicate", "word 1, column 1", ""),
            ("b2c.minio=x", "word 1, column 1", "take it out, and copy what is needed in a container"),
        ] {
            let colon = if cure.is_empty() { "" } else { ": " };
            let want = [place, " of the kernel's line", colon, cure].concat();
            assert_eq!(read(&[line]).err().map(|error| error.1), Some(want), "{line}");
        }
        // Single quotes of a shell's words are no mistake.
        let line = r#"b2c.run='alpine' b2c.run="img sh -c 'echo a b'" b2c.shutdown_cmd='poweroff'"#;
        assert_eq!(read(&[line]).unwrap().run.len(), 2);
    }

    /// Promise: iface, ip-words
    #[test]
    fn interfaces_and_words_of_the_kernels_line() {
        let line = "ip=10.0.0.2::10.0.0.1:24::eth0:off ip=ibft nameserver=10.0.0.3 BOOTIF=01-52-54-00-12-34-56";
        let config = read(&[line, "b2c.iface=eth0,dhcp b2c.iface=eth1.7,dhcp,wol b2c.carrier_timeout=90"]).unwrap();
        let network = &config.network;
        assert_eq!((network.ifaces.len(), network.kernel.len(), network.nameservers.len()), (2, 1, 1));
        assert_eq!((network.carrier_ms, network.preferred_mac.is_some()), (Some(90_000), true));
        let [other, own] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
        assert!(other.starts_with("ip=ibft: ignored: neither dhcp or off"), "{other}");
        assert_eq!(own, "b2c.iface=eth1.7: 'wol' is not a parameter: ignored");
    }

    /// Promise: faulty-values
    #[test]
    fn faulty_values_name_their_option() {
        for (line, start) in [
            ("b2c.run", "b2c.run: a value is missing"),
            ("b2c.run='a", "b2c.run: an unmatched single quote"),
            ("b2c.run=--frobnicate", "b2c.run: "),
            ("b2c.run_post=docker://http://a/b", "b2c.run_post: "),
            ("b2c.root=--memory=1g", "b2c.root: --memory: for a container, and not for the root of the machine"),
            ("b2c.root", "b2c.root: a value is missing"),
            ("b2c.root=", "b2c.root: no image is named"),
            ("b2c.onfail=explode", "b2c.onfail: "),
            ("b2c.poweroff_delay=-1", "b2c.poweroff_delay: not a number of seconds, such as 15 or 0.5"),
            ("b2c.poweroff_delay=0,5", "b2c.poweroff_delay: not a number of seconds, such as 15 or 0.5"),
            ("b2c.shutdown_cmd='sleep soon'", "b2c.shutdown_cmd: "),
            ("b2c.hostname=a/b", "b2c.hostname: "),
            ("b2c.shutdown_cmd=rm", "b2c.shutdown_cmd: "),
            ("b2c.registry_mirror=http://a.b", "b2c.registry_mirror: write REGISTRY=URL"),
            ("b2c.registry_mirror=a.b=http://u:p@c", "b2c.registry_mirror: a mirror's URL holds no user"),
            ("b2c.registry_mirror", "b2c.registry_mirror: a value is missing"),
            ("b2c.iface", "b2c.iface: a value is missing"),
            ("b2c.iface=eth0,address=10.0.0.300/24", "b2c.iface: eth0: 'address=10.0.0.300/24': not an IP address"),
            ("b2c.iface=b,bridge=b.5", "b2c.iface: b: is made of itself"),
            ("b2c.carrier_timeout=soon", "b2c.carrier_timeout: not a number of seconds"),
            ("b2c.verify_key=cosign.pub", "b2c.verify_key: neither the path of a file"),
            ("b2c.verify_key=", "b2c.verify_key: "),
        ] {
            let error = read(&[line]).err().unwrap_or(Error(String::new(), String::new()));
            assert!(error.0.starts_with(start), "{line}: {}", error.0);
        }
    }

    #[test]
    fn a_cache_that_cannot_be_had_is_a_warning() {
        for value in ["reset", "sda", "nfs-share", "/dev/../etc"] {
            let config = read(&[&["b2c.cache_device=", value].concat()]).unwrap();
            assert_eq!((config.cache_device, config.warnings.len()), (CacheDevice::None, 1), "{value}");
        }
    }

    #[test]
    fn services_filesystems_and_volumes() {
        let config = read(&["b2c.service=a b2c.volume=perm,filesystem=share,push_on=changes b2c.run_service=b \
            b2c.filesystem=share,type=9p,src=tag,opts=trans=virtio|ro b2c.cache_device=share"])
        .unwrap();
        assert_eq!(config.run_service, ["a", "b"]);
        assert_eq!(config.cache_device, CacheDevice::FileSystem("share".into()));
        assert_eq!((config.volumes[0].filesystem.as_deref(), config.filesystems[0].flags), (Some("share"), 1));
        assert_eq!(config.warnings, ["b2c.volume=perm: push_on is not supported yet: ignored"]);
        let error = read(&["b2c.volume=perm,filesystem=nfs"]).err().unwrap();
        assert_eq!(error.0, "b2c.volume: perm: no b2c.filesystem is named 'nfs'");
        let error = read(&["b2c.filesystem=x"]).err().unwrap();
        assert!(error.0.starts_with("b2c.filesystem: 'x': write type="), "{}", error.0);
    }

    /// Promise: faulty-values
    #[test]
    fn the_policy_survives_a_line_that_cannot_be_read() {
        let words = cmdline::parse(b"b2c.onfail=hang b2c.log=plain b2c.run").unwrap();
        assert_eq!(policy(std::slice::from_ref(&words)), (OnFail::Hang, false));
        let own = cmdline::parse(b"b2c.onfail=reboot b2c.log=plain").unwrap();
        assert_eq!(policy(&[own, words[..1].to_vec()]), (OnFail::Hang, false));
    }

    /// Promise: options
    #[test]
    fn every_supported_option_is_read() {
        for row in TABLE.iter().filter(|row| row.supported) {
            let line = match row.name {
                "b2c.poweroff_delay" | "b2c.carrier_timeout" => [row.name, "=1"].concat(),
                "b2c.onfail" => "b2c.onfail=reboot".into(),
                "b2c.log" => "b2c.log=plain".into(),
                "b2c.cache_device" => "b2c.cache_device=auto".into(),
                "b2c.registry_mirror" => "b2c.registry_mirror=x=http://y".into(),
                "b2c.proxy" => "b2c.proxy=http=http://y".into(),
                "b2c.verify_key" => "b2c.verify_key=/x".into(),
                "b2c.filesystem" => "b2c.filesystem=x,type=tmpfs".into(),
                "b2c.shutdown_cmd" | "b2c.reboot_cmd" => [row.name, "=halt"].concat(),
                name => [name, "=x"].concat(),
            };
            let changed = read(&[&line]).unwrap_or_else(|error| panic!("{line}: {}", error.0));
            let default = Config::default();
            let differs = changed.run != default.run
                || changed.run_service != default.run_service
                || changed.run_post != default.run_post
                || changed.filesystems != default.filesystems
                || changed.volumes != default.volumes
                || changed.root.is_some()
                || changed.pipefail
                || changed.cache_device != default.cache_device
                || changed.network != default.network
                || changed.ntp_peer.is_some()
                || !changed.proxy.is_empty()
                || !changed.mirrors.is_empty()
                || !changed.verify_keys.is_empty()
                || changed.hostname != default.hostname
                || !changed.insmods.is_empty()
                || changed.poweroff_delay_ms != 0
                || changed.shutdown_cmd != default.shutdown_cmd
                || changed.reboot_cmd != default.reboot_cmd
                || changed.on_fail != default.on_fail
                || !changed.sections;
            assert!(differs, "{} is said to be supported and changes nothing", row.name);
        }
    }
}
