//! Differences that are meant, each with its reason, and those that are to go.
//! What is not here is a failure of the test.

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

const fn reason(names: &'static str, line: &'static str, why: &'static str) -> Reason {
    Reason { names, line, why }
}

const ENV_FILE: &str =
    "podman's own file about itself: its presence says that podman is there, and /run is made for it";
const ENV_COVERED: &str = "podman's own file is covered by the tmpfs of --read-only on /run; ours lies on it";
const VOLATILE: &str = "an option of the overlay about crashes of the machine, not about what the container sees";
const LIBRARY: &str = "a flag of open(2) that the kernel keeps and nothing asks for";
const STICKY: &str = "crun 1.8 makes missing folders with the sticky bit, which other runtimes do not";
const NULL_OWNER: &str = "crun gives the user what its standard streams are, and thereby the container's /dev/null";
const CAPABILITIES: &str =
    "Debian's containers.conf, which the guest of podman's lacks, leaves out AUDIT_WRITE, MKNOD \
                            and NET_RAW, which are podman's own default";
const NO_MKNOD: &str = "no node can be made without CAP_MKNOD, which Debian's containers.conf leaves out";
const PROC_FLAGS: &str =
    "crun 1.8 loses nosuid, nodev and noexec of /proc where it takes writing away; runc keeps them";
const TMPFS_MODE: &str = "a tmpfs over a folder of the image has that folder's mode, as in crun since 1.11 and in runc";
const BARE_SHM: &str = "--read-only-tmpfs=false is about /dev/shm, too (podman-run(1)); podman 4.3 leaves it writable";
const LIMITS_OF_HOST: &str = "podman raises its own limits when it starts, and gives the container those";
const INIT: &str = "--init is this very program; podman's is catatonit";
const BLOCKED: &str = "catatonit leaves signals of the terminal blocked in what it starts";
const LAST_OPTION: &str =
    "of an option that is there twice the last counts (resolv.conf(5)): podman's line loses to its machine";
const ZONE: &str = "podman's mount follows a link of the image and covers the zone there; ours is a file in its place";
const LONELY: &str = "a container's host name is the machine's unless the line has one; podman's is a random number";
const DEVICE_TOO: &str = "--device counts beside --privileged, as in podman since 5.2";

