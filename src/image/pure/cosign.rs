//! cosign's signatures of images (its SIGNATURE_SPEC.md): their tag, manifest and payload, and public keys.

use crate::image::pure::oci::{self, Descriptor};
use crate::pure::base64;
use crate::pure::digest::{self, Digest};
use crate::pure::json::Value;

/// The most signatures of a signature manifest.
pub const SIGNATURES_MAX: usize = 64;
/// The largest payload; a usual one is a few hundred bytes of JSON.
pub const PAYLOAD_MAX: u64 = 64 << 10;
/// The largest file of keys.
pub const KEYS_MAX: u64 = 64 << 10;

const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const SIGNED_TYPE: &str = "cosign container image signature";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256.
    P256,
    Ed25519,
}

/// A public key in the format of `ring`: the uncompressed point, or 32 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub algorithm: Algorithm,
    pub bytes: Vec<u8>,
}

/// One signature of a manifest, not checked yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Signature {
    /// None where it cannot be fetched: another signature may be enough.
    pub payload: Option<Descriptor>,
    pub base64: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Neither PEM, nor DER, nor base64 of one of them.
    NoKey,
    PrivateKey,
    /// A public key, or something like one, of another kind.
    KeyKind,
    Document(oci::Error),
    TooMany,
    /// The payload is not a claim about an image.
    Payload,
    Digest(digest::Error),
}

impl Error {
    /// The message, which never has a part of a key, as it may be a private one.
    pub fn text(self) -> String {
        let text = match self {
            Error::NoKey => "neither the path of a file, which begins with /, nor the base64 of a public key",
            Error::PrivateKey => "a private key: keep it secret, and name the public one (cosign.pub)",
            Error::KeyKind => "not a public key of ECDSA P-256 or Ed25519",
            Error::Document(error) => return error.text(),
            Error::TooMany => "more than 64 signatures",
            Error::Payload => "not a claim about an image",
            Error::Digest(error) => error.text(),
        };
        text.into()
    }
}

/// The start of a SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7). DER has one encoding of it, and both kinds of keys
/// have a fixed length, so all bytes before the key are constant.
/// P-256 (RFC 5480, sections 2.1.1 and 2.2), with an uncompressed point.
const P256_START: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
/// The same for Ed25519 (RFC 8410, section 4).
const ED25519_START: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

impl Key {
    /// Reads a DER SubjectPublicKeyInfo; bytes after it are an error.
    pub fn from_der(der: &[u8]) -> Result<Key, Error> {
        if let Some(point) = der.strip_prefix(&P256_START).filter(|rest| rest.len() == 64) {
            return Ok(Key { algorithm: Algorithm::P256, bytes: [&[4], point].concat() });
        }
        match der.strip_prefix(&ED25519_START).filter(|rest| rest.len() == 32) {
            Some(key) => Ok(Key { algorithm: Algorithm::Ed25519, bytes: key.into() }),
            None => Err(Error::KeyKind),
        }
    }
}

/// The keys of a file: one in DER, or any number in PEM (RFC 7468).
pub fn keys(file: &[u8]) -> Result<Vec<Key>, Error> {
    let Some(text) = core::str::from_utf8(file).ok().filter(|text| text.contains("-----BEGIN ")) else {
        return Key::from_der(file).map(|key| vec![key]);
    };
    let mut keys = Vec::new();
    for block in text.split("-----BEGIN ").skip(1) {
        let (label, rest) = block.split_once("-----").ok_or(Error::NoKey)?;
        match label {
            "PUBLIC KEY" => {}
            label if label.contains("PRIVATE KEY") => return Err(Error::PrivateKey),
            _ => return Err(Error::KeyKind),
        }
        let (body, _) = rest.split_once("-----END PUBLIC KEY-----").ok_or(Error::NoKey)?;
        let body: String = body.split_ascii_whitespace().collect();
        keys.push(Key::from_der(&base64::decode(&body).ok_or(Error::NoKey)?)?);
    }
    Ok(keys)
}

/// A value of `b2c.verify_key`: the path of a file with public keys, or the keys themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyKey {
    File(String),
    Keys(Vec<Key>),
}

impl VerifyKey {
    /// Reads a path, which begins with `/`, or the file's content in base64.
    pub fn parse(value: &str) -> Result<VerifyKey, Error> {
        match value.starts_with('/') {
            true => Ok(VerifyKey::File(value.into())),
            false => keys_of_option(value).map(VerifyKey::Keys),
        }
    }
}

