//! Debian's podman and the programs that it starts, packed for guests and for images; nothing of it is installed.

use ocinit::host::cpio::Archive;
use ocinit::host::peer::{self, Selection};
use std::path::Path;

/// What is taken from Debian's packages, which are kept in `cache` for the next time.
pub struct Parts {
    pub cache: &'static str,
    /// Debian's suite; the host's own where there is none.
    pub suite: Option<&'static str>,
    pub packages: &'static [&'static str],
    pub programs: &'static [&'static str],
    pub data: &'static [&'static str],
}

pub const ZONE: &str = "usr/share/zoneinfo/Europe/Berlin";
/// Podman, and the programs that it starts.
pub const PODMANS: Parts = Parts {
    cache: "target/guest-podman",
    suite: None,
    packages: &[
        "busybox-static",
        "catatonit",
        "conmon",
        "crun",
        "golang-github-containers-common",
        "podman",
        "runc",
        "tzdata",
    ],
    programs: &[
        "bin/busybox",
        "usr/bin/catatonit",
        "usr/bin/conmon",
        "usr/bin/crun",
        "usr/bin/podman",
        "usr/sbin/runc",
    ],
    data: &[ZONE, "usr/share/containers/containers.conf", "usr/share/containers/seccomp.json"],
};

/// The newest that Debian has, whose answers the parity test keeps.
pub const NEWEST: Parts = Parts {
    cache: "target/guest-podman-newest",
    suite: Some("testing"),
    packages: &[
        "busybox-static",
        "catatonit",
        "conmon",
        "crun",
        "golang-github-containers-common",
        "netavark",
        "podman",
        "runc",
        "tzdata",
    ],
    programs: &[
        "bin/busybox",
        "usr/bin/catatonit",
        "usr/bin/conmon",
        "usr/bin/crun",
        "usr/bin/podman",
        "usr/lib/podman/netavark",
        "usr/sbin/runc",
    ],
    data: PODMANS.data,
};

const TEXTS: &[(&str, &str)] = &[
    ("etc/containers/containers.conf", include_str!("../parity/guest/containers.conf")),
    ("etc/containers/storage.conf", include_str!("../../benches/peer/storage.conf")),
    ("etc/containers/policy.json", "{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}\n"),
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
    ("etc/group", "root:x:0:\n"),
];
const DIRECTORIES: &[&str] = &["proc", "sys", "dev", "run", "tmp", "root", "var/tmp", "var/lib/containers"];

impl Parts {
    /// These programs, podman's settings for a system without systemd, and busybox under these names.
    pub fn gather(&self, applets: &[&str]) -> Result<peer::Programs, String> {
        let mut all = peer::programs(&Selection {
            cache: Path::new(self.cache),
            suite: self.suite,
            packages: self.packages,
            programs: self.programs,
            data: self.data,
        })?;
        DIRECTORIES.iter().for_each(|directory| all.archive.directory(directory, 0o755));
        TEXTS.iter().for_each(|(path, text)| all.archive.file(path, 0o644, *text));
        applets.iter().for_each(|applet| all.archive.symlink(&format!("bin/{applet}"), "busybox"));
        Ok(all)
    }
}

/// Puts a directory of the host into the archive.
pub fn add_directory(archive: &mut Archive, directory: &Path, target: &str) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let inside = format!("{target}/{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            add_directory(archive, &path, &inside)?;
        } else {
            archive.file(&inside, 0o644, std::fs::read(&path)?);
        }
    }
    Ok(())
}
