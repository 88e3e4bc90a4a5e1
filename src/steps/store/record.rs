//! What the store knows of an image's name: `CONFIG MANIFEST [SIGNATURES]`, three digests.

use crate::proto::digest::Digest;

/// An image as it was last pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Of the image's configuration: its ID.
    pub config: Digest,
    /// Of what the name led to: a manifest, or an index.
    pub manifest: Option<Digest>,
    /// Of the manifest of its signatures, where they were checked.
    pub signatures: Option<Digest>,
}

impl Record {
    pub fn parse(text: &str) -> Option<Record> {
        let mut digests = text.split_whitespace().map(|word| Digest::parse(word).ok());
        Some(Record {
            config: digests.next()??,
            manifest: digests.next().flatten(),
            signatures: digests.next().flatten(),
        })
    }

    pub fn text(&self) -> String {
        let digests = [Some(self.config), self.manifest, self.signatures.filter(|_| self.manifest.is_some())];
        let words: Vec<String> = digests.iter().flatten().map(Digest::text).collect();
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_as_they_were_written() {
        let [config, manifest, signatures] = [1, 2, 3].map(|byte| Digest([byte; 32]));
        for record in [
            Record { config, manifest: None, signatures: None },
            Record { config, manifest: Some(manifest), signatures: None },
            Record { config, manifest: Some(manifest), signatures: Some(signatures) },
        ] {
            assert_eq!(Record::parse(&record.text()), Some(record));
            assert_eq!(Record::parse(&(record.text() + "\n")), Some(record));
        }
        assert_eq!(Record::parse(""), None);
        // A power cut on a disk without a journal.
        assert_eq!(Record::parse(&"\0".repeat(72)), None);
    }
}
