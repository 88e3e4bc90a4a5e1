//! The small language of `b2c.shutdown_cmd`.
