//! What runs in a container: the image's configuration, the container line
//! and the pipeline's variables make one process.

use super::flags::{self, Container};
use super::oci::ImageConfig;

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

/// Where execvp(3) looks without a PATH.
const EXEC_PATH: &str = "/bin:/usr/bin";

/// What of the machine goes into a container's environment.
pub struct Environment<'a> {
    /// For every container: the pipeline's variables, proxies.
    pub extra: &'a [String],
    /// What the line only names is taken from here.
    pub own: &'a [String],
    /// The entries of the files of `--env-file`, in order.
    pub files: &'a [String],
    pub hostname: &'a str,
}

/// Merges what the image, the machine and the line say. `None` where nothing
/// says what to run.
pub fn merge(image: &ImageConfig, line: &Container, around: &Environment) -> Option<Process> {
    let asked = &line.process;
    let mut arguments: Vec<String> = match &asked.entrypoint {
        // A new entry point drops the image's command with its entry point.
        Some(entrypoint) => entrypoint.clone(),
        None => image.entrypoint.clone(),
    };
    if !line.command.is_empty() {
        arguments.extend(line.command.iter().cloned());
    } else if asked.entrypoint.is_none() {
        arguments.extend(image.command.iter().cloned());
    }
    if arguments.first().is_none_or(|command| command.is_empty()) {
        return None;
    }
    let mut warnings = Vec::new();
    let env = environment(image, &line.process, around, &mut warnings);
    let working_dir = asked.working_dir.clone().unwrap_or_else(|| image.working_dir.clone());
    Some(Process {
        arguments,
        env,
        working_dir: if working_dir.is_empty() { "/".into() } else { working_dir },
        user: asked.user.clone().unwrap_or_else(|| image.user.clone()),
        warnings,
    })
}

/// Later ones win, in podman's order: defaults, image (both as far as they are
/// not unset), our own environment, what every container gets, files, line.
fn environment(
    image: &ImageConfig,
    asked: &flags::asked::Process,
    around: &Environment,
    warnings: &mut Vec<String>,
) -> Vec<String> {
    let mut env = Vec::new();
    set(&mut env, DEFAULT_PATH);
    // podman does not ask whether there is a terminal.
    set(&mut env, "TERM=xterm");
    set(&mut env, "container=podman");
    let mut add = |env: &mut Vec<String>, entry: &str| {
        if !set(env, entry) {
            warnings.push(["the environment's entry «", entry, "» is not NAME=value: skipped"].concat());
        }
    };
    image.env.iter().for_each(|entry| add(&mut env, entry));
    env.retain(|entry| !asked.unset_env_all && !asked.unset_env.iter().any(|unset| unset == name(entry)));
    if asked.env_host {
        around.own.iter().for_each(|entry| add(&mut env, entry));
    }
    around.extra.iter().for_each(|entry| add(&mut env, entry));
    for entry in around.files.iter().chain(&asked.env) {
        with_values(entry, around.own).iter().for_each(|entry| add(&mut env, entry));
    }
    if !env.iter().any(|entry| name(entry) == "HOSTNAME") {
        set(&mut env, &["HOSTNAME=", around.hostname].concat());
    }
    env
}

fn name(entry: &str) -> &str {
    entry.split('=').next().unwrap_or_default()
}

/// `NAME=value` is itself, `NAME` and `NAME*` are those of `own` that are called so.
fn with_values(entry: &str, own: &[String]) -> Vec<String> {
    if entry.contains('=') {
        return vec![entry.into()];
    }
    let wanted = |other: &&String| match entry.strip_suffix('*') {
        Some(start) => name(other).starts_with(start),
        None => name(other) == entry,
    };
    own.iter().filter(wanted).cloned().collect()
}

/// Puts `NAME=value` in the place of an older value of that name, or last.
/// False where `entry` is no such thing.
fn set(env: &mut Vec<String>, entry: &str) -> bool {
    let Some(name) = entry.find('=').filter(|at| *at > 0).and_then(|at| entry.get(..=at)) else { return false };
    if entry.contains('\0') {
        return false;
    }
    match env.iter_mut().find(|old| old.starts_with(name)) {
        Some(old) => *old = entry.into(),
        None => env.push(entry.into()),
    }
    true
}

