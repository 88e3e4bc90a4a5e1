//! The containers of a boot, one after the other, and what each tells the next.
