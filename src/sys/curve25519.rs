//! Multiples of Curve25519's base point, without ring's table of them.
//!
//! ring multiplies the base point with the help of a table of 24 576 bytes, which does not compress. As for P-256
//! (src/sys/p256.rs), the linker (`--wrap`, dev.d/build.sh) directs the two calls that use it to this file, and drops
//! the table. A key exchange uses ring's own function for any point; a signature by Ed25519, which only a client's
//! certificate needs, uses the addition below. Each takes some 100 microseconds longer. The names of the functions are
//! those of one version of ring: with another version this does not link.

use std::ffi::c_int;
use std::hint::black_box;

/// A number modulo 2^255 - 19 in five parts of 51 bits, the lowest first, each of which may be 2^51 itself.
type Element = [u64; 5];
/// A point of the Edwards curve in extended coordinates: X, Y, Z and T = XY/Z (RFC 8032, 5.1.4).
type Point = [Element; 4];

const LOW: u64 = (1 << 51) - 1;
/// Twice the field's prime: what is subtracted from it stays positive.
const TWICE_PRIME: Element = [2 * (LOW - 18), 2 * LOW, 2 * LOW, 2 * LOW, 2 * LOW];
const NEUTRAL: Point = [[0; 5], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0; 5]];
/// RFC 8032, 5.1.
const BASE: Point = [
    [0x0006_2d60_8f25_d51a, 0x0004_12a4_b4f6_592a, 0x0007_5b71_71a4_b31d, 0x0001_ff60_5271_18fe, 0x0002_1693_6d3c_d6e5],
    [0x0006_6666_6666_6658, 0x0004_cccc_cccc_cccc, 0x0001_9999_9999_9999, 0x0003_3333_3333_3333, 0x0006_6666_6666_6666],
    [1, 0, 0, 0, 0],
    [0x0006_8ab3_a5b7_dda3, 0x0eea_2a5e_adbb, 0x0002_af8d_f483_c27e, 0x0003_32b3_7527_4732, 0x0006_7875_f0fd_78b7],
];
/// Twice the curve's constant d.
const TWICE_D: Element =
    [0x0006_9b94_26b2_f159, 0x0003_5050_762a_dd7a, 0x0003_cf44_c003_8052, 0x0006_738c_c740_7977, 0x0002_406d_9dc5_6dff];
/// The base point's u-coordinate (RFC 7748, 4.1).
const BASE_U: [u8; 32] = {
    let mut bytes = [0; 32];
    bytes[0] = 9;
    bytes
};

extern "C" {
    /// ring's, in constant time; neither point may be larger than an [`Element`] is.
    #[link_name = "ring_core_0_17_14__x25519_fe_mul_ttt"]
    fn fe_mul(product: *mut Element, a: *const Element, b: *const Element);
    /// ring's, in constant time.
    #[link_name = "ring_core_0_17_14__x25519_scalar_mult_generic_masked"]
    fn scalar_mult(u: *mut [u8; 32], scalar: *const [u8; 32], point: *const [u8; 32]);
}

fn mul(a: &Element, b: &Element) -> Element {
    let mut product = [0; 5];
    // SAFETY: all three are numbers of ours.
    unsafe { fe_mul(&mut product, a, b) };
    product
}

/// Brings parts of up to 2^63 back to 51 bits.
fn carried(mut element: Element) -> Element {
    let mut carry = 0;
    for part in &mut element {
        *part += carry;
        carry = *part >> 51;
        *part &= LOW;
    }
    // 2^255 is 19.
    element[0] += 19 * carry;
    element[1] += element[0] >> 51;
    element[0] &= LOW;
    element
}

fn add(a: &Element, b: &Element) -> Element {
    carried(std::array::from_fn(|i| a[i] + b[i]))
}

fn sub(a: &Element, b: &Element) -> Element {
    carried(std::array::from_fn(|i| a[i] + TWICE_PRIME[i] - b[i]))
}

/// The sum of any two points, also of a point and itself (RFC 8032, 5.1.4).
#[inline(never)]
fn sum(p: &Point, q: &Point) -> Point {
    let a = mul(&sub(&p[1], &p[0]), &sub(&q[1], &q[0]));
    let b = mul(&add(&p[1], &p[0]), &add(&q[1], &q[0]));
    let c = mul(&mul(&p[3], &TWICE_D), &q[3]);
    let d = mul(&add(&p[2], &p[2]), &q[2]);
    let (e, f, g, h) = (sub(&b, &a), sub(&d, &c), add(&d, &c), add(&b, &a));
    [mul(&e, &f), mul(&g, &h), mul(&f, &g), mul(&e, &h)]
}

