//! Host names to addresses: hosts file, then DNS by UDP and TCP.
