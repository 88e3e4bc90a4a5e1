//! The flags of a container's mounts.

use crate::container::pure::spec::{Mount, Propagation, PropagationKind};
use crate::sys::mount;

/// What podman gives a volume and a tmpfs, unless the container line says otherwise.
pub const NOSUID_NODEV: u64 = mount::MS_NOSUID | mount::MS_NODEV;
/// What podman gives the kernel's file systems.
pub const NOSUID_NODEV_NOEXEC: u64 = NOSUID_NODEV | mount::MS_NOEXEC;

/// A mount's flags, those of `default` where its options say nothing.
pub fn flags(mount: &Mount, default: u64) -> u64 {
    let choice = |asked: Option<bool>, flag| match asked {
        Some(true) => 0,
        Some(false) => flag,
        None => default & flag,
    };
    let read_only = if mount.read_only { mount::MS_RDONLY } else { default & mount::MS_RDONLY };
    read_only
        | choice(mount.suid, mount::MS_NOSUID)
        | choice(mount.dev, mount::MS_NODEV)
        | choice(mount.exec, mount::MS_NOEXEC)
}

/// The propagation as mount(2) takes it.
pub fn propagation_flags(propagation: Propagation) -> u64 {
    let kind = match propagation.kind {
        PropagationKind::Shared => mount::MS_SHARED,
        PropagationKind::Slave => mount::MS_SLAVE,
        PropagationKind::Private => mount::MS_PRIVATE,
        PropagationKind::Unbindable => mount::MS_UNBINDABLE,
    };
    kind | if propagation.recursive { mount::MS_REC } else { 0 }
}
