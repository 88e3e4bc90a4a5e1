//! Reads and copies of a fixed size, which the compiler turns into one instruction or two.

/// The `N` bytes at `at`.
#[inline(always)]
pub fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    bytes.get(at..)?.first_chunk()
}

/// Copies `length` bytes from `distance` bytes before `at` to `at`; the two may
/// overlap. It copies in steps of 16 where the distance allows that, and may
/// overwrite up to 15 bytes behind them. Does nothing where it would not fit.
#[inline(always)]
pub fn copy_match(out: &mut [u8], at: usize, distance: usize, length: usize) {
    let Some(from) = at.checked_sub(distance) else { return };
    if distance >= 16 && at + length + 16 <= out.len() {
        let mut done = 0;
        while done < length {
            let Some(step) = chunk::<16>(out, from + done).copied() else { return };
            let Some(to) = out.get_mut(at + done..at + done + 16) else { return };
            to.copy_from_slice(&step);
            done += 16;
        }
    } else if distance == 1 {
        let Some(byte) = out.get(from).copied() else { return };
        if let Some(to) = out.get_mut(at..at + length) {
            to.fill(byte);
        }
    } else {
        for i in at..at + length {
            let Some(byte) = out.get(i - distance).copied() else { return };
            if let Some(to) = out.get_mut(i) {
                *to = byte;
            }
        }
    }
}
