//! gzip framing (RFC 1952): member headers and trailers.
