//! What `ocinit check` says of a kernel's line: what each option will do, what is wrong, and where boot2container does
//! something else.

use crate::boot::pure::cmdline::{self, Word, LINE_MAX};
use crate::boot::pure::option_error::{add, place, readable, Mistake, Weight, EXTRA, SOURCES};
use crate::boot::pure::option_table::{Row, Takes};
use crate::boot::pure::options::{last_place, Config};
use crate::boot::pure::{extra_args, misspelt};
use crate::container::pure::spec::{parse, ContainerSpec, Namespace, Source};
use crate::disk::pure::cache_device::CacheDevice;
use crate::disk::pure::filesystem::FileSystem;
use crate::image::pure::pull_options::PullPolicy;
use crate::image::pure::reference::Reference;
use crate::net::pure::plan::Plan;
use crate::pure::scrub::{self, clean};
use crate::pure::shell_words;

/// What is said, and whether the boot fails.
pub struct Checked {
    pub text: String,
    pub fails: bool,
}

/// Checks the sources, each with its text if there is one.
pub fn check(texts: &[Option<Vec<u8>>; SOURCES.len()]) -> Checked {
    let mut mistakes = Vec::new();
    let mut sources = Vec::new();
    for (source, text) in texts.iter().enumerate() {
        // Without the extra arguments, a line that names their URL awaits them.
        if source == EXTRA && text.is_none() {
            break;
        }
        let text = text.as_deref().unwrap_or_default();
        let words = if source == 0 { cmdline::parse(text) } else { cmdline::parse_file(text) };
        let words = readable(words, source, &mut mistakes);
        if source == EXTRA && (extra_args::is_page("", text) || extra_args::has_no_option(&words)) {
            let (text, hint) = ("no document of options".into(), "options begin with b2c.".into());
            add(&mut mistakes, Mistake { at: (source, words.len()), weight: Weight::Fatal, text, hint });
        }
        sources.push(words);
    }
    let (config, mistakes) = Config::collect(&sources, mistakes);
    let mut page =
        Page { sources: &sources, config, mistakes: &mistakes, lines: [0; 4], warnings: 0, out: String::new() };
    for (source, text) in texts.iter().enumerate() {
        if let Some(text) = text {
            page.source(source, text);
        }
    }
    page.verdict()
}

/// The columns before what is said of an option.
const MARGIN: usize = 24;
/// How many words of other programs are named.
const FOREIGN_MAX: usize = 30;

/// Options that boot2container does not have.
const NEW: [&str; 9] = [
    "b2c.root",
    "b2c.carrier_timeout",
    "b2c.lease_timeout",
    "b2c.registry_mirror",
    "b2c.verify_key",
    "b2c.onfail",
    "b2c.log",
    "b2c.extra_args_sha256",
    "b2c.extra_args_key",
];
/// Options that boot2container has acted on before it fetches the extra arguments.
const EARLY: [&str; 7] =
    ["b2c.insmods", "b2c.cache_device", "b2c.swap", "b2c.iface", "b2c.ntp_peer", "b2c.nbd", "b2c.extra_args_url"];

struct Page<'a> {
    sources: &'a [Vec<Word>],
    config: Config,
    mistakes: &'a [Mistake],
    /// How many lines there were of each of [`LINES`].
    lines: [usize; LINES.len()],
    warnings: usize,
    out: String,
}

/// What container lines are of.
const LINES: [&str; 4] = ["container", "service", "post container", "root"];

