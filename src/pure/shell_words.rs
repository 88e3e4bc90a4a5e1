//! Splits a text into words as a POSIX shell does (XCU 2.2, 2.6.2, 2.6.5), without
//! executing anything: single and double quotes, backslash, `$NAME` and
//! `${NAME}`. What a shell would execute or expand further is an error.

use core::net::Ipv6Addr;

/// Why a text cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    UnmatchedSingleQuote,
    UnmatchedDoubleQuote,
    TrailingBackslash,
    /// `$(…)` or a backquote.
    Substitution,
    /// `${NAME:-x}` and other forms, or a `${` without its `}`.
    Parameter,
    /// An unquoted `*`, `?` or `[`.
    Glob,
    /// An unquoted `;`, `&`, `|`, `<`, `>`, `(` or `)`.
    Operator,
}

impl Error {
    pub fn text(self) -> &'static str {
        match self {
            Error::UnmatchedSingleQuote => "an unmatched single quote",
            Error::UnmatchedDoubleQuote => "an unmatched double quote",
            Error::TrailingBackslash => "a backslash at the end",
            Error::Substitution => {
                "$(...) and backquotes are not executed here: quote them for a shell in the container"
            }
            Error::Parameter => "only $NAME and ${NAME} are expanded here",
            Error::Glob => "an unquoted *, ? or [: there are no file names to match here, so quote it",
            Error::Operator => "an unquoted ;, &, |, <, >, ( or ): there is no shell here, so quote it",
        }
    }
}

/// The value of a variable; `None` where it is not set.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The words of `text`.
pub fn split(text: &str, variable: Lookup) -> Result<Vec<String>, Error> {
    let mut commands = read(text, variable, false)?;
    Ok(commands.pop().unwrap_or_default())
}

/// As [`split`], with `;` between commands. Empty commands are left out.
pub fn commands(text: &str, variable: Lookup) -> Result<Vec<Vec<String>>, Error> {
    let mut commands = read(text, variable, true)?;
    commands.retain(|command| !command.is_empty());
    Ok(commands)
}

/// What has been read; `word` is `None` between words (an empty quoted word is one).
#[derive(Default)]
struct Reader {
    commands: Vec<Vec<String>>,
    words: Vec<String>,
    word: Option<String>,
}

impl Reader {
    fn push(&mut self, c: char) {
        self.word.get_or_insert_with(String::new).push(c);
    }

    fn end_word(&mut self) {
        self.words.extend(self.word.take());
    }

    fn end_command(&mut self) {
        self.end_word();
        self.commands.push(std::mem::take(&mut self.words));
    }

    /// An unquoted expansion is split at white space (XCU 2.6.5).
    fn push_fields(&mut self, value: &str) {
        for c in value.chars() {
            if c.is_ascii_whitespace() {
                self.end_word();
            } else {
                self.push(c);
            }
        }
    }
}

fn read(text: &str, variable: Lookup, semicolons: bool) -> Result<Vec<Vec<String>>, Error> {
    let mut reader = Reader::default();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\'' => single_quoted(&mut reader, &mut rest)?,
            '"' => double_quoted(&mut reader, &mut rest, variable)?,
            '\\' => match rest.next() {
                Some('\n') => {}
                Some(c) => reader.push(c),
                None => return Err(Error::TrailingBackslash),
            },
            '$' => match parameter(&mut rest)? {
                Some(name) => reader.push_fields(&variable(&name).unwrap_or_default()),
                None => reader.push('$'),
            },
            '`' => return Err(Error::Substitution),
            '[' if is_address(rest.as_str()) => reader.push('['),
            '*' | '?' | '[' => return Err(Error::Glob),
            ';' if semicolons => reader.end_command(),
            ';' | '&' | '|' | '<' | '>' | '(' | ')' => return Err(Error::Operator),
            c if c.is_ascii_whitespace() => reader.end_word(),
            c => reader.push(c),
        }
    }
    reader.end_command();
    Ok(reader.commands)
}

/// Whether an IPv6 address and its bracket follow, as in `[2001:db8::5]:5000/image`: as a pattern it would match a file
/// whose name begins with one digit of it, of which there is none, and a shell would leave it as it is.
fn is_address(rest: &str) -> bool {
    rest.split_once(']').is_some_and(|(inside, _)| inside.parse::<Ipv6Addr>().is_ok())
}

