//! The names of signals (signal(7)), with Linux's numbers of every
//! architecture but MIPS and SPARC.

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
/// The other names of some.
const ALIASES: [(&str, i32); 3] = [("IOT", 6), ("CLD", 17), ("POLL", 29)];
/// As the C libraries have it: they keep 32 and 33 for themselves.
const REALTIME_MIN: i32 = 34;
const MAX: i32 = 64;

/// `SIGTERM`, `term`, `15`, `RTMIN+3`.
pub fn parse(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i32>().ok()).flatten();
    if let Some(index) = NAMES.iter().position(|known| *known == name) {
        return Some(index as i32 + 1);
    }
    if let Some((_, number)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Some(*number);
    }
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => Some(REALTIME_MIN),
        (_, Some("")) => Some(MAX),
        (Some(rest), _) => rest.strip_prefix('+').and_then(digits)?.checked_add(REALTIME_MIN),
        (_, Some(rest)) => {
            let number = MAX.checked_sub(rest.strip_prefix('-').and_then(digits)?);
            number.filter(|number| *number >= REALTIME_MIN)
        }
        _ => digits(&upper),
    };
    number.filter(|number| (1..=MAX).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("sigHup", Some(1)),
            ("SYS", Some(31)),
            ("POLL", Some(29)),
            ("9", Some(9)),
            ("64", Some(64)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("RTMIN", Some(34)),
            ("RTMIN+31", None),
            ("RTMAX-31", None),
            ("RTMAX+1", None),
            ("0", None),
            ("65", None),
            ("-9", None),
            ("SIG", None),
            ("", None),
            ("TERMINATE", None),
            ("99999999999", None),
        ] {
            assert_eq!(parse(text), number, "{text}");
        }
    }
}
