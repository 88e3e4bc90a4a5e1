//! Named volumes: directories that outlive their containers, in the store or on a named file system.

use crate::disk::pure::filesystem::{is_name, FileSystem};
use crate::disk::{filesystems, remove_tree};
use crate::net::dns::Resolver;
use crate::report::{Failure, Outcome, Report};
use crate::store::dir::{self, c_name};
use crate::store::pure::volume::Volume;
use crate::store::staging::Staging;
use crate::sys::{self, fs as sysfs, io_text, machine, ENOENT, EXDEV};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::{fs, io};

/// Where volumes are, and what the options say of them.
pub struct Volumes<'a> {
    /// The store's own directory of volumes.
    pub dir: PathBuf,
    pub declared: &'a [Volume],
    pub filesystems: &'a [FileSystem],
    pub resolver: &'a Resolver,
    pub report: &'a Report,
}

impl Volumes<'_> {
    /// The directory of the volume `name`. A new one is made, and filled by `fill` first (podman's copy-up).
    pub fn filled(&self, name: &str, fill: &mut dyn FnMut(BorrowedFd<'_>) -> sys::Result<()>) -> Outcome<PathBuf> {
        let parent = self.parent(name)?;
        let c_name = c_name(&[name]);
        let fail = |error: io::Error| failure(name, &io_text(&error));
        fs::create_dir_all(&parent).map_err(fail)?;
        let volumes = dir::at(&parent).map_err(|error| fail(error.into()))?;
        if !is_there(volumes.as_fd(), &c_name).map_err(fail)? {
            // Processes take turns. On a file system without locks there is none, and only one machine should use it.
            let _lock = dir::lock(volumes.as_fd());
            if !is_there(volumes.as_fd(), &c_name).map_err(fail)? {
                make(volumes.as_fd(), &c_name, fill).map_err(|why| failure(name, &why))?;
            }
        }
        Ok(parent.join(name))
    }

    /// Mounts the file systems of all declared volumes.
    pub fn mount_all(&self) -> Outcome<()> {
        self.declared.iter().try_for_each(|volume| self.parent(&volume.name).map(drop))
    }

    /// At the pipeline's end: removes the volumes that expire.
    pub fn expire(&self) {
        for volume in self.declared.iter().filter(|volume| volume.expires) {
            let name = &volume.name;
            let removed = self.parent(name).and_then(|parent| {
                remove_tree::tree(&parent.join(name)).map_err(|error| failure(name, &io_text(&error)))
            });
            if let Err(failure) = removed {
                self.report.warn(failure.step, [&failure.what, ": it stays"].concat());
            }
        }
    }

    /// The directory that a volume of this name is in. A volume that no option declares is in the store, as with
    /// podman.
    fn parent(&self, name: &str) -> Outcome<PathBuf> {
        if !is_name(name) {
            return Err(failure(name, "not a volume name"));
        }
        let declared = self.declared.iter().rev().find(|volume| volume.name == name);
        let name = declared.and_then(|volume| volume.filesystem.as_deref());
        match self.filesystems.iter().rev().find(|filesystem| Some(filesystem.name.as_str()) == name) {
            Some(filesystem) => filesystems::path(filesystem, self.resolver, self.report),
            None => Ok(self.dir.clone()),
        }
    }
}

/// Whether there is a volume of this name. A disk may come from another machine: anything but a directory is an error,
/// and a symlink is not followed. A mount point is a volume: only this machine can have made it.
fn is_there(volumes: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    match dir::open(volumes, name) {
        Err(error) if error.errno == ENOENT => Ok(false),
        Err(error) if error.errno != EXDEV => Err(dir::refused(name, error)),
        _ => Ok(true),
    }
}