impl Page<'_> {
    fn source(&mut self, source: usize, text: &[u8]) {
        let name = SOURCES.get(source).copied().unwrap_or_default();
        let note = if source == 1 { " (boot2container has none)" } else { "" };
        self.out += &[name, note, "\n"].concat();
        let length = text.trim_ascii_end().len();
        if source == 0 && length > LINE_MAX {
            let (length, kept) = (length.to_string(), LINE_MAX.to_string());
            self.warn("", &[&length, " bytes: the kernel keeps ", &kept, " of them, and cuts off the rest"].concat());
        }
        let (sources, mut foreign) = (self.sources, Vec::new());
        if source == EXTRA && self.config.extra_args.url.is_none() {
            self.warn("", "no b2c.extra_args_url fetches them");
        }
        let words = sources.get(source).map_or(&[][..], Vec::as_slice);
        for (number, word) in words.iter().enumerate() {
            if !self.word((source, number), word) {
                let sign = if word.value.is_some() { "=" } else { "" };
                foreign.push([&word.key, sign].concat());
            }
        }
        self.mistakes_at((source, words.len()), "");
        if foreign.len() > FOREIGN_MAX {
            let more = ["and ", &(foreign.len() - FOREIGN_MAX).to_string(), " more"].concat();
            foreign.truncate(FOREIGN_MAX);
            foreign.push(more);
        }
        if !foreign.is_empty() {
            self.line("not ocinit's", &foreign.join(", "));
        }
    }

    /// Says what there is to say of a word; false if it is another program's.
    fn word(&mut self, at: (usize, usize), word: &Word) -> bool {
        let name = misspelt::shown(&word.key);
        let start = self.out.len();
        let row = Row::of(word);
        let is_wrong = self.mistakes_at(at, name);
        let is_told = self.out.len() > start;
        match row {
            None if is_told => self.otherwise("ignored, without a word"),
            None => return self.word_of_others(at.0, word),
            Some(row) => {
                let is_late = |source| extra_args::too_late(row.name, source).is_some();
                let sources = self.sources.get(..EXTRA).filter(|_| is_late(EXTRA)).unwrap_or(self.sources);
                let counts = row.takes == Takes::Many || last_place(sources, row.name) == Some(at);
                let head = if is_told { "" } else { name };
                let is_used = !is_wrong && !is_late(at.0);
                if is_used && !counts {
                    self.line(head, &["ignored: a later ", name, " counts"].concat());
                } else if is_used && row.supported {
                    self.option(head, row.name, word);
                }
                if let Some(text) = otherwise(at.0, word, row) {
                    self.otherwise(text);
                }
            }
        }
        true
    }

    /// Says what is wrong with the word at this place; whether that ends the boot.
    fn mistakes_at(&mut self, at: (usize, usize), name: &str) -> bool {
        let mut is_fatal = false;
        for mistake in self.mistakes.iter().filter(|mistake| mistake.at == at) {
            let text =
                mistake.text.strip_prefix(name).and_then(|text| text.strip_prefix(": ")).unwrap_or(&mistake.text);
            if mistake.is_fatal() {
                is_fatal = true;
                self.line(name, &["FAIL ", text].concat());
                self.line("", &mistake.hint);
            } else {
                self.warn(name, text);
                let word = self.sources.get(at.0).and_then(|words| words.get(at.1));
                if let Some(word) = word {
                    self.line("", &place(&word.at, at.0));
                }
            }
        }
        is_fatal
    }

    /// An option that is right, and counts.
    fn option(&mut self, head: &str, name: &str, word: &Word) {
        let value = word.value.as_deref().unwrap_or_default();
        let kind = match name {
            "b2c.run" | "b2c.container" => 0,
            "b2c.run_service" | "b2c.service" => 1,
            "b2c.run_post" | "b2c.post_container" => 2,
            "b2c.root" => 3,
            _ => return self.line(head, &self.meaning(name, value)),
        };
        let number = self.lines.get_mut(kind).map_or(0, |count| {
            *count += 1;
            *count
        });
        let what = LINES.get(kind).copied().unwrap_or_default();
        // The values of variables are known when the container starts.
        let variable = |name: &str| Some(["$", name].concat());
        let parse = if kind == 3 { parse::parse_root } else { parse::parse_line };
        let (said, warnings) = match parse(value, &variable) {
            Ok(spec) => (container(&spec), spec.warnings),
            Err(_) => ("known when its variables are".into(), Vec::new()),
        };
        self.line(head, &[what, " ", &number.to_string(), ": ", &said].concat());
        for warning in warnings {
            self.warn("", &warning);
        }
    }

    /// What an option does that is no container line.
    fn meaning(&self, name: &str, value: &str) -> String {
        let config = &self.config;
        let (what, value) = match name {
            "b2c.pipefail" => ("the first container that fails ends the pipeline", ""),
            "b2c.cache_device" => match &config.cache_device {
                CacheDevice::None => ("images and volumes in memory", ""),
                CacheDevice::Label(label) => ("images and volumes on the partition labelled ", label.as_str()),
                device => ("images and volumes on ", device.name()),
            },
            "b2c.filesystem" => {
                return match FileSystem::parse(value) {
                    Ok(it) => [&it.name, ": ", &it.kind, " from ", &it.source, ", mounted when it is needed"].concat(),
                    Err(why) => why,
                }
            }
            "b2c.volume" => {
                let name = value.split(',').next().unwrap_or_default();
                let Some(volume) = config.volumes.iter().find(|volume| volume.name == name) else {
                    return String::new();
                };
                let end = if volume.expires { ", removed at the end" } else { "" };
                let on = volume.filesystem.as_deref().unwrap_or("the cache");
                return ["volume ", name, " on ", on, end].concat();
            }
            "b2c.ntp_peer" => match &config.ntp_peer {
                Some(peer) => ("the clock is set by ", peer.as_str()),
                None => ("the clock is left as it is", ""),
            },
            "b2c.hostname" => ("the machine is called ", value),
            "b2c.keymap" => return ["the console's keymap is /usr/share/keymaps/.../", value, ".kmap"].concat(),
            "b2c.insmods" => ("loads from /usr_mods: ", value),
            "b2c.poweroff_delay" => {
                let ms = config.poweroff_delay_ms;
                let (number, unit) = if ms % 1000 == 0 { (ms / 1000, " s") } else { (ms, " ms") };
                return ["waits ", &number.to_string(), unit, " at the end"].concat();
            }
            "b2c.shutdown_cmd" => ("at the end: ", value),
            "b2c.reboot_cmd" => ("when a container asked for a reboot: ", value),
            "b2c.onfail" => ("after a failure of ocinit: ", value),
            "b2c.verify_key" => ("an image of a registry must be signed with this key", ""),
            "b2c.extra_args_url" => {
                let more = if self.awaits_more() { ": --extra FILE" } else { "" };
                return ["more options from ", value, more].concat();
            }
            "b2c.proxy" | "b2c.registry_mirror" => return scrub::list_of_urls(value),
            "b2c.log" | "b2c.iface" => ("", value),
            _ => ("taken", ""),
        };
        [what, value].concat()
    }

    /// A word that is no option, but that we act on all the same. False if we do not.
    fn word_of_others(&mut self, source: usize, word: &Word) -> bool {
        let value = word.value.as_deref().unwrap_or_default();
        let key = word.key.replace('-', "_");
        let text = match (key.as_str(), source) {
            ("ip", 0 | 1) => "the network, where no b2c.iface sets it up: ",
            ("nameserver", 0 | 1) => "a name server: ",
            ("BOOTIF", 0 | 1) => "this card is preferred: ",
            ("modules_load" | "rd.modules_load", 0 | 1) => "loads modules: ",
            ("modprobe.blacklist" | "module_blacklist", 0 | 1) => "no device loads: ",
            _ => return false,
        };
        self.line(&word.key, &[text, value].concat());
        if key == "ip" && source == 0 {
            self.otherwise("no DHCP, and only what the kernel itself does with it");
        }
        true
    }

    fn awaits_more(&self) -> bool {
        self.config.awaits_extra_args(self.sources.len())
    }

    fn verdict(mut self) -> Checked {
        let failures = self.mistakes.iter().filter(|mistake| mistake.is_fatal()).count();
        let (fails, awaits_more) = (failures > 0, self.awaits_more());
        let is_all = !fails && !awaits_more;
        // The boot tells these at its network step, where a kernel's own ip= counts as well.
        if let Ok(Plan::Named(named)) = self.config.network.plan(false) {
            named.warnings.iter().for_each(|warning| self.warn("network", warning));
        }
        if is_all && !self.config.runs_something() {
            self.warn("", "no b2c.run: there is nothing to run");
            self.otherwise("no 'Execution is over'");
        } else if is_all && self.config.run.is_empty() && self.config.run_post.is_empty() {
            self.otherwise("runs nothing without a b2c.run or b2c.run_post");
        }
        let mut counts = Vec::new();
        for (count, name) in self.lines.iter().zip(LINES).filter(|(count, _)| **count > 0) {
            counts.push(plural(*count, name));
        }
        counts.extend(awaits_more.then(|| SOURCES[EXTRA].into()));
        counts.extend(fails.then(|| plural(failures, "mistake")));
        counts.extend((self.warnings > 0).then(|| plural(self.warnings, "warning")));
        let verdict = if fails { "the boot fails: " } else { "the boot starts: " };
        let counts = if counts.is_empty() { "nothing to run".into() } else { counts.join(", ") };
        Checked { text: [&self.out, "\n", verdict, &counts, "\n"].concat(), fails }
    }

    fn otherwise(&mut self, text: &str) {
        self.line("", &["boot2container: ", text].concat());
    }

    fn warn(&mut self, name: &str, text: &str) {
        self.warnings += 1;
        self.line(name, &["WARN ", text].concat());
    }

    fn line(&mut self, name: &str, text: &str) {
        let name = clean(name);
        self.out += "  ";
        self.out += &name;
        (name.len() + 2..MARGIN - 1).for_each(|_| self.out.push(' '));
        self.out += " ";
        self.out += &clean(text);
        self.out += "\n";
    }
}

