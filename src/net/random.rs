//! Numbers that keep transactions apart, where the kernel may have no random ones yet.

use crate::sys::machine;

/// 64 bits from the kernel's random source; early in a boot that has none ready, then from the clocks and `mix`, which
/// no secret may rest upon.
pub fn random(mix: u64) -> u64 {
    let mut bytes = [0; 8];
    if machine::random(&mut bytes).is_ok() {
        return u64::from_ne_bytes(bytes);
    }
    let (seconds, nanoseconds) = machine::realtime();
    let mut state = mix ^ (seconds as u64) << 32 ^ u64::from(nanoseconds) ^ machine::uptime_ms().rotate_left(48);
    // splitmix64's finish: near seeds, far results.
    state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ state >> 31
}
