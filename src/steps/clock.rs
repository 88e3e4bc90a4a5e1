//! The wall clock: never before the build's date, then SNTP.
