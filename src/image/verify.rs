//! Checks that an image has a signature by one of our keys (`b2c.verify_key=`).

use crate::files;
use crate::image::pure::cosign::{self, Algorithm, Key, Signature, VerifyKey, KEYS_MAX, PAYLOAD_MAX};
use crate::image::pure::oci::Descriptor;
use crate::image::source::Error;
use crate::pure::base64;
use crate::pure::digest::Digest;
use crate::report::{Failure, Outcome};
use ring::digest::{digest, SHA256};
use ring::signature::{UnparsedPublicKey, ECDSA_P256_SHA256_ASN1, ED25519};
use std::path::Path;

/// Why a signature does not count.
#[derive(Debug, PartialEq, Eq)]
pub enum Why {
    /// It is not base64.
    Base64,
    OtherKey,
    /// By one of our keys, but not a claim about an image.
    Claim,
    /// By one of our keys, for another image.
    OtherImage(Digest),
    /// The payload is too large, or not the one that the manifest names.
    Payload,
}

/// The keys of `b2c.verify_key`; those in files are read.
pub fn keys(options: &[VerifyKey]) -> Outcome<Vec<Key>> {
    keys_of("b2c.verify_key", options)
}

/// The keys of an option of that name.
pub fn keys_of(name: &str, options: &[VerifyKey]) -> Outcome<Vec<Key>> {
    let mut all = Vec::new();
    for option in options {
        match option {
            VerifyKey::Keys(keys) => all.extend(keys.iter().cloned()),
            VerifyKey::File(path) => all.extend(file(path).map_err(|why| {
                Failure::new("options", [name, ": ", path, ": ", &why].concat())
                    .hint("the file is one of the initramfs: ocinit-host build --add")
            })?),
        }
    }
    Ok(all)
}

fn file(path: &str) -> Result<Vec<Key>, String> {
    let bytes = files::read(Path::new(path), KEYS_MAX)?;
    cosign::keys(&bytes).map_err(cosign::Error::text)
}

/// Checks one signature, and returns the key's index in `keys`. The payload is parsed only after the signature was
/// verified.
pub fn check(keys: &[Key], digests: &[Digest], payload: &[u8], signature: &str) -> Result<usize, Why> {
    let signature = base64::decode_lines(signature).filter(|bytes| !bytes.is_empty()).ok_or(Why::Base64)?;
    let key = keys.iter().position(|key| is_signed_by(key, payload, &signature)).ok_or(Why::OtherKey)?;
    match cosign::signed_digest(payload) {
        Ok(signed) if digests.contains(&signed) => Ok(key),
        Ok(signed) => Err(Why::OtherImage(signed)),
        Err(_) => Err(Why::Claim),
    }
}

/// Whether `signature` is that key's for `payload`: in DER by P-256, 64 bytes by Ed25519.
pub fn is_signed_by(key: &Key, payload: &[u8], signature: &[u8]) -> bool {
    let checked = match key.algorithm {
        Algorithm::P256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &key.bytes).verify(payload, signature),
        Algorithm::Ed25519 => UnparsedPublicKey::new(&ED25519, &key.bytes).verify(payload, signature),
    };
    checked.is_ok()
}

/// Checks the image with one of `digests` (of its manifest, and of its index if there is one). One signature in the
/// signature manifest by one of `keys` is enough. Returns the index of that key.
pub fn image(
    keys: &[Key],
    digests: &[Digest],
    manifest: &[u8],
    fetch: &mut dyn FnMut(&Descriptor) -> Result<Vec<u8>, Error>,
) -> Result<usize, Error> {
    let signatures = cosign::signatures(manifest);
    let signatures = signatures.map_err(|error| Error::refused(&error.text()).of("signatures"))?;
    let (mut found, mut not_fetched) = (Vec::new(), None);
    for signature in &signatures {
        match one(keys, digests, signature, fetch) {
            Ok(Ok(key)) => return Ok(key),
            Ok(Err(why)) => found.push(why),
            // Another signature may be enough; if none is, this error is reported.
            Err(error) => not_fetched = Some(error.of("signatures")),
        }
    }
    Err(not_fetched.unwrap_or_else(|| refusal(&found)))
}

fn one(
    keys: &[Key],
    digests: &[Digest],
    signature: &Signature,
    fetch: &mut dyn FnMut(&Descriptor) -> Result<Vec<u8>, Error>,
) -> Result<Result<usize, Why>, Error> {
    let Some(descriptor) = signature.payload.as_ref().filter(|payload| payload.size <= PAYLOAD_MAX) else {
        return Ok(Err(Why::Payload));
    };
    let payload = fetch(descriptor)?;
    if digest(&SHA256, &payload).as_ref() != descriptor.digest.0 {
        return Ok(Err(Why::Payload));
    }
    Ok(check(keys, digests, &payload, &signature.base64))
}

