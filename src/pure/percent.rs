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

/// The bytes that `text` encodes. `None` where two hexadecimal digits do not follow a `%`.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? << 4 | digit()?) as u8
            }
            byte => byte,
        });
    }
    Some(out)
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

    #[test]
    fn what_is_encoded_and_what_is_not() {
        assert_eq!(decode("a+b%2F%c3%A9%00").as_deref(), Some("a+b/\u{e9}\0".as_bytes()));
        for bad in ["%", "a%2", "%g0", "%0g", "%+1", "%%41"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
