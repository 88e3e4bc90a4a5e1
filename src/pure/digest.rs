//! Content digests (OCI image spec, descriptor.md): `sha256:` and 64 lower-case
//! hexadecimal digits. Nothing else becomes part of a path.

use ring::digest::{digest, Context, SHA256};

/// A SHA-256 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Another algorithm than sha256.
    Algorithm,
    /// Not 64 lower-case hexadecimal digits.
    Hex,
}

impl Error {
    pub fn text(self) -> &'static str {
        match self {
            Error::Algorithm => "a digest that is not sha256, the only algorithm that is supported",
            Error::Hex => "a digest that is not 64 lower-case hexadecimal digits",
        }
    }
}

impl Digest {
    /// Reads `sha256:…`.
    pub fn parse(text: &str) -> Result<Digest, Error> {
        let hex = text.strip_prefix("sha256:").ok_or(Error::Algorithm)?.as_bytes();
        if hex.len() != 64 {
            return Err(Error::Hex);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Digest(bytes))
    }

    /// 64 lower-case digits: the name of a blob or a layer in a directory.
    pub fn hex(&self) -> String {
        let digits = b"0123456789abcdef";
        let mut hex = String::with_capacity(64);
        for byte in self.0 {
            hex.push(digits[usize::from(byte >> 4)].into());
            hex.push(digits[usize::from(byte & 15)].into());
        }
        hex
    }

    /// `sha256:` and the digits.
    pub fn text(&self) -> String {
        ["sha256:", &self.hex()].concat()
    }

    /// `sha256:77aa01234567…`, for people: 12 digits, as podman and docker show.
    pub fn short(&self) -> String {
        ["sha256:", self.hex().get(..12).unwrap_or_default()].concat()
    }
}

fn nibble(digit: u8) -> Result<u8, Error> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(Error::Hex),
    }
}

/// The digest of `bytes`.
pub fn hash(bytes: &[u8]) -> Digest {
    to_digest(digest(&SHA256, bytes))
}

/// The digest of what `context` has taken.
pub fn hash_of(context: Context) -> Digest {
    to_digest(context.finish())
}

fn to_digest(digest: ring::digest::Digest) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    Digest(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: sha256-only
    /// Input: digests
    #[test]
    fn only_sha256_in_lower_case_is_a_digest() {
        let hex = "0123456789abcdef".repeat(4);
        let digest = Digest::parse(&["sha256:", &hex].concat()).unwrap();
        assert_eq!(digest.hex(), hex);
        assert_eq!(digest.short(), "sha256:0123456789ab");
        for (text, error) in [
            (["sha512:", &hex, &hex].concat(), Error::Algorithm),
            (hex.clone(), Error::Algorithm),
            (["sha256:", &hex.to_uppercase()].concat(), Error::Hex),
            (["sha256:", &hex[1..]].concat(), Error::Hex),
            (["sha256:", &hex, "0"].concat(), Error::Hex),
            (["sha256:../", &hex[3..]].concat(), Error::Hex),
        ] {
            assert_eq!(Digest::parse(&text), Err(error), "{text}");
        }
    }
}
