//! ChaCha20-Poly1305 (RFC 8439) without ring's code for both at once.
//!
//! ring encrypts and authenticates in one pass, in 40 450 bytes of assembly for two kinds of processors, and has both
//! ciphers by themselves too, for processors that have neither SSE4.1 nor NEON. As for P-256 (src/sys/p256.rs), the
//! linker (`--wrap`, dev.d/build.sh) directs the four calls to this file, which uses the latter, and drops the former.
//! Servers choose this suite for clients that prefer it; ocinit prefers AES, which processors have instructions for.
//! The names of the functions are those of one version of ring: with another version this does not link.

// SAFETY: who calls one has texts of that length, a key and a counter.
type Cipher = unsafe extern "C" fn(*mut u8, *const u8, usize, *const [u32; 8], *const [u32; 4]);

/// What ring hands over, and the tag that it finds there afterwards.
#[repr(C, align(16))]
union Data {
    input: Input,
    tag: [u8; 16],
}

#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Input {
    key: [u32; 8],
    /// The counter of blocks, 0, and the nonce.
    counter: [u32; 4],
}

/// ring's state of Poly1305.
#[repr(C, align(64))]
struct Poly([u32; 18]);

/// A text and what it becomes, which may be at the same place, or overlap as ring's ciphers allow.
#[derive(Clone, Copy)]
struct Texts {
    output: *mut u8,
    input: *const u8,
    length: usize,
}

extern "C" {
    /// ring's, for any length but 0.
    #[link_name = "ring_core_0_17_14__ChaCha20_ctr32_nohw"]
    fn short(output: *mut u8, input: *const u8, length: usize, key: *const [u32; 8], counter: *const [u32; 4]);
    /// ring's for SSSE3, which every processor with SSE4.1 has, from 129 bytes on.
    #[link_name = "ring_core_0_17_14__ChaCha20_ctr32_ssse3_4x"]
    fn ssse3(output: *mut u8, input: *const u8, length: usize, key: *const [u32; 8], counter: *const [u32; 4]);
    /// ring's for AVX2, from 129 bytes on.
    #[link_name = "ring_core_0_17_14__ChaCha20_ctr32_avx2"]
    fn avx2(output: *mut u8, input: *const u8, length: usize, key: *const [u32; 8], counter: *const [u32; 4]);
    #[link_name = "ring_core_0_17_14__CRYPTO_poly1305_init"]
    fn poly_init(state: *mut Poly, key: *const [u8; 64]);
    /// ring's, for whole blocks.
    #[link_name = "ring_core_0_17_14__CRYPTO_poly1305_update"]
    fn poly_update(state: *mut Poly, input: *const u8, length: usize);
    #[link_name = "ring_core_0_17_14__CRYPTO_poly1305_finish"]
    fn poly_finish(state: *mut Poly, tag: *mut [u8; 16]);
}

/// The fewest bytes that the ciphers for several blocks at once take.
const LONG: usize = 129;

/// Authenticates bytes, and zeros up to a whole block (RFC 8439, 2.8).
///
/// # Safety
/// `input` must be valid for so many bytes.
// SAFETY: the contract above is the caller's.
unsafe fn absorb(state: &mut Poly, input: *const u8, length: usize) {
    let whole = length & !15;
    let mut last = [0u8; 16];
    // SAFETY: both parts are within the input, and the second is shorter than a block.
    unsafe {
        if whole > 0 {
            poly_update(state, input, whole);
        }
        if whole < length {
            input.add(whole).copy_to_nonoverlapping(last.as_mut_ptr(), length - whole);
            poly_update(state, last.as_ptr(), 16);
        }
    }
}

/// # Safety
/// The texts and the additional data must be valid for their lengths, and `long` one for this processor.
// SAFETY: the contract above is the caller's.
unsafe fn crypt(long: Cipher, texts: Texts, additional: (*const u8, usize), data: &mut Data, opens: bool) {
    let Texts { output, input, length } = texts;
    let (mut one_time, mut poly) = ([0u8; 64], Poly([0; 18]));
    let lengths = [(additional.1 as u64).to_le_bytes(), (length as u64).to_le_bytes()];
    // SAFETY: by contract; what is authenticated is read before it is overwritten.
    unsafe {
        let Input { key, mut counter } = data.input;
        short(one_time.as_mut_ptr(), one_time.as_ptr(), one_time.len(), &key, &counter);
        counter[0] = 1;
        poly_init(&mut poly, &one_time);
        absorb(&mut poly, additional.0, additional.1);
        if opens {
            absorb(&mut poly, input, length);
        }
        match length {
            0 => {}
            1..LONG => short(output, input, length, &key, &counter),
            _ => long(output, input, length, &key, &counter),
        }
        if !opens {
            absorb(&mut poly, output, length);
        }
        absorb(&mut poly, lengths.as_ptr().cast(), 16);
        poly_finish(&mut poly, &mut data.tag);
    }
}

