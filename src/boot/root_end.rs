//! The end of a machine whose root was an image (`b2c.root`) with systemd: its last step is to go over to
//! `/run/initramfs`, and to execute `/shutdown` there as process 1 ("The initrd Interface of systemd"). Only then can
//! the root be unmounted, and the cache disk that its layers are on.

use crate::boot::{early_mounts, shutdown};
use crate::files;
use crate::report::Report;
use crate::sys::machine::Reboot;
use crate::sys::{mount, signal};
use std::ffi::CStr;
use std::fs;
use std::path::Path;

const DIRECTORY: &str = "/run/initramfs";
const PROGRAM: &str = "/run/initramfs/shutdown";
/// What it is called after systemd has gone over.
const NAME: &str = "/shutdown";
/// Where the root is then.
const OLD_ROOT: &CStr = c"/oldroot";

/// Puts this program where systemd looks for it.
pub fn install() {
    let copied =
        fs::create_dir_all(DIRECTORY).and_then(|()| files::copy_file(Path::new("/proc/self/exe"), Path::new(PROGRAM)));
    if copied.is_err() {
        // Without the memory for it, the machine ends as with another init.
        let _ = fs::remove_file(PROGRAM);
    }
}

/// Whether systemd has executed us.
pub fn is_called() -> bool {
    std::env::args_os().next().is_some_and(|name| name == NAME)
}

/// Unmounts what is left, and ends the machine as systemd was asked to.
pub fn run() -> ! {
    early_mounts::dev_and_console();
    let report = Report::at_boot();
    // With all that is mounted in it. It is gone at once, since no other process is left.
    let _ = mount::umount(OLD_ROOT, mount::MNT_DETACH);
    let how = match std::env::args().nth(1).as_deref() {
        Some("reboot" | "kexec") => Reboot::Restart,
        Some("halt") => Reboot::Halt,
        _ => Reboot::PowerOff,
    };
    shutdown::unmount(how == Reboot::Restart, &report);
    shutdown::end_machine(how, &report);
    // The kernel has refused, and process 1 must not end.
    loop {
        signal::wait(&[signal::SIGCHLD]);
    }
}
