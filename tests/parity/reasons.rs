//! Differences that are meant, each with its reason. What is not here is a
//! failure of the test, and so is a row that nothing needs.

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

const ENV_COVERED: &str = "podman's own file is covered by the tmpfs of --read-only on /run; ours lies on it";
const LIBRARY: &str = "a flag of open(2) that the kernel keeps and nothing asks for";
const STICKY: &str = "crun 1.8 makes missing directories with the sticky bit, which other runtimes do not";
const NULL_OWNER: &str = "crun gives the user what its standard streams are, and thereby the container's /dev/null";
const PROC_FLAGS: &str =
    "crun 1.8 loses nosuid, nodev and noexec of /proc where it takes writing away; runc keeps them";
const TMPFS_MODE: &str =
    "a tmpfs over a directory of the image has that directory's mode, as in crun since 1.11 and in runc";
const BARE_SHM: &str = "--read-only-tmpfs=false is about /dev/shm, too (podman-run(1)); podman 4.3 leaves it writable";
const LIMITS_OF_HOST: &str = "podman raises its own limits when it starts, and gives the container those";
const INIT: &str = "--init is this very program; podman's is catatonit";
const BLOCKED: &str = "catatonit leaves signals of the terminal blocked in what it starts";
const LAST_OPTION: &str =
    "of an option that is there twice the last counts (resolv.conf(5)): podman's line loses to its machine";
const ZONE: &str = "podman's mount follows a link of the image and covers the zone there; ours is a file in its place";
const LONELY: &str = "a container's host name is the host's unless the line has one; podman's is a random number";
const ROOTS_OWN: &str =
    "an image without /etc/passwd and /etc/group is given ones that only root can read, which helps nobody";
const NO_DEVICES: &str = "without privileges a root takes no devices: a node in a layer would be the host's device";
const NEW_MASKS: &str = "masked as moby has it: the interrupts tell what others do; podman 4.3 shows them";
const DEVICE_TOO: &str = "--device counts beside --privileged, as in podman since 5.2";

/// In the order in which they are asked.
#[rustfmt::skip]
pub const REASONS: &[Reason] = &[
    reason("*", "+ mount /run/.containerenv tmpfs - nodev,noexec,nosuid,relatime,ro private of-the-store", ENV_COVERED),
    reason("*", "- fd * /dev/pts/0 100002 *", LIBRARY),
    reason("*", "+ fd * /dev/pts/0 2000002 *", LIBRARY),
    reason("volume-deep", "? tree * directory *755 *", STICKY),
    reason("*", "- dev /dev/null character 1:3 0666 * writable", NULL_OWNER),
    reason("*", "+ dev /dev/null character 1:3 0666 0:0 writable", NULL_OWNER),
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
    reason("ulimit-host", "- rlimit processes 32768 32768 processes", LIMITS_OF_HOST),
    reason("ulimit-host", "+ rlimit processes the-host's the-host's processes", LIMITS_OF_HOST),
    reason("ulimit-host", "- rlimit open files 1048576 1048576 files", LIMITS_OF_HOST),
    reason("ulimit-host", "+ rlimit open files 1024 4096 files", LIMITS_OF_HOST),
    reason("*init*", "- mount /run/podman-init tmpfs /usr/bin/catatonit *", INIT),
    reason("*init*", "+ mount /run/podman-init tmpfs /ocinit relatime,ro private the-host's", INIT),
    reason("*init*", "- status SigBlk 0000000000380000", BLOCKED),
    reason("*init*", "+ status SigBlk 0000000000000000", BLOCKED),
    reason("tz*", "- mount /etc/localtime tmpfs - relatime,rw private inode64,rw", ZONE),
    reason("dns-opt*", "- resolv.conf options ndots:4* ndots:2", LAST_OPTION),
    reason("dns-opt*", "+ resolv.conf options ndots:4*", LAST_OPTION),
    reason("dns-opt*", "? place /etc/resolv.conf file 0644 0:0 writable * bytes", LAST_OPTION),
    reason("user-unknown-bare", "- * error 13", ROOTS_OWN),
    reason("user-unknown-bare", "+ * error 2", ROOTS_OWN),
    reason("user-unknown-bare", "- place /etc/passwd file 0600 0:0 error 13 39 bytes", ROOTS_OWN),
    reason("user-unknown-bare", "+ place /etc/passwd absent", ROOTS_OWN),
    reason("*", "- env HOSTNAME=A-NUMBER", LONELY),
    reason("*", "+ env HOSTNAME=parity", LONELY),
    reason("*", "- process hostname A-NUMBER", LONELY),
    reason("*", "+ process hostname parity", LONELY),
    reason("*", "- hosts 127.0.0.1 A-NUMBER box", LONELY),
    reason("*", "+ hosts 127.0.0.1 parity box", LONELY),
    reason("*", "- place /etc/hosts file 0644 0:0 writable 72 bytes", LONELY),
    reason("*", "+ place /etc/hosts file 0644 0:0 writable 66 bytes", LONELY),
    reason("*", "- place /etc/hostname file 0644 0:0 writable 12 bytes", LONELY),
    reason("*", "+ place /etc/hostname file 0644 0:0 writable 6 bytes", LONELY),
    reason("*", "- mount / overlay - relatime,* private *", NO_DEVICES),
    reason("*", "+ mount / overlay - nodev,relatime,* private *", NO_DEVICES),
    reason("*", "+ mount /proc/interrupts devtmpfs /null relatime,ro private *", NEW_MASKS),
    reason("device-privileged", "+ dev /dev/log-of-kernel character 1:11 0644 0:0 writable", DEVICE_TOO),
];
