//! Named volumes: folders that outlive their containers, with the images in the
//! store or on a named file system.

use super::filesystems;
use super::remove;
use super::resolver::Resolver;
use super::unpack::copy;
use crate::proto::volume::{self, FileSystem, Volume};
use crate::report::{Failure, Outcome, Report};
use crate::sys::{fs as sysfs, io_text, Error};
use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Where volumes are, and what the options say of them.
pub struct Volumes<'a> {
    /// The store's own folder of volumes.
    pub folder: PathBuf,
    pub declared: &'a [Volume],
    pub filesystems: &'a [FileSystem],
    pub resolver: &'a Resolver,
    pub report: &'a Report,
}

impl Volumes<'_> {
    /// The folder of the volume `name`, made where it is missing.
    pub fn path(&self, name: &str) -> Outcome<PathBuf> {
        let path = self.place(name)?;
        fs::create_dir_all(&path).map_err(|error| failure(name, &io_text(&error)))?;
        Ok(path)
    }

    /// The same; one that is new is first filled with what the container's `root`
    /// has at `target`, which podman calls copy-up.
    pub fn filled(&self, name: &str, root: &Path, target: &str) -> Outcome<PathBuf> {
        let path = self.place(name)?;
        let fail = |why: &str| failure(name, why);
        if path.exists() {
            return Ok(path);
        }
        let Some(from) = folder_inside(root, target) else { return self.path(name) };
        // Aside, under a name that no volume has: whole, or not there.
        let parent = path.parent().unwrap_or(&path);
        let aside = parent.join([".", name].concat());
        let to = fs::create_dir_all(parent)
            .and_then(|()| remove::tree(&aside))
            .and_then(|()| fs::create_dir(&aside))
            .and_then(|()| File::open(&aside));
        let to = to.map_err(|error| fail(&io_text(&error)))?;
        copy::folder(from, to.into()).map_err(|why| fail(&["from the image: ", target, "/", &why].concat()))?;
        fs::rename(&aside, &path).map_err(|error| fail(&io_text(&error)))?;
        Ok(path)
    }

    /// At the pipeline's end: removes those that are not to stay.
    pub fn expire(&self) {
        for volume in self.declared.iter().filter(|volume| volume.expires) {
            let removed = self
                .place(&volume.name)
                .and_then(|path| remove::tree(&path).map_err(|error| failure(&volume.name, &io_text(&error))));
            if let Err(failure) = removed {
                self.report.warn(failure.step, [&failure.what, ": it stays"].concat());
            }
        }
    }

    /// Where a volume of this name is. One that nobody has declared is as with
    /// podman: it is made where it is first named.
    fn place(&self, name: &str) -> Outcome<PathBuf> {
        if !volume::is_name(name) {
            return Err(failure(name, "no name of a volume"));
        }
        let declared = self.declared.iter().rev().find(|volume| volume.name == name);
        let wanted = declared.and_then(|volume| volume.filesystem.as_deref());
        let wanted = self.filesystems.iter().rev().find(|filesystem| Some(filesystem.name.as_str()) == wanted);
        match wanted {
            Some(filesystem) => Ok(filesystems::path(filesystem, self.resolver, self.report)?.join(name)),
            None => Ok(self.folder.join(name)),
        }
    }
}

fn failure(name: &str, why: &str) -> Failure {
    Failure::new("volume", [name, ": ", why].concat())
}

/// The folder at `target` in a container's root, wherever the image's symlinks
/// lead inside it; none where it is no folder.
fn folder_inside(root: &Path, target: &str) -> Option<OwnedFd> {
    let root = File::open(root).map_err(|error| Error::from_io("open", &error)).ok()?;
    let flags = sysfs::O_RDONLY | sysfs::O_DIRECTORY;
    let inside = sysfs::RESOLVE_IN_ROOT | sysfs::RESOLVE_NO_MAGICLINKS;
    sysfs::openat2(root.as_fd(), &CString::new(target).ok()?, flags, 0, inside).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const QUIET: Report = Report { sections: false, times: false, quiet: true };

    #[test]
    fn filled_once_and_removed_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let (root, folder) = (dir.path().join("root"), dir.path().join("volumes"));
        fs::create_dir_all(root.join("data/in")).unwrap();
        fs::write(root.join("data/in/file"), "image").unwrap();
        fs::set_permissions(root.join("data"), PermissionsExt::from_mode(0o1777)).unwrap();
        std::os::unix::fs::symlink("/data", root.join("link")).unwrap();
        std::os::unix::fs::symlink("/../../outside", root.join("out")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        let declared =
            ["kept", "gone,expiration=pipeline_end"].map(|text| volume::volume(text, &mut Vec::new()).unwrap());
        let resolver = Resolver::default();
        let volumes = Volumes { folder, declared: &declared, filesystems: &[], resolver: &resolver, report: &QUIET };
        let kept = volumes.filled("kept", &root, "/link").unwrap();
        assert_eq!(fs::read_to_string(kept.join("in/file")).unwrap(), "image");
        assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o7777, 0o1777);
        // A container has emptied it: it stays so.
        fs::remove_dir_all(kept.join("in")).unwrap();
        assert_eq!(fs::read_dir(volumes.filled("kept", &root, "/data").unwrap()).unwrap().count(), 0);
        // What the image does not have, or has outside, leaves it empty.
        assert_eq!(fs::read_dir(volumes.filled("gone", &root, "/none").unwrap()).unwrap().count(), 0);
        assert_eq!(fs::read_dir(volumes.filled("other", &root, "/out").unwrap()).unwrap().count(), 0);
        volumes.expire();
        let mut left: Vec<_> = fs::read_dir(&volumes.folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["kept", "other"]);
        assert_eq!(volumes.path("../x").unwrap_err().what, "../x: no name of a volume");
    }
}
