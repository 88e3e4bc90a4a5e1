//! `--layer`: tars that a container puts over its image. They are fetched and unpacked like the layers of an image. One
//! with a digest is kept in the store under a name made of that digest and of all below it; one without a digest is
//! removed with the container.

use crate::disk::pure::superblock;
use crate::files;
use crate::image::pull::context::{client_config, PullContext};
use crate::image::pull::pulled::{Image, Temporary};
use crate::image::pull::retry::retry;
use crate::image::pull::stream::{self, Blob, Target};
use crate::image::pull::trust;
use crate::image::pure::pull_options::{ExtraLayer, PullOptions};
use crate::image::registry;
use crate::image::source::{BlobReader, Error, OpenUrl};
use crate::layer::packed::{self, Layer, Stack};
use crate::layer::unpack::{LayerQueue, Lower};
use crate::layer::window;
use crate::pure::digest::{hash, Digest};
use crate::report::{Failure, Outcome, Report};
use crate::store::layers::Store;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Puts the `--layer` tars of `options` over the image.
pub fn add_layers(
    image: &mut Image,
    options: &PullOptions,
    store: &Store,
    context: &PullContext,
    report: &Report,
) -> Outcome<()> {
    if options.layers.is_empty() {
        return Ok(());
    }
    let open = registry::opener(&client_config(options, context, report));
    let has_keys = !context.keys.is_empty();
    // A layer's name depends on the layers below it, since the content of its directory may.
    let mut below = image.id;
    for (index, layer) in options.layers.iter().enumerate() {
        let name = layer.digest.map_or_else(|| index.to_string(), |digest| digest.text());
        let chain = hash(["extra layer ", &below.text(), " ", &name].concat().as_bytes());
        let mut extra = Extra { layer, chain, image, store, has_keys, open: &open, report };
        let covered = if has_keys { trust::check_layer(layer) } else { Ok(()) };
        let covered = covered.map_err(|error| error.of(shown(layer)));
        let added = covered.and_then(|()| retry(report, shown(layer), &mut || extra.add()));
        added.map_err(|error| {
            Failure::new("pull", ["--layer ", &error.object, ": ", &error.text].concat()).hint_of(error.advice())
        })?;
        below = chain;
    }
    Ok(())
}

/// The source for messages, without its query, which may hold a secret.
fn shown(layer: &ExtraLayer) -> &str {
    layer.source.split('?').next().unwrap_or_default()
}

struct Extra<'a> {
    layer: &'a ExtraLayer,
    /// Its name in the store.
    chain: Digest,
    image: &'a mut Image,
    store: &'a Store,
    /// With keys, unpacked layers on a disk are not trusted, so the layer is removed with the container.
    has_keys: bool,
    open: &'a OpenUrl,
    report: &'a Report,
}

impl Extra<'_> {
    fn add(&mut self) -> Result<(), Error> {
        let is_fleeting = self.layer.digest.is_none() || (self.has_keys && self.store.is_durable());
        let kept = (!is_fleeting).then(|| self.store.layer(&self.chain, &self.chain)).flatten();
        if let Some(kept) = kept {
            self.image.layers.push(kept);
            return Ok(());
        }
        // Another container that still runs may have a layer of the same name.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_string();
        let name = if is_fleeting { hash([&self.chain.text(), " ", &number].concat().as_bytes()) } else { self.chain };
        let directory = self.store.begin_layer(&name).map_err(Error::local)?;
        let made = Temporary(directory.clone());
        self.unpack(&directory)?;
        if is_fleeting {
            self.image.extra.push(made);
            self.image.layers.push(Layer::Directory(directory));
            return Ok(());
        }
        // No journal names it, so it must be complete on the disk before it gets its name.
        self.store.flush().map_err(Error::local)?;
        let kept = self.store.commit_layer(&directory, &self.chain).map_err(Error::local)?;
        self.image.layers.push(kept);
        Ok(())
    }

    fn unpack(&mut self, directory: &Path) -> Result<(), Error> {
        let tick = |_| true;
        let (body, size) = self.fetch()?;
        let mut blob = Blob::new(body, size, self.layer.digest, &tick);
        let Ok(start) = packed::start_of(&mut blob) else {
            return Err(blob.arrived().err().unwrap_or_else(|| Error::temporary("no data")));
        };
        if let Some(packed) = superblock::packed(&start) {
            return Err(Error::refused(&["is a ", packed.name(), ", not a tar"].concat()));
        }
        let mut stack = Stack::default();
        stack.layers.clone_from(&self.image.layers);
        let lowers: Vec<Lower> = stack.open(self.store.scratch(), self.report)?.iter().rev().cloned().collect();
        let open = || File::open(directory).map_err(Error::local);
        let (source, report) = (shown(self.layer), self.report);
        let mut warn = |text: &str| report.warn("pull", format_args!("{source}: {text}"));
        let (mut reserve, mut alone) = (window::check_window, Alone(lowers.clone()));
        let directory = open()?.into();
        let target = Target { directory, diff_id: None, reserve: &mut reserve, queue: &mut alone, warn: &mut warn };
        let pending = stream::unpack(&mut blob, &start, target)?;
        Ok(pending.finalize(open()?.into(), lowers)?)
    }

    /// The layer's bytes, and their number if it is known.
    fn fetch(&self) -> Result<(BlobReader, Option<u64>), Error> {
        let source = &self.layer.source;
        if source.starts_with(['/', '.']) {
            let file = files::open(Path::new(source)).map_err(|why| Error::refused(&why))?;
            let size = file.metadata().map_err(Error::local)?.len();
            return Ok((Box::new(file), Some(size)));
        }
        Ok(((self.open)(source)?, None))
    }
}

/// The queue of a layer that is unpacked alone, after all layers below it.
struct Alone(Vec<Lower>);

impl LayerQueue for Alone {
    fn lowers(&mut self) -> Option<Vec<Lower>> {
        Some(self.0.clone())
    }

    fn reserve(&mut self, _: usize) -> bool {
        true
    }
}