/// In the place of ring's functions: `$name` is what the linker looks for.
macro_rules! instead_of_rings {
    ($function:ident, $name:literal, $long:ident, $opens:literal) => {
        /// # Safety
        /// As [`crypt`]; `data` is ring's.
        #[export_name = $name]
        // SAFETY: the contract above is the caller's.
        unsafe extern "C" fn $function(
            output: *mut u8,
            input: *const u8,
            length: usize,
            additional: *const u8,
            additional_length: usize,
            data: *mut Data,
        ) {
            let texts = Texts { output, input, length };
            // SAFETY: passed on by contract.
            unsafe { crypt($long, texts, (additional, additional_length), &mut *data, $opens) }
        }
    };
}

instead_of_rings!(seal_sse41, "__wrap_ring_core_0_17_14__chacha20_poly1305_seal_sse41", ssse3, false);
instead_of_rings!(seal_avx2, "__wrap_ring_core_0_17_14__chacha20_poly1305_seal_avx2", avx2, false);
instead_of_rings!(open_sse41, "__wrap_ring_core_0_17_14__chacha20_poly1305_open_sse41", ssse3, true);
instead_of_rings!(open_avx2, "__wrap_ring_core_0_17_14__chacha20_poly1305_open_avx2", avx2, true);

#[cfg(test)]
mod tests {
    use super::*;

    // SAFETY: who calls one has texts of these lengths, and what ring hands over.
    type Whole = unsafe extern "C" fn(*mut u8, *const u8, usize, *const u8, usize, *mut Sealing);

    /// What ring hands over to seal: with more ciphertext, of which there is none.
    #[repr(C, align(16))]
    struct Sealing(Data, [usize; 2]);

    extern "C" {
        #[link_name = "ring_core_0_17_14__chacha20_poly1305_seal_sse41"]
        fn rings_seal(o: *mut u8, i: *const u8, l: usize, a: *const u8, n: usize, data: *mut Sealing);
        #[link_name = "ring_core_0_17_14__chacha20_poly1305_open_sse41"]
        fn rings_open(o: *mut u8, i: *const u8, l: usize, a: *const u8, n: usize, data: *mut Sealing);
    }

    /// The output and tag of one call; the input begins `ahead` bytes after the output.
    fn call(function: Whole, text: &[u8], additional: &[u8], ahead: usize) -> (Vec<u8>, [u8; 16]) {
        let key = std::array::from_fn(|i| 0x9e37_79b9u32.wrapping_mul(i as u32 + 1));
        let mut data = Sealing(Data { input: Input { key, counter: [0, 7, 8, 9] } }, [0; 2]);
        let mut buffer = vec![0; ahead];
        buffer.extend(text);
        let output = buffer.as_mut_ptr();
        // SAFETY: both texts are in the buffer, and `Data` is the beginning of `Sealing`.
        let tag = unsafe {
            function(output, output.add(ahead), text.len(), additional.as_ptr(), additional.len(), &mut data);
            data.0.tag
        };
        buffer.truncate(text.len());
        (buffer, tag)
    }

    /// Promise: chacha20-poly1305
    #[test]
    fn the_same_bytes_as_by_rings_code_for_both_at_once() {
        // SAFETY: the functions take the same arguments; ours read of `Sealing` its beginning, which is `Data`.
        let of = |ours: unsafe extern "C" fn(_, _, _, _, _, *mut Data)| unsafe {
            std::mem::transmute::<unsafe extern "C" fn(*mut u8, *const u8, usize, *const u8, usize, *mut Data), Whole>(
                ours,
            )
        };
        let mut ours = vec![(of(seal_sse41), of(open_sse41))];
        if std::arch::is_x86_feature_detected!("avx2") {
            ours.push((of(seal_avx2), of(open_avx2)));
        }
        let text: Vec<u8> = (0..20_000u32).map(|i| ((i * i) >> 3) as u8).collect();
        for length in (0..700).chain([1024, 4095, 4096, 16_384, 20_000]) {
            let (text, additional) = (&text[..length], &text[..length % 37]);
            let sealed = call(rings_seal, text, additional, 0);
            assert_eq!(call(rings_open, &sealed.0, additional, 0), (text.to_vec(), sealed.1));
            for (seal, open) in &ours {
                assert_eq!(call(*seal, text, additional, 0), sealed, "{length}");
                for ahead in [0, 1, 5, 8] {
                    assert_eq!(call(*open, &sealed.0, additional, ahead), (text.to_vec(), sealed.1), "{length}");
                }
            }
        }
    }
}
