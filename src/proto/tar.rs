//! tar: v7, ustar, PAX and GNU, as a push parser: bytes in, events out.
