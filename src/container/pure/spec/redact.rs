//! A container line as it may be shown: without the value of `--creds`, without passwords in URLs and names, and
//! without the values of unknown flags.

use crate::container::pure::spec::table::{Takes, TABLE};
use crate::image::pure::authfile::Credentials;
use crate::pure::scrub::{scrub, urls, MASK};

/// `line` as it may be shown, to people and to the containers behind it, whether
/// it can be read or not.
pub fn shown(line: &str) -> String {
    shown_by(line, false)
}

/// The same for the console: without the values of `-e` and `--env`, too, which are a job's tokens.
pub fn logged(line: &str) -> String {
    shown_by(line, true)
}

fn shown_by(line: &str, hides_env: bool) -> String {
    let raw = raw_words(line);
    let bare: Vec<String> = raw.iter().map(|word| word.replace(['\'', '"', '\\'], "")).collect();
    let (secrets, unknown) = (secrets(&bare), unknown_values(&bare, hides_env));
    if secrets.is_empty() && unknown.iter().all(Option::is_none) {
        return urls(line);
    }
    let mut out = Vec::new();
    let mut is_value = false;
    for ((raw, bare), unknown) in raw.iter().zip(&bare).zip(unknown) {
        out.push(match (bare.split_once("--creds="), unknown) {
            _ if is_value => MASK.into(),
            (Some((before, _)), _) => [before, "--creds=", MASK].concat(),
            (None, Some(start)) => [bare.get(..start).unwrap_or_default(), MASK].concat(),
            (None, None) => scrub(raw, &secrets),
        });
        is_value = !is_value && bare.ends_with("--creds");
    }
    out.join(" ")
}

/// The words of `line` as they stand there, with their quotes; the last takes
/// the rest where a quote is not closed.
fn raw_words(line: &str) -> Vec<&str> {
    let (mut quote, mut escaped) = (None, false);
    let is_end = |c: char| {
        match (c, quote) {
            _ if escaped => escaped = false,
            ('\\', None | Some('"')) => escaped = true,
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (c, None) => return c.is_ascii_whitespace(),
            _ => {}
        }
        false
    };
    line.split(is_end).filter(|word| !word.is_empty()).collect()
}

/// What of words must not be told, in lines too that cannot be read: what `--creds` is given, also where it is
/// misspelled, and `USER:PASSWORD` before an `@`.
pub(super) fn secrets(words: &[String]) -> Vec<String> {
    let mut secrets = Vec::new();
    for (index, word) in words.iter().enumerate() {
        // Not only at its start: a line that cannot be read may be no list of words.
        let value = match word.split_once("-creds").or_else(|| Some(("", word.strip_prefix("creds=")?))) {
            Some((_, "")) => words.get(index + 1).map(String::as_str),
            Some((_, rest)) => Some(rest.trim_start_matches(['=', ':'])).filter(|_| !rest.starts_with('-')),
            None => None,
        };
        if let Some((login, password)) = login(word) {
            // An error may hold a piece of the word. A short one is in too many words that are none.
            secrets.push(login.into());
            secrets.extend(Some(password.into()).filter(|_| password.len() > 3));
        }
        let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
        match Credentials::parse(value) {
            Some(credentials) => secrets.extend(credentials.secrets()),
            None => secrets.push(value.into()),
        }
    }
    secrets
}

/// `USER:PASSWORD` of an image's name or a URL, whether it has a scheme or not, and the password.
fn login(word: &str) -> Option<(&str, &str)> {
    let start = word.rfind("//").map(|at| at + 2).or_else(|| word.find('=').map(|at| at + 1)).unwrap_or_default();
    let word = word.get(start..)?;
    let (at, _) =
        word.rmatch_indices('@').find(|(at, _)| !word.get(*at..).is_some_and(|tail| tail.starts_with("@sha")))?;
    let login = word.get(..at)?;
    // No path of `oci:` or of a volume, and no number of an image in an archive.
    let (user, password) = login.split_once(':')?;
    let is_path = ["oci", "oci-archive", "docker-archive"].contains(&user) || user.contains('/');
    (!is_path && !user.is_empty() && !password.is_empty() && !password.starts_with('/')).then_some((login, password))
}

