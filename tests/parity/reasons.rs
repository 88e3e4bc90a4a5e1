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

const MAKER: &str = "the container's maker names itself; systemd takes both names";
const OWN_FILES: &str = "podman binds files of its own over these names, ours are files of the container's root: \
                         what they say is compared in lines of its own";
const ENV_FILE: &str =
    "podman's own file about itself: its presence says that podman is there, and /run is made for it";
const VOLATILE: &str = "an option of the overlay about crashes of the machine, not about what the container sees";
const LIBRARY: &str = "a flag of open(2) that the kernel keeps and nothing asks for";
const STICKY: &str = "crun 1.8 makes missing folders with the sticky bit, which other runtimes do not";
const NULL_OWNER: &str = "crun gives the user what its standard streams are, and thereby the container's /dev/null";

/// In the order in which they are asked.
#[rustfmt::skip]
pub const REASONS: &[Reason] = &[
    reason("*", "- env container=podman", MAKER),
    reason("*", "+ env container=oci", MAKER),
    reason("*", "- mount /etc/resolv.conf *", OWN_FILES),
    reason("*", "- mount /etc/hosts *", OWN_FILES),
    reason("*", "- mount /etc/hostname *", OWN_FILES),
    reason("*", "- mount /run/.containerenv *", ENV_FILE),
    reason("*", "? place /run *", ENV_FILE),
    reason("*", "? mount / overlay - relatime,rw private rw*", VOLATILE),
    reason("*", "- fd * /dev/pts/0 100002 *", LIBRARY),
    reason("*", "+ fd * /dev/pts/0 2000002 *", LIBRARY),
    reason("volume-deep", "? tree * folder *755 *", STICKY),
    reason("*", "- dev /dev/null character 1:3 0666 * writable", NULL_OWNER),
    reason("*", "+ dev /dev/null character 1:3 0666 0:0 writable", NULL_OWNER),
];

const TERMINAL: &str = "TERM is set without a terminal, too";
const GROUP: &str = "podman's control group has all controllers, and 2048 processes at most";
const HOSTS: &str = "/etc/hosts is the machine's with the container's name, /etc/hostname has no newline";
const TO_BIND: &str = "volumes are private, unless their flags say otherwise";
const TO_SORT: &str = "mounts are made in the order of their places, not of their flags";
const IMAGE_VOLUMES: &str = "the image's VOLUMEs are mounted";
const UNKNOWN_USER: &str = "a user without an entry is given one in /etc/passwd and /etc/group";
const WORKING_DIR: &str = "the image's working folder, where it is made, is the user's; one of the flag's is not made";
const LINKS: &str = "links of the image at /etc/hosts and /etc/resolv.conf are followed, inside the container";
const INPUT: &str = "standard input is a pipe, even where ours is a terminal";
const LONELY: &str = "a container with a network of its own has its number as its name";

/// Where we are to become as podman is; a row whose lines are no more is to be removed.
#[rustfmt::skip]
pub const GAPS: &[Reason] = &[
    reason("*", "- env TERM=xterm", TERMINAL),
    reason("*", "? cgroup *", GROUP),
    reason("*", "? rlimit processes *", "32768 processes by default"),
    reason("*", "? mount /dev/shm tmpfs *", "64000k by default"),
    reason("*", "? mount /dev tmpfs *", "noexec"),
    reason("*", "? mount /dev/console devpts *", "neither noexec nor nosuid"),
    reason("*", "? status Groups*", "root has no further groups"),
    reason("*", "? place / folder *", "the root's mode is 0555 where no layer says otherwise"),
    reason("*", "? hosts *", HOSTS),
    reason("*", "? place /etc/hosts file *", HOSTS),
    reason("*", "? place /etc/hostname file *", HOSTS),
    reason("net*-none", "? env HOSTNAME=*", LONELY),
    reason("net*-none", "? process hostname *", LONELY),
    reason("volume-of-image*", "? mount /kept *", IMAGE_VOLUMES),
    reason("volume-of-image*", "? mount /vol tmpfs - *", IMAGE_VOLUMES),
    reason("volume-of-image*", "? tree /vol *", IMAGE_VOLUMES),
    reason("volume-nested", "? tree /mnt/a/b*", TO_SORT),
    reason("volume*", "- mount /* private inode64,rw", TO_BIND),
    reason("volume*", "+ mount /* master inode64,rw", TO_BIND),
    reason("volume-file-read-only", "+ env HOME=/root", "HOME stays unset where the user has no entry"),
    reason("user-*", "- passwd *:container user:/:/bin/sh", UNKNOWN_USER),
    reason("user-*", "- group *", UNKNOWN_USER),
    reason("user-*", "? place /etc/passwd file *", UNKNOWN_USER),
    reason("user-nobody", "? status *", "a user that is not there is 126"),
    reason("workdir-of-image", "? tree /srv/made/up folder *", WORKING_DIR),
    reason("workdir-made", "? status *", WORKING_DIR),
    reason("etc-of-links", "? mount /data/*", LINKS),
    reason("etc-of-links", "? place /etc/*", LINKS),
    reason("etc-of-links", "? tree /data/*", LINKS),
    reason("*interactive", "? fd 0 *", INPUT),
    reason("*interactive", "? tty 0 *", INPUT),
];
