//! The commands of `b2c.shutdown_cmd` and `b2c.reboot_cmd`: five verbs, joined by `;`, with the pipeline's variables.
//! No shell runs them.

use crate::pure::shell_words::{self, Lookup};

/// A command that is run when the machine ends.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Echo(String),
    Sleep { seconds: u32 },
    PowerOff,
    Reboot,
    Halt,
}

/// Why a command is wrong.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    Words(shell_words::Error),
    /// An unknown verb, or one with wrong arguments.
    Unknown(String),
    /// The argument of `sleep` is not a number of seconds.
    Seconds(String),
}

impl Error {
    /// The reason, as messages give it.
    pub fn text(&self) -> String {
        match self {
            Error::Words(error) => error.text().into(),
            Error::Unknown(command) => ["'", command, "' is not one of echo, sleep, poweroff, reboot, halt"].concat(),
            Error::Seconds(text) => ["sleep: '", text, "' is not a number of seconds"].concat(),
        }
    }
}

/// The longest `sleep`: a day. A machine must not hang in silence.
const SLEEP_MAX_S: u32 = 86_400;

/// The commands of `text`, in order.
pub fn parse(text: &str, variable: Lookup) -> Result<Vec<Command>, Error> {
    shell_words::commands(text, variable).map_err(Error::Words)?.iter().map(|words| command(words)).collect()
}

fn command(words: &[String]) -> Result<Command, Error> {
    let unknown = || Err(Error::Unknown(words.join(" ")));
    let Some((verb, arguments)) = words.split_first() else { return unknown() };
    let forced = arguments.is_empty() || arguments == ["-f"];
    match verb.as_str() {
        "echo" => Ok(Command::Echo(arguments.join(" "))),
        "sleep" => {
            let [text] = arguments else { return unknown() };
            let seconds = text.strip_suffix('s').unwrap_or(text).parse::<u32>();
            let seconds = seconds.map_err(|_| Error::Seconds(text.clone()))?;
            Ok(Command::Sleep { seconds: seconds.min(SLEEP_MAX_S) })
        }
        "poweroff" if forced => Ok(Command::PowerOff),
        "reboot" if forced => Ok(Command::Reboot),
        "halt" if forced => Ok(Command::Halt),
        _ => unknown(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        (name == "CODE").then(|| "3".into())
    }

    /// Promise: shutdown-command
    #[test]
    fn the_line_of_a_lab() {
        let got = parse("echo JOB_RESULT=$CODE; sleep 2; poweroff -f", &env).unwrap();
        assert_eq!(got, [Command::Echo("JOB_RESULT=3".into()), Command::Sleep { seconds: 2 }, Command::PowerOff]);
    }

    /// Promise: shutdown-command
    #[test]
    fn verbs_that_are_not_there_are_named() {
        for (text, want) in [("rm -rf /", "rm -rf /"), ("poweroff now", "poweroff now"), ("sleep", "sleep")] {
            assert_eq!(parse(text, &env), Err(Error::Unknown(want.into())));
        }
        assert_eq!(parse("sleep -1", &env), Err(Error::Seconds("-1".into())));
        assert!(matches!(parse("echo $(x)", &env), Err(Error::Words(_))));
    }
}