/// `1 mistake`, `2 mistakes`
fn plural(count: usize, name: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    [&count.to_string(), " ", name, end].concat()
}

/// What boot2container does with an option, where that is something else.
fn otherwise(source: usize, word: &Word, row: &Row) -> Option<&'static str> {
    let value = word.value.as_deref().unwrap_or_default();
    Some(match row.name {
        name if NEW.contains(&name) => "does not know it",
        name if source == EXTRA && EARLY.contains(&name) => "too late here, and ignored",
        "b2c.pipefail" if word.value.is_some() => "ignored, since a value follows it",
        "b2c.pipefail" => return None,
        _ if word.value.is_none() => "ignored without a value",
        _ if !row.supported => "has it",
        "b2c.cache_device" => match value {
            "auto" => "partitions and formats the first disk if no partition has this label",
            "reset" => "formats it, or the first disk",
            _ if value.starts_with("/dev/") => "formats it if it has no label",
            _ => return None,
        },
        "b2c.extra_args_url" => "fetches it after the cache and the clock are set up",
        "b2c.shutdown_cmd" | "b2c.reboot_cmd" => "a shell runs it",
        _ if row.is_container_line() => match shell_words::split(value, &|_| None) {
            Err(_) => "a shell expands and runs it",
            Ok(_) if value.contains('\\') => "reads backslashes once more, as echo -e does",
            Ok(_) => return None,
        },
        _ => return None,
    })
}

