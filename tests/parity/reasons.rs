//! Differences that are meant, each with its reason. What is not here is a failure of the test, and so is a row that
//! nothing needs. docs/podman.md has them for users.

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

// What no program can rely on.
const OWN_TEXT: &str = "the text of /run/.containerenv names the engine, and the image as each guest has it";
const INIT: &str = "--init is this very program; podman's is catatonit";
const EMPTY: &str =
    "a hidden directory is an empty tmpfs here, and one of crun's own, bound, there: both empty, 0555, read-only";
// Safer.
const DEBUG_CONTROL: &str = "root of a container without privileges could have the kernel print what it likes";
// Where podman refuses what runs here.
const TMPFS_OPTIONS: &str = "the kernel's own options of a tmpfs are taken; podman refuses uid= and gid=";
const CROWD: &str = "an /etc/group that is too large refuses only who needs it; podman refuses everybody";
const USAGE: &str = "both refuse it; a line that is wrong is 125 here, before anything is made";

/// In the order in which they are asked.
#[rustfmt::skip]
pub const REASONS: &[Reason] = &[
    reason("open*", "? path /run/.containerenv file 0644 0:0 * bytes", OWN_TEXT),
    reason("*init*", "- mount /run/podman-init tmpfs /usr/bin/catatonit *", INIT),
    reason("*init*", "+ mount /run/podman-init tmpfs /ocinit relatime,ro private the-host's", INIT),
    reason("open-init*", "? path /run/podman-init file 0755 0:0 *", INIT),
    reason("*", "- mount /* tmpfs /crun/.empty-directory relatime,ro private inode64,rw", EMPTY),
    reason("*", "+ mount /* tmpfs / relatime,ro private inode64,mode=555,rw,size=0k", EMPTY),
    reason("*", "+ mount /proc/dynamic_debug proc /dynamic_debug *", DEBUG_CONTROL),
    reason("*tmpfs-owner", "- status 125", TMPFS_OPTIONS),
    reason("*tmpfs-owner", "+ status 0", TMPFS_OPTIONS),
    reason("crowd-*", "- status 126", CROWD),
    reason("crowd-*", "+ status 0", CROWD),
    reason("crowd-*", "+ ! container  WARN user *: larger than 1 MiB: goes on without it", CROWD),
    reason("volume-root", "- status 127", USAGE),
    reason("volume-root", "+ status 125", USAGE),
];
