//! What all pulls of a boot share: resolver, proxies, mirrors and keys.

use crate::image::archive::Archive;
use crate::image::layout::Layout;
use crate::image::pure::cosign::Key;
use crate::image::pure::mirror::Mirrors;
use crate::image::pure::pull_options::PullOptions;
use crate::image::pure::reference::Reference;
use crate::image::registry::{self, ClientConfig, Registry};
use crate::image::source::{Error, Source};
use crate::net::dns::Resolver;
use crate::net::pure::proxy::Proxies;
use crate::report::Report;
use std::path::Path;
use std::sync::Arc;

/// What all pulls of a boot, or of a command, share.
pub struct PullContext {
    pub resolver: Arc<Resolver>,
    pub proxies: Proxies,
    pub mirrors: Mirrors,
    /// If there are any, an image must be signed by one of them.
    pub keys: Vec<Key>,
}

/// The HTTP client's settings for the registry of an image.
pub fn client_config<'a>(options: &'a PullOptions, context: &'a PullContext, report: &'a Report) -> ClientConfig<'a> {
    ClientConfig {
        resolver: context.resolver.clone(),
        proxies: context.proxies.clone(),
        mirrors: &context.mirrors,
        tls_verify: options.tls_verify,
        cert_dir: options.cert_dir.as_deref(),
        creds: options.creds.as_ref(),
        authfile: options.authfile.as_deref(),
        retry: options.retry,
        report,
    }
}

/// Where the image of `options` comes from. An archive may need a file in `scratch`.
pub fn open(
    options: &PullOptions,
    scratch: &Path,
    context: &PullContext,
    report: &Report,
) -> Result<Box<dyn Source>, Error> {
    let config = client_config(options, context, report);
    Ok(match &options.image {
        Reference::Registry(remote) => Box::new(Registry::new(remote, &config)?),
        Reference::Layout { dir, tag } => Box::new(Layout::new(dir, tag.as_deref())),
        Reference::Archive(archive) => Box::new(Archive::new(archive, scratch, registry::opener(&config))),
    })
}

/// The image's key in the store: its name and platform, as one disk may serve machines of different architectures.
pub fn key(options: &PullOptions) -> String {
    let (architecture, variant) = options.platform(std::env::consts::ARCH);
    [&options.image.name(), "+", architecture, "+", variant].concat()
}
