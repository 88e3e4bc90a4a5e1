//! What a layer needs of the other layers of its image, which are unpacked at the same time.

use crate::layer::unpack::lower::Lower;

/// The place of a layer among those of its image.
pub trait LayerQueue {
    /// The layers below, topmost first, once they are complete; none where one of them failed. May wait for them.
    fn lowers(&mut self) -> Option<Vec<Lower>>;

    /// Asks for so many bytes of memory, in all, for what is deferred to the archive's end; false where another layer
    /// failed. May wait for the layers below.
    fn reserve(&mut self, bytes: usize) -> bool;
}

/// The queue of a layer that is being finalized: all layers below are complete, and it waits for nothing.
pub(super) struct Finalizing;

impl LayerQueue for Finalizing {
    fn lowers(&mut self) -> Option<Vec<Lower>> {
        None
    }

    fn reserve(&mut self, _: usize) -> bool {
        true
    }
}