impl Process {
    pub fn value(&self, name: &str) -> Option<&str> {
        self.env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    /// HOME is the user's, where that is known, unless somebody said otherwise.
    pub fn set_home(&mut self, home: Option<&str>) {
        if let Some(home) = home.filter(|_| self.value("HOME").is_none()) {
            set(&mut self.env, &["HOME=", home].concat());
        }
    }

    /// The files that exec tries, in order: as execvp(3) finds them.
    pub fn candidates(&self) -> Vec<String> {
        self.arguments.first().map(|command| candidates(command, self.value("PATH"))).unwrap_or_default()
    }
}

/// The files that exec tries for `command`, with the value of PATH.
pub fn candidates(command: &str, path: Option<&str>) -> Vec<String> {
    if command.contains('/') {
        return vec![command.into()];
    }
    let dirs = path.unwrap_or(EXEC_PATH).split(':');
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
    use super::super::flags;
    use super::*;

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
        let line = flags::parse_line(line, &|_| None).unwrap();
        let text = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        let (extra, own, files) = (text(&["B2C=0"]), text(&["CODE=7", "CORE=8", "A=own"]), text(files));
        merge(&image(), &line, &Environment { extra: &extra, own: &own, files: &files, hostname: "box" }).unwrap()
    }

    #[test]
    fn entry_point_and_command() {
        assert_eq!(merged("img").arguments, ["/entry", "-x", "serve"]);
        assert_eq!(merged("img check").arguments, ["/entry", "-x", "check"]);
        assert_eq!(merged("--entrypoint sh img").arguments, ["sh"]);
        assert_eq!(merged("--entrypoint sh img -c x").arguments, ["sh", "-c", "x"]);
        assert_eq!(merged("--entrypoint '[\"a\",\"b\"]' img c").arguments, ["a", "b", "c"]);
        assert_eq!(merged("--entrypoint= img ls").arguments, ["ls"]);
        let nothing = flags::parse_line("--entrypoint= img", &|_| None).unwrap();
        let around = Environment { extra: &[], own: &[], files: &[], hostname: "box" };
        assert_eq!(merge(&image(), &nothing, &around), None);
    }

    #[test]
    fn the_last_value_of_a_variable_wins() {
        let mut process = merged("-t -e A=3 -e HOSTNAME=mine img");
        assert_eq!(process.env, ["PATH=/bin", "TERM=xterm", "container=podman", "A=3", "B2C=0", "HOSTNAME=mine"]);
        assert_eq!(process.warnings.len(), 1);
        process.set_home(None);
        assert_eq!(process.value("HOME"), None);
        process.set_home(Some("/home/ann"));
        process.set_home(Some("/other"));
        assert_eq!(process.value("HOME"), Some("/home/ann"));
    }

    #[test]
    fn values_that_the_line_only_names() {
        assert_eq!(merged("-e CODE -e UNSET img").value("CODE"), Some("7"));
        assert_eq!(merged("-e UNSET -e CO img").env.len(), merged("img").env.len());
        assert_eq!(merged("-e 'CO*' img").env[5..], ["CODE=7", "CORE=8", "HOSTNAME=box"]);
    }

    #[test]
    fn files_unset_and_the_hosts_own() {
        let files = ["A=file", "B2C=file", "CODE", "NONE"];
        assert_eq!(
            with_files("--env-file f -e B2C=line img", &files).env,
            ["PATH=/bin", "TERM=xterm", "container=podman", "A=file", "B2C=line", "CODE=7", "HOSTNAME=box"]
        );
        assert_eq!(merged("--env-host img").value("A"), Some("own"));
        let rest = ["TERM=xterm", "container=podman", "B2C=0", "HOSTNAME=box"];
        assert_eq!(merged("--unsetenv A --unsetenv PATH img").env, rest);
        assert_eq!(merged("--unsetenv A -e A img").value("A"), Some("own"));
        assert_eq!(merged("--unsetenv-all --env-host img").env[..2], ["CODE=7", "CORE=8"]);
    }

    #[test]
    fn where_a_command_is_looked_for() {
        assert_eq!(merged("-e PATH=/a::/b img").candidates(), ["/entry"]);
        assert_eq!(merged("-e PATH=/a::/b --entrypoint x img").candidates(), ["/a/x", "./x", "/b/x"]);
        assert_eq!(merged("--unsetenv PATH --entrypoint x img").candidates(), ["/bin/x", "/usr/bin/x"]);
    }

    #[test]
    fn flags_override_user_and_working_directory() {
        let process = merged("-u 7 -w /w img");
        assert_eq!((process.user.as_str(), process.working_dir.as_str()), ("7", "/w"));
        assert_eq!(merged("img").working_dir, "/srv");
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
