//! What runs in a container: the image's configuration, the container line
//! and the pipeline's variables make one process.

use crate::container::pure::spec::{self, ContainerSpec};
use crate::image::pure::oci::ImageConfig;
use crate::pure::index::Index;

/// A process, before its user is looked up.
#[derive(Debug, PartialEq, Eq)]
pub struct Process {
    pub arguments: Vec<String>,
    /// `NAME=value`, each name once.
    pub env: Vec<String>,
    pub working_dir: String,
    /// `USER[:GROUP]`, empty for root.
    pub user: String,
    /// Entries of the environment that are none.
    pub warnings: Vec<String>,
}

/// Podman's own default.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the kernel gives an init (Linux, init/main.c).
const OF_KERNEL: [&str; 2] = ["HOME=/", "TERM=linux"];

/// The names of programs that are made to be process 1 of a machine.
const INITS: [&str; 6] = ["init", "systemd", "openrc-init", "runit-init", "dinit", "finit"];

/// Whether an image's entry point and command are those of an init.
pub fn starts_init(image: &ImageConfig) -> bool {
    let first = image.entrypoint.iter().chain(&image.command).next();
    first.is_some_and(|path| INITS.contains(&path.rsplit('/').next().unwrap_or_default()))
}

/// A PATH of an image may have as many colons as a document has bytes; each becomes a path as long as the command.
const PATH_DIRS_MAX: usize = 1024;

/// Where execvp(3) looks without a PATH.
const EXEC_PATH: &str = "/bin:/usr/bin";

/// What the host adds to a container's environment.
pub struct Environment<'a> {
    /// For every container: the pipeline's variables, proxies.
    pub extra: &'a [String],
    /// `--env NAME` takes its value from here.
    pub own: &'a [String],
    /// The entries of the files of `--env-file`, in order.
    pub files: &'a [String],
    pub hostname: &'a str,
    /// It is the machine's own init, and runs in no container.
    pub is_machine: bool,
}

/// Merges the image's configuration, the host's part and the container line. `None` where none of them has a command.
pub fn merge(image: &ImageConfig, spec: &ContainerSpec, host: &Environment) -> Option<Process> {
    let asked = &spec.process;
    let entrypoint = asked.entrypoint.as_ref().unwrap_or(&image.entrypoint);
    // One empty word is podman's way to write none.
    let is_none = matches!(entrypoint.as_slice(), [word] if word.is_empty());
    let mut arguments = if is_none { Vec::new() } else { entrypoint.clone() };
    if !spec.command.is_empty() {
        arguments.extend(spec.command.iter().cloned());
    } else if asked.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        // A new entry point drops the image's command with its entry point.
        arguments.extend(image.command.iter().cloned());
    }
    if arguments.is_empty() {
        return None;
    }
    let env = environment(image, &spec.process, host);
    let working_dir = asked.working_dir.clone().unwrap_or_else(|| image.working_dir.clone());
    Some(Process {
        arguments,
        warnings: env.warnings(),
        env: env.entries,
        working_dir: if working_dir.starts_with('/') { working_dir } else { ["/", &working_dir].concat() },
        user: asked.user.clone().filter(|user| !user.is_empty()).unwrap_or_else(|| image.user.clone()),
    })
}

/// Variables in the order in which their names came, each with its last value.
#[derive(Default)]
struct Variables {
    entries: Vec<String>,
    /// Where each name stands: an image may have as many as a document holds.
    places: Index,
    /// Entries that are no `NAME=value`, as far as they may be shown.
    faulty: Vec<String>,
}

/// How many faulty entries are named, one by one.
const FAULTY_MAX: usize = 8;

impl Variables {
    /// Puts `NAME=value` in the place of an older value of that name, or last.
    fn set(&mut self, entry: &str) {
        let name = name(entry);
        if name.is_empty() || name.len() == entry.len() || entry.contains('\0') {
            // The value may be a secret.
            self.faulty.push(entry.split_inclusive('=').next().unwrap_or_default().into());
            return;
        }
        match self.places.get(name.as_bytes()).and_then(|at| self.entries.get_mut(at)) {
            Some(old) => *old = entry.into(),
            None => {
                self.places.insert(name.as_bytes(), self.entries.len());
                self.entries.push(entry.into());
            }
        }
    }

