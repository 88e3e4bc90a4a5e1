//! CRC-32 by the processor's own instructions where it has them: on x86_64 eight
//! times as fast as by tables.

use decompress::crc32::Crc32;

/// As [`Crc32::update`].
#[cfg(target_arch = "x86_64")]
pub fn update(tables: &Crc32, sum: u32, bytes: &[u8]) -> u32 {
    if bytes.len() < x86_64::BLOCK_BYTES || !std::arch::is_x86_feature_detected!("pclmulqdq") {
        return tables.update(sum, bytes);
    }
    // SAFETY: the processor has the instruction.
    let (folded, rest) = unsafe { x86_64::fold(sum, bytes) };
    // `folded` includes the sum of what came before, and the ones that a sum starts with.
    tables.update(tables.update(!0, &folded), rest)
}

/// As [`Crc32::update`].
#[cfg(target_arch = "aarch64")]
pub fn update(tables: &Crc32, sum: u32, bytes: &[u8]) -> u32 {
    if !std::arch::is_aarch64_feature_detected!("crc") {
        return tables.update(sum, bytes);
    }
    // SAFETY: the processor has the instructions.
    unsafe { aarch64::update(sum, bytes) }
}

/// [`Crc32::update`] itself.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn update(tables: &Crc32, sum: u32, bytes: &[u8]) -> u32 {
    tables.update(sum, bytes)
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::{
        __m128i, _mm_clmulepi64_si128, _mm_cvtsi32_si128, _mm_loadu_si128, _mm_set_epi64x, _mm_setzero_si128,
        _mm_storeu_si128, _mm_xor_si128,
    };

    pub const BLOCK_BYTES: usize = 64;

    /// Sixteen bytes that have, from a register of 0, the sum of `bytes` from
    /// `sum`; and those after the last whole block, which are not in it.
    ///
    /// A lane of 128 bits is moved over the bytes that follow it by multiplying
    /// each half with the power of x, modulo the polynomial, that lies as far
    /// ahead: "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ
    /// Instruction" (Intel, 2009). Four lanes, since a product takes its time.
    // SAFETY: for callers that know that the processor has PCLMULQDQ. Loads stay in
    // the block, and the store in `folded`.
    #[target_feature(enable = "pclmulqdq")]
    pub unsafe fn fold(sum: u32, bytes: &[u8]) -> ([u8; 16], &[u8]) {
        // Bit-reversed and shifted by one: x^(512+32) and x^(512-32), x^(128+32) and x^(128-32).
        let over_block = _mm_set_epi64x(0x1_c6e4_1596, 0x1_5444_2bd4);
        let over_lane = _mm_set_epi64x(0x0_ccaa_009e, 0x1_7519_97d0);
        let zero = _mm_setzero_si128();
        let (mut a, mut b, mut c, mut d) = (zero, zero, zero, zero);
        let mut before = _mm_cvtsi32_si128(!sum as i32);
        let mut rest = bytes;
        while let Some((block, after)) = rest.split_first_chunk::<BLOCK_BYTES>() {
            let lanes = block.as_ptr().cast::<__m128i>();
            a = _mm_xor_si128(moved(a, over_block), _mm_xor_si128(_mm_loadu_si128(lanes), before));
            b = _mm_xor_si128(moved(b, over_block), _mm_loadu_si128(lanes.add(1)));
            c = _mm_xor_si128(moved(c, over_block), _mm_loadu_si128(lanes.add(2)));
            d = _mm_xor_si128(moved(d, over_block), _mm_loadu_si128(lanes.add(3)));
            (before, rest) = (zero, after);
        }
        b = _mm_xor_si128(moved(a, over_lane), b);
        c = _mm_xor_si128(moved(b, over_lane), c);
        d = _mm_xor_si128(moved(c, over_lane), d);
        let mut folded = [0; 16];
        _mm_storeu_si128(folded.as_mut_ptr().cast(), d);
        (folded, rest)
    }

    // SAFETY: as above, and no memory is touched.
    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    unsafe fn moved(lane: __m128i, by: __m128i) -> __m128i {
        _mm_xor_si128(_mm_clmulepi64_si128::<0x00>(lane, by), _mm_clmulepi64_si128::<0x11>(lane, by))
    }
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use std::arch::aarch64::{__crc32b, __crc32d};

    // SAFETY: for callers that know that the processor has the CRC32 instructions.
    #[target_feature(enable = "crc")]
    pub unsafe fn update(sum: u32, bytes: &[u8]) -> u32 {
        let (mut crc, mut rest) = (!sum, bytes);
        while let Some((word, after)) = rest.split_first_chunk() {
            (crc, rest) = (__crc32d(crc, u64::from_le_bytes(*word)), after);
        }
        for byte in rest {
            crc = __crc32b(crc, *byte);
        }
        !crc
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_tables_say() {
        let tables = Crc32::new();
        let mut seed = 1u32;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        })
        .take(3000)
        .collect();
        for length in 0..=1024 {
            let bytes = &bytes[length % 17..][..length];
            assert_eq!(update(&tables, 0, bytes), tables.update(0, bytes), "{length} bytes");
        }
        let whole = tables.update(0, &bytes);
        for at in 0..bytes.len() {
            let (one, two) = bytes.split_at(at);
            assert_eq!(update(&tables, update(&tables, 0, one), two), whole, "split at {at}");
        }
    }
}
