//! Files of the image: what is read of them, and what is put in their place.

use super::Surroundings;
use crate::proto::flags::asked::Namespace;
use crate::proto::flags::Container;
use crate::proto::passwd::{self, Identity};
use crate::report::{Failure, Outcome};
use crate::sys::{fs as sysfs, Error, ENOENT};
use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Files of an image that we read, `/etc/passwd` and its kin, are no larger.
const IMAGE_FILE_MAX: u64 = 1 << 20;

/// Opens a file of the image, wherever its own symlinks lead inside it.
fn open_inside(root: &Path, path: &CStr, flags: i32) -> crate::sys::Result<OwnedFd> {
    let root = File::open(root).map_err(|error| Error::from_io("open", &error))?;
    sysfs::openat2(root.as_fd(), path, flags, 0, sysfs::RESOLVE_IN_ROOT | sysfs::RESOLVE_NO_MAGICLINKS)
}

/// A small regular file of the image as text; empty where there is none. It is
/// looked at before it is opened: a FIFO would block, a device would answer.
fn read_inside(root: &Path, path: &CStr) -> Result<String, String> {
    let place = match open_inside(root, path, sysfs::O_PATH) {
        Err(error) if error.errno == ENOENT => return Ok(String::new()),
        result => result.map_err(|error| error.to_string())?,
    };
    let stat = sysfs::statat(place.as_fd(), c"").map_err(|error| error.to_string())?;
    if !stat.is(sysfs::S_IFREG) {
        return Err("not a regular file".into());
    }
    if stat.size > IMAGE_FILE_MAX {
        return Err("larger than 1 MiB".into());
    }
    let file = open_inside(root, path, sysfs::O_RDONLY | sysfs::O_NONBLOCK).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    File::from(file).take(IMAGE_FILE_MAX).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Who the image's USER, or the line's, is.
pub fn identity(root: &Path, user: &str) -> Outcome<Identity> {
    let read = |path: &CStr, name: &str| {
        read_inside(root, path)
            .map_err(|why| Failure::new("container", ["user «", user, "»: the image's ", name, ": ", &why].concat()))
    };
    let passwd = read(c"etc/passwd", "/etc/passwd")?;
    let group = read(c"etc/group", "/etc/group")?;
    passwd::resolve(user, &passwd, &group)
        .map_err(|error| Failure::new("container", ["user «", user, "»: ", &error.text()].concat()))
}

/// `/etc/hostname`, `hosts`, `resolv.conf`: new files in the container's upper.
/// Whatever the image has there is replaced and never followed: it could be a
/// symlink out, a FIFO or a disk.
pub fn write_own(line: &Container, root: &Path, hostname: &str, around: &Surroundings) -> Outcome<()> {
    let fail = |name: &str, error: &str| Failure::new("container", ["/etc/", name, ": ", error].concat());
    // Its errors show at the open below.
    let _ = open_inside(root, c".", sysfs::O_RDONLY).map(|root| sysfs::mkdirat(root.as_fd(), c"etc", 0o755));
    let etc = open_inside(root, c"etc", sysfs::O_PATH | sysfs::O_DIRECTORY);
    let etc = etc.map_err(|error| fail("", &error.to_string()))?;
    let hosts = ["127.0.0.1\tlocalhost ", hostname, "\n::1\tlocalhost\n"].concat();
    let mut files = vec![(c"hostname", [hostname, "\n"].concat()), (c"hosts", hosts)];
    if !line.files.dns.none && line.namespaces.network != Namespace::Empty {
        files.push((c"resolv.conf", around.resolv_conf.clone()));
    }
    for (name, text) in files {
        let write = || -> Result<(), Error> {
            match sysfs::unlinkat(etc.as_fd(), name) {
                Err(error) if error.errno != ENOENT => return Err(error),
                _ => {}
            }
            let flags = sysfs::O_CREAT | sysfs::O_EXCL | sysfs::O_NOFOLLOW | sysfs::O_WRONLY;
            let file = sysfs::openat(etc.as_fd(), name, flags, 0o644)?;
            sysfs::pwrite(file.as_fd(), text.as_bytes(), 0).map(drop)
        };
        write().map_err(|error| fail(&name.to_string_lossy(), &error.to_string()))?;
    }
    Ok(())
}
