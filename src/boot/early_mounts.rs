//! The move from the initramfs to a tmpfs (switch_root), the early mounts, and the console.

use crate::files;
use crate::report::{console, Outcome, Report};
use crate::sys::path::c_path;
use crate::sys::{fs as sysfs, machine, mount, process, Error, Result, EBUSY};
use std::ffi::{CStr, CString};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{symlink, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Where the new root is mounted before the move.
const NEW_ROOT: &str = "/.ocinit";
const MODULES: &CStr = c"/lib/modules";
/// Argument 0 after the move. The kernel starts us with the path of the file there.
const MOVED: &CStr = c"ocinit";
/// The size is of all memory: the rest is left for the kernel and the containers.
const ROOT_OPTIONS: &CStr = c"mode=755,size=80%";
/// The types of an initramfs's root file system, ramfs and tmpfs (Linux, magic.h).
const ROOTFS_KINDS: [u64; 2] = [0x8584_58f6, 0x0102_1994];

/// Whether this process was started by [`leave_rootfs`].
pub fn has_left() -> bool {
    let name = std::env::args_os().next().unwrap_or_default();
    name.as_encoded_bytes() == MOVED.to_bytes()
}

/// Moves the initramfs to a new tmpfs, makes that the root, and starts again there. pivot_root does not work from an
/// initramfs but from a tmpfs, so containers can run containers; a tmpfs's pages can be swapped; and the memory of the
/// initramfs is freed. Returns only if there is nothing to move, or with an error.
pub fn leave_rootfs() -> Result<()> {
    if has_left() {
        return Ok(());
    }
    let root = sysfs::openat(sysfs::CWD, c"/", sysfs::O_RDONLY | sysfs::O_DIRECTORY, 0)?;
    // Moving deletes the files, so another root file system, such as a disk's, must stay as it is.
    if !ROOTFS_KINDS.contains(&sysfs::statfs(root.as_fd())?.kind) || !Path::new("/init").is_file() {
        return Ok(());
    }
    make_directory(NEW_ROOT)?;
    let new_root = c_path(Path::new(NEW_ROOT))?;
    mount::mount(c"ocinit", &new_root, c"tmpfs", 0, ROOT_OPTIONS)?;
    // Modules are only read, so a bind mount saves copying them. It fails if there are none.
    let kept =
        make_directory("/.ocinit/lib/modules").and_then(|()| mount::bind(MODULES, c"/.ocinit/lib/modules", false));
    let kept = kept.map_or("", |()| "/lib/modules");
    let device = fs::metadata("/").map_err(|error| Error::from_io("stat", &error))?.dev();
    move_tree(Path::new("/"), Path::new(NEW_ROOT), device, Path::new(kept))
        .map_err(|error| Error::from_io("move", &error))?;
    process::chdir(&new_root)?;
    mount::move_(c".", c"/")?;
    process::chroot(c".")?;
    process::chdir(c"/")?;
    // A process that reaches our program by /proc must not write to it. The boot goes on if this fails.
    let _ = mount::bind(c"/init", c"/init", false).and_then(|()| mount::remount(c"/init", mount::MS_RDONLY));
    let arguments = [CString::from(MOVED)];
    let environment: [CString; 0] = [];
    let (arguments, environment) = (process::Arguments::new(&arguments), process::Arguments::new(&environment));
    Err(process::exec(c"/init", &arguments, &environment))
}

/// Moves the files of `from` to `to` one by one, so that few are in memory twice. Files of another file system than
/// `device`, the initramfs's, stay: the kernel may have mounted devtmpfs already.
fn move_tree(from: &Path, to: &Path, device: u64, kept: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let meta = fs::symlink_metadata(&path)?;
        if meta.dev() != device || path == kept {
            continue;
        }
        if meta.is_dir() {
            fs::create_dir_all(&target)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(meta.mode()))?;
            move_tree(&path, &target, device, kept)?;
            // A directory with a mount in it stays.
            let _ = fs::remove_dir(&path);
            continue;
        }
        if meta.is_symlink() {
            symlink(fs::read_link(&path)?, &target)?;
        } else if meta.is_file() {
            files::copy_file(&path, &target)?;
        } else if !meta.file_type().is_char_device() {
            continue;
        }
        fs::remove_file(&path)?;
    }
    Ok(())
}

/// Mounts `/dev`, and opens the console as standard input, output and error. Errors are dropped, since nothing can be
/// printed without a console.
pub fn dev_and_console() {
    let _ = make_directory("/dev");
    let _ = mount_or_there(c"devtmpfs", c"/dev", mount::MS_NOSUID, c"mode=755");
    console::start();
}

