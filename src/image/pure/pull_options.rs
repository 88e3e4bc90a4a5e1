//! Options of a pull: those of a container's flags that concern its image.

use crate::image::pure::authfile::Credentials;
use crate::image::pure::oci;
use crate::image::pure::reference::Reference;
use crate::image::pure::retry::Policy;
use crate::pure::digest::Digest;

/// When an image is fetched that the store has (podman's words).
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
    /// Extra layers over the image, lowest first.
    pub layers: Vec<ExtraLayer>,
    pub tls_verify: bool,
    pub creds: Option<Credentials>,
    /// A file in place of the host's credentials file.
    pub authfile: Option<String>,
    /// A directory of certificates in addition to the host's.
    pub cert_dir: Option<String>,
    pub retry: Policy,
    /// The pull is not shown.
    pub quiet: bool,
    /// Go's name; without one, the host's architecture.
    pub architecture: Option<String>,
    pub variant: Option<String>,
}

/// A tar that becomes a layer of the container's root.
#[derive(Debug, PartialEq, Eq)]
pub struct ExtraLayer {
    /// An http or https URL, or the path of a file.
    pub source: String,
    /// The digest of the tar as it is fetched, before decompression.
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
            quiet: false,
            architecture: None,
            variant: None,
        }
    }

    /// The platform to choose from an index, for [`oci::choose`], on a host whose architecture Rust calls `host`.
    pub fn platform(&self, host: &'static str) -> (&str, &str) {
        let (architecture, variant) = oci::platform(self.architecture.as_deref().unwrap_or(host));
        (architecture, self.variant.as_deref().unwrap_or(variant))
    }
}
