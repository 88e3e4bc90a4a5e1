//! What runs in a container: the image's configuration, the container line
//! and the pipeline's variables make one process.

use super::flags::Container;
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
    /// Entries of the image's environment that are none.
    pub warnings: Vec<String>,
}

/// Podman's own default.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Merges the three; later ones win: defaults, image, `extra` (the pipeline's
/// variables), container line. `None` where nothing says what to run.
pub fn merge(image: &ImageConfig, line: &Container, extra: &[String], hostname: &str) -> Option<Process> {
    let mut arguments: Vec<String> = match &line.entrypoint {
        // A new entry point drops the image's command with its entry point.
        Some(entrypoint) => entrypoint.clone(),
        None => image.entrypoint.clone(),
    };
    if !line.command.is_empty() {
        arguments.extend(line.command.iter().cloned());
    } else if line.entrypoint.is_none() {
        arguments.extend(image.command.iter().cloned());
    }
    if arguments.first().is_none_or(|command| command.is_empty()) {
        return None;
    }
    let mut env = Vec::new();
    let mut warnings = Vec::new();
    set(&mut env, DEFAULT_PATH);
    if line.tty {
        set(&mut env, "TERM=xterm");
    }
    set(&mut env, "container=oci");
    set(&mut env, &["HOSTNAME=", hostname].concat());
    for entry in image.env.iter().chain(extra).chain(&line.env) {
        if !set(&mut env, entry) {
            warnings.push(["the image's environment entry «", entry, "» is not NAME=value: skipped"].concat());
        }
    }
    let working_dir = line.working_dir.clone().unwrap_or_else(|| image.working_dir.clone());
    Some(Process {
        arguments,
        env,
        working_dir: if working_dir.is_empty() { "/".into() } else { working_dir },
        user: line.user.clone().unwrap_or_else(|| image.user.clone()),
        warnings,
    })
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

    /// HOME is the user's, unless somebody said otherwise.
    pub fn set_home(&mut self, home: &str) {
        if self.value("HOME").is_none() {
            set(&mut self.env, &["HOME=", home].concat());
        }
    }

    /// The files that exec tries, in order: as execvp(3) finds them.
    pub fn candidates(&self) -> Vec<String> {
        let Some(command) = self.arguments.first() else { return Vec::new() };
        if command.contains('/') {
            return vec![command.clone()];
        }
        let path = self.value("PATH").unwrap_or_default();
        path.split(':').map(|dir| [if dir.is_empty() { "." } else { dir }, "/", command].concat()).collect()
    }
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
        let line = flags::parse_line(line, &|_| None).unwrap();
        merge(&image(), &line, &["B2C=0".into()], "box").unwrap()
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
        assert_eq!(merge(&image(), &nothing, &[], "box"), None);
    }

    #[test]
    fn the_last_value_of_a_variable_wins() {
        let mut process = merged("-t -e A=3 -e HOSTNAME=mine img");
        assert_eq!(process.env, ["PATH=/bin", "TERM=xterm", "container=oci", "HOSTNAME=mine", "A=3", "B2C=0"]);
        assert_eq!(process.warnings.len(), 1);
        process.set_home("/home/ann");
        process.set_home("/other");
        assert_eq!(process.value("HOME"), Some("/home/ann"));
    }

    #[test]
    fn where_a_command_is_looked_for() {
        assert_eq!(merged("-e PATH=/a::/b img").candidates(), ["/entry"]);
        assert_eq!(merged("-e PATH=/a::/b --entrypoint x img").candidates(), ["/a/x", "./x", "/b/x"]);
    }

    #[test]
    fn flags_override_user_and_working_directory() {
        let process = merged("-u 7 -w /w img");
        assert_eq!((process.user.as_str(), process.working_dir.as_str()), ("7", "/w"));
        assert_eq!(merged("img").working_dir, "/srv");
    }
}
