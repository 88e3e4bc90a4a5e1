//! Percent-encoding of URLs (RFC 3986, section 2.1).

/// Appends `text` to `out`, all but the unreserved characters encoded.
pub fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            escape(byte, out);
        }
    }
}

/// Appends one byte, encoded.
pub fn escape(byte: u8, out: &mut String) {
    let digits = b"0123456789ABCDEF";
    out.push('%');
    out.push(digits[usize::from(byte >> 4)].into());
    out.push(digits[usize::from(byte & 15)].into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_stay() {
        let mut out = String::from("q=");
        encode("a-Z.0_~ /+\u{e9}", &mut out);
        assert_eq!(out, "q=a-Z.0_~%20%2F%2B%C3%A9");
    }
}
