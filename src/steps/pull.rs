//! From an image's name to complete layers in the store.
