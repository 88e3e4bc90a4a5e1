//! The store: complete layers by chain ID, image records, and what is half done.
