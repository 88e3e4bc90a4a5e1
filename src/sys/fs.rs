//! Files by descriptor: everything under a container's root is opened in-root.
