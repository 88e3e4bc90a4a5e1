//! A read-only registry over an OCI image layout.
