//! How the tables write a call's number for 32-bit programs.

/// There is no such call.
pub const NONE: u16 = 0xffff;
/// Arm's private calls are written as this bit and the rest, and begin at 0xf0000.
const PRIVATE: u16 = 0x8000;
const ARM_PRIVATE: u32 = 0xf_0000;

/// The kernel's number for what stands in the column.
pub fn number(written: u16) -> Option<u32> {
    match written {
        NONE => None,
        private if private & PRIVATE != 0 => Some(ARM_PRIVATE + u32::from(private & !PRIVATE)),
        number => Some(u32::from(number)),
    }
}
