//! What `--help` prints, from the table of flags.

use crate::container::pure::spec::table::TABLE;

/// The command that prints the version.
pub const VERSION: &str = "version";
/// The command that says what a kernel's line does.
pub const CHECK: &str = "check";

/// One command.
pub struct Command {
    pub name: &'static str,
    /// What follows the name.
    arguments: &'static str,
    meaning: &'static str,
    flags: Flags,
}

/// Which flags of the table a command uses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flags {
    None,
    Pull,
    All,
    Check,
}

const fn command(name: &'static str, arguments: &'static str, meaning: &'static str, flags: Flags) -> Command {
    Command { name, arguments, meaning, flags }
}

/// Every command.
pub const COMMANDS: &[Command] = &[
    command("run", "[flags] IMAGE [COMMAND...]", "run a container", Flags::All),
    command("pull", "[flags] IMAGE", "pull an image into the store; prints its ID", Flags::Pull),
    command("mount", "[flags] IMAGE DIR", "mount an image read-only, until 'umount DIR'", Flags::Pull),
    command("inspect", "[flags] IMAGE", "print what is known of an image, in JSON", Flags::Pull),
    command(CHECK, "[LINE]", "tell what a kernel's line does and does wrong", Flags::Check),
    command("sweep", "", "remove what killed commands left in the store", Flags::None),
    command(VERSION, "", "print the version", Flags::None),
    command("help", "[COMMAND]", "print this, or what a command takes", Flags::None),
];

const START: &str = "\
ocinit boots a machine straight into a container. On a host, as root:

";

const END: &str = "
  --store DIR     the directory of images and volumes, else /var/lib/ocinit
  --sync=false    do not wait until the image is on the disk: what a power cut
                  loses is pulled again

IMAGE: [docker://]HOST[:PORT]/PATH[:TAG][@sha256:...], a short name (docker.io),
oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME[:TAG]].
Only 'inspect' and 'check' work for users other than root. 'ocinit COMMAND
--help' has the flags of a command.
";

/// The flags of `check`, and its exit codes.
const CHECK_FLAGS: [(&str, &str); 5] = [
    ("      --file FILE", "the kernel's line; - is standard input"),
    ("      --cmdline FILE", "the file of options in the initramfs"),
    ("      --extra FILE", "what b2c.extra_args_url gives"),
    ("  0", "the boot starts; there may be warnings"),
    ("  1", "the boot fails because of mistakes"),
];

/// The columns before a meaning.
const MARGIN: usize = 34;

/// The help of the command `name`; that of all commands where there is none of that name.
pub fn text(name: &str) -> String {
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        let mut text = String::from(START);
        COMMANDS.iter().for_each(|command| command.line(&mut text));
        return text + END;
    };
    let mut text = ["Usage: ocinit ", name, " ", command.arguments, "\n\n"].concat();
    let (first, end) = match command.flags {
        Flags::None | Flags::Check => ("none", ""),
        // They stand together in the table.
        Flags::Pull => ("tls-verify", "http-proxy"),
        Flags::All => ("tty", ""),
    };
    if command.flags == Flags::Check {
        CHECK_FLAGS.iter().for_each(|(left, meaning)| line(&mut text, left, meaning));
    }
    let rows = TABLE.iter().skip_while(|row| row.long != first).take_while(|row| row.long != end);
    for row in rows.filter(|row| row.supported) {
        let short = match row.short {
            0 => String::from("      --"),
            letter => ["  -", char::from(letter).encode_utf8(&mut [0; 4]), ", --"].concat(),
        };
        line(&mut text, &[&short, row.long].concat(), row.help);
    }
    text + END
}

impl Command {
    fn line(&self, text: &mut String) {
        line(text, &["  ", self.name, " ", self.arguments].concat(), self.meaning);
    }
}

fn line(text: &mut String, left: &str, meaning: &str) {
    *text += left;
    (left.len()..MARGIN).for_each(|_| text.push(' '));
    *text += meaning;
    *text += "\n";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: command-line-help
    #[test]
    fn every_flag_and_command_has_a_line_of_a_narrow_terminal() {
        let general = text("");
        let run = text("run");
        for command in COMMANDS {
            assert!(general.contains(&format!("\n  {} ", command.name)), "{}", command.name);
            let own = text(command.name);
            assert!(own.starts_with(&format!("Usage: ocinit {} ", command.name)), "{own}");
            assert!(own.contains("/var/lib/ocinit") && own.contains("root"), "{own}");
            for line in [&general, &own].into_iter().flat_map(|text| text.lines()) {
                assert!(line.len() <= 80 && line.is_ascii(), "{line}");
            }
        }
        for row in TABLE.iter().filter(|row| row.supported) {
            let line = run.lines().find(|line| line.contains(&format!("--{} ", row.long)));
            let line = line.unwrap_or_else(|| panic!("{}", row.long));
            assert!(line.get(MARGIN..).is_some_and(|help| !help.trim().is_empty()), "{line}");
            assert!(row.short == 0 || line.starts_with(&format!("  -{}, --", char::from(row.short))), "{line}");
        }
    }

    #[test]
    fn commands_of_pulls_have_the_flags_of_pulls() {
        for name in ["pull", "mount", "inspect"] {
            let own = text(name);
            for flag in ["--tls-verify ", "--creds ", "--platform ", "--os ", "-q, --quiet "] {
                assert!(own.contains(flag), "{name} {flag}");
            }
            for flag in ["--tty ", "--cgroup-conf ", "--http-proxy ", "--label "] {
                assert!(!own.contains(flag), "{name} {flag}");
            }
        }
        assert!(!text("sweep").contains("--tls-verify"));
        assert_eq!(text("nothing of the kind"), text(""));
    }
}
