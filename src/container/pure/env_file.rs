//! Files of `--env-file`: a variable a line, as podman reads them.
//!
//! A value stands as it is, quotes too. Ours alone: one that opens with a
//! double quote, the only one on its line, goes on to the line that ends with
//! one; then the quotes go, `\"` is a quote and `\\` a backslash.

/// The entries (`NAME=value`, `NAME`, `NAME*`) in order; a line that has no name is the error.
pub fn parse(text: &str) -> Result<Vec<String>, String> {
    let mut entries = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after) = cut(rest);
        rest = after;
        let line = line.trim_start_matches([' ', '\t']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').map_or((line, None), |(name, value)| (name, Some(value)));
        if name.is_empty() {
            // What it would be the value of may be a secret.
            return Err("'=***' has no name".into());
        }
        let quoted = value.and_then(|value| value.strip_prefix('"')).filter(|value| !has_quote(value));
        if let Some((value, after)) = quoted.and_then(|first| lines(first, after)) {
            rest = after;
            entries.push([name, "=", &value].concat());
        } else {
            entries.push(line.into());
        }
    }
    Ok(entries)
}

/// The first line, without its end (Go's scanner: `\n` or `\r\n`), and what follows.
fn cut(text: &str) -> (&str, &str) {
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    (line.strip_suffix('\r').unwrap_or(line), rest)
}

/// Whether a line ends with a double quote that no backslash stands before.
fn is_closed(line: &str) -> bool {
    let Some(before) = line.strip_suffix('"') else { return false };
    let backslashes = before.bytes().rev().take_while(|b| *b == b'\\').count();
    backslashes % 2 == 0
}

/// Whether there is a double quote that no backslash stands before.
fn has_quote(line: &str) -> bool {
    line.match_indices('"').any(|(at, _)| is_closed(line.get(..=at).unwrap_or_default()))
}

/// A value of several lines, and what follows it; `None` where nothing closes it.
fn lines<'a>(first: &str, rest: &'a str) -> Option<(String, &'a str)> {
    let mut value = String::from(first);
    let mut rest = rest;
    while !rest.is_empty() {
        let (line, after) = cut(rest);
        value.push('\n');
        rest = after;
        if is_closed(line) {
            value.push_str(line.strip_suffix('"').unwrap_or(line));
            return Some((unescape(&value), rest));
        }
        value.push_str(line);
    }
    None
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(next @ ('"' | '\\')) if c == '\\' => {
                out.push(*next);
                chars.next();
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_podman_reads_them() {
        let text = "# comment\n\n  A=1\nB= x \nC\t=2\r\nD=\"quoted\" \nE=\"quoted\"\nF='q'\nG=a=b #c\nH\n\tI*\nJ=";
        let want = ["A=1", "B= x ", "C\t=2", "D=\"quoted\" ", "E=\"quoted\"", "F='q'", "G=a=b #c", "H", "I*", "J="];
        assert_eq!(parse(text).unwrap(), want);
        assert_eq!(parse("A=1\n =2\n").unwrap_err(), "'=***' has no name");
    }

    #[test]
    fn values_of_several_lines() {
        let text = "KEY=\"-----BEGIN\n# no comment\n\nX=\\\"y\\\" \\\\n\\z\nEND\\\"\n-----\"\nNEXT=\"\nb\"\nLAST=1\n";
        let key = "KEY=-----BEGIN\n# no comment\n\nX=\"y\" \\n\\z\nEND\"\n-----";
        assert_eq!(parse(text).unwrap(), [key, "NEXT=\nb", "LAST=1"]);
        // A quote that nothing closes is one of podman's values.
        assert_eq!(parse("A=\"x\nB=2\n").unwrap(), ["A=\"x", "B=2"]);
        assert_eq!(parse("A=\"x\\\\\nb\\\\\"").unwrap(), ["A=x\\\nb\\"]);
    }
}
