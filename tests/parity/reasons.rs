//! Differences that are meant, each with its reason. What is not here is a failure of the test, and so is a row that
//! nothing needs.
//!
//! The recorded podman is Debian 12's (podman 4.3, crun 1.8, conmon 2.1.6, catatonit 0.1.7). Most of what is here is
//! where later versions do as we do: a machine's next podman would show it, too. docs/podman.md has them for users.

use super::compare::matches;

/// Covers lines of a difference: `- LINE` is podman's alone, `+ LINE` ours.
pub struct Reason {
    /// Combinations, by a pattern of their names.
    names: &'static str,
    /// The line; `*` is any text, and `?` at its beginning either side.
    line: &'static str,
    pub why: &'static str,
}

impl Reason {
    pub fn covers(&self, name: &str, line: &str) -> bool {
        let same = match self.line.strip_prefix('?') {
            Some(rest) => line.get(1..).is_some_and(|line| matches(rest, line)),
            None => matches(self.line, line),
        };
        same && matches(self.names, name)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.names, self.line, self.why)
    }
}

const fn reason(names: &'static str, line: &'static str, why: &'static str) -> Reason {
    Reason { names, line, why }
}

// As later versions have it.
const ENV_COVERED: &str = "podman 4.3 mounts a tmpfs over its own file in /run; since 4.7 it lies in there, as ours";
const NULL_OWNER: &str = "crun gave the container's /dev/null to its user; since 1.24 it leaves devices as they are";
const PIPES: &str =
    "conmon 2.1.6 forgot that its pipes are for every user of the container; 2.1.8 makes them 0777 again";
const PROC_FLAGS: &str =
    "crun 1.8 loses nosuid, nodev and noexec of /proc where it takes writing away; later ones, and runc, keep them";
const TMPFS_MODE: &str =
    "a tmpfs over a directory of the image has that directory's mode, as in crun since 1.11 and in runc";
const BARE_SHM: &str =
    "--read-only-tmpfs=false is about /dev/shm, too (podman-run(1)); podman 4.3 leaves it writable, 5.4 does not";
const NEW_MASKS: &str = "masked as in podman since 5.5: the interrupts tell what others do";
const DEVICE_TOO: &str = "--device counts beside --privileged, as in podman since 5.2";
const NAMES: &str = "several names are separated by ; as in podman since 5.3; 4.3 writes them as one";
// What no program can rely on.
const OWN_TEXT: &str = "the text of /run/.containerenv names the engine, and the image as each guest has it";
const INIT: &str = "--init is this very program; podman's is catatonit";
// Better, and said so in docs/podman.md.
const BLOCKED: &str = "catatonit leaves signals of the terminal blocked in what it starts: Ctrl-Z would not stop it";
const INIT_CODE: &str = "a command that is missing is 127 with --init, too; catatonit has 1 for everything";
const TMPFS_OPTIONS: &str = "the kernel's own options of a tmpfs are taken; podman refuses uid= and gid=";
const USAGE: &str = "both refuse it; a line that is wrong is 125 here, before anything is made";