/// The base point times a number of 32 bytes, the lowest first. Which bits are set takes no different time.
fn multiple_of_base(scalar: &[u8; 32]) -> Point {
    let mut result = NEUTRAL;
    for byte in scalar.iter().rev() {
        for bit in (0..8).rev() {
            result = sum(&result, &result);
            let next = sum(&result, &BASE);
            // All ones or all zeros; the compiler must not know which, or it might branch.
            let mask = black_box(u64::from(byte >> bit & 1)).wrapping_neg();
            for (old, new) in result.as_flattened_mut().iter_mut().zip(next.as_flattened()) {
                *old ^= mask & (*old ^ new);
            }
        }
    }
    result
}

/// In the place of ring's function of that name: for signing.
///
/// # Safety
/// `point` and `scalar` must be valid for a point and a number of 32 bytes.
#[export_name = "__wrap_ring_core_0_17_14__x25519_ge_scalarmult_base"]
// SAFETY: the contract above is the caller's.
unsafe extern "C" fn ge_scalarmult_base(point: *mut Point, scalar: *const [u8; 32], _use_adx: c_int) {
    // SAFETY: both are valid by contract.
    unsafe { *point = multiple_of_base(&*scalar) }
}

/// The same for key exchange: the public key of a private one.
///
/// # Safety
/// Both keys must be valid for 32 bytes.
#[export_name = "__wrap_ring_core_0_17_14__x25519_public_from_private_generic_masked"]
// SAFETY: the contract above is the caller's.
unsafe extern "C" fn public_from_private(public: *mut [u8; 32], private: *const [u8; 32], _use_adx: c_int) {
    // SAFETY: passed on by contract.
    unsafe { scalar_mult(public, private, &BASE_U) }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern "C" {
        #[link_name = "ring_core_0_17_14__x25519_ge_scalarmult_base"]
        fn rings_scalarmult_base(point: *mut Point, scalar: *const [u8; 32], use_adx: c_int);
        #[link_name = "ring_core_0_17_14__x25519_public_from_private_generic_masked"]
        fn rings_public_from_private(public: *mut [u8; 32], private: *const [u8; 32], use_adx: c_int);
        #[link_name = "ring_core_0_17_14__x25519_fe_tobytes"]
        fn to_bytes(bytes: *mut [u8; 32], element: *const Element);
    }

    fn bytes(element: &Element) -> [u8; 32] {
        let mut bytes = [0; 32];
        // SAFETY: both are ours.
        unsafe { to_bytes(&mut bytes, element) };
        bytes
    }

    fn is_same(p: &Point, q: &Point) -> bool {
        // X/Z, Y/Z and T/Z of both.
        [0, 1, 3].iter().all(|&i| bytes(&mul(&p[i], &q[2])) == bytes(&mul(&q[i], &p[2])))
    }

    /// Numbers below 2^255, as ring wants them.
    fn scalars() -> Vec<[u8; 32]> {
        let (mut one, mut largest) = ([0; 32], [0xff; 32]);
        (one[0], largest[31]) = (1, 0x7f);
        let mut state = 1u64;
        let mut scalars = vec![[0; 32], one, largest, BASE_U];
        scalars.extend((0..200).map(|_| {
            let mut scalar = [0; 32].map(|_: u8| {
                // Knuth's generator.
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            });
            scalar[31] &= 0x7f;
            scalar
        }));
        scalars
    }

    /// Promise: curve25519
    #[test]
    fn the_same_points_as_by_rings_table() {
        for scalar in scalars() {
            let (mut rings, mut ours) = (NEUTRAL, NEUTRAL);
            // SAFETY: all are ours; the first is ring's own function, without ADX.
            unsafe {
                rings_scalarmult_base(&mut rings, &scalar, 0);
                ge_scalarmult_base(&mut ours, &scalar, 0);
            }
            assert!(is_same(&ours, &rings), "{scalar:x?}");
            assert!(!is_same(&sum(&ours, &BASE), &rings), "{scalar:x?}");
            // What ring goes on with has to be within its bounds.
            assert!(ours.as_flattened().iter().all(|part| *part <= LOW + 1), "{scalar:x?}");
        }
    }

    /// Promise: curve25519
    #[test]
    fn the_same_keys_as_by_rings_table() {
        for mut private in scalars() {
            // As ring masks them (RFC 7748, 5).
            private[0] &= 0xf8;
            private[31] = private[31] & 0x7f | 0x40;
            let (mut rings, mut ours) = ([0; 32], [0; 32]);
            // SAFETY: all are ours.
            unsafe {
                rings_public_from_private(&mut rings, &private, 0);
                public_from_private(&mut ours, &private, 0);
            }
            assert_eq!(ours, rings, "{private:x?}");
        }
    }

    #[test]
    fn carries_reach_all_parts() {
        let minus_one = sub(&[0; 5], &[1, 0, 0, 0, 0]);
        assert_eq!(bytes(&add(&minus_one, &[1, 0, 0, 0, 0])), [0; 32]);
        assert_eq!(bytes(&mul(&minus_one, &minus_one)), bytes(&[1, 0, 0, 0, 0]));
        assert_eq!(bytes(&carried([1 << 62; 5])), bytes(&mul(&[1 << 11; 5], &[0, 1, 0, 0, 0])));
    }
}