/// In the order in which they are asked.
#[rustfmt::skip]
pub const REASONS: &[Reason] = &[
    reason("*", "? place /run *", ENV_FILE),
    reason("*", "+ mount /run/.containerenv tmpfs - nodev,noexec,nosuid,relatime,ro private of-the-store", ENV_COVERED),
    reason("*", "- mount / overlay - relatime,rw private rw,volatile", VOLATILE),
    reason("*", "+ mount / overlay - relatime,rw private rw", VOLATILE),
    reason("*", "- mount / overlay - relatime,ro private rw,volatile", VOLATILE),
    reason("*", "+ mount / overlay - relatime,ro private rw", VOLATILE),
    reason("volume-rshared", "- mount / overlay - relatime,rw shared rw,volatile", VOLATILE),
    reason("volume-rshared", "+ mount / overlay - relatime,rw shared rw", VOLATILE),
    reason("*", "- fd * /dev/pts/0 100002 *", LIBRARY),
    reason("*", "+ fd * /dev/pts/0 2000002 *", LIBRARY),
    reason("volume-deep", "? tree * folder *755 *", STICKY),
    reason("*", "- dev /dev/null character 1:3 0666 * writable", NULL_OWNER),
    reason("*", "+ dev /dev/null character 1:3 0666 0:0 writable", NULL_OWNER),
    reason("*", "- status Cap* 00000000a80425fb", CAPABILITIES),
    reason("*", "+ status Cap* 00000000800405fb", CAPABILITIES),
    reason("cap-add", "- status Cap* 00000000a80435fb", CAPABILITIES),
    reason("cap-add", "+ status Cap* 00000000800415fb", CAPABILITIES),
    reason("cap-add-spelled", "- status Cap* 00000000aa8425fb", CAPABILITIES),
    reason("cap-add-spelled", "+ status Cap* 00000000828405fb", CAPABILITIES),
    reason("cap-add-sys-admin", "- status Cap* 00000000a82425fb", CAPABILITIES),
    reason("cap-add-sys-admin", "+ status Cap* 00000000802405fb", CAPABILITIES),
    reason("cap-add-user", "+ status CapBnd 00000000800425fb", CAPABILITIES),
    reason("cap-drop", "- status Cap* 00000000a80425fa", CAPABILITIES),
    reason("cap-drop", "+ status Cap* 00000000800405fa", CAPABILITIES),
    reason("all-at-once", "- status CapBnd 00000000a80435fb", CAPABILITIES),
    reason("all-at-once", "+ status CapBnd 00000000800415fb", CAPABILITIES),
    reason("*", "- device-rule * make ok read *", NO_MKNOD),
    reason("*", "- device-rule * make error 13 read error 2 write error 2", NO_MKNOD),
    reason("*", "+ device-rule * make error 1 read error 2 write error 2", NO_MKNOD),
    reason("*", "- mount /proc/* proc /* relatime,ro private rw", PROC_FLAGS),
    reason("*", "+ mount /proc/* proc /* nodev,noexec,nosuid,relatime,ro private rw", PROC_FLAGS),
    reason("*tmpfs*", "- mount /data tmpfs / nodev,nosuid,relatime,rw private inode64,rw", TMPFS_MODE),
    reason("*tmpfs*", "+ mount /data tmpfs / nodev,nosuid,relatime,rw private inode64,mode=755,rw", TMPFS_MODE),
    reason("*tmpfs*", "- tree /data folder 1777 0:0 writable", TMPFS_MODE),
    reason("*tmpfs*", "+ tree /data folder 0755 0:0 writable", TMPFS_MODE),
    reason("read-only-bare", "- * /dev/shm folder 1777 0:0 writable", BARE_SHM),
    reason("read-only-bare", "+ * /dev/shm folder 1777 0:0 error 30", BARE_SHM),
    reason("read-only-bare", "- mount /dev/shm tmpfs / nodev,noexec,nosuid,relatime,rw *", BARE_SHM),
    reason("read-only-bare", "+ mount /dev/shm tmpfs / nodev,noexec,nosuid,relatime,ro *", BARE_SHM),
    reason("ulimit-host", "- rlimit open files 1048576 1048576 files", LIMITS_OF_HOST),
    reason("ulimit-host", "+ rlimit open files 1024 4096 files", LIMITS_OF_HOST),
    reason("*init*", "- mount /run/podman-init tmpfs /usr/bin/catatonit *", INIT),
    reason("*init*", "+ mount /run/podman-init tmpfs /ocinit relatime,ro private the-machine's", INIT),
    reason("*init*", "- status SigBlk 0000000000380000", BLOCKED),
    reason("*init*", "+ status SigBlk 0000000000000000", BLOCKED),
    reason("tz*", "- mount /etc/localtime tmpfs - relatime,rw private inode64,rw", ZONE),
    reason("dns-opt", "- resolv.conf options ndots:4 ndots:2", LAST_OPTION),
    reason("dns-opt", "+ resolv.conf options ndots:4", LAST_OPTION),
    reason("dns-opt", "? place /etc/resolv.conf file 0644 0:0 writable * bytes", LAST_OPTION),
    reason("*", "- env HOSTNAME=A-NUMBER", LONELY),
    reason("*", "+ env HOSTNAME=parity", LONELY),
    reason("*", "- process hostname A-NUMBER", LONELY),
    reason("*", "+ process hostname parity", LONELY),
    reason("*", "- place /etc/hostname file 0644 0:0 writable 12 bytes", LONELY),
    reason("*", "+ place /etc/hostname file 0644 0:0 writable 6 bytes", LONELY),
    reason("device-privileged", "+ dev /dev/log-of-kernel character 1:11 0644 0:0 writable", DEVICE_TOO),
];

const CONSOLE: &str = "/dev/console is neither noexec nor nosuid";
const PROCESSES: &str = "32768 processes by default";
const GROUPS: &str = "root has no further groups";
const ROOT_MODE: &str = "the root's mode is 0555 where no layer says otherwise";
const HOSTS: &str = "/etc/hosts is the machine's with the container's name, and nothing else";
const HOME: &str = "HOME stays unset where the user has no entry";
const UNKNOWN_USER: &str = "a user without an entry is given one in /etc/passwd and /etc/group";
const NOBODY: &str = "a user that is not there is 126";
const WORKING_DIR: &str = "a working folder of the flag's is not made";
const LINKS: &str = "where the image has links at /etc/hosts and /etc/resolv.conf, those files lie elsewhere";
const INPUT: &str = "standard input is a pipe, even where ours is a terminal";

/// Where we are to become as podman is; a row whose lines are no more is to be removed.
#[rustfmt::skip]
pub const GAPS: &[Reason] = &[
    reason("*", "? mount /dev/console devpts /0 *", CONSOLE),
    reason("*", "- rlimit processes 32768 32768 processes", PROCESSES),
    reason("*", "+ rlimit processes * processes", PROCESSES),
    reason("*", "? status Groups*", GROUPS),
    reason("*", "? place / folder *", ROOT_MODE),
    reason("*", "? hosts *", HOSTS),
    reason("*", "? place /etc/hosts file *", HOSTS),
    reason("volume-file-read-only", "+ env HOME=/root", HOME),
    reason("user-*", "- passwd *:container user:/:/bin/sh", UNKNOWN_USER),
    reason("user-*", "- group *", UNKNOWN_USER),
    reason("user-*", "? place /etc/passwd file *", UNKNOWN_USER),
    reason("user-nobody", "? status *", NOBODY),
    reason("workdir-made", "? status *", WORKING_DIR),
    reason("etc-of-links", "? mount /data/*", LINKS),
    reason("etc-of-links", "? tree /data/*", LINKS),
    reason("*interactive", "? fd 0 *", INPUT),
    reason("*interactive", "? tty 0 *", INPUT),
];