/// The keys in an option's value: base64 of the content of a file.
pub fn keys_of_option(value: &str) -> Result<Vec<Key>, Error> {
    keys(&base64::decode(value).ok_or(Error::NoKey)?)
}

/// The tag of an image's signatures: `sha256-HEX.sig`.
pub fn tag(image: &Digest) -> String {
    ["sha256-", &image.hex(), ".sig"].concat()
}

/// The signatures of a signature manifest; layers of other types are ignored.
pub fn signatures(manifest: &[u8]) -> Result<Vec<Signature>, Error> {
    let manifest = oci::json(manifest).map_err(Error::Document)?;
    let layers = manifest.list("layers").ok_or(Error::Document(oci::Error::Member("layers")))?;
    let mut signatures = Vec::new();
    for layer in layers.iter().filter(|layer| layer.text("mediaType") == Some(PAYLOAD_TYPE)) {
        if signatures.len() == SIGNATURES_MAX {
            return Err(Error::TooMany);
        }
        let annotations = layer.object("annotations");
        let base64 = annotations.entry(SIGNATURE).and_then(Value::as_str);
        signatures.push(Signature { payload: oci::descriptor(layer).ok(), base64: base64.unwrap_or_default().into() });
    }
    Ok(signatures)
}

/// The digest of the manifest or index that a payload claims. The name in it (`docker-reference`) is ignored, as the
/// specification says: an image may be signed once and be in many registries.
pub fn signed_digest(payload: &[u8]) -> Result<Digest, Error> {
    let payload = oci::json(payload).map_err(|_| Error::Payload)?;
    let critical = payload.get("critical").ok_or(Error::Payload)?;
    if critical.text("type") != Some(SIGNED_TYPE) {
        return Err(Error::Payload);
    }
    let digest = critical.get("image").and_then(|image| image.text("docker-manifest-digest"));
    Digest::parse(digest.ok_or(Error::Payload)?).map_err(Error::Digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p256() -> Vec<u8> {
        [P256_START.as_slice(), &[7; 64]].concat()
    }

    fn ed25519() -> Vec<u8> {
        [ED25519_START.as_slice(), &[9; 32]].concat()
    }

    fn pem(label: &str, der: &[u8]) -> String {
        let body = base64::encode(der);
        let (first, second) = body.split_at(body.len() / 2);
        format!("-----BEGIN {label}-----\n{first}\r\n{second}\n-----END {label}-----\n")
    }

    #[test]
    fn keys_in_all_their_dresses() {
        let one = |key: Result<Vec<Key>, Error>| {
            let [key] = <[Key; 1]>::try_from(key.unwrap()).unwrap();
            (key.algorithm, key.bytes.len(), key.bytes[0])
        };
        for (der, expected) in [(p256(), (Algorithm::P256, 65, 4)), (ed25519(), (Algorithm::Ed25519, 32, 9))] {
            let pem = pem("PUBLIC KEY", &der);
            assert_eq!(one(keys(&der)), expected);
            assert_eq!(one(keys(pem.as_bytes())), expected);
            assert_eq!(one(keys_of_option(&base64::encode(&der))), expected);
            assert_eq!(one(keys_of_option(&base64::encode(pem.as_bytes()))), expected);
        }
        let both = ["# ours\n", &pem("PUBLIC KEY", &p256()), "\n", &pem("PUBLIC KEY", &ed25519())].concat();
        assert_eq!(keys(both.as_bytes()).unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_key() {
        let mut compressed = p256();
        compressed[26] = 2;
        let mut nearly = ed25519();
        nearly[8] = 0x71;
        for (file, error) in [
            (b"".to_vec(), Error::KeyKind),
            (compressed, Error::KeyKind),
            (nearly, Error::KeyKind),
            ([p256(), vec![0]].concat(), Error::KeyKind),
            (p256()[..90].to_vec(), Error::KeyKind),
            ([ed25519(), vec![0]].concat(), Error::KeyKind),
            (pem("PRIVATE KEY", &p256()).into(), Error::PrivateKey),
            (pem("ENCRYPTED SIGSTORE PRIVATE KEY", b"x").into(), Error::PrivateKey),
            ((pem("PUBLIC KEY", &p256()) + &pem("EC PRIVATE KEY", b"x")).into(), Error::PrivateKey),
            (pem("CERTIFICATE", &p256()).into(), Error::KeyKind),
            (pem("PUBLIC KEY", &p256()).replace("END", "EN").into(), Error::NoKey),
            (b"-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n".to_vec(), Error::NoKey),
        ] {
            assert_eq!(keys(&file), Err(error), "{}", String::from_utf8_lossy(&file));
        }
        assert_eq!(keys_of_option("cosign.pub"), Err(Error::NoKey));
        assert_eq!(keys_of_option("AAAA"), Err(Error::KeyKind));
    }

    fn layer(media_type: &str, rest: &str) -> String {
        let digest = Digest([1; 32]).text();
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":3{rest}}}"#)
    }

    /// Promise: json-as-go
    /// Input: json-keys, null-documents
    #[test]
    fn the_signatures_of_a_manifest() {
        let signed = layer(PAYLOAD_TYPE, &format!(r#","annotations":{{"{SIGNATURE}":"c2ln"}}"#));
        let of = |layers: &[String]| signatures(format!(r#"{{"layers":[{}]}}"#, layers.join(",")).as_bytes());
        let found = of(&[layer("application/x", ""), signed.clone(), layer(PAYLOAD_TYPE, "")]).unwrap();
        assert_eq!(found.iter().map(|one| one.base64.as_str()).collect::<Vec<_>>(), ["c2ln", ""]);
        assert_eq!(found[0].payload.as_ref().map(|payload| (payload.digest, payload.size)), Some((Digest([1; 32]), 3)));
        assert_eq!(of(&vec![signed.clone(); 64]).map(|all| all.len()), Ok(64));
        assert_eq!(of(&vec![signed; 65]), Err(Error::TooMany));
        for none in ["{}", r#"{"layers":null}"#, r#"{"layers":[]}"#, r#"{"layers":[null]}"#] {
            assert_eq!(signatures(none.as_bytes()), Ok(Vec::new()), "{none}");
        }
        assert_eq!(signatures(br#"{"layers":{}}"#), Err(Error::Document(oci::Error::Member("layers"))));
        let bad = format!(r#"{{"layers":[{{"mediaType":"{PAYLOAD_TYPE}"}}]}}"#);
        // It counts as one that cannot be fetched.
        assert_eq!(signatures(bad.as_bytes()).map(|all| (all.len(), all[0].payload.is_none())), Ok((1, true)));
        // Keys in any case, as Go reads them; the name of an annotation is data.
        let cased = |key: &str| {
            let digest = Digest([1; 32]).text();
            format!(
                r#"{{"LAYERS":[{{"mediatype":"{PAYLOAD_TYPE}","Digest":"{digest}","SIZE":3,
                "Annotations":{{"{key}":"c2ln"}}}}]}}"#
            )
        };
        let read = |key: &str| signatures(cased(key).as_bytes()).unwrap().remove(0);
        assert_eq!((read(SIGNATURE).payload.map(|p| p.size), read(SIGNATURE).base64.as_str()), (Some(3), "c2ln"));
        assert_eq!(read(&SIGNATURE.to_uppercase()).base64, "");
    }

    #[test]
    fn what_was_signed() {
        let digest = Digest([0xab; 32]);
        assert_eq!(tag(&digest), format!("sha256-{}.sig", "ab".repeat(32)));
        let claim = |kind: &str, digest: &str| {
            format!(
                r#"{{"critical":{{"identity":{{"docker-reference":"any/name"}},"image":
                {{"docker-manifest-digest":"{digest}"}},"type":"{kind}"}},"optional":null}}"#
            )
        };
        let of = |text: String| signed_digest(text.as_bytes());
        assert_eq!(of(claim(SIGNED_TYPE, &digest.text())), Ok(digest));
        assert_eq!(of(claim("atomic container signature", &digest.text())), Err(Error::Payload));
        let upper = claim(SIGNED_TYPE, "D").replace("critical", "Critical").replace("docker-m", "Docker-M");
        assert_eq!(of(upper.replace("\"D\"", &format!("\"{}\"", digest.text()))), Ok(digest));
        assert_eq!(of(claim(SIGNED_TYPE, "sha512:ab")), Err(Error::Digest(digest::Error::Algorithm)));
        for text in ["", "{}", r#"{"critical":{"type":"cosign container image signature"}}"#] {
            assert_eq!(of(text.into()), Err(Error::Payload), "{text}");
        }
    }
}
