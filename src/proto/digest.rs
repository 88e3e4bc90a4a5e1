//! Content digests: `sha256:` and 64 lower-case hexadecimal digits.
