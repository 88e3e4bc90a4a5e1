//! Named volumes: folders that outlive their containers, with the images in the
//! store or on a named file system.

use super::filesystems;
use super::remove;
use super::resolver::Resolver;
use crate::proto::volume::{self, FileSystem, Volume};
use crate::report::{Failure, Outcome, Report};
use crate::sys::{self, io_text, machine};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

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
    /// The folder of the volume `name`. One that is new is made, and first filled by `fill` (podman's copy-up).
    pub fn filled(&self, name: &str, fill: &mut dyn FnMut(BorrowedFd<'_>) -> sys::Result<()>) -> Outcome<PathBuf> {
        let path = self.place(name)?;
        if path.exists() {
            return Ok(path);
        }
        // Aside, under a name that no volume has: whole, or not there.
        let parent = path.parent().unwrap_or(&path);
        let aside = parent.join([".", name].concat());
        let fail = |error: io::Error| failure(name, &io_text(&error));
        fs::create_dir_all(parent).map_err(fail)?;
        // One at a time, over all processes; a file system without locks is one machine's own affair.
        let lock = File::open(parent).map_err(fail)?;
        let _ = sys::fs::lock_exclusive(lock.as_fd());
        if path.exists() {
            return Ok(path);
        }
        remove::tree(&aside).map_err(fail)?;
        fs::DirBuilder::new().mode(0o755).create(&aside).map_err(fail)?;
        let folder = File::open(&aside).map_err(fail)?;
        fill(folder.as_fd()).map_err(|error| {
            // The next one begins anew; until then this takes no room.
            let _ = remove::tree(&aside);
            failure(name, &["what the image has there: ", &error.to_string()].concat())
        })?;
        // It is filled once: a power cut must not leave the name without the content.
        machine::syncfs(folder.as_fd()).map_err(|error| failure(name, &error.to_string()))?;
        fs::rename(&aside, &path).map_err(fail)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{fs as sysfs, Error, EINVAL};

    const QUIET: Report = Report { sections: false, times: false, quiet: true };

    #[test]
    fn filled_once_and_removed_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("volumes");
        let declared =
            ["kept", "gone,expiration=pipeline_end"].map(|text| volume::volume(text, &mut Vec::new()).unwrap());
        let resolver = Resolver::default();
        let volumes = Volumes { folder, declared: &declared, filesystems: &[], resolver: &resolver, report: &QUIET };
        let mut image = |folder: BorrowedFd<'_>| sysfs::mkdirat(folder, c"in", 0o755);
        let kept = volumes.filled("kept", &mut image).unwrap();
        assert!(kept.join("in").is_dir());
        // A container has emptied it: it stays so.
        fs::remove_dir(kept.join("in")).unwrap();
        assert_eq!(fs::read_dir(volumes.filled("kept", &mut image).unwrap()).unwrap().count(), 0);
        assert!(volumes.filled("gone", &mut image).unwrap().join("in").is_dir());
        // What could be filled by half only is not there.
        let mut torn = |folder: BorrowedFd<'_>| {
            sysfs::mkdirat(folder, c"half", 0o755)?;
            Err(Error::new("mkdir", EINVAL))
        };
        let failed = volumes.filled("torn", &mut torn).unwrap_err();
        assert_eq!(failed.what, "torn: what the image has there: mkdir: invalid argument");
        // Two that are the first at once: one fills, the other finds.
        let fills = std::sync::atomic::AtomicUsize::new(0);
        let both = std::sync::Barrier::new(2);
        let first = || {
            both.wait();
            let mut fill = |folder: BorrowedFd<'_>| {
                fills.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                sysfs::mkdirat(folder, c"in", 0o755)
            };
            assert!(volumes.filled("kept-too", &mut fill).unwrap().join("in").is_dir());
        };
        std::thread::scope(|scope| {
            scope.spawn(first);
            scope.spawn(first);
        });
        assert_eq!(fills.into_inner(), 1);
        volumes.expire();
        let mut left: Vec<_> = fs::read_dir(&volumes.folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["kept", "kept-too"]);
        assert_eq!(volumes.filled("../x", &mut image).unwrap_err().what, "../x: no name of a volume");
    }
}
