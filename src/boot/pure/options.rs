//! The configuration that the options of boot2container's command line give.

pub use crate::boot::pure::option_error::{last_place, Error, Mistake, EXTRA, OWN_FILE, SOURCES, WHOLE_WORD};
pub use crate::boot::pure::option_table::{Row, Takes, TABLE};

use crate::boot::pure::cmdline::Word;
use crate::boot::pure::extra_args::{self, ExtraArgs};
use crate::boot::pure::interpolate::{self, Form};
use crate::boot::pure::option_error::{add, doubt, wrong, Weight, PRECEDENCE, QUOTES};
use crate::boot::pure::option_table::REFUSED;
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
    pub extra_args: ExtraArgs,
    /// With `${NAME}`s in it until the network is up.
    pub hostname: String,
    /// The name of the console's keymap.
    pub keymap: Option<String>,
    pub insmods: Vec<String>,
    pub poweroff_delay_ms: u64,
    pub shutdown_cmd: String,
    pub reboot_cmd: String,
    pub on_fail: OnFail,
    pub sections: bool,
    /// A warning for each option that is ignored.
    pub warnings: Vec<String>,
}

/// The machine's name without `b2c.hostname`.
pub const DEFAULT_HOSTNAME: &str = "boot2container";

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
            extra_args: ExtraArgs::default(),
            hostname: DEFAULT_HOSTNAME.into(),
            keymap: None,
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
    /// Reads the sources, in the order of [`SOURCES`]. The values of a repeatable option accumulate in this order; of
    /// an option with one value the last one of [`PRECEDENCE`] counts. An error is all that is wrong, with warnings.
    pub fn read(sources: &[Vec<Word>]) -> Result<Config, Vec<Mistake>> {
        let (config, mistakes) = Config::collect(sources, Vec::new());
        if mistakes.iter().any(Mistake::is_fatal) {
            return Err(mistakes);
        }
        Ok(config)
    }

    /// As [`Config::read`], with all that is wrong in the order of the places. `known` is what is wrong already: a
    /// source that cannot be read whole may have what seems to be missing.
    pub fn collect(sources: &[Vec<Word>], known: Vec<Mistake>) -> (Config, Vec<Mistake>) {
        let mut config = Config::default();
        let (is_whole, mut mistakes) = (known.is_empty(), known);
        for (source, words) in PRECEDENCE.iter().filter_map(|number| Some((*number, sources.get(*number)?))) {
            for (number, word) in words.iter().enumerate() {
                let at = (source, number);
                if let Some(warning) = extra_args::too_late(&word.key, source) {
                    config.warnings.push(warning);
                    config.add_mistakes(at, word, Ok(None), &mut mistakes);
                    continue;
                }
                let row = Row::of(word);
                let read = row.map_or(Ok(()), |row| config.apply_single(word, row));
                let read = read.and_then(|()| doubt(word, row));
                config.add_mistakes((source, number), word, read, &mut mistakes);
            }
        }
        let mut volumes = Vec::new();
        for (source, words) in sources.iter().enumerate() {
            let has_keys = source == EXTRA && !config.verify_keys.is_empty();
            for (number, word) in words.iter().enumerate() {
                let at = (source, number);
                // The first mistake of a word is enough.
                let is_wrong = mistakes.iter().any(|mistake| mistake.at == at && mistake.is_fatal());
                // Words of others are of the kernel's line and the initramfs alone.
                let is_late = source == EXTRA && !word.is_option() || extra_args::too_late(&word.key, source).is_some();
                if !is_wrong && !is_late {
                    let allowed = if has_keys { extra_args::adds_no_key(&word.key) } else { Ok(()) };
                    let read = allowed.map_err(|why| wrong(&word.key, why));
                    let read = read.and_then(|()| config.apply_repeated(word)).map(|()| None);
                    config.add_mistakes(at, word, read, &mut mistakes);
                    volumes.resize(config.volumes.len(), at);
                }
            }
        }
        let awaits_more = config.awaits_extra_args(sources.len());
        if let Some(text) = config.extra_args.warning() {
            let at = last_place(sources, "b2c.extra_args_key").or_else(|| last_place(sources, "b2c.extra_args_sha256"));
            let at = at.unwrap_or_default();
            add(&mut mistakes, Mistake { at, weight: Weight::Warning, text: text.into(), hint: String::new() });
        }
        if is_whole {
            config.check_names(sources, &volumes, awaits_more, &mut mistakes);
        }
        config.weigh(sources, is_whole && !awaits_more, &mut mistakes);
        let warnings = mistakes.iter().filter(|mistake| !mistake.is_fatal());
        config.warnings = warnings.map(|mistake| mistake.text.clone()).collect();
        (config, mistakes)
    }

    /// Adds the warnings that a word at `at` has left, and the error or doubt in `read`.
    fn add_mistakes(
        &mut self,
        at: (usize, usize),
        word: &Word,
        read: Result<Option<(Error, Weight)>, Error>,
        mistakes: &mut Vec<Mistake>,
    ) {
        for text in self.warnings.drain(..) {
            add(mistakes, Mistake { at, weight: Weight::Warning, text, hint: String::new() });
        }
        let found = read.unwrap_or_else(|error| Some((error, Weight::Fatal)));
        if let Some((error, weight)) = found {
            let Error(text, hint) = error.at(word, at.0);
            add(mistakes, Mistake { at, weight, text, hint });
        }
    }

    /// Decides of each doubt. Where a container was asked for and none can run, no status but a failure is true. A
    /// container line that is wrong, or may be behind a quote, was asked for, and is told already.
    fn weigh(&self, sources: &[Vec<Word>], is_whole: bool, mistakes: &mut [Mistake]) {
        let is_line = |word: &Word| Row::of(word).is_some_and(Row::is_container_line);
        let is_told = |mistake: &Mistake| {
            let word = sources.get(mistake.at.0).and_then(|words| words.get(mistake.at.1));
            mistake.is_fatal() && word.is_some_and(is_line)
        };
        let is_asked = !is_whole || mistakes.iter().any(is_told);
        for mistake in mistakes {
            mistake.weight = match mistake.weight {
                Weight::PipelineDoubt if self.run.is_empty() && !is_asked => Weight::Fatal,
                Weight::Doubt if !self.runs_something() && !is_asked => Weight::Fatal,
                Weight::Fatal => Weight::Fatal,
                _ => Weight::Warning,
            };
        }
    }

    /// Whether options are missing that may bring what those of so many sources refer to.
    pub fn awaits_extra_args(&self, sources: usize) -> bool {
        self.extra_args.url.is_some() && sources <= EXTRA
    }

    /// Whether no container line is given.
    pub fn has_no_container(&self) -> bool {
        self.run.is_empty() && self.run_service.is_empty() && self.run_post.is_empty()
    }

    /// Whether there is a container to run, or a root to enter.
    pub fn runs_something(&self) -> bool {
        !self.has_no_container() || self.root.is_some()
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

    /// Checks that interfaces fit together, and that every `b2c.filesystem` that is referred to exists, unless it may
    /// be in the extra arguments. `volumes` has the place of each volume's word.
    fn check_names(
        &mut self,
        sources: &[Vec<Word>],
        volumes: &[(usize, usize)],
        awaits_more: bool,
        mistakes: &mut Vec<Mistake>,
    ) {
        if let Err(why) = self.network.plan(true) {
            let Error(text, hint) = wrong("b2c.iface", &why);
            let at = last_place(sources, "b2c.iface").unwrap_or_default();
            add(mistakes, Mistake { at, weight: Weight::Fatal, text, hint });
        }
        if awaits_more {
            return;
        }
        let unknown = |name: &str| !self.filesystems.iter().any(|filesystem| filesystem.name == name);
        for (volume, at) in self.volumes.iter().zip(volumes) {
            let word = sources.get(at.0).and_then(|words| words.get(at.1));
            let name = volume.filesystem.as_deref().filter(|name| unknown(name));
            if let Some((name, word)) = name.zip(word) {
                let why = [&volume.name, ": no b2c.filesystem is named '", name, "'"].concat();
                let Error(text, hint) = wrong("b2c.volume", &why).at(word, at.0);
                add(mistakes, Mistake { at: *at, weight: Weight::Fatal, text, hint });
            }
        }
        match &self.cache_device {
            CacheDevice::FileSystem(name) if unknown(name) => {
                let why =
                    ": not one of none, auto, /dev/..., LABEL=..., nor a b2c.filesystem; images are kept in memory";
                let text = ["b2c.cache_device=", name, why].concat();
                let at = last_place(sources, "b2c.cache_device").unwrap_or_default();
                add(mistakes, Mistake { at, weight: Weight::Warning, text, hint: String::new() });
                self.cache_device = CacheDevice::None;
            }
            _ => {}
        }
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
        self.set(key, value)
    }

    /// Sets what an option with one value says.
    fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
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
                    host => Some(host.into()),
                }
            }
            "b2c.hostname" => {
                let example = interpolate::example(value, Form::HostName).map_err(|why| wrong(key, &why))?;
                dns::hostname(&example).map_err(|why| wrong(key, why))?;
                self.hostname = value.into();
            }
            "b2c.keymap" => self.keymap = Some(value.into()).filter(|name: &String| !name.is_empty()),
            "b2c.carrier_timeout" => {
                self.network.carrier_ms = Some(duration_ms(value).ok_or_else(|| wrong(key, NO_DURATION))?)
            }
            "b2c.lease_timeout" => {
                self.network.lease_ms = Some(duration_ms(value).ok_or_else(|| wrong(key, NO_DURATION))?)
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
            _ => self.extra_args.set(key, value).map_err(|why| wrong(key, &why))?,
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

#[cfg(test)]
mod tests;
