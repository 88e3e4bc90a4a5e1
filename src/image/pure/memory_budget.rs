//! The memory that the layers of a pull may take together while they are unpacked.
//!
//! The lowest layer that is not complete is never refused memory, up to the limits of a single layer: the other layers
//! wait for it, so it must not wait for them.

/// Bytes of deferred entries (directories and whiteouts that wait for the layers below) beyond which no worker takes
/// another layer.
const TAKE_BYTES: usize = 2 << 20;
/// Bytes of deferred entries beyond which all layers but the lowest wait. That one alone may have the 64 MiB that are
/// the limit of a layer, so that all together never take more than 72 MiB.
const DEFERRED_BYTES: usize = 8 << 20;
/// Bytes of the windows of zstd frames beyond which all layers but the lowest wait.
const WINDOW_BYTES: u64 = 10 << 20;

/// The bytes that are in use.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MemoryBudget {
    windows: u64,
    deferred: usize,
}

impl MemoryBudget {
    /// Whether a worker may take another layer.
    pub fn has_room(&self) -> bool {
        self.deferred <= TAKE_BYTES
    }

    /// Resizes the zstd window of a layer from `held` to `bytes`; false if the layer has to wait.
    pub fn resize_window(&mut self, held: &mut u64, bytes: u64, is_lowest: bool) -> bool {
        if !is_lowest && self.windows - *held + bytes > WINDOW_BYTES {
            return false;
        }
        self.windows = self.windows - *held + bytes;
        *held = bytes;
        true
    }

    /// Frees the window of a layer.
    pub fn free_window(&mut self, held: u64) {
        self.windows -= held;
    }

    /// Resizes the deferred entries of a layer from `held` to `bytes`; false if the layer has to wait.
    pub fn resize_deferred(&mut self, held: &mut usize, bytes: usize, is_lowest: bool) -> bool {
        if !is_lowest && self.deferred - *held + bytes > DEFERRED_BYTES {
            return false;
        }
        self.deferred = self.deferred - *held + bytes;
        *held = bytes;
        true
    }

    /// Frees the deferred entries of a layer.
    pub fn free_deferred(&mut self, bytes: usize) {
        self.deferred -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_layers_share_one_room_and_the_lowest_has_more() {
        let mut budget = MemoryBudget::default();
        let mut held = [0; 6];
        let one = DEFERRED_BYTES / 3;
        for held in &mut held[1..] {
            while *held < one && budget.resize_deferred(held, *held + 4096, false) {}
        }
        let all: usize = held.iter().sum();
        assert!(all <= DEFERRED_BYTES && all > DEFERRED_BYTES - 4096 && held[5] == 0, "{held:?}");
        assert!(!budget.has_room() && !budget.resize_deferred(&mut held[5], 4096, false));
        assert!(budget.resize_deferred(&mut held[0], 64 << 20, true));
        assert_eq!(budget.deferred, all + (64 << 20));
        // The last one goes on when it is the lowest, whoever still holds what.
        assert!(budget.resize_deferred(&mut held[5], 4096, true));
        held.into_iter().for_each(|bytes| budget.free_deferred(bytes));
        assert!(budget == MemoryBudget::default() && budget.has_room());
    }

    #[test]
    fn windows_have_a_room_of_their_own() {
        let mut budget = MemoryBudget::default();
        let (mut first, mut second) = (0, 0);
        assert!(budget.resize_window(&mut first, 8 << 20, false));
        assert!(!budget.resize_window(&mut second, 4 << 20, false) && second == 0);
        assert!(budget.resize_window(&mut second, 2 << 20, false));
        // A frame with a larger window takes the place of the one before.
        assert!(!budget.resize_window(&mut second, 8 << 20, false));
        assert!(budget.resize_window(&mut second, 8 << 20, true));
        budget.free_window(first);
        budget.free_window(second);
        assert_eq!(budget, MemoryBudget::default());
    }
}
