//! `/etc/passwd` and `/etc/group`: who an image's USER is.