    /// Removes all but those that `keeps` wants.
    fn retain(&mut self, keeps: &dyn Fn(&str) -> bool) {
        for entry in std::mem::take(self).entries {
            if keeps(name(&entry)) {
                self.set(&entry);
            }
        }
    }

    fn warnings(&self) -> Vec<String> {
        let shown = self.faulty.iter().take(FAULTY_MAX);
        let mut warnings: Vec<String> =
            shown.map(|entry| ["the environment's entry '", entry, "' is not NAME=value: skipped"].concat()).collect();
        if let Some(more) = self.faulty.len().checked_sub(FAULTY_MAX).filter(|more| *more > 0) {
            warnings.push(["and ", &more.to_string(), " more entries of the environment like that"].concat());
        }
        warnings
    }
}

/// Later ones win, in podman's order: defaults, image (both as far as they are
/// not unset), our own environment, what every container gets, files, line.
fn environment(image: &ImageConfig, asked: &spec::Process, host: &Environment) -> Variables {
    let mut env = Variables::default();
    let defaults: &[&str] = match (host.is_machine, asked.tty) {
        (true, _) => &OF_KERNEL,
        (false, true) => &["TERM=xterm", "container=podman"],
        (false, false) => &["container=podman"],
    };
    for entry in [DEFAULT_PATH].iter().chain(defaults) {
        env.set(entry);
    }
    image.env.iter().for_each(|entry| env.set(entry));
    let faulty = std::mem::take(&mut env.faulty);
    if asked.unset_env_all || !asked.unset_env.is_empty() || host.is_machine {
        // Images that are made for systemd in a container set it; systemd believes it.
        let of_containers = host.is_machine.then_some("container");
        let unset = Index::of(&mut asked.unset_env.iter().map(String::as_str).chain(of_containers));
        env.retain(&|name| !asked.unset_env_all && unset.get(name.as_bytes()).is_none());
    }
    env.faulty = faulty;
    if asked.env_host {
        host.own.iter().for_each(|entry| env.set(entry));
    }
    host.extra.iter().for_each(|entry| env.set(entry));
    let own = Index::of(&mut host.own.iter().map(|entry| name(entry)));
    for entry in host.files.iter().chain(&asked.env) {
        if entry.contains('=') {
            env.set(entry);
            continue;
        }
        // `NAME` and `NAME*` are our own that are called so.
        let start = entry.strip_suffix('*').unwrap_or(entry).as_bytes();
        let is_alike = |name: &[u8]| name.starts_with(start) && (name == start || start.len() < entry.len());
        for (_, number) in own.from(start).take_while(|(name, _)| is_alike(name)) {
            host.own.get(number).into_iter().for_each(|entry| env.set(entry));
        }
    }
    if !host.is_machine && env.places.get(b"HOSTNAME").is_none() {
        env.set(&["HOSTNAME=", host.hostname].concat());
    }
    env
}

fn name(entry: &str) -> &str {
    entry.split('=').next().unwrap_or_default()
}

