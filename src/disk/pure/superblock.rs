//! Superblocks: the label of an ext4 file system, and whether a layer is a squashfs or erofs, which needs no unpacking.

use std::ffi::CStr;

/// How many bytes to read. ext4's superblock ends here.
pub const LENGTH: usize = 2048;

/// The label of an ext2, ext3 or ext4 file system, empty if it has none. `start` is the device's first [`LENGTH`]
/// bytes; `None` if they are of something else. Offsets: Linux, Documentation/filesystems/ext4/super.rst.
pub fn ext4_label(start: &[u8]) -> Option<String> {
    let superblock = start.get(1024..2048)?;
    if superblock.get(0x38..0x3a)? != [0x53, 0xef] {
        return None;
    }
    let label = superblock.get(0x78..0x88)?;
    let length = label.iter().position(|b| *b == 0).unwrap_or(label.len());
    Some(String::from_utf8_lossy(label.get(..length)?).into_owned())
}

/// A read-only file system that is mounted as a layer, without unpacking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    Squashfs,
    Erofs,
}

impl Packed {
    /// The name of the file system, and of its kernel module.
    pub fn name(self) -> &'static str {
        match self {
            Packed::Squashfs => "squashfs",
            Packed::Erofs => "erofs",
        }
    }

    /// [`Packed::name`], as mount(2) takes it.
    pub fn kind(self) -> &'static CStr {
        match self {
            Packed::Squashfs => c"squashfs",
            Packed::Erofs => c"erofs",
        }
    }
}

/// Which packed file system begins with `start`, its first [`LENGTH`] bytes. squashfs is recognized by its magic and by
/// its version, 4.0, at 28 (Linux, fs/squashfs/squashfs_fs.h); erofs by the magic 0xe0f5e1e2 at 1024 and a block size
/// of 512 bytes to 64 KiB, whose logarithm is 12 bytes further on (fs/erofs/erofs_fs.h).
pub fn packed(start: &[u8]) -> Option<Packed> {
    if start.starts_with(b"hsqs") && start.get(28..32)? == [4, 0, 0, 0] {
        return Some(Packed::Squashfs);
    }
    let superblock = start.get(1024..)?;
    let is_erofs = superblock.starts_with(&[0xe2, 0xe1, 0xf5, 0xe0]) && (9..=16).contains(superblock.get(12)?);
    is_erofs.then_some(Packed::Erofs)
}

/// Whether to mount a layer's blob that begins with `start`, or (`None`) to unpack it. The content decides, since media
/// types are often wrong; but one that names a file system (stacker:
/// `application/vnd.stacker.image.layer.squashfs+zstd`, containerd: `application/vnd.erofs.layer.v1`) must match the
/// content. The error is the reason why it does not.
pub fn layer_form(media_type: &str, start: &[u8]) -> Result<Option<Packed>, &'static str> {
    let found = packed(start);
    let says = |packed: Packed| media_type.contains(packed.name());
    match found {
        _ if says(Packed::Squashfs) && found != Some(Packed::Squashfs) => {
            Err("is not a squashfs, though its media type says so")
        }
        _ if says(Packed::Erofs) && found != Some(Packed::Erofs) => {
            Err("is not an erofs, though its media type says so")
        }
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bytes of a squashfs and of an erofs.
    fn starts() -> [Vec<u8>; 2] {
        let (mut squashfs, mut erofs) = (vec![0; 96], vec![0; LENGTH]);
        squashfs[..4].copy_from_slice(b"hsqs");
        squashfs[28] = 4;
        erofs[1024..1028].copy_from_slice(&0xe0f5_e1e2_u32.to_le_bytes());
        erofs[1024 + 12] = 12;
        [squashfs, erofs]
    }

    #[test]
    fn packed_file_systems_by_their_magic() {
        let [squashfs, erofs] = starts();
        assert_eq!((packed(&squashfs), packed(&erofs)), (Some(Packed::Squashfs), Some(Packed::Erofs)));
        // A tar whose first file has such a name, or such content.
        let mut tar = vec![0; LENGTH];
        tar[..4].copy_from_slice(b"hsqs");
        assert_eq!(packed(&tar), None);
        tar[1024..1028].copy_from_slice(&erofs[1024..1028]);
        assert_eq!(packed(&tar), None);
        for short in [&squashfs[..31], &erofs[..1036], &[]] {
            assert_eq!(packed(short), None);
        }
    }

    /// Promise: lying-packed-layers
    #[test]
    fn the_content_decides_and_a_media_type_may_not_contradict() {
        let [squashfs, erofs] = starts();
        let stacker = "application/vnd.stacker.image.layer.squashfs+zstd+verity";
        let containerd = "application/vnd.erofs.layer.v1";
        for (media_type, start, form) in [
            ("application/vnd.oci.image.layer.v1.tar+gzip", &squashfs, Ok(Some(Packed::Squashfs))),
            ("", &erofs, Ok(Some(Packed::Erofs))),
            ("", &vec![0x1f, 0x8b], Ok(None)),
            (stacker, &squashfs, Ok(Some(Packed::Squashfs))),
            (containerd, &erofs, Ok(Some(Packed::Erofs))),
            (stacker, &erofs, Err("is not a squashfs, though its media type says so")),
            (stacker, &vec![0x1f, 0x8b], Err("is not a squashfs, though its media type says so")),
            (containerd, &vec![0; LENGTH], Err("is not an erofs, though its media type says so")),
        ] {
            assert_eq!(layer_form(media_type, start), form, "{media_type}");
        }
    }

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
