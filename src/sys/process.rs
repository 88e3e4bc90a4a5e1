//! Processes: clone, exec, wait, signals, identities, namespaces.
