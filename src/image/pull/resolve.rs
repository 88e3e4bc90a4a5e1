//! Resolves an image's name to its manifest, signatures and configuration.

use crate::image::pull::job::Pull;
use crate::image::pull::retry::retry;
use crate::image::pure::oci::{self, Choice, Descriptor, Document, ImageConfig};
use crate::image::pure::pull_options::PullOptions;
use crate::image::source::{Error, Kind, Source};
use crate::image::verify;
use crate::pure::digest::{hash, Digest};
use crate::report::Report;
use crate::store::record::Signed;

/// The manifest that a name stands for on this machine.
pub struct Resolved {
    /// The digests of the index, if there is one, and of the manifest.
    pub digests: Vec<Digest>,
    pub config: Descriptor,
    /// Lowest first.
    pub layers: Vec<Descriptor>,
}

/// The digest of the manifest, or of the nested index, that an index has for the platform of `options`.
pub fn chosen(choices: &[Choice], options: &PullOptions) -> Result<Digest, Error> {
    let (architecture, variant) = options.platform(std::env::consts::ARCH);
    let choice = oci::choose(choices, architecture, variant);
    let choice = choice.ok_or_else(|| match choices {
        [] => Error::refused("neither a manifest nor an index with images: it names no layers and no manifests"),
        _ => Error::refused(&["no image for linux/", architecture].concat()),
    })?;
    let descriptor = choice.descriptor.as_ref().map_err(|error| in_index(*error))?;
    Ok(descriptor.digest)
}

/// The chosen entry of an index is of no use.
fn in_index(error: oci::Error) -> Error {
    Error::refused(&["the index's entry for this machine: ", &error.text()].concat())
}

/// Keeps a document under its digest.
pub type Keep<'a> = &'a mut dyn FnMut(&Digest, &[u8]) -> Result<(), Error>;

/// The manifest for this machine, through an index where there is one. `keep` is called with each document.
pub fn resolve(source: &mut dyn Source, options: &PullOptions, report: &Report, keep: Keep) -> Result<Resolved, Error> {
    let mut wanted = source.pinned_digest();
    let mut digests = Vec::new();
    for _ in 0..=oci::INDEX_DEPTH_MAX {
        let bytes = retry(report, "", &mut || manifest(source, wanted.as_ref()))?;
        digests.push(hash(&bytes));
        keep(&hash(&bytes), &bytes)?;
        let document = oci::document(&bytes);
        let document = document.map_err(|error| Error::refused(&["manifest: ", &error.text()].concat()))?;
        let choices = match document {
            Document::Manifest { config, layers } => return Ok(Resolved { digests, config, layers }),
            Document::Index(choices) => choices,
        };
        wanted = Some(chosen(&choices, options)?);
    }
    Err(Error::refused("indexes are nested more than 2 deep"))
}

fn manifest(source: &mut dyn Source, wanted: Option<&Digest>) -> Result<Vec<u8>, Error> {
    let bytes = source.manifest(wanted)?;
    match hash(&bytes) {
        got if wanted.is_some_and(|wanted| *wanted != got) => {
            Err(Error::damaged(&["manifest: has the digest ", &got.text()].concat()))
        }
        _ => Ok(bytes),
    }
}

/// The name of a configuration in messages.
pub fn config_object(config: &Descriptor) -> String {
    ["configuration ", &config.digest.short()].concat()
}

/// A configuration, as it is.
pub fn config_document(source: &mut dyn Source, config: &Descriptor, report: &Report) -> Result<Vec<u8>, Error> {
    retry(report, &config_object(config), &mut || document(source, config))
}

fn document(source: &mut dyn Source, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
    if descriptor.size > oci::DOCUMENT_MAX {
        return Err(Error::refused("larger than 4 MiB"));
    }
    let bytes = source.document(descriptor)?;
    match hash(&bytes) {
        got if got == descriptor.digest => Ok(bytes),
        got => Err(Error::damaged(&["has the digest ", &got.text()].concat())),
    }
}

impl Pull<'_> {
    /// The manifest for this machine. Its documents are kept: `inspect` shows them, and by them a later boot checks
    /// that the stored image is the one that was signed.
    pub(super) fn resolve(&mut self) -> Result<Resolved, Error> {
        let store = self.store;
        resolve(&mut *self.source, self.options, self.report, &mut |digest, bytes| {
            store.put_config(digest, bytes).map_err(|error| Error::local(error).of(&digest.short()))
        })
    }

    pub(super) fn config(&mut self, resolved: &Resolved) -> Result<ImageConfig, Error> {
        let config = &resolved.config;
        let refused = |why: &str| Error::refused(why).of(&config_object(config));
        let bytes = match self.store.config(&config.digest) {
            Some(bytes) if hash(&bytes) == config.digest => bytes,
            _ => {
                let bytes = config_document(&mut *self.source, config, self.report)?;
                self.keep(&config.digest, &bytes)?;
                bytes
            }
        };
        let parsed = oci::image_config(&bytes).map_err(|error| refused(&error.text()))?;
        parsed.has_layers(resolved.layers.len()).map_err(|error| refused(&error.text()))?;
        Ok(parsed)
    }

    /// Checks that one of our keys has signed one of `digests`. The signatures are kept, so that a later boot can check
    /// the stored image by them.
    pub(super) fn verified(&mut self, digests: &[Digest]) -> Result<Option<Signed>, Error> {
        if self.keys.is_empty() {
            return Ok(None);
        }
        let mut refusal = verify::refusal(&[]);
        for digest in digests {
            match self.verified_as(digest) {
                Ok(signed) => return Ok(Some(signed)),
                // A network failure says nothing about signatures: it is reported rather than a missing one.
                Err(error) if refusal.is_unreachable() && !error.is_unreachable() => {}
                Err(error) if error.status() == Some(404) => {}
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    fn verified_as(&mut self, digest: &Digest) -> Result<Signed, Error> {
        let missing = || {
            let mut missing = verify::refusal(&[]);
            missing.kind = Kind::Status(404);
            missing
        };
        let manifest = self.source.signatures(digest)?.ok_or_else(missing)?;
        let mut kept = vec![(hash(&manifest), manifest.clone())];
        verify::image(self.keys, &[*digest], &manifest, &mut |payload| {
            let bytes = self.source.document(payload)?;
            // A payload with another digest is not a signature, and is not kept.
            if hash(&bytes) == payload.digest {
                kept.push((payload.digest, bytes.clone()));
            }
            Ok(bytes)
        })?;
        kept.iter().try_for_each(|(digest, bytes)| self.keep(digest, bytes))?;
        Ok(Signed { digest: *digest, signatures: hash(&manifest) })
    }

    /// Checks the kept signatures of a stored image.
    pub(super) fn verified_here(&self, signed: &Signed) -> bool {
        let stored = |digest: &Digest| self.store.config(digest).filter(|bytes| hash(bytes) == *digest);
        let fetch = &mut |payload: &Descriptor| stored(&payload.digest).ok_or_else(|| Error::refused("is not stored"));
        let manifest = stored(&signed.signatures);
        manifest.is_some_and(|bytes| verify::image(self.keys, &[signed.digest], &bytes, fetch).is_ok())
    }
}