impl Process {
    pub fn value(&self, name: &str) -> Option<&str> {
        self.env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    /// HOME is the user's, empty where that is not known, unless somebody said otherwise.
    pub fn set_home(&mut self, home: Option<&str>) {
        if self.value("HOME").is_none() {
            self.env.push(["HOME=", home.unwrap_or_default()].concat());
        }
    }

    /// The files that exec tries, in order: as execvp(3) finds them.
    pub fn candidates(&self) -> Vec<String> {
        self.arguments.first().map(|command| candidates(command, self.value("PATH"))).unwrap_or_default()
    }
}

/// The files that exec tries for `command`, with the value of PATH.
pub fn candidates(command: &str, path: Option<&str>) -> Vec<String> {
    // An empty word is the name of no file, in no directory.
    if command.contains('/') || command.is_empty() {
        return vec![command.into()];
    }
    let dirs = path.unwrap_or(EXEC_PATH).split(':').take(PATH_DIRS_MAX);
    dirs.map(|dir| [if dir.is_empty() { "." } else { dir }, "/", command].concat()).collect()
}

/// The path that a script's first line names, as the kernel reads it (Linux, fs/binfmt_script.c). `head` is the file's
/// beginning.
pub fn interpreter(head: &[u8]) -> Option<&[u8]> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let line = head.strip_prefix(b"#!")?;
    let start = line.iter().position(|byte| !is_blank(byte))?;
    let path = line.get(start..)?.split(|byte| is_blank(byte) || matches!(byte, b'\n' | 0)).next()?;
    (!path.is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::pure::spec::parse;

    fn image() -> ImageConfig {
        ImageConfig {
            env: vec!["PATH=/bin".into(), "A=1".into(), "broken".into(), "A=2".into()],
            entrypoint: vec!["/entry".into(), "-x".into()],
            command: vec!["serve".into()],
            user: "ann".into(),
            working_dir: "/srv".into(),
            stop_signal: String::new(),
            ..ImageConfig::default()
        }
    }

    fn merged(line: &str) -> Process {
        with_files(line, &[])
    }

    fn with_files(line: &str, files: &[&str]) -> Process {
        let line = parse::parse_line(line, &|_| None).unwrap();
        let text = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        let (extra, own, files) = (text(&["B2C=0"]), text(&["CODE=7", "CORE=8", "A=own"]), text(files));
        merge(
            &image(),
            &line,
            &Environment { extra: &extra, own: &own, files: &files, hostname: "box", is_machine: false },
        )
        .unwrap()
    }

    /// Input: entry-points
    #[test]
    fn entry_point_and_command() {
        assert_eq!(merged("img").arguments, ["/entry", "-x", "serve"]);
        assert_eq!(merged("img check").arguments, ["/entry", "-x", "check"]);
        assert_eq!(merged("--entrypoint sh img").arguments, ["sh"]);
        assert_eq!(merged("--entrypoint sh img -c x").arguments, ["sh", "-c", "x"]);
        assert_eq!(merged("--entrypoint '[\"a\",\"b\"]' img c").arguments, ["a", "b", "c"]);
        assert_eq!(merged("--entrypoint= img ls").arguments, ["ls"]);
        let of = |entrypoint: &[&str], command: &[&str], line: &str| {
            let text = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
            let (entrypoint, command) = (text(entrypoint), text(command));
            let line = parse::parse_line(line, &|_| None).unwrap();
            let host = Environment { extra: &[], own: &[], files: &[], hostname: "box", is_machine: false };
            merge(&ImageConfig { entrypoint, command, ..image() }, &line, &host)
                .map(|process| process.arguments.join("|"))
        };
        // As podman does it, one empty word is no entry point; other empty words are words.
        assert_eq!(of(&[""], &["sh", "-c"], "img").as_deref(), Some("sh|-c"));
        assert_eq!(of(&[""], &["sh"], "img ls").as_deref(), Some("ls"));
        assert_eq!(of(&["/e"], &[""], "img").as_deref(), Some("/e|"));
        assert_eq!(of(&["/e", ""], &[], "img").as_deref(), Some("/e|"));
        assert_eq!(of(&[], &["sh"], "--entrypoint '[\"\"]' img ls").as_deref(), Some("ls"));
        assert_eq!((of(&[""], &[], "img"), of(&[], &[], "img")), (None, None));
        assert_eq!((of(&[], &[""], "img").as_deref(), of(&["", "x"], &[], "img").as_deref()), (Some(""), Some("|x")));
        // One empty word is none, and an empty list leaves the image's command.
        assert_eq!(merged("--entrypoint '[\"\"]' img ls").arguments, ["ls"]);
        assert_eq!(merged("--entrypoint '[]' img").arguments, ["serve"]);
        let blank = ImageConfig { entrypoint: vec![String::new()], ..image() };
        let plain = parse::parse_line("img", &|_| None).unwrap();
        let none = Environment { extra: &[], own: &[], files: &[], hostname: "box", is_machine: false };
        assert_eq!(merge(&blank, &plain, &none).unwrap().arguments, ["serve"]);
        let nothing = parse::parse_line("--entrypoint= img", &|_| None).unwrap();
        let host = Environment { extra: &[], own: &[], files: &[], hostname: "box", is_machine: false };
        assert_eq!(merge(&image(), &nothing, &host), None);
    }

    #[test]
    fn the_last_value_of_a_variable_wins() {
        let mut process = merged("-t -e A=3 -e HOSTNAME=mine img");
        assert_eq!(process.env, ["PATH=/bin", "TERM=xterm", "container=podman", "A=3", "B2C=0", "HOSTNAME=mine"]);
        assert_eq!(process.warnings.len(), 1);
        assert_eq!(process.value("HOME"), None);
        process.set_home(Some("/home/ann"));
        process.set_home(Some("/other"));
        assert_eq!(process.value("HOME"), Some("/home/ann"));
        let mut process = merged("img");
        process.set_home(None);
        assert_eq!((process.value("HOME"), process.value("TERM")), (Some(""), None));
    }

    /// Promise: machine-root
    #[test]
    fn an_init_gets_no_variable_of_containers() {
        let (extra, own) = (["B2C=0".to_string()], ["CODE=7".to_string()]);
        let env = |image: &[&str], line: &str| {
            let image = ImageConfig { env: image.iter().map(ToString::to_string).collect(), ..image_of_init() };
            let line = parse::parse_root(line, &|_| None).unwrap();
            let host = Environment { extra: &extra, own: &own, files: &[], hostname: "box", is_machine: true };
            merge(&image, &line, &host).unwrap().env
        };
        assert_eq!(env(&[], "img"), [DEFAULT_PATH, "HOME=/", "TERM=linux", "B2C=0"]);
        assert_eq!(
            env(&["container=oci", "LANG=C", "HOME=/root", "faulty"], "-e CODE img"),
            [DEFAULT_PATH, "HOME=/root", "TERM=linux", "LANG=C", "B2C=0", "CODE=7"]
        );
        assert_eq!(env(&["container=oci"], "--unsetenv-all -e container=mine img"), ["B2C=0", "container=mine"]);
    }

    fn image_of_init() -> ImageConfig {
        ImageConfig { command: vec!["/sbin/init".into()], ..ImageConfig::default() }
    }

    #[test]
    fn inits_by_their_names() {
        assert!(starts_init(&image_of_init()) && !starts_init(&ImageConfig::default()) && !starts_init(&image()));
        let command = |words: &[&str]| ImageConfig {
            command: words.iter().map(ToString::to_string).collect(),
            ..ImageConfig::default()
        };
        assert!(
            starts_init(&command(&["/usr/lib/systemd/systemd", "--log-level=debug"]))
                && starts_init(&command(&["init"]))
        );
        for other in ["bash", "/usr/bin/dumb-init", "/tini", "/sbin/init/x", ""] {
            assert!(!starts_init(&command(&[other])), "{other}");
        }
        // The entry point decides: it may do something before.
        assert!(!starts_init(&ImageConfig { entrypoint: vec!["/entry.sh".into()], ..image_of_init() }));
    }

    #[test]
    fn values_that_the_line_only_names() {
        assert_eq!(merged("-e CODE -e UNSET img").value("CODE"), Some("7"));
        assert_eq!(merged("-e UNSET -e CO img").env.len(), merged("img").env.len());
        assert_eq!(merged("-e 'CO*' img").env[4..], ["CODE=7", "CORE=8", "HOSTNAME=box"]);
    }

    #[test]
    fn files_unset_and_the_hosts_own() {
        let files = ["A=file", "B2C=file", "CODE", "NONE"];
        assert_eq!(
            with_files("--env-file f -e B2C=line img", &files).env,
            ["PATH=/bin", "container=podman", "A=file", "B2C=line", "CODE=7", "HOSTNAME=box"]
        );
        assert_eq!(merged("--env-host img").value("A"), Some("own"));
        let rest = ["container=podman", "B2C=0", "HOSTNAME=box"];
        assert_eq!(merged("--unsetenv A --unsetenv PATH img").env, rest);
        assert_eq!(merged("--unsetenv A -e A img").value("A"), Some("own"));
        assert_eq!(merged("--unsetenv-all --env-host img").env[..2], ["CODE=7", "CORE=8"]);
    }

    /// A scan of all names for each would take minutes.
    /// Promise: very-many-entries
    #[test]
    fn many_variables_are_merged_in_one_pass() {
        const MANY: usize = 100_000;
        let entries = |from: usize| (from..from + MANY).map(|n| format!("N{n}={n}")).collect::<Vec<_>>();
        let (mut image, own) = (image(), entries(2 * MANY));
        image.env = entries(0).into_iter().chain(entries(MANY / 2)).chain(vec!["faulty".into(); MANY]).collect();
        let mut files: Vec<String> = (2 * MANY..3 * MANY).map(|n| format!("N{n}")).collect();
        files.extend(["N1*".into(), "UNSET".into()]);
        let line = (0..MANY / 2).map(|n| format!("--unsetenv=N{n}")).chain(["img".into()]).collect::<Vec<_>>();
        let host = Environment { extra: &[], own: &own, files: &files, hostname: "box", is_machine: false };
        let process = merge(&image, &parse::parse(&line).unwrap(), &host).unwrap();
        // The image's own without those that are unset, two defaults, the machine's, and the host's name.
        assert_eq!(process.env.len(), MANY + 2 + MANY + 1);
        assert_eq!(process.env[2], format!("N{0}={0}", MANY / 2));
        assert_eq!(process.warnings.len(), FAULTY_MAX + 1);
        assert_eq!(process.warnings[FAULTY_MAX], "and 99992 more entries of the environment like that");
    }

    /// Promise: very-many-entries
    #[test]
    fn a_path_of_colons_does_not_fill_the_memory() {
        let found = candidates(&"x".repeat(1 << 20), Some(&":".repeat(4 << 20)));
        assert!(found.len() == PATH_DIRS_MAX && found[0].starts_with("./xx"));
    }

    #[test]
    fn where_a_command_is_looked_for() {
        assert_eq!(merged("-e PATH=/a::/b img").candidates(), ["/entry"]);
        assert_eq!(merged("-e PATH=/a::/b --entrypoint x img").candidates(), ["/a/x", "./x", "/b/x"]);
        assert_eq!(merged("--unsetenv PATH --entrypoint x img").candidates(), ["/bin/x", "/usr/bin/x"]);
        assert_eq!(merged("--entrypoint= img ''").candidates(), [""]);
    }

    #[test]
    fn flags_override_user_and_working_directory() {
        let process = merged("-u 7 -w /w img");
        assert_eq!((process.user.as_str(), process.working_dir.as_str()), ("7", "/w"));
        assert_eq!(merged("img").working_dir, "/srv");
        assert_eq!((merged("-u '' img").user, merged("-u : img").user), ("ann".into(), ":".into()));
    }

    #[test]
    fn interpreters() {
        for (head, want) in [
            ("#!/bin/sh", Some("/bin/sh")),
            ("#! \t/bin/sh\t-e\nrest", Some("/bin/sh")),
            ("#!/bin/sh\0-e", Some("/bin/sh")),
            ("#!\n/bin/sh", None),
            ("#!", None),
            (" #!/bin/sh", None),
        ] {
            assert_eq!(interpreter(head.as_bytes()), want.map(str::as_bytes), "{head:?}");
        }
    }
}
