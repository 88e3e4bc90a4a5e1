//! A process in its own namespaces: mounts, identity, exec, relay, exit code.