/// A flag's name as far as it can be one: what follows may be a value that was meant.
pub(super) fn name_of(flag: &str) -> &str {
    const NAME_MAX: usize = 24;
    let end = flag.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(flag.len());
    flag.get(..end.min(NAME_MAX)).unwrap_or_default()
}

/// For each word: how much of it may be shown where it is, or has, the value of a flag that is not there. Nobody
/// knows what that is: a password where `-creds` or `--cred` is written. The same of the value of a variable.
fn unknown_values(words: &[String], hides_env: bool) -> Vec<Option<usize>> {
    let mut all = vec![None; words.len()];
    let (mut at, mut is_odd) = (0, false);
    while let Some(word) = words.get(at) {
        at += 1;
        let Some(flag) = word.strip_prefix('-').filter(|flag| !matches!(*flag, "" | "-")) else {
            // The image. Its command is not ours to read, but behind a flag that is not there it may be a value.
            match is_odd {
                true => continue,
                false => break,
            }
        };
        let (shown, takes_next) = flag.strip_prefix('-').map_or_else(|| of_short(flag), of_long);
        is_odd |= shown.is_some();
        if let Some(slot) = all.get_mut(at - 1) {
            *slot = shown.filter(|shown| *shown < word.len());
        }
        if takes_next && (shown.is_none() || words.get(at).is_some_and(|next| !next.starts_with('-'))) {
            if let Some(slot) = all.get_mut(at) {
                *slot = shown.map(|_| 0);
            }
            at += 1;
        }
        let named = env_at(word).zip(words.get(at - 1)).filter(|_| hides_env);
        let end = named.and_then(|(start, word)| Some(start + word.get(start..)?.find('=')? + 1));
        if let Some(slot) = all.get_mut(at - 1).filter(|_| end.is_some()) {
            *slot = end;
        }
    }
    all
}

/// Where the value of `-e` or `--env` begins in the flag's word, or in the next one where that is the value.
fn env_at(word: &str) -> Option<usize> {
    if let Some(value) = word.strip_prefix("--env") {
        return value.is_empty().then_some(0).or(value.starts_with('=').then_some(6));
    }
    // In a bundle of short flags. The value of another one may have this letter, and be hidden.
    let at = word.split('=').next()?.find('e').filter(|_| !word.starts_with("--"))?;
    Some((at + 1) % word.len())
}

/// Whether the word after the flag `word` is that flag's value.
pub fn takes_next(word: &str) -> bool {
    let flag = word.strip_prefix('-').unwrap_or_default();
    let (unknown, takes_next) = flag.strip_prefix('-').map_or_else(|| of_short(flag), of_long);
    takes_next && unknown.is_none()
}

/// How much of an unknown flag may be shown, with its dashes; whether the next word is the flag's value.
fn of_long(long: &str) -> (Option<usize>, bool) {
    let (name, has_value) = long.split_once('=').map_or((long, false), |(name, _)| (name, true));
    match TABLE.iter().find(|row| row.long == name) {
        Some(row) => (None, !has_value && row.takes != Takes::Bool),
        None if has_value && name == name_of(name) => (Some(name.len() + 3), false),
        None => (Some(name_of(long).len() + 2), !has_value),
    }
}