fn single_quoted(reader: &mut Reader, rest: &mut std::str::Chars) -> Result<(), Error> {
    let (inside, after) = rest.as_str().split_once('\'').ok_or(Error::UnmatchedSingleQuote)?;
    reader.word.get_or_insert_with(String::new).push_str(inside);
    *rest = after.chars();
    Ok(())
}

fn double_quoted(reader: &mut Reader, rest: &mut std::str::Chars, variable: Lookup) -> Result<(), Error> {
    let word = reader.word.get_or_insert_with(String::new);
    loop {
        match rest.next().ok_or(Error::UnmatchedDoubleQuote)? {
            '"' => return Ok(()),
            // XCU 2.2.3: in double quotes a backslash escapes only these.
            '\\' => match rest.next().ok_or(Error::UnmatchedDoubleQuote)? {
                '\n' => {}
                c @ ('$' | '`' | '"' | '\\') => word.push(c),
                c => {
                    word.push('\\');
                    word.push(c);
                }
            },
            '$' => match parameter(rest)? {
                Some(name) => word.push_str(&variable(&name).unwrap_or_default()),
                None => word.push('$'),
            },
            '`' => return Err(Error::Substitution),
            c => word.push(c),
        }
    }
}

/// The name after a `$`; `None` where the `$` stands for itself.
fn parameter(rest: &mut std::str::Chars) -> Result<Option<String>, Error> {
    let text = rest.as_str();
    if text.starts_with('(') {
        return Err(Error::Substitution);
    }
    if let Some(inside) = text.strip_prefix('{') {
        let (name, after) = inside.split_once('}').ok_or(Error::Parameter)?;
        if name.is_empty() || name_length(name) != name.len() {
            return Err(Error::Parameter);
        }
        *rest = after.chars();
        return Ok(Some(name.into()));
    }
    let (name, after) = text.split_at(name_length(text));
    *rest = after.chars();
    Ok((!name.is_empty()).then(|| name.into()))
}

/// XBD 3.235: letters, digits and underscores, no digit first.
fn name_length(text: &str) -> usize {
    let mut length = 0;
    for byte in text.bytes() {
        if !(byte == b'_' || byte.is_ascii_alphabetic() || (length > 0 && byte.is_ascii_digit())) {
            break;
        }
        length += 1;
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "X" => Some("a  b".into()),
            "Y" => Some("y".into()),
            _ => None,
        }
    }

    #[track_caller]
    fn reads(text: &str, want: &[&str]) {
        assert_eq!(split(text, &env).unwrap(), want, "{text}");
    }

    /// Promise: container-line-words
    #[test]
    fn quotes_and_backslashes() {
        reads(r#"-euc 'make check > out.txt'"#, &["-euc", "make check > out.txt"]);
        reads(r#"a"b c"'d e'f\ g"#, &["ab cd ef g"]);
        reads(r#""a\$b\q\"""#, &[r#"a$b\q""#]);
        reads(r#"'' "" x"#, &["", "", "x"]);
        reads("docker://[2001:db8::5]:5000/a [::1]/b", &["docker://[2001:db8::5]:5000/a", "[::1]/b"]);
        reads(r#"'$X `y` *'"#, &["$X `y` *"]);
        reads("  ", &[]);
    }

    #[test]
    fn variables_are_expanded_and_split_when_unquoted() {
        reads("$X", &["a", "b"]);
        reads("\"$X\"", &["a  b"]);
        reads("-$Y-${Y}z", &["-y-yz"]);
        reads("$NONE", &[]);
        reads("\"$NONE\"", &[""]);
        reads("5$ $", &["5$", "$"]);
    }

    /// Promise: container-line-words
    #[test]
    fn what_a_shell_would_execute_is_an_error() {
        for (text, error) in [
            ("a $(b)", Error::Substitution),
            ("\"$(b)\"", Error::Substitution),
            ("`b`", Error::Substitution),
            ("${A:-b}", Error::Parameter),
            ("${}", Error::Parameter),
            ("${A", Error::Parameter),
            ("*.c", Error::Glob),
            ("a;b", Error::Operator),
            ("a|b", Error::Operator),
            ("a > b", Error::Operator),
            ("'a", Error::UnmatchedSingleQuote),
            ("\"a", Error::UnmatchedDoubleQuote),
            ("a\\", Error::TrailingBackslash),
        ] {
            assert_eq!(split(text, &env), Err(error), "{text}");
        }
    }

    #[test]
    fn semicolons_part_commands() {
        let got = commands("echo 'a;b'; ;poweroff -f;", &env).unwrap();
        assert_eq!(got, [vec!["echo", "a;b"], vec!["poweroff", "-f"]]);
    }
}