/// `pull docker.io/library/alpine:latest over https, run 'sh -c ...', terminal`
fn container(spec: &ContainerSpec) -> String {
    let (pull, process) = (&spec.pull, &spec.process);
    let is_remote = matches!(pull.image, Reference::Registry(_)) && pull.policy != PullPolicy::Never;
    let (verb, when) = match pull.policy {
        _ if pull.image.is_local() => ("", ""),
        PullPolicy::Always => ("pull ", ""),
        PullPolicy::Newer => ("pull ", " if it is newer"),
        PullPolicy::Missing => ("pull ", " if it is missing"),
        PullPolicy::Never => ("", " of the store"),
    };
    let by = match (is_remote, pull.tls_verify) {
        (true, true) => " over https",
        (true, false) => " over http or unverified https",
        (false, _) => "",
    };
    let mut text = [verb, &pull.image.shown(), by, when].concat();
    let mut add = |parts: &[&str]| text += &parts.concat();
    if let Some(entrypoint) = &process.entrypoint {
        add(&[", entry point '", &entrypoint.join(" "), "'"]);
    }
    match (spec.command.is_empty(), spec.is_root) {
        (false, _) => add(&[", run '", &spec.command.join(" "), "'"]),
        (true, true) => add(&[", run its init"]),
        (true, false) => add(&[", run its command"]),
    }
    for mount in &spec.files.mounts {
        let source = match &mount.source {
            Source::Path(path) => path,
            Source::Volume(name) => name,
            _ => "something new",
        };
        add(&[", ", source, " on ", &mount.target]);
    }
    for (name, value) in [("user", &process.user), ("directory", &process.working_dir)] {
        if let Some(value) = value {
            add(&[", ", name, " ", value]);
        }
    }
    for (holds, what) in [
        (process.tty, ", terminal"),
        (process.interactive, ", input"),
        (!spec.rights.privileged, ", not privileged"),
        (spec.namespaces.network == Namespace::Empty, ", no network"),
    ] {
        if holds {
            add(&[what]);
        }
    }
    text
}

#[cfg(test)]
mod tests;
