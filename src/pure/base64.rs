//! Base64 (RFC 4648, section 4), the encoding of credentials, keys and signatures.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The text of `bytes`, padded.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) as usize & 63;
            text.push(if digit <= group.len() { ALPHABET[value].into() } else { '=' });
        }
    }
    text
}

/// The bytes of `text`, with or without padding. `None` for white space, other
/// alphabets, and unused bits that are set (section 3.5), so that a value has one
/// text only.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_suffix("==").or(text.strip_suffix('=')).unwrap_or(text);
    if digits.len() % 4 == 1 || (digits.len() < text.len() && text.len() % 4 != 0) {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0u32, 0);
    for digit in digits.bytes() {
        bits = bits << 6 | value(digit)?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    (bits == 0).then_some(bytes)
}

/// The same for a text that may be broken into lines, as Go reads it and the program base64 writes it.
pub fn decode_lines(text: &str) -> Option<Vec<u8>> {
    decode(&text.replace(['\r', '\n'], ""))
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()), "{text}");
            assert_eq!(decode(text.trim_end_matches('=')).as_deref(), Some(bytes.as_bytes()), "{text}, not padded");
        }
        assert_eq!(encode(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn every_byte_comes_back_at_every_place() {
        let all: Vec<u8> = (0..=255).collect();
        for start in 0..4 {
            let bytes = &all[start..];
            assert_eq!(decode(&encode(bytes)).as_deref(), Some(bytes));
        }
    }

    #[test]
    fn line_breaks_where_they_are_usual() {
        for text in ["Zm9v\nYmFy", "\r\nZm9vYm\r\nFy\r\n", "\n\nZ\nm9vYmFy"] {
            assert_eq!(decode_lines(text).as_deref(), Some(&b"foobar"[..]), "{text:?}");
            assert_eq!(decode(text), None);
        }
        for text in ["Zm9v YmFy", "Zm9v\tYmFy", "Zm9vYmF\n"] {
            assert_eq!(decode_lines(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_base64() {
        for text in [
            "Z", "Zg=", "Zg===", "=", "==", "====", "Zm9vY", "A", "AAAAA", "Zm 9v", "Zm9v\n", "Zm9-", "Zm9_",
            "Zg==Zg==", "Zh==", "Zm9=",
        ] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
