//! Lists of domains as RFC 1035 writes names, without pointers: DNSSL (RFC 8106, section 5.2) and DHCPv6 (RFC 8415,
//! section 10).

/// Domains of a search list that are used; resolv.conf(5) has had this limit for long.
pub const MAX_DOMAINS: usize = 6;
const MAX_NAME: usize = 253;

/// The domains of a list. What comes after a name that is cut short or has a pointer is not read; a name with other
/// letters than a host's, which could forge a line of resolv.conf, is left out; zeros pad a DNSSL option.
pub fn parse(mut bytes: &[u8]) -> Vec<String> {
    let mut domains = Vec::new();
    while let Some((name, rest)) = name(bytes) {
        let is_usable = !name.is_empty() && name.len() <= MAX_NAME && !domains.contains(&name);
        if is_usable && domains.len() < MAX_DOMAINS && name.bytes().all(is_harmless) && !name.starts_with(['-', '.']) {
            domains.push(name);
        }
        bytes = rest;
    }
    domains
}

/// The first name, with dots, and what comes after it.
fn name(mut bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut name = String::new();
    loop {
        let (length, rest) = bytes.split_first()?;
        let label = rest.get(..usize::from(*length)).filter(|label| label.len() < 64)?;
        bytes = rest.get(label.len()..)?;
        if label.is_empty() {
            return Some((name, bytes));
        }
        if !name.is_empty() {
            name.push('.');
        }
        // What is not ASCII becomes a letter that no host name has; so does a dot within a label.
        name.extend(label.iter().map(|byte| if byte.is_ascii() && *byte != b'.' { char::from(*byte) } else { '?' }));
    }
}

fn is_harmless(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_padding_and_what_is_no_name() {
        assert_eq!(parse(b"\x03lab\x00\x07example\x03org\x00\x00\x00\x00"), ["lab", "example.org"]);
        assert_eq!(parse(b""), [""; 0]);
        assert_eq!(parse(b"\x03lab\x00\x03lab\x00"), ["lab"], "once");
        assert_eq!(parse(b"\x03lab\x00\x07exam"), ["lab"], "cut short");
        assert_eq!(parse(b"\x03lab\x00\xc0\x00\x01x\x00"), ["lab"], "no pointers here");
        assert_eq!(parse(b"\x04a\nb \x00\x03a.b\x00\x02\xc3\xa9\x00\x02-a\x00\x01x\x00"), ["x"]);
        assert_eq!(
            parse(&[&[1, b'a'].repeat(127)[..], &[0], &[1, b'b', 0]].concat()),
            ["a.".repeat(127).trim_end_matches('.'), "b"]
        );
        assert_eq!(parse(&[&[1, b'a'].repeat(128)[..], &[0], &[1, b'b', 0]].concat()), ["b"], "too long");
        let many: Vec<u8> = (b'a'..=b'z').flat_map(|letter| [1, letter, 0]).collect();
        assert_eq!(parse(&many).len(), MAX_DOMAINS);
    }
}