/// Makes a volume in the staging directory, and gives it its name when it is complete.
fn make(
    volumes: BorrowedFd<'_>,
    name: &CStr,
    fill: &mut dyn FnMut(BorrowedFd<'_>) -> sys::Result<()>,
) -> Result<(), String> {
    let staging = Staging::begin(volumes).map_err(|error| io_text(&error))?;
    let made = (|| {
        sysfs::mkdirat(staging.dir(), name, 0o755)?;
        dir::open(staging.dir(), name)
    })();
    let volume = made.map_err(|error| error.to_string())?;
    fill(volume.as_fd()).map_err(|error| ["copying what the image has there: ", &error.to_string()].concat())?;
    // It is filled once: a power cut must not leave the name without the content.
    let synced = machine::syncfs(volume.as_fd());
    let renamed = synced.and_then(|()| sysfs::renameat(staging.dir(), name, volumes, name));
    renamed.map_err(|error| error.to_string())
}

fn failure(name: &str, why: &str) -> Failure {
    Failure::new("volume", [name, ": ", why].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{Error, EINVAL};

    const QUIET: Report = Report { sections: false, times: false, quiet: true, live: false };

    /// Promise: named-volumes, volume-names, volume-race
    #[test]
    fn filled_once_and_removed_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("volumes");
        let declared = ["kept", "gone,expiration=pipeline_end"]
            .map(|text| crate::store::pure::volume::volume(text, &mut Vec::new()).unwrap());
        let resolver = Resolver::default();
        let volumes = Volumes { dir: path, declared: &declared, filesystems: &[], resolver: &resolver, report: &QUIET };
        let mut image = |volume: BorrowedFd<'_>| sysfs::mkdirat(volume, c"in", 0o755);
        let kept = volumes.filled("kept", &mut image).unwrap();
        assert!(kept.join("in").is_dir());
        // A container has emptied it: it is not filled again.
        fs::remove_dir(kept.join("in")).unwrap();
        assert_eq!(fs::read_dir(volumes.filled("kept", &mut image).unwrap()).unwrap().count(), 0);
        assert!(volumes.filled("gone", &mut image).unwrap().join("in").is_dir());
        // A volume that could not be filled is not there.
        let mut torn = |volume: BorrowedFd<'_>| {
            sysfs::mkdirat(volume, c"half", 0o755)?;
            Err(Error::new("mkdir", EINVAL))
        };
        let failed = volumes.filled("torn", &mut torn).unwrap_err();
        assert_eq!(failed.what, "torn: copying what the image has there: mkdir: invalid argument");
        // Two processes name a new volume at once: one fills it, the other finds it.
        let fills = std::sync::atomic::AtomicUsize::new(0);
        let both = std::sync::Barrier::new(2);
        let first = || {
            both.wait();
            let mut fill = |volume: BorrowedFd<'_>| {
                fills.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                sysfs::mkdirat(volume, c"in", 0o755)
            };
            assert!(volumes.filled("kept-too", &mut fill).unwrap().join("in").is_dir());
        };
        std::thread::scope(|scope| {
            scope.spawn(first);
            scope.spawn(first);
        });
        assert_eq!(fills.into_inner(), 1);
        volumes.expire();
        let mut left: Vec<_> = fs::read_dir(&volumes.dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["kept", "kept-too"]);
        assert_eq!(volumes.filled("../x", &mut image).unwrap_err().what, "../x: not a volume name");
    }

    /// A lab's file system has names of its own, and may come from another machine.
    /// Promise: foreign-directories
    #[test]
    fn hidden_directories_of_a_lab_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("volumes");
        fs::create_dir_all(path.join(".config/kept")).unwrap();
        fs::create_dir_all(path.join(".ocinit/config/kept")).unwrap();
        std::os::unix::fs::symlink("/", path.join("link")).unwrap();
        fs::write(path.join("file"), "").unwrap();
        let resolver = Resolver::default();
        let volumes =
            Volumes { dir: path.clone(), declared: &[], filesystems: &[], resolver: &resolver, report: &QUIET };
        let told = |name: &str| volumes.filled(name, &mut |_| Ok(())).unwrap_err().what.clone();
        assert!(told("config").starts_with("config: '.ocinit' is not empty and has no file"), "{}", told("config"));
        assert_eq!(told("link"), "link: 'link' is a symbolic link, which is not followed");
        assert_eq!(told("file"), "file: 'file' is not a directory");
        assert!(path.join(".ocinit/config/kept").exists());
        // What a killed process of ours has left is removed.
        fs::write(path.join(".ocinit/ocinit-store"), "1\n").unwrap();
        assert!(volumes.filled("config", &mut |_| Ok(())).unwrap().is_dir());
        assert!(path.join(".config/kept").exists() && !path.join(".ocinit").exists());
    }
}
