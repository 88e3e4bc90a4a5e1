//! The paths of boot2container: `/storage`, which is the cache's file system, or in memory if there is none, and
//! `/container`, its older name. Labs name them on container lines (`-v /container/tmp:/x`).

use crate::container::pure::spec::{ContainerSpec, Source};
use crate::disk::cache_device::{MOUNTED_AT, OLDER_NAME};
use crate::report::{Failure, Outcome};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Makes both in the initramfs, where they are in memory until a cache is mounted.
pub fn make() {
    // What the initramfs has there stays. If one of them cannot be made, the container that needs it says so.
    let _ = fs::create_dir_all(MOUNTED_AT);
    let _ = symlink(MOUNTED_AT, OLDER_NAME);
}

/// Makes the directories of both paths that the container is to have and that are not there: on a new disk there is
/// none. The disk may come from another machine, so none may lead out of it.
pub fn make_sources(spec: &ContainerSpec) -> Outcome<()> {
    for mount in &spec.files.mounts {
        match &mount.source {
            Source::Path(path) if is_below(path) => make_below(path)?,
            _ => {}
        }
    }
    Ok(())
}

fn is_below(path: &str) -> bool {
    let path_has_parent = path.split('/').any(|part| part == "..");
    !path_has_parent && [MOUNTED_AT, OLDER_NAME].iter().any(|root| Path::new(path).starts_with(root))
}

fn make_below(path: &str) -> Outcome<()> {
    // Where it cannot be made, the mount says why.
    let _ = fs::create_dir_all(path);
    let real = fs::canonicalize(path).unwrap_or_default();
    if real.as_os_str().is_empty() || fs::canonicalize(MOUNTED_AT).is_ok_and(|root| real.starts_with(root)) {
        return Ok(());
    }
    let what = ["volume ", path, ": leads to ", &real.to_string_lossy(), ", out of ", MOUNTED_AT].concat();
    Err(Failure::new("container", what).hint("a symbolic link on the disk: remove it, or name the directory itself"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_these_paths() {
        for path in ["/storage", "/storage/", "/storage/x", "/container/tmp", "//container//a b"] {
            assert!(is_below(path), "{path}");
        }
        for path in
            ["/storages/x", "/none", "/data/storage", "/storage/../etc", "./storage/x", "/containers", "storage"]
        {
            assert!(!is_below(path), "{path}");
        }
    }
}
