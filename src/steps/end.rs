//! Everything stopped, unmounted, synced; then the end of the machine.
