//! HTTP authentication challenges and token answers (RFC 9110, section 11; RFC 6750).
