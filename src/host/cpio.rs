//! newc archives, written to the bit.