/// The same of short flags in one word.
fn of_short(flags: &str) -> (Option<usize>, bool) {
    for (index, letter) in flags.char_indices() {
        let end = index + letter.len_utf8();
        match TABLE.iter().find(|row| row.short != 0 && char::from(row.short) == letter) {
            None => return (Some(end + 1), end == flags.len()),
            Some(row) if row.takes == Takes::Bool && !flags.get(end..).is_some_and(|rest| rest.starts_with('=')) => {}
            Some(row) => return (None, row.takes != Takes::Bool && end == flags.len()),
        }
    }
    (None, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::pure::spec::parse::{parse, parse_line};
    use crate::pure::scrub::clean;

    /// Lines that hold a secret where one may stand, each well and badly spelled.
    const LINES: [&str; 34] = [
        "--creds=u:SECRET img",
        "--creds u:SECRET img",
        "--creds=SECRET img",
        "--creds u:SECRET --nope img",
        "--creds:u:SECRET img",
        "--credsu:SECRET img",
        "--credsSECRET img",
        "--credsSECRET=x img",
        "--cred u:SECRET img",
        "--cred=u:SECRET img",
        "--Creds=SECRET img",
        "--password SECRET img",
        "--password=SECRET --creds img",
        "-creds=u:SECRET img",
        "-creds u:SECRET img",
        "creds=u:SECRET img",
        "-xSECRET img",
        "-x=SECRET img",
        "-x SECRET img",
        "-tiSECRET img",
        "-tixSECRET img",
        "--layer=http://u:SECRET@h/x img",
        "--layer http://u:SECRET@h/x#0 img",
        "--layer=http://u:p/SECRET@h/x img",
        "--layer=ftp://u:SECRET@h/x img",
        "--layer=u:SECRET@h/x img",
        "--layer=http://h/x?sig=SECRET#sha256:0 img",
        "docker://u:SECRET@h/img",
        "docker://u:SECRET@h/img@sha256:0",
        "u:SECRET@h/img",
        "https://u:SECRET@h/img",
        "oci-archive:http://u:SECRET@h/a.tar:x",
        "docker-archive:https://h/a.tar?x=SECRET:@x",
        "-v http://u:SECRET@h:/x img",
    ];

    /// Promise: no-secret-in-messages
    #[test]
    fn no_spelling_brings_a_secret_out() {
        for line in LINES {
            assert!(!shown(line).contains("SECRET"), "{line}: {}", shown(line));
            let later = [line, " $X"].concat();
            assert!(!shown(&later).contains("SECRET"), "{later}: {}", shown(&later));
            let quoted = ["--env A=b \"", line].concat();
            if line.contains("creds") || line.contains("//") {
                assert!(!shown(&quoted).contains("SECRET"), "{quoted}: {}", shown(&quoted));
            }
            let words: Vec<String> = line.split(' ').map(String::from).collect();
            for error in [parse_line(line, &|_| None).err(), parse(&words).err()].into_iter().flatten() {
                assert!(!clean(&error).contains("SECRET"), "{line}: {}", clean(&error));
            }
        }
    }

    #[test]
    fn what_is_shown_instead() {
        for (line, text) in [
            ("-xSECRET  img", "-x*** img"),
            ("-creds=u:SECRET img", "-creds=*** img"),
            ("-xcreds=u:SECRET img", "-x*** img"),
            ("--cred u:SECRET img", "--cred *** img"),
            ("--cred=u:SECRET img", "--cred=*** img"),
            ("--layer 'http://u:p@h/x?y#sha256:0'  img", "--layer 'http://***@h/x?***#sha256:0' img"),
            ("u:p@h/img", "***@h/img"),
        ] {
            assert_eq!(shown(line), text);
        }
    }

    /// Promise: no-secret-in-messages
    #[test]
    fn variables_on_the_console_have_no_values() {
        for (line, text) in [
            ("-e A=SECRET -e B img -e C=d", "-e A=*** -e B img -e C=d"),
            ("--env A=SECRET --env=B=SECRET=x --env=C img", "--env A=*** --env=B=*** --env=C img"),
            ("-eA=SECRET -tieB=SECRET -ite 'C=SECRET x' img", "-eA=*** -tieB=*** -ite C=*** img"),
            ("--tls-verify=false -ve:/a=b -uee img", "--tls-verify=false -ve:/a=*** -uee img"),
            ("--env-file /a=b -t=false -w /e=f --env", "--env-file /a=b -t=false -w /e=f --env"),
            ("-e 'A=SECRET", "-e A=***"),
            ("--nope=x -e A=SECRET img", "--nope=*** -e A=*** img"),
        ] {
            assert_eq!(logged(line), text);
        }
        assert_eq!(shown("-e A=b img"), "-e A=b img", "the pipeline's variables have the line itself");
    }

    /// Promise: no-secret-in-messages
    #[test]
    fn lines_without_a_secret_are_shown_as_they_are() {
        for line in [
            "-ti  --env A=b -eC=d -v /a:/b@c -v data:/x@y:ro --mount type=tmpfs,dst=/x  img  sh -c 'x -y SECRET'",
            "docker://h:5000/a/b:c@sha256:00 --creds-file x --password=y -xz a@b",
            "oci:/images/a:@2",
            "oci-archive:a.tar:name@x run",
            "--tls-verify=false -e MAIL=a@b img ssh me@host",
            "-t=false -i=true -h name img",
            "-- img --foo=bar",
        ] {
            assert_eq!(shown(line), line);
        }
    }
}
