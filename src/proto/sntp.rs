//! SNTP (RFC 4330 / RFC 5905): one question, one answer.
