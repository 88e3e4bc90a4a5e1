//! Host names, as sethostname(2) and the files of `/etc` take them.

/// Linux, `__NEW_UTS_LEN`.
const LENGTH_MAX: usize = 64;

/// What a host name is, for messages.
pub const RULE: &str = "1 to 64 letters, digits and - . _";

/// RFC 1123, section 2.1, and the underscore, which systems use beside it: no white space, no slash, nothing that could
/// forge a line of `/etc/hosts`.
pub fn is_hostname(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    !text.is_empty() && text.len() <= LENGTH_MAX && text.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_forge_a_line() {
        let long = "a".repeat(64);
        for name in ["a", "box-1.lab_x", &long] {
            assert!(is_hostname(name), "{name}");
        }
        for name in ["", "a b", "a/b", "a\n1.2.3.4 b", "\u{e4}", &[&long, "a"].concat()] {
            assert!(!is_hostname(name), "{name}");
        }
    }
}
