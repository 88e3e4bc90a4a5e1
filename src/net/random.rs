//! Random numbers for transaction numbers, also where the kernel's random source is not ready.

use crate::sys::machine;

/// What a card's client makes transaction numbers and delays of.
pub fn seed(mac: [u8; 6]) -> u32 {
    random(mac.iter().fold(0, |mix, byte| mix << 8 | u64::from(*byte))) as u32
}

/// 64 bits from the kernel's random source. Early in a boot it may not be ready: then they are made from the clocks and
/// `mix`, and must not be used for secrets.
pub fn random(mix: u64) -> u64 {
    let mut bytes = [0; 8];
    if machine::random(&mut bytes).is_ok() {
        return u64::from_ne_bytes(bytes);
    }
    let (seconds, nanoseconds) = machine::realtime();
    let mut state = mix ^ (seconds as u64) << 32 ^ u64::from(nanoseconds) ^ machine::uptime_ms().rotate_left(48);
    // The last steps of splitmix64: similar seeds give unlike results.
    state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ state >> 31
}
