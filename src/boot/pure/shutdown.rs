//! The commands of `b2c.shutdown_cmd` and `b2c.reboot_cmd`: five verbs, joined by `;`, with the pipeline's variables.
//! No shell runs them.

use crate::pure::shell_words::{self, Lookup};

/// A command that is run when the machine ends.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Echo(String),
    Sleep { ms: u64 },
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
            Error::Seconds(text) => ["sleep: '", text, "' is ", NO_DURATION].concat(),
        }
    }
}

/// What a text is that [`duration_ms`] cannot read.
pub const NO_DURATION: &str = "not a number of seconds, such as 15 or 0.5";

/// The longest `sleep`, and the longest `b2c.poweroff_delay`: a day. A machine must not hang in silence.
const DURATION_MAX_MS: u64 = 86_400_000;

/// A time as busybox's `sleep` takes it, in milliseconds: `15`, `0.5`, `1m`.
pub fn duration_ms(text: &str) -> Option<u64> {
    let text = text.trim_ascii();
    let (number, unit_ms) = match text.split_at_checked(text.len().saturating_sub(1))? {
        (number, "s") => (number, 1000),
        (number, "m") => (number, 60_000),
        (number, "h") => (number, 3_600_000),
        (number, "d") => (number, 86_400_000),
        _ => (text, 1000),
    };
    // Not parsed as a float, which would be much code. One side of the point may be empty, as in C.
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut digits = whole.bytes().chain(fraction.bytes()).peekable();
    digits.peek()?;
    if !digits.all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = [fraction.get(..3).unwrap_or(fraction), "000"].concat();
    let fraction: u64 = thousandths.get(..3)?.parse().ok()?;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    Some(whole.saturating_mul(unit_ms).saturating_add(fraction * unit_ms / 1000).min(DURATION_MAX_MS))
}

/// The commands of `text`, in order.
pub fn parse(text: &str, variable: Lookup) -> Result<Vec<Command>, Error> {
    let mut commands = Vec::new();
    for words in shell_words::commands(text, variable).map_err(Error::Words)? {
        commands.push(command(&words)?);
    }
    Ok(commands)
}

fn command(words: &[String]) -> Result<Command, Error> {
    let unknown = || Err(Error::Unknown(words.join(" ")));
    let Some((verb, arguments)) = words.split_first() else { return unknown() };
    let forced = arguments.is_empty() || arguments == ["-f"];
    match verb.as_str() {
        "echo" => Ok(Command::Echo(arguments.join(" "))),
        "sleep" => {
            let [text] = arguments else { return unknown() };
            duration_ms(text).map(|ms| Command::Sleep { ms }).ok_or_else(|| Error::Seconds(text.clone()))
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
        assert_eq!(got, [Command::Echo("JOB_RESULT=3".into()), Command::Sleep { ms: 2000 }, Command::PowerOff]);
    }

    /// As busybox's sleep, with which labs have written their lines.
    /// Promise: fractions-of-seconds
    #[test]
    fn times_as_sleep_takes_them() {
        for (text, want_ms) in [
            ("0", 0),
            ("15", 15_000),
            ("015", 15_000),
            ("0.5", 500),
            ("1.25s", 1250),
            ("0.0625", 62),
            ("0.99999999999", 999),
            ("0.3333333333333333m", 19_980),
            (".5", 500),
            ("5.", 5000),
            ("5 ", 5000),
            ("2s", 2000),
            ("1.5m", 90_000),
            ("0.5h", 1_800_000),
            ("1d", DURATION_MAX_MS),
            ("86401", DURATION_MAX_MS),
            ("4294967295d", DURATION_MAX_MS),
        ] {
            assert_eq!(duration_ms(text), Some(want_ms), "{text}");
        }
        for text in
            ["", "s", ".", "-1", "+1", "1e3", "0,5", "1.5.5", "1.x", "1.-5", "soon", "1 2", "0x10", "inf", "\u{e9}"]
        {
            assert_eq!(duration_ms(text), None, "{text}");
        }
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
