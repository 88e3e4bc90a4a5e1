//! What the machine does: one module a step, each takes and returns plain
//! owned values. Loops, timeouts and files live here; parsing and `unsafe` don't.
#![forbid(unsafe_code)]