/// In the order in which they are asked.
#[rustfmt::skip]
pub const REASONS: &[Reason] = &[
    reason("*", "+ mount /run/.containerenv tmpfs - nodev,noexec,nosuid,relatime,ro private of-the-store", ENV_COVERED),
    reason("open-read-only*", "- containerenv error 2", ENV_COVERED),
    reason("open-read-only*", "+ containerenv *", ENV_COVERED),
    reason("open-read-only*", "? read /run/.containerenv *", ENV_COVERED),
    reason("open-read-only*", "+ path /run/.containerenv *", ENV_COVERED),
    reason("open-tmpfs-run", "- containerenv error 2", ENV_COVERED),
    reason("open-tmpfs-run", "+ containerenv *", ENV_COVERED),
    reason("open-tmpfs-run", "? read /run/.containerenv *", ENV_COVERED),
    reason("open-tmpfs-run", "+ path /run/.containerenv *", ENV_COVERED),
    reason("open*", "? path /run/.containerenv file 0644 0:0 * bytes", OWN_TEXT),
    reason("*", "- dev /dev/null character 1:3 0666 * writable", NULL_OWNER),
    reason("*", "+ dev /dev/null character 1:3 0666 0:0 writable", NULL_OWNER),
    reason("open*", "- read /dev/null ok character 1:3 0666 *", NULL_OWNER),
    reason("open*", "+ read /dev/null ok character 1:3 0666 0:0", NULL_OWNER),
    reason("open*", "- stream 0 character 1:3 0666 *", NULL_OWNER),
    reason("open*", "+ stream 0 character 1:3 0666 0:0", NULL_OWNER),
    reason("open*", "- stream * fifo 0600 *", PIPES),
    reason("open*", "+ stream * fifo 0777 *", PIPES),
    reason("*", "- mount /proc/* proc /* relatime,ro private rw", PROC_FLAGS),
    reason("*", "+ mount /proc/* proc /* nodev,noexec,nosuid,relatime,ro private rw", PROC_FLAGS),
    reason("*tmpfs*", "- mount /data tmpfs / nodev,nosuid,relatime,rw private inode64,rw", TMPFS_MODE),
    reason("*tmpfs*", "+ mount /data tmpfs / nodev,nosuid,relatime,rw private inode64,mode=755,rw", TMPFS_MODE),
    reason("*tmpfs*", "- tree /data directory 1777 0:0 writable", TMPFS_MODE),
    reason("*tmpfs*", "+ tree /data directory 0755 0:0 writable", TMPFS_MODE),
    reason("volume-of-image-tmpfs", "- mount /* tmpfs / nodev,nosuid,relatime,rw private inode64,rw", TMPFS_MODE),
    reason("volume-of-image-tmpfs", "+ mount /* tmpfs / nodev,nosuid,relatime,rw private inode64,mode=7*,rw", TMPFS_MODE),
    reason("volume-of-image-tmpfs", "- tree /* directory 1777 0:0 writable", TMPFS_MODE),
    reason("volume-of-image-tmpfs", "+ tree /* directory 07* 0:0 writable", TMPFS_MODE),
    reason("read-only-bare", "- * /dev/shm directory 1777 0:0 writable", BARE_SHM),
    reason("read-only-bare", "+ * /dev/shm directory 1777 0:0 error 30", BARE_SHM),
    reason("read-only-bare", "- mount /dev/shm tmpfs / nodev,noexec,nosuid,relatime,rw *", BARE_SHM),
    reason("read-only-bare", "+ mount /dev/shm tmpfs / nodev,noexec,nosuid,relatime,ro *", BARE_SHM),
    reason("open-read-only-bare", "- make /dev/shm ok directory 1777 0:0", BARE_SHM),
    reason("open-read-only-bare", "+ make /dev/shm error 30 directory 1777 0:0", BARE_SHM),
    reason("*init*", "- mount /run/podman-init tmpfs /usr/bin/catatonit *", INIT),
    reason("*init*", "+ mount /run/podman-init tmpfs /ocinit relatime,ro private the-host's", INIT),
    reason("open-init*", "? path /run/podman-init file 0755 0:0 *", INIT),
    reason("*init*", "- status SigBlk 0000000000380000", BLOCKED),
    reason("*init*", "+ status SigBlk 0000000000000000", BLOCKED),
    reason("not-there-init", "- status 1", INIT_CODE),
    reason("not-there-init", "+ status 127", INIT_CODE),
    reason("*", "+ mount /proc/interrupts devtmpfs /null relatime,ro private *", NEW_MASKS),
    reason("device-privileged", "+ dev /dev/log-of-kernel character 1:11 0644 0:0 writable", DEVICE_TOO),
    reason("add-host-names", "- hosts 192.0.2.7 db;db2", NAMES),
    reason("add-host-names", "+ hosts 192.0.2.7 db db2", NAMES),
    reason("*tmpfs-owner", "- status 125", TMPFS_OPTIONS),
    reason("*tmpfs-owner", "+ status 0", TMPFS_OPTIONS),
    reason("workdir-relative", "- status 126", USAGE),
    reason("workdir-relative", "+ status 125", USAGE),
    reason("volume-root", "- status 126", USAGE),
    reason("volume-root", "+ status 125", USAGE),
];
