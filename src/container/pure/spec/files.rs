//! The files that a container line asks for: mounts, layers, names.

use crate::container::pure::paths::below_root;
use crate::pure::index::Index;

/// The file systems, and the files of `/etc` that are ours.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// `-v`, `--mount` and `--tmpfs`, in order; no target twice.
    pub mounts: Vec<Mount>,
    /// Where they lie.
    pub(super) targets: Index,
    pub read_only: bool,
    /// `--read-only-tmpfs=false`: a read-only root gets no `/run`, `/tmp`, `/var/tmp` in memory.
    pub no_read_only_tmpfs: bool,
    /// Of `/dev/shm`, in bytes; 0 is no limit.
    pub shm_size: Option<u64>,
    pub volumes_from: Vec<VolumesFrom>,
    pub image_volumes: ImageVolumes,
    pub dns: Dns,
    /// Host name, address: lines of `/etc/hosts`.
    pub hosts: Vec<(String, String)>,
    /// `/etc/hosts` is the image's own.
    pub no_hosts: bool,
}

impl Files {
    /// The host's file or directory that is mounted at exactly this path.
    pub fn source_at(&self, path: &str) -> Option<&str> {
        match &self.mount_at(path)?.source {
            Source::Path(source) => Some(source),
            _ => None,
        }
    }

    /// What the container line mounts at exactly this path.
    pub fn mount_at(&self, path: &str) -> Option<&Mount> {
        self.mounts.iter().find(|mount| below_root(&mount.target) == below_root(path))
    }
}

/// What becomes of the paths that the image declares as volumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageVolumes {
    #[default]
    Anonymous,
    Tmpfs,
    /// They are ordinary directories.
    Ignored,
}

/// What the container's `/etc/resolv.conf` is made of.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// The file is the image's own (`--dns=none`).
    pub none: bool,
    pub servers: Vec<String>,
    /// `.` alone is none.
    pub search: Vec<String>,
    pub options: Vec<String>,
}

/// Something that the container sees at a place of its tree.
#[derive(Debug, PartialEq, Eq)]
pub struct Mount {
    pub source: Source,
    /// Absolute, and not the root.
    pub target: String,
    pub read_only: bool,
    /// What is not said is podman's default for that kind of source.
    pub suid: Option<bool>,
    pub dev: Option<bool>,
    pub exec: Option<bool>,
    /// `bind`, or `rbind` with what is mounted below the source.
    pub recursive: Option<bool>,
    pub propagation: Option<Propagation>,
    /// The source becomes the container's user's (`U`).
    pub chown: bool,
    /// What the container writes is gone with it (`O`).
    pub overlay: bool,
    /// A fresh volume or tmpfs is filled from the image, unless this is false.
    pub copy: Option<bool>,
}

impl Mount {
    /// One with podman's defaults.
    pub fn plain(source: Source, target: &str) -> Mount {
        Mount {
            source,
            target: target.into(),
            read_only: false,
            suid: None,
            dev: None,
            exec: None,
            recursive: None,
            propagation: None,
            chown: false,
            overlay: false,
            copy: None,
        }
    }
}

/// Where a mount's content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory or file of the host.
    Path(String),
    /// A named volume.
    Volume(String),
    /// A volume without a name: it is gone with the container.
    Anonymous,
    /// Memory; the kernel's own options (`size=64m,mode=1777`).
    Tmpfs(String),
}

/// mount(2)'s words; the recursive ones begin with an `r`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    pub kind: PropagationKind,
    pub recursive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropagationKind {
    Shared,
    Slave,
    Private,
    Unbindable,
}

/// The mounts of an earlier container.
#[derive(Debug, PartialEq, Eq)]
pub struct VolumesFrom {
    pub container: String,
    /// As there, where it is not said.
    pub read_only: Option<bool>,
}
