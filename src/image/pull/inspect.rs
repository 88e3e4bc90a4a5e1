//! What is known of an image without its layers: manifest and configuration.

use crate::image::pull::context::{key, open, PullContext};
use crate::image::pull::resolve::{self, Resolved};
use crate::image::pull::trust;
use crate::image::pure::pull_options::{PullOptions, PullPolicy};
use crate::image::source::Error;
use crate::pure::digest::{hash, Digest};
use crate::report::{Failure, Outcome, Report};
use crate::store::layers::Store;
use crate::store::record::Record;

/// An image's documents.
pub struct Inspected {
    /// The digest of what the name stands for, an index or a manifest. None if a stored image has none.
    pub digest: Option<Digest>,
    /// The manifest for this machine. None if the image is stored, and its manifest is not.
    pub manifest: Option<Resolved>,
    /// The image's ID: the digest of its configuration.
    pub id: Digest,
    /// The configuration, as it is.
    pub config: Vec<u8>,
}

/// Asks for the documents of the image of `options` as a pull does, but fetches no layer. Without a store nothing is
/// looked for in it.
pub fn inspect(
    options: &PullOptions,
    store: Option<&Store>,
    context: &PullContext,
    report: &Report,
) -> Outcome<Inspected> {
    let report = &report.quieter(options.quiet);
    let failure = |error: &Error| {
        let separator = if error.object.is_empty() { "" } else { " " };
        let what = [&options.image.shown(), separator, &error.object, ": ", &error.text].concat();
        Failure::new("inspect", what).hint_of(error.advice())
    };
    let stored = || store.and_then(|store| stored(options, store));
    let found = match options.policy {
        PullPolicy::Missing | PullPolicy::Never => stored(),
        PullPolicy::Always | PullPolicy::Newer => None,
    };
    if let Some(found) = found {
        return Ok(found);
    }
    if options.policy == PullPolicy::Never {
        return Err(failure(&Error::refused("is not stored, and --pull=never forbids asking for it")));
    }
    fetch(options, store, context, report).or_else(|error| {
        let is_allowed = error.is_unreachable() || options.policy == PullPolicy::Newer;
        let found = if is_allowed { stored() } else { None };
        let found = found.ok_or_else(|| failure(&error))?;
        report.warn("inspect", format_args!("{}; this is the image of an earlier pull", failure(&error).what));
        Ok(found)
    })
}

fn fetch(
    options: &PullOptions,
    store: Option<&Store>,
    context: &PullContext,
    report: &Report,
) -> Result<Inspected, Error> {
    let scratch = store.map_or_else(std::env::temp_dir, |store| store.scratch().into());
    let mut source = open(options, &scratch, context, report)?;
    let manifest = resolve::resolve(&mut *source, options, report, &mut |_, _| Ok(()))?;
    let config = resolve::config_document(&mut *source, &manifest.config, report)?;
    let (digest, id) = (manifest.digests.first().copied(), manifest.config.digest);
    Ok(Inspected { digest, manifest: Some(manifest), id, config })
}

/// An image of an earlier pull, whether its layers are complete or not.
fn stored(options: &PullOptions, store: &Store) -> Option<Inspected> {
    let Record { config: id, manifest: digest, .. } = store.image(&key(options))?;
    let config = store.config(&id).filter(|bytes| hash(bytes) == id)?;
    let manifest = digest.and_then(|digest| trust::resolve_kept(&digest, options, store));
    Some(Inspected { digest, manifest: manifest.filter(|manifest| manifest.config.digest == id), id, config })
}
