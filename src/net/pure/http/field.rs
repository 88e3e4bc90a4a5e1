//! The bytes that a header's name and value may hold.

/// RFC 9110, section 5.6.2.
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 9110, section 5.5: text, and the obsolete bytes above ASCII.
pub fn is_field(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