const NOSUID_NODEV_NOEXEC: u64 = mount::MS_NOSUID | mount::MS_NODEV | mount::MS_NOEXEC;

/// The mounts of the boot, in order: type, mount point, flags, options.
const MOUNTS: [(&CStr, &CStr, u64, &CStr); 9] = [
    (c"proc", c"/proc", NOSUID_NODEV_NOEXEC, c""),
    (c"sysfs", c"/sys", NOSUID_NODEV_NOEXEC, c""),
    (c"devpts", c"/dev/pts", mount::MS_NOSUID | mount::MS_NOEXEC, c"mode=620,gid=5,ptmxmode=666"),
    (c"tmpfs", c"/dev/shm", mount::MS_NOSUID | mount::MS_NODEV, c"mode=1777"),
    (c"mqueue", c"/dev/mqueue", NOSUID_NODEV_NOEXEC, c""),
    (c"tmpfs", c"/run", mount::MS_NOSUID | mount::MS_NODEV, c"mode=755"),
    (c"tmpfs", c"/tmp", mount::MS_NOSUID | mount::MS_NODEV, c"mode=1777"),
    (c"cgroup2", c"/sys/fs/cgroup", NOSUID_NODEV_NOEXEC, c"nsdelegate"),
    (c"securityfs", c"/sys/kernel/security", NOSUID_NODEV_NOEXEC, c""),
];

/// Mounts the file systems of the table. A file system that fails is left out, with a warning if containers may need
/// it; only `/proc` and `/sys` are required.
pub fn mounts(report: &Report) -> Outcome<()> {
    for (kind, target, flags, options) in MOUNTS {
        let path = target.to_string_lossy();
        // Where it cannot be made, the mount says why.
        let _ = make_directory(&path);
        let mounted = mount_or_there(kind, target, flags, options);
        let needed = kind == c"proc" || kind == c"sysfs";
        match mounted {
            Err(error) if needed => {
                return Err(crate::report::Failure::new("mounts", [&path, ": ", &error.to_string()].concat()));
            }
            Err(error) if kind != c"securityfs" && kind != c"mqueue" => {
                report.warn("mounts", format_args!("left out: {path}: {error}"));
            }
            _ => {}
        }
    }
    switch_controllers("+");
    protect();
    set_rcu_expedited(true);
    Ok(())
}

/// Keeps the kernel from killing the boot where memory is short: a boot whose containers have taken all memory still
/// has to end in order.
fn protect() {
    // If this fails and the boot is killed, PID 1 ends the machine.
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
}

/// Switches expedited RCU grace periods on or off: closing a packet socket, mounting and loading a module each wait for
/// one. The kernel has them on until it starts PID 1. They are off while a container runs, which they would disturb.
pub fn set_rcu_expedited(on: bool) {
    // A kernel without this file works all the same, but slower.
    let _ = fs::write("/sys/kernel/rcu_expedited", if on { "1" } else { "0" });
}

/// Enables (`+`) or disables (`-`) every controller of the root control group for the groups below it (Linux,
/// cgroup-v2.rst, "Enabling and Disabling"). One for which that fails is left out. A controller that is enabled cannot
/// be mounted as version 1, which the machine's own init may want.
pub fn switch_controllers(sign: &str) {
    let Ok(controllers) = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers") else { return };
    let all: Vec<String> = controllers.split_whitespace().map(|name| [sign, name].concat()).collect();
    if fs::write("/sys/fs/cgroup/cgroup.subtree_control", all.join(" ")).is_err() {
        for controller in all {
            let _ = fs::write("/sys/fs/cgroup/cgroup.subtree_control", controller);
        }
    }
}

/// Sets the machine's host name. Containers get theirs from their options.
pub fn set_hostname(name: &str, report: &Report) {
    if let Err(error) = machine::sethostname(name.as_bytes()) {
        report.warn("hostname", format_args!("{name}: {error}"));
    }
}

fn make_directory(path: &str) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| Error::from_io("mkdir", &error))
}

/// Mounts `kind` at `target`, where the kernel may have mounted it already, as it does with devtmpfs.
fn mount_or_there(kind: &CStr, target: &CStr, flags: u64, options: &CStr) -> Result<()> {
    match mount::mount(kind, target, kind, flags as _, options) {
        Err(error) if error.errno == EBUSY => Ok(()),
        result => result,
    }
}
