//! Fills a new volume or tmpfs with what the image has at its target.

use crate::container::in_root;
use crate::container::mount_flags::{flags, NOSUID_NODEV};
use crate::container::mount_target::MountTarget;
use crate::container::ops::Op;
use crate::container::pure::paths::c_string;
use crate::container::pure::spec::Mount;
use crate::store::copy_tree;
use crate::sys::path::c_path;
use crate::sys::{self, fs as sysfs, io_text, mount, ENOENT};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The directory of a volume without a name, filled from the image and removed with the container.
pub fn anonymous(mount: &Mount, target: &str, number: usize, to: &MountTarget) -> Result<PathBuf, String> {
    let directory = to.dir.join("volumes");
    let io = |error: std::io::Error| io_text(&error);
    fs::create_dir_all(&directory).map_err(io)?;
    // By number: a path may be longer than a name.
    let path = directory.join(number.to_string());
    fs::DirBuilder::new().mode(0o755).create(&path).map_err(io)?;
    let directory = open_directory(&path).map_err(|error| error.to_string())?;
    let filled = fill(target, directory.as_fd(), mount.copy, to);
    filled.map(|()| path).map_err(|error| ["what the image has there: ", &error.to_string()].concat())
}

/// Gives a new directory what the image has at `target`: owner, mode, and content unless `copy` is false. Where the
/// image has nothing there, the directory belongs to the container's user.
pub fn fill(target: &str, directory: BorrowedFd<'_>, copy: Option<bool>, to: &MountTarget) -> sys::Result<()> {
    let Some(from) = in_image(target, to)? else {
        return sysfs::fchown(directory, to.identity.uid, to.identity.gid);
    };
    if copy != Some(false) {
        return copy_tree::tree(from.as_fd(), directory);
    }
    let stat = sysfs::statat(from.as_fd(), c"")?;
    sysfs::fchown(directory, stat.uid, stat.gid)?;
    sysfs::fchmod(directory, stat.mode & 0o7777)
}

/// The image's directory at `target`, wherever its symlinks lead in the root.
fn in_image(target: &str, to: &MountTarget) -> sys::Result<Option<OwnedFd>> {
    let flags = sysfs::O_RDONLY | sysfs::O_DIRECTORY;
    match in_root::open_below(to.root, &c_string(target), flags) {
        Err(error) if matches!(error.errno, ENOENT | sys::ENOTDIR) => Ok(None),
        result => result.map(Some),
    }
}

/// A tmpfs with the mode of the image's directory, as crun has it. Where that has content, the file system is made and
/// filled before it is mounted.
pub fn tmpfs(mount: &Mount, target: &str, data: &str, to: &MountTarget) -> sys::Result<Op> {
    let from = in_image(target, to)?;
    let mut options: Vec<String> = data.split(',').filter(|word| !word.is_empty()).map(String::from).collect();
    let mut default = |key: &str, value: String| {
        if !options.iter().any(|option| option.starts_with(key)) {
            options.push([key, &value].concat());
        }
    };
    if let Some(from) = &from {
        default("mode=", format!("{:o}", sysfs::statat(from.as_fd(), c"")?.mode & 0o7777));
    }
    if mount.chown {
        default("uid=", to.identity.uid.to_string());
        default("gid=", to.identity.gid.to_string());
    }
    let (path, flags) = (c_string(target), flags(mount, NOSUID_NODEV));
    match from.filter(|_| mount.copy != Some(false)) {
        Some(from) if !copy_tree::is_empty(from.as_fd())? => {
            let mount = filled(from.as_fd(), &options)?;
            Ok(Op::Attach { mount, path, flags })
        }
        _ => Ok(Op::Tmpfs { name: c"tmpfs", path, flags, data: c_string(&options.join(",")) }),
    }
}

fn filled(from: BorrowedFd<'_>, options: &[String]) -> sys::Result<OwnedFd> {
    let context = mount::fs_open(c"tmpfs")?;
    for option in options {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        mount::fs_option(context.as_fd(), &c_string(key), Some(c_string(value)).as_deref())?;
    }
    mount::fs_option(context.as_fd(), c"source", Some(c"tmpfs"))?;
    let made = mount::fs_mount(context.as_fd())?;
    let top = sysfs::statat(made.as_fd(), c"")?;
    copy_tree::tree(from, made.as_fd())?;
    // Copying has given the root the image's owner and mode: the options win.
    let root = sysfs::openat(made.as_fd(), c".", sysfs::O_RDONLY | sysfs::O_DIRECTORY, 0)?;
    sysfs::fchown(root.as_fd(), top.uid, top.gid)?;
    sysfs::fchmod(root.as_fd(), top.mode & 0o7777)?;
    Ok(made)
}

/// Opens a directory of the host.
pub fn open_directory(path: &Path) -> sys::Result<OwnedFd> {
    sysfs::openat(sysfs::CWD, &c_path(path)?, sysfs::O_RDONLY | sysfs::O_DIRECTORY, 0)
}
