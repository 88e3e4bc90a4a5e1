//! The words of the command line on a host: our own flags, which may stand anywhere before the image, the command, and
//! the words of a container line.

use crate::boot::pure::help::{CHECK, VERSION};
use crate::container::pure::spec::redact;
use crate::container::pure::spec::table::TABLE;
use crate::pure::suggest::suggest;

/// Our own flags.
const OWN: [&str; 3] = ["store", "sync", "help"];

/// The words of a command line, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    pub command: String,
    /// `--store`.
    pub store: Option<String>,
    /// `--sync=false`: nothing waits until the image is on the disk.
    pub no_sync: bool,
    /// `--help`; `-h` too where that is not `--hostname`.
    pub help: bool,
    /// Flags, `--`, image, command.
    pub words: Vec<String>,
}

/// Sorts the words after the program's name. An error says what is wrong with one.
pub fn parse(all: &[String]) -> Result<Arguments, String> {
    let mut found = Arguments::default();
    let mut rest = all.iter();
    while found.command.is_empty() {
        let Some(word) = rest.next() else { break };
        if found.is_ours(word, &mut rest)? {
            continue;
        }
        match word.as_str() {
            "-v" | "-V" | "--version" => found.command = VERSION.into(),
            _ if word.starts_with('-') => {
                return Err(["'", word, "' before a command: only --store, --sync and --help stand there"].concat());
            }
            word => found.command = word.into(),
        }
    }
    if found.command == CHECK {
        // It has flags of its own.
        let is_help = |word: &&String| ["--help", "-h"].contains(&word.as_str());
        let (help, words): (Vec<&String>, Vec<&String>) = rest.partition(is_help);
        found.help |= !help.is_empty();
        found.words = words.into_iter().cloned().collect();
        return Ok(found);
    }
    let mut named = Vec::new();
    while let Some(word) = rest.next() {
        if word == "--" {
            named.extend(rest.by_ref().cloned());
        } else if word.len() < 2 || !word.starts_with('-') {
            named.push(word.clone());
            // What follows the image of `run` is its command. Elsewhere flags may follow, as in podman.
            if found.command == "run" {
                named.extend(rest.by_ref().cloned());
            }
        } else if word == "-h" && (found.command != "run" || rest.len() == 0) {
            found.help = true;
        } else if !found.is_ours(word, &mut rest)? {
            if let Some((name, meant)) = misspelt(word) {
                return Err(["--", name, " is not a known flag: did you mean --", meant, "?"].concat());
            }
            found.words.push(word.clone());
            if redact::takes_next(word) {
                found.words.extend(rest.next().cloned());
            }
        }
    }
    if !named.is_empty() {
        found.words.push("--".into());
        found.words.append(&mut named);
    }
    Ok(found)
}

impl Arguments {
    /// Takes one of our own flags, with its value.
    fn is_ours(&mut self, word: &str, rest: &mut std::slice::Iter<String>) -> Result<bool, String> {
        match word {
            "--help" => self.help = true,
            "-h" if self.command.is_empty() => self.help = true,
            "--sync" | "--sync=true" => self.no_sync = false,
            "--sync=false" => self.no_sync = true,
            "--store" => self.store = Some(rest.next().ok_or("--store: its value is missing")?.clone()),
            _ => match word.strip_prefix("--store=") {
                Some(store) => self.store = Some(store.into()),
                None => return Ok(false),
            },
        }
        Ok(true)
    }
}

/// The name of an unknown flag, and the flag of ours that it most likely means. Of any other, the container line's
/// parser says so.
fn misspelt(word: &str) -> Option<(&str, &'static str)> {
    let name = word.strip_prefix("--")?.split('=').next()?;
    let known = || TABLE.iter().map(|row| row.long);
    if known().any(|known| known == name) {
        return None;
    }
    Some((name, suggest(&mut known().chain(OWN), name).filter(|near| OWN.contains(near))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(String::from).collect()
    }

    fn read(line: &str) -> Arguments {
        parse(&words(line)).unwrap()
    }

    #[test]
    fn our_flags_stand_anywhere_before_the_image() {
        for line in [
            "--store /x run -ti --name n img cmd --store y",
            "run --store /x -ti --name n img cmd --store y",
            "run -ti --store=/x --name n -- img cmd --store y",
            "--store /y run -ti --name n --store /x img cmd --store y",
        ] {
            let found = read(line);
            assert_eq!((found.command.as_str(), found.store.as_deref()), ("run", Some("/x")), "{line}");
            assert_eq!(found.words, words("-ti --name n -- img cmd --store y"), "{line}");
        }
        // A flag's value is no flag of ours.
        let found = read("run --name --store -e --help img");
        assert_eq!((found.store, found.help, found.words), (None, false, words("--name --store -e --help -- img")));
        assert!(read("run --sync=false img").no_sync && !read("--sync=false run --sync img").no_sync);
    }

    #[test]
    fn flags_after_the_image_as_podman_has_them() {
        let found = read("pull img --tls-verify=false --store /x");
        assert_eq!((found.store.as_deref(), found.words), (Some("/x"), words("--tls-verify=false -- img")));
        assert_eq!(read("mount img --arch arm /mnt").words, words("--arch arm -- img /mnt"));
        assert_eq!(read("run img --arch arm").words, words("-- img --arch arm"));
        assert_eq!(read("pull -- img -x").words, words("-- img -x"));
    }

    #[test]
    fn check_has_flags_of_its_own() {
        let line = ["check", "--file", "--x", "b2c.run=-ti img", "--store=x"].map(String::from);
        let found = parse(&line).unwrap();
        assert_eq!((found.words.as_slice(), found.store), (&line[1..], None));
        assert!(parse(&words("check --file f -h")).unwrap().help);
    }

    #[test]
    fn help_is_asked_for_in_each_place() {
        for line in ["--help", "-h", "run --help", "run -ti --help", "run -h", "pull -h img", "--help pull", "x --help"]
        {
            assert!(read(line).help, "{line}");
        }
        for line in ["run -h name img", "run img --help", "run img -h", "run -- --help", "pull img"] {
            assert!(!read(line).help, "{line}");
        }
        for line in ["-v", "-V", "--version", "--store /x --version"] {
            assert_eq!(read(line).command, "version", "{line}");
        }
    }

    #[test]
    fn what_cannot_be_read() {
        for (line, why) in [
            ("--store", "--store: its value is missing"),
            ("run --store", "--store: its value is missing"),
            ("run --stroe /x img", "--stroe is not a known flag: did you mean --store?"),
            ("pull img --stor=/secret", "--stor is not a known flag: did you mean --store?"),
            ("sweep --synk=false", "--synk is not a known flag: did you mean --sync?"),
            ("run --hepl", "--hepl is not a known flag: did you mean --help?"),
            ("-ti run img", "'-ti' before a command: only --store, --sync and --help stand there"),
        ] {
            assert_eq!(parse(&words(line)), Err(why.into()), "{line}");
        }
        assert_eq!(read("").command, "");
        // The container line's parser names these.
        assert_eq!(read("run --nmae x img").words, words("--nmae -- x img"));
    }
}
