//! A layer's bytes, decompressed as they come: gzip or plain, told by their magic.
