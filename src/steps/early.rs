//! Early mounts, the console, and the move onto a tmpfs of our own.