/// The error of an image without a valid signature; it lists why each one that was found is not.
pub fn refusal(found: &[Why]) -> Error {
    let mut text = String::from("not signed by a key of b2c.verify_key: ");
    if found.is_empty() {
        text.push_str("there is no signature");
    }
    for (index, why) in found.iter().enumerate() {
        // Three reasons are enough for a message.
        if index == 3 {
            text.push_str(", and more");
            break;
        }
        text.push_str(if index > 0 { ", " } else { "" });
        match why {
            Why::Base64 => text.push_str("one that is not base64"),
            Why::OtherKey => text.push_str("one by another key"),
            Why::Claim => text.push_str("one of something that is not an image"),
            Why::OtherImage(digest) => text.push_str(&["one of another image, ", &digest.text()].concat()),
            Why::Payload => text.push_str("one of something that is damaged or too large"),
        }
    }
    let hint = "cosign sign --key cosign.key IMAGE@sha256:...; version 3 needs --new-bundle-format=false \
                --use-signing-config=false";
    Error::refused(&text).hint(Some(hint.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command;

    /// The other implementation: keys and signatures are openssl's.
    fn openssl(dir: &Path, arguments: &str) {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output().expect("openssl");
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    struct Signer {
        dir: tempfile::TempDir,
        algorithm: Algorithm,
    }

    impl Signer {
        fn new(algorithm: Algorithm) -> Signer {
            let dir = tempfile::tempdir().unwrap();
            match algorithm {
                Algorithm::P256 => openssl(dir.path(), "ecparam -name prime256v1 -genkey -noout -out key"),
                Algorithm::Ed25519 => openssl(dir.path(), "genpkey -algorithm ed25519 -out key"),
            }
            openssl(dir.path(), "pkey -in key -pubout -out pub.pem");
            Signer { dir, algorithm }
        }

        fn path(&self) -> String {
            self.dir.path().join("pub.pem").to_str().unwrap().into()
        }

        fn keys(&self) -> Vec<Key> {
            keys(&[VerifyKey::File(self.path())]).unwrap_or_else(|failure| panic!("{}", failure.what))
        }

        /// In base64.
        fn sign(&self, payload: &[u8]) -> String {
            let dir = self.dir.path();
            std::fs::write(dir.join("payload"), payload).unwrap();
            match self.algorithm {
                Algorithm::P256 => openssl(dir, "dgst -sha256 -sign key -out sig payload"),
                Algorithm::Ed25519 => openssl(dir, "pkeyutl -sign -inkey key -rawin -in payload -out sig"),
            }
            base64::encode(&std::fs::read(dir.join("sig")).unwrap())
        }
    }

    const IMAGE: Digest = Digest([0x11; 32]);
    const INDEX: Digest = Digest([0x22; 32]);
    const OTHER: Digest = Digest([0x33; 32]);

    fn claim(digest: &Digest) -> Vec<u8> {
        let digest = digest.text();
        format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"lab/app"}},"image":{{"docker-manifest-digest":"{digest}"}},
            "type":"cosign container image signature"}},"optional":null}}"#
        )
        .into()
    }

    fn sha256(bytes: &[u8]) -> Digest {
        Digest(digest(&SHA256, bytes).as_ref().try_into().unwrap())
    }

    /// A signature manifest as cosign writes it.
    fn manifest(signed: &[(Vec<u8>, String)]) -> Vec<u8> {
        let layer = |(payload, signature): &(Vec<u8>, String)| {
            let (digest, size) = (sha256(payload).text(), payload.len());
            format!(
                r#"{{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","size":{size},"digest":"{digest}",
                "annotations":{{"dev.cosignproject.cosign/signature":"{signature}"}}}}"#
            )
        };
        let layers: Vec<String> = signed.iter().map(layer).collect();
        format!(r#"{{"schemaVersion":2,"config":{{}},"layers":[{}]}}"#, layers.join(",")).into()
    }

    /// What becomes of an image with these signatures.
    fn verify(keys: &[Key], signed: &[(Vec<u8>, String)]) -> Result<usize, String> {
        let mut fetch = |wanted: &Descriptor| {
            let payload = signed.iter().map(|(payload, _)| payload).find(|payload| sha256(payload) == wanted.digest);
            payload.cloned().ok_or_else(|| Error::temporary("gone"))
        };
        image(keys, &[IMAGE, INDEX], &manifest(signed), &mut fetch).map_err(|error| error.text.clone())
    }

    /// Promise: signatures, verify-key
    #[test]
    fn signatures_of_openssl() {
        for algorithm in [Algorithm::P256, Algorithm::Ed25519] {
            let (ours, theirs) = (Signer::new(algorithm), Signer::new(algorithm));
            let signed = |signer: &Signer, digest: &Digest| (claim(digest), signer.sign(&claim(digest)));
            let (good, of_index) = (signed(&ours, &IMAGE), signed(&ours, &INDEX));
            let (by_another, replayed) = (signed(&theirs, &IMAGE), signed(&ours, &OTHER));
            let keys = ours.keys();
            assert_eq!(keys[0].algorithm, algorithm);
            assert_eq!(verify(&keys, std::slice::from_ref(&good)), Ok(0));
            // As the program base64 writes it, and cosign reads it.
            let (line, rest) = good.1.split_at(60);
            assert_eq!(verify(&keys, &[(good.0.clone(), [line, "\\n", rest, "\\n"].concat())]), Ok(0));
            assert_eq!(verify(&keys, &[of_index]), Ok(0));
            // Any signature by any key is enough.
            let both = [theirs.keys(), keys.clone()].concat();
            assert_eq!(verify(&both, &[replayed.clone(), good.clone()]), Ok(1));
            for (found, text) in [
                (by_another.clone(), "one by another key"),
                (replayed.clone(), &["one of another image, ", &OTHER.text()].concat()),
                ((good.0.clone(), "?".into()), "one that is not base64"),
                ((good.0.clone(), String::new()), "one that is not base64"),
                ((good.0.clone(), replayed.1.clone()), "one by another key"),
                ((claim(&INDEX), good.1.clone()), "one by another key"),
                ((b"{}".to_vec(), ours.sign(b"{}")), "one of something that is not an image"),
            ] {
                let error = verify(&keys, &[found]).unwrap_err();
                assert_eq!(error, ["not signed by a key of b2c.verify_key: ", text].concat(), "{algorithm:?}");
            }
            let error = verify(&keys, &[by_another.clone(), replayed, by_another.clone(), by_another]).unwrap_err();
            assert!(error.ends_with("one by another key, and more"), "{error}");
        }
    }

    /// Promise: signatures
    #[test]
    fn an_image_without_a_signature() {
        let keys = Signer::new(Algorithm::P256).keys();
        assert_eq!(verify(&keys, &[]).unwrap_err(), "not signed by a key of b2c.verify_key: there is no signature");
        assert!(!refusal(&[]).is_unreachable() && !refusal(&[]).may_heal());
    }

    /// Promise: signatures
    #[test]
    fn a_payload_that_is_not_what_the_manifest_names() {
        let signer = Signer::new(Algorithm::Ed25519);
        let (keys, payload) = (signer.keys(), claim(&IMAGE));
        let manifest = manifest(&[(b"other".to_vec(), signer.sign(&payload))]);
        let error = image(&keys, &[IMAGE], &manifest, &mut |_| Ok(payload.clone())).unwrap_err();
        assert!(error.text.ends_with("one of something that is damaged or too large"), "{}", error.text);
        let large = [payload, vec![b' '; PAYLOAD_MAX as usize]].concat();
        let signature = signer.sign(&large);
        let error = verify(&keys, &[(large, signature)]).unwrap_err();
        assert!(error.ends_with("one of something that is damaged or too large"), "{error}");
    }

    #[test]
    fn a_payload_that_cannot_be_fetched_is_no_missing_signature() {
        let signer = Signer::new(Algorithm::Ed25519);
        let (keys, good) = (signer.keys(), (claim(&IMAGE), signer.sign(&claim(&IMAGE))));
        let lost = (b"lost".to_vec(), String::new());
        let mut fetch = |wanted: &Descriptor| match wanted.digest == sha256(&good.0) {
            true => Ok(good.0.clone()),
            false => Err(Error::temporary("gone")),
        };
        let error = image(&keys, &[IMAGE], &manifest(std::slice::from_ref(&lost)), &mut fetch).unwrap_err();
        assert_eq!((error.text.as_str(), error.object.as_str(), error.is_unreachable()), ("gone", "signatures", true));
        assert_eq!(image(&keys, &[IMAGE], &manifest(&[lost, good.clone()]), &mut fetch).ok(), Some(0));
    }

    /// Promise: signatures
    #[test]
    fn keys_of_files() {
        let signer = Signer::new(Algorithm::P256);
        let path = signer.path();
        openssl(signer.dir.path(), "pkey -in key -pubout -outform DER -out pub.der");
        openssl(signer.dir.path(), "pkey -in key -pubout -ec_conv_form compressed -out compressed.pem");
        openssl(signer.dir.path(), "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa");
        openssl(signer.dir.path(), "pkey -in rsa -pubout -out rsa.pem");
        let der = path.replace("pub.pem", "pub.der");
        let inline = cosign::keys_of_option(&base64::encode(&std::fs::read(&der).unwrap())).unwrap();
        let all = keys(&[VerifyKey::File(path.clone()), VerifyKey::Keys(inline), VerifyKey::File(der)]).unwrap();
        assert!(all.len() == 3 && all.iter().all(|key| *key == all[0]));
        for (name, why) in [
            ("rsa.pem", "not a public key of ECDSA P-256 or Ed25519"),
            ("compressed.pem", "not a public key of ECDSA P-256 or Ed25519"),
            ("key", "a private key: keep it secret, and name the public one (cosign.pub)"),
            ("none", "no such file or directory"),
        ] {
            let path = path.replace("pub.pem", name);
            let failure = keys(&[VerifyKey::File(path.clone())]).unwrap_err();
            assert_eq!(failure.what, ["b2c.verify_key: ", &path, ": ", why].concat());
        }
    }
}
