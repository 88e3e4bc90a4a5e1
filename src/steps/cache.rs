//! The cache disk: found by label or name, mounted, cleanly unmounted.
