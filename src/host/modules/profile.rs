//! Lists of the modules that a kind of machine needs.

use crate::kernel::pure::modules_dep::{name, same_name};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    None,
    /// QEMU's devices (virtio, NVMe), and the file systems for images and shares.
    Vm,
    /// `Vm`, and the hardware of a lab's boards: all wired network cards and disks.
    Lab,
}

/// The modules of [`Profile::Vm`]. QEMU's own devices only: a guest under software
/// emulation takes 60 ms to unpack each further megabyte.
const VM: &[&str] = &[
    "virtio_pci",
    "virtio_mmio",
    "virtio_net",
    "virtio_blk",
    "virtio_console",
    "virtio_rng",
    "nvme",
    "overlay",
    "ext4",
    "loop",
    "9p",
    "9pnet_virtio",
];

/// The modules that [`Profile::Lab`] adds: directories below `kernel/` (with a slash at the end), and names.
const LAB: &[&str] = &[
    "drivers/net/ethernet/",
    "drivers/net/usb/",
    "drivers/net/phy/",
    "drivers/net/mdio/",
    "drivers/net/pcs/",
    "drivers/usb/host/",
    "drivers/usb/storage/",
    "drivers/usb/dwc2/",
    "drivers/usb/dwc3/",
    "drivers/usb/chipidea/",
    "drivers/nvme/host/",
    "drivers/ata/",
    "drivers/mmc/",
    "drivers/ufs/",
    "drivers/pci/controller/",
    "drivers/phy/",
    "drivers/clk/",
    "drivers/pinctrl/",
    "drivers/regulator/",
    "drivers/reset/",
    "drivers/mailbox/",
    "drivers/extcon/",
    "drivers/hwspinlock/",
    "fs/nls/nls_ascii",
    "virtio_scsi",
    "virtiofs",
    "vmxnet3",
    "hv_netvsc",
    "hv_storvsc",
    "xen_netfront",
    "xen_blkfront",
    "sd_mod",
    "ahci",
    "ata_piix",
    "sr_mod",
    "uas",
    "usb_storage",
    "nbd",
    "squashfs",
    "erofs",
    "nfs",
    "nfsv3",
    "nfsv4",
    "cifs",
    "fuse",
    "vfat",
    "xfs",
    "btrfs",
    "f2fs",
    "nls_cp437",
    "nls_iso8859_1",
    "nls_utf8",
    "dm_mod",
    "dm_crypt",
    "8021q",
    "bonding",
    "bridge",
    "veth",
    "tun",
    "usbhid",
    "hid_generic",
];

/// Whether the module at `path`, below `kernel/`, is in the profile.
pub fn in_profile(path: &str, profile: Profile) -> bool {
    let among = |list: &[&str]| {
        let below = path.strip_prefix("kernel/").unwrap_or(path);
        list.iter().any(|want| if want.ends_with('/') { below.starts_with(want) } else { same_name(name(path), want) })
    };
    match profile {
        Profile::None => false,
        Profile::Vm => among(VM),
        Profile::Lab => among(VM) || among(LAB),
    }
}
