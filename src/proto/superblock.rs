//! What a block device says of itself: an ext4 superblock's label.

/// How much of a device is read: the superblock ends at 2048.
pub const LENGTH: usize = 2048;

/// The label of an ext2, ext3 or ext4 file system, empty where it has none;
/// `None` where `start` (the device's first [`LENGTH`] bytes) is no such file
/// system. Offsets: Linux, Documentation/filesystems/ext4/super.rst.
pub fn ext4_label(start: &[u8]) -> Option<String> {
    let superblock = start.get(1024..2048)?;
    if superblock.get(0x38..0x3a)? != [0x53, 0xef] {
        return None;
    }
    let label = superblock.get(0x78..0x88)?;
    let length = label.iter().position(|b| *b == 0).unwrap_or(label.len());
    Some(String::from_utf8_lossy(label.get(..length)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(label: &[u8]) -> Vec<u8> {
        let mut start = vec![0; LENGTH];
        start[1024 + 0x38..1024 + 0x3a].copy_from_slice(&0xef53u16.to_le_bytes());
        start[1024 + 0x78..1024 + 0x78 + label.len()].copy_from_slice(label);
        start
    }

    #[test]
    fn labels_of_every_length() {
        assert_eq!(ext4_label(&device(b"")).unwrap(), "");
        assert_eq!(ext4_label(&device(b"B2C_CACHE")).unwrap(), "B2C_CACHE");
        assert_eq!(ext4_label(&device(b"0123456789abcdef")).unwrap(), "0123456789abcdef");
    }

    #[test]
    fn no_superblock_no_label() {
        assert_eq!(ext4_label(&[0; LENGTH]), None);
        assert_eq!(ext4_label(&device(b"x")[..1500]), None);
    }
}
