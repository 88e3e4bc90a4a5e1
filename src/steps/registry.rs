//! A registry over HTTP: manifests, configurations, blobs, tokens.
