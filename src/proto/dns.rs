//! DNS (RFC 1035): queries out, answers in.
