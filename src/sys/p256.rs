//! Multiples of P-256's base point, without ring's table of them.
//!
//! ring multiplies the base point with the help of a table of 151 552 bytes, which does not compress and was a fifth of
//! the initramfs. Other points are multiplied without a table. In the release the linker (`--wrap`, dev.d/build.sh)
//! directs the two calls that use the table to this file, which has the base point multiplied as any other, and drops
//! the table. A handshake takes some 50 microseconds longer. The names of the functions are those of one version of
//! ring: with another version this does not link.

/// A number of 256 bits, the lowest 64 first.
type Limbs = [u64; 4];
/// Jacobian coordinates in Montgomery form.
type Point = [Limbs; 3];

/// The base point (FIPS 186-4, D.1.2.3), each coordinate times 2^256 modulo the field's prime.
const BASE_X: Limbs = [0x79e7_30d4_18a9_143c, 0x75ba_95fc_5fed_b601, 0x79fb_732b_7762_2510, 0x1890_5f76_a537_55c6];
const BASE_Y: Limbs = [0xddf2_5357_ce95_560a, 0x8b4a_b8e4_ba19_e45c, 0xd2e8_8688_dd21_f325, 0x8571_ff18_2588_5d85];

extern "C" {
    /// ring's, in constant time.
    #[link_name = "ring_core_0_17_14__p256_point_mul"]
    fn point_mul(r: *mut Point, scalar: *const Limbs, x: *const Limbs, y: *const Limbs);
}

/// In the place of ring's function of that name: for key exchange and signing.
///
/// # Safety
/// `r` and `scalar` must be valid for a point and a number.
#[export_name = "__wrap_ring_core_0_17_14__p256_point_mul_base"]
// SAFETY: the contract above is the caller's.
unsafe extern "C" fn point_mul_base(r: *mut Point, scalar: *const Limbs) {
    // SAFETY: passed on by contract; the coordinates are constants.
    unsafe { point_mul(r, scalar, &BASE_X, &BASE_Y) }
}

/// The same for checking signatures, where nothing is secret.
///
/// # Safety
/// As [`point_mul_base`].
#[export_name = "__wrap_ring_core_0_17_14__p256_point_mul_base_vartime"]
// SAFETY: the contract above is the caller's.
unsafe extern "C" fn point_mul_base_vartime(r: *mut Point, scalar: *const Limbs) {
    // SAFETY: passed on by contract; the coordinates are constants.
    unsafe { point_mul(r, scalar, &BASE_X, &BASE_Y) }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern "C" {
        #[link_name = "ring_core_0_17_14__p256_point_mul_base"]
        fn rings_mul_base(r: *mut Point, scalar: *const Limbs);
        #[link_name = "ring_core_0_17_14__p256_point_mul_base_vartime"]
        fn rings_mul_base_vartime(r: *mut Point, scalar: *const Limbs);
        #[link_name = "ring_core_0_17_14__p256_mul_mont"]
        fn mul_mont(r: *mut Limbs, a: *const Limbs, b: *const Limbs);
    }

    fn mul(a: &Limbs, b: &Limbs) -> Limbs {
        let mut r = [0; 4];
        // SAFETY: all three are numbers of ours.
        unsafe { mul_mont(&mut r, a, b) };
        r
    }

    /// Whether two points in Jacobian coordinates, (X/Z², Y/Z³), are one.
    fn is_same(a: &Point, b: &Point) -> bool {
        let square = |z: &Limbs| mul(z, z);
        let cube = |z: &Limbs| mul(&square(z), z);
        mul(&a[0], &square(&b[2])) == mul(&b[0], &square(&a[2])) && mul(&a[1], &cube(&b[2])) == mul(&b[1], &cube(&a[2]))
    }

    // SAFETY: a type; each of these functions takes a point and a number.
    fn multiple(by: unsafe extern "C" fn(*mut Point, *const Limbs), scalar: &Limbs) -> Point {
        let mut point = [[0; 4]; 3];
        // SAFETY: both are ours.
        unsafe { by(&mut point, scalar) };
        point
    }

    /// Promise: p256
    #[test]
    fn the_same_points_as_by_rings_table() {
        // Below the curve's order; the last one is one less than it.
        let order_less_one =
            [0xf3b9_cac2_fc63_2550, 0xbce6_faad_a717_9e84, 0xffff_ffff_ffff_ffff, 0xffff_ffff_0000_0000];
        let mut scalars = vec![[1, 0, 0, 0], [2, 0, 0, 0], [0, 0, 0, 1 << 62], [u64::MAX, 0, 0, 0], order_less_one];
        let mut state = 1u64;
        scalars.extend((0..200).map(|_| {
            [0; 4].map(|_: u64| {
                // Knuth's generator.
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state >> 1
            })
        }));
        for scalar in &scalars {
            let (rings, rings_vartime) = (multiple(rings_mul_base, scalar), multiple(rings_mul_base_vartime, scalar));
            assert!(is_same(&multiple(point_mul_base, scalar), &rings), "{scalar:x?}");
            assert!(is_same(&multiple(point_mul_base_vartime, scalar), &rings_vartime), "{scalar:x?}");
            let other = multiple(point_mul_base, &[3, 0, 0, 0]);
            assert!(!is_same(&other, &rings), "{scalar:x?}");
        }
        // No multiple at all: the point at infinity has no third coordinate.
        assert_eq!((multiple(point_mul_base, &[0; 4])[2], multiple(rings_mul_base, &[0; 4])[2]), ([0; 4], [0; 4]));
    }
}
