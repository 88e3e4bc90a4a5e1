//! What the store records of an image's name: the digests `CONFIG MANIFEST [SIGNED SIGNATURES]`.

use crate::pure::digest::Digest;

/// An image as it was last pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The image's ID: the digest of its configuration.
    pub config: Digest,
    /// The digest of what the name stood for: a manifest or an index.
    pub manifest: Option<Digest>,
    /// None where no signature was checked.
    pub signed: Option<Signed>,
}

/// What is signed by one of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The digest of the index, or of the manifest that was chosen from it.
    pub digest: Digest,
    /// The digest of the manifest of its signatures.
    pub signatures: Digest,
}

impl Record {
    pub fn parse(text: &str) -> Option<Record> {
        let mut digests = text.split_whitespace().map(|word| Digest::parse(word).ok());
        let mut next = || digests.next().flatten();
        let (config, manifest) = (next()?, next());
        let signed = next().zip(next()).map(|(digest, signatures)| Signed { digest, signatures });
        Some(Record { config, manifest, signed })
    }

    pub fn text(&self) -> String {
        let signed = self.signed.filter(|_| self.manifest.is_some());
        let signed = [signed.map(|signed| signed.digest), signed.map(|signed| signed.signatures)];
        let digests = [Some(self.config), self.manifest].into_iter().chain(signed).flatten();
        digests.map(|digest| digest.text()).collect::<Vec<_>>().join(" ")
    }
}

/// An image's name as a file's, without slashes. None where it is too long: such an image is not recorded, and pulled
/// each time.
pub fn file_name(name: &str) -> Option<String> {
    let file = name.replace('%', "%25").replace('/', "%2F");
    (file.len() <= 200 && !file.starts_with('.')).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_as_they_were_written() {
        let [config, manifest, digest, signatures] = [1, 2, 3, 4].map(|byte| Digest([byte; 32]));
        for record in [
            Record { config, manifest: None, signed: None },
            Record { config, manifest: Some(manifest), signed: None },
            Record { config, manifest: Some(manifest), signed: Some(Signed { digest, signatures }) },
        ] {
            assert_eq!(Record::parse(&record.text()), Some(record));
            assert_eq!(Record::parse(&(record.text() + "\n")), Some(record));
        }
        assert_eq!(Record::parse(""), None);
        // After a power cut, by a file system without a journal.
        assert_eq!(Record::parse(&"\0".repeat(72)), None);
    }
}
