//! What is asked for when an image is pulled: the flags of a container line that speak of its image.

use crate::image::pure::authfile::Credentials;
use crate::image::pure::oci;
use crate::image::pure::reference::Reference;
use crate::image::pure::retry::Policy;
use crate::pure::digest::Digest;

/// When the registry is asked for an image that the store has (podman's words).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    Always,
    Newer,
    Missing,
    Never,
}

/// One image, and how it is pulled.
#[derive(Debug, PartialEq, Eq)]
pub struct PullOptions {
    pub image: Reference,
    pub policy: PullPolicy,
    /// Put over the image, in their order.
    pub layers: Vec<ExtraLayer>,
    pub tls_verify: bool,
    pub creds: Option<Credentials>,
    /// A file in place of the host's own.
    pub authfile: Option<String>,
    /// A directory of certificates beside the host's own.
    pub cert_dir: Option<String>,
    pub retry: Policy,
    /// Go's word; the host's own where it is not given.
    pub architecture: Option<String>,
    pub variant: Option<String>,
}

/// A tar that becomes a layer of the container's root.
#[derive(Debug, PartialEq, Eq)]
pub struct ExtraLayer {
    /// A URL of http or https, or a file.
    pub source: String,
    /// Of its bytes as they come.
    pub digest: Option<Digest>,
}

impl PullOptions {
    /// The defaults of podman, for `image`.
    pub fn new(image: Reference) -> PullOptions {
        PullOptions {
            image,
            policy: PullPolicy::Always,
            layers: Vec::new(),
            tls_verify: true,
            creds: None,
            authfile: None,
            cert_dir: None,
            retry: Policy::default(),
            architecture: None,
            variant: None,
        }
    }

    /// Which image of an index is wanted, as [`oci::choose`] takes it, on a
    /// machine that Rust calls `machine`.
    pub fn platform(&self, machine: &'static str) -> (&str, &str) {
        let (architecture, variant) = oci::platform(self.architecture.as_deref().unwrap_or(machine));
        (architecture, self.variant.as_deref().unwrap_or(variant))
    }
}
