//! OCI and Docker documents: index, manifest, image configuration.
