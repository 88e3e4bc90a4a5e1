//! XXH64 with seed 0; the lower half is a frame's checksum.

use crate::bytes::chunk;

const P1: u64 = 0x9e37_79b1_85eb_ca87;
const P2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const P3: u64 = 0x1656_67b1_9e37_79f9;
const P4: u64 = 0x85eb_ca77_c2b2_ae63;
const P5: u64 = 0x27d4_eb2f_1656_67c5;

/// The state of a sum.
#[derive(Clone)]
pub struct Xxh64 {
    lanes: [u64; 4],
    held: [u8; 32],
    length: u64,
}

impl Xxh64 {
    pub fn new() -> Xxh64 {
        Xxh64 { lanes: [P1.wrapping_add(P2), P2, 0, P1.wrapping_neg()], held: [0; 32], length: 0 }
    }

    pub fn update(&mut self, mut bytes: &[u8]) {
        let held = self.length as usize % 32;
        self.length += bytes.len() as u64;
        if held > 0 {
            let count = bytes.len().min(32 - held);
            let (now, after) = bytes.split_at(count);
            self.held[held..held + count].copy_from_slice(now);
            bytes = after;
            if held + count < 32 {
                return;
            }
            stripe(&mut self.lanes, &self.held.clone());
        }
        let mut lanes = self.lanes;
        while let Some((now, after)) = bytes.split_first_chunk::<32>() {
            stripe(&mut lanes, now);
            bytes = after;
        }
        self.lanes = lanes;
        self.held[..bytes.len()].copy_from_slice(bytes);
    }

    pub fn finish(&self) -> u64 {
        let [a, b, c, d] = self.lanes;
        let mut sum = if self.length < 32 {
            P5
        } else {
            let all = a.rotate_left(1).wrapping_add(b.rotate_left(7));
            let all = all.wrapping_add(c.rotate_left(12)).wrapping_add(d.rotate_left(18));
            self.lanes.iter().fold(all, |sum, lane| (sum ^ round(0, *lane)).wrapping_mul(P1).wrapping_add(P4))
        };
        sum = sum.wrapping_add(self.length);
        let mut rest = &self.held[..self.length as usize % 32];
        while let Some((word, after)) = rest.split_first_chunk() {
            sum = (sum ^ round(0, u64::from_le_bytes(*word))).rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
            rest = after;
        }
        if let Some((word, after)) = rest.split_first_chunk() {
            sum ^= u64::from(u32::from_le_bytes(*word)).wrapping_mul(P1);
            sum = sum.rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
            rest = after;
        }
        for byte in rest {
            sum = (sum ^ u64::from(*byte).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
        }
        sum = (sum ^ sum >> 33).wrapping_mul(P2);
        sum = (sum ^ sum >> 29).wrapping_mul(P3);
        sum ^ sum >> 32
    }
}

#[inline(always)]
fn round(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
}

#[inline(always)]
fn stripe(lanes: &mut [u64; 4], bytes: &[u8; 32]) {
    for (i, lane) in lanes.iter_mut().enumerate() {
        *lane = round(*lane, chunk(bytes, 8 * i).map_or(0, |word| u64::from_le_bytes(*word)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sums() {
        let of = |bytes: &[u8]| {
            let mut sum = Xxh64::new();
            bytes.chunks(7).for_each(|chunk| sum.update(chunk));
            sum.finish()
        };
        // Of the algorithm's own self-test, and of its most cited examples.
        assert_eq!(of(b""), 0xef46_db37_51d8_e999);
        assert_eq!(of(b"a"), 0xd24e_c4f1_a98c_6e5b);
        assert_eq!(of(b"abc"), 0x44bc_2cf5_ad77_0999);
    }
}
