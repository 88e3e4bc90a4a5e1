//! What all pulls of a boot share: resolver, proxies, mirrors and keys.

use crate::image::pure::cosign::Key;
use crate::image::pure::mirror::Mirrors;
use crate::image::pure::pull_options::PullOptions;
use crate::image::registry::ClientConfig;
use crate::net::dns::Resolver;
use crate::net::pure::proxy::Proxies;
use crate::report::Report;
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
