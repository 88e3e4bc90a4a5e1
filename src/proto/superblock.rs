//! What a block device says of itself: an ext4 superblock's label.
