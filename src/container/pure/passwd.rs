//! Looks up an image's USER in its `/etc/passwd` and `/etc/group`.

use crate::pure::index::Index;

/// Who a container's process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, the primary one included; none where nobody says who the user is.
    pub groups: Vec<u32>,
    /// None where there is a file that does not tell it.
    pub home: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    User(String),
    Group(String),
    /// A number outside 0..=2147483647, or one of the image's files outside 0..=4294967294.
    Range(String),
}

impl Error {
    pub fn text(&self) -> String {
        match self {
            Error::User(name) => ["no user '", name, "' in the image's /etc/passwd"].concat(),
            Error::Group(name) => ["no group '", name, "' in the image's /etc/group"].concat(),
            Error::Range(text) => ["'", text, "' is outside the range of user and group numbers"].concat(),
        }
    }
}

/// The largest number that is taken where the image's files do not have it, as for podman (moby/sys/user, ErrRange).
const ID_MAX: u32 = i32::MAX as u32;

/// The most supplementary groups a process can have (Linux, NGROUPS_MAX).
const GROUPS_MAX: usize = 65_536;

/// Resolves `USER[:GROUP]`, each a name or a number, with the image's files
/// (empty where it has none). An empty `user` is root. A group given by hand
/// stands alone; else the user's own groups come along.
pub fn resolve(user: &str, passwd: &str, group: &str) -> Result<Identity, Error> {
    let (is_named, is_alone) = (!user.is_empty(), !user.contains(':'));
    let (user, wanted_group) = parts(user);
    let number = number(user)?;
    let entry = entry(user, number, passwd);
    // What the image's file says is checked like what its configuration says: 4294967295 would leave us root.
    let numeric = |index: usize| match entry.as_ref().and_then(|entry| entry.get(index)) {
        Some(field) => self::number(field),
        None => Ok(None),
    };
    let uid = match number {
        Some(uid) if uid > ID_MAX && entry.is_none() => return Err(Error::Range(user.into())),
        Some(uid) => uid,
        None => numeric(2)?.ok_or_else(|| Error::User(user.into()))?,
    };
    let home = match &entry {
        None => None,
        Some(entry) => entry.get(5).copied().filter(|home| !home.is_empty()).or(Some("/")),
    };
    let (gid, groups) = match wanted_group {
        Some(name) => {
            let gid = group_number(name, group)?;
            (gid, vec![gid])
        }
        None => {
            let gid = numeric(3)?.unwrap_or(0);
            // podman looks for groups only where a user is given.
            let entry = entry.as_ref().filter(|_| is_named);
            // Nor where there is a colon.
            let groups = match is_named {
                true if is_alone => memberships(entry.and_then(|entry| entry.first()), gid, group),
                true => vec![gid],
                false => Vec::new(),
            };
            (gid, groups)
        }
    };
    Ok(Identity { uid, gid, groups, home: home.map(String::from) })
}

/// Root where `user` names nobody; a group that is empty is none.
fn parts(user: &str) -> (&str, Option<&str>) {
    let (user, group) = split(user);
    (if user.is_empty() { "0" } else { user }, group.filter(|group| !group.is_empty()))
}

/// The line of a user. A name that looks like a number is a number, as for podman.
fn entry<'a>(user: &str, number: Option<u32>, passwd: &'a str) -> Option<Vec<&'a str>> {
    passwd.lines().map(fields).find(|entry| match number {
        Some(uid) => entry.get(2).and_then(|field| field.parse().ok()) == Some(uid),
        None => entry.first() == Some(&user),
    })
}

/// Whether a user's numbers are only known from `/etc/passwd`: not root's, nor two that are given.
pub fn needs_passwd(user: &str) -> bool {
    let (user, group) = parts(user);
    match number(user) {
        Ok(Some(0)) => false,
        Ok(Some(_)) => group.is_none(),
        _ => true,
    }
}

/// Whether `/etc/group` is needed: for a group by name, and for those that a user belongs to, who is not root.
pub fn needs_group(whole: &str, groups: &[String], passwd: &str) -> bool {
    let (user, group) = parts(whole);
    let by_name = |group: &str| number(group) == Ok(None);
    let of_user = || match number(user) {
        Ok(Some(0)) | Err(_) => false,
        Ok(number) => entry(user, number, passwd).is_some_and(|entry| entry.get(2) != Some(&"0")),
    };
    let is_alone = !whole.contains(':');
    group.map_or_else(|| is_alone && of_user(), by_name) || groups.iter().any(|group| by_name(group))
}

/// `USER[:GROUP]`.
fn split(user: &str) -> (&str, Option<&str>) {
    match user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (user, None),
    }
}

/// The lines for a user and a group that are numbers and that the image's files
/// do not have: of `/etc/passwd` and of `/etc/group`, as podman writes them. A
/// group that nobody has named is root's.
pub fn missing_lines(
    user: &str,
    identity: &Identity,
    working_dir: &str,
    passwd: &str,
    group: &str,
) -> (Option<String>, Option<String>) {
    if user.is_empty() {
        return (None, None);
    }
    let (user, wanted_group) = split(user);
    let missing = |number: &str, file: &str| {
        let number = self::number(number).ok().flatten()?;
        let is_there = file.lines().map(fields).any(|it| it.get(2).and_then(|it| it.parse().ok()) == Some(number));
        (!is_there).then(|| number.to_string())
    };
    let user_line = missing(user, passwd).map(|uid| {
        let gid = wanted_group.filter(|group| !group.is_empty()).map_or(0, |_| identity.gid);
        // What would end the field, or the line, would write another one: a user of the image's own making, such as a
        // second root (CVE-2022-4318).
        let is_plain = !working_dir.contains(|c: char| c == ':' || c.is_control());
        let working_dir = if is_plain { working_dir } else { "/" };
        [&uid, ":*:", &uid, ":", &gid.to_string(), ":container user:", working_dir, ":/bin/sh\n"].concat()
    });
    let group_line =
        missing(wanted_group.unwrap_or("0"), group).map(|gid| [&gid, ":x:", &gid, ":", user, "\n"].concat());
    (user_line, group_line)
}

/// Adds groups by their names in the image's file, or their numbers.
pub fn add_groups(identity: &mut Identity, groups: &[String], group: &str) -> Result<(), Error> {
    if groups.is_empty() {
        return Ok(());
    }
    // The first of a name counts.
    let lines: Vec<&str> = group.lines().rev().collect();
    let known = Index::of(&mut lines.iter().map(|line| line.split(':').next().unwrap_or_default().trim_end()));
    let mut seen = Index::default();
    for gid in &identity.groups {
        seen.insert(&gid.to_be_bytes(), 0);
    }
    for name in groups {
        let line = known.get(name.as_bytes()).and_then(|at| lines.get(at));
        let gid = group_number(name, line.copied().unwrap_or_default())?;
        add(&mut identity.groups, &mut seen, gid);
    }
    Ok(())
}

/// Adds a group that is not there yet, as long as a process can have one more.
fn add(groups: &mut Vec<u32>, seen: &mut Index, gid: u32) {
    if groups.len() < GROUPS_MAX && seen.insert(&gid.to_be_bytes(), 0).is_none() {
        groups.push(gid);
    }
}

fn fields(line: &str) -> Vec<&str> {
    line.trim_end().split(':').collect()
}

/// `Some` for digits in range, `None` for a name.
fn number(text: &str) -> Result<Option<u32>, Error> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        // -1 means "unchanged" to setuid(2) and setgid(2).
        Ok(number) if number < u32::MAX && !text.starts_with('+') => Ok(Some(number)),
        _ => Err(Error::Range(text.into())),
    }
}

fn group_number(name: &str, group: &str) -> Result<u32, Error> {
    if let Some(gid) = number(name)? {
        let mut entries = group.lines().map(fields);
        let mut is_known = || entries.any(|entry| entry.get(2) == Some(&name));
        return if gid <= ID_MAX || is_known() { Ok(gid) } else { Err(Error::Range(name.into())) };
    }
    let entry = group.lines().map(fields).find(|entry| entry.first() == Some(&name));
    let gid = entry.and_then(|entry| entry.get(2).copied()).map(number).transpose()?.flatten();
    gid.ok_or_else(|| Error::Group(name.into()))
}

fn memberships(user: Option<&&str>, gid: u32, group: &str) -> Vec<u32> {
    let (mut groups, mut seen) = (Vec::new(), Index::default());
    add(&mut groups, &mut seen, gid);
    let Some(user) = user else { return groups };
    for entry in group.lines().map(fields) {
        let member = entry.get(3).is_some_and(|members| members.split(',').any(|member| member == *user));
        let Some(Ok(Some(number))) = entry.get(2).map(|field| number(field)) else { continue };
        if member {
            add(&mut groups, &mut seen, number);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:100::/home/ann:\n";
    const GROUP: &str = "root:x:0:\nusers:x:100:\nvideo:x:44:bob,ann\naudio:x:29:annie\n";

    fn who(user: &str) -> Result<(u32, u32, Vec<u32>, String), Error> {
        resolve(user, PASSWD, GROUP).map(|i| (i.uid, i.gid, i.groups, i.home.unwrap_or_default()))
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(who("").unwrap(), (0, 0, vec![], "/root".into()));
        assert_eq!(who("root").unwrap(), (0, 0, vec![0], "/root".into()));
        assert_eq!(who("ann").unwrap(), (1000, 100, vec![100, 44], "/home/ann".into()));
        assert_eq!(who("1000").unwrap(), (1000, 100, vec![100, 44], "/home/ann".into()));
        assert_eq!(who("ann:video").unwrap(), (1000, 44, vec![44], "/home/ann".into()));
        assert_eq!(who("7:8").unwrap(), (7, 8, vec![8], "".into()), "no home");
        assert_eq!(who("2147483647:2147483647").unwrap().0, 2_147_483_647);
    }

    /// Promise: users
    /// Input: users
    #[test]
    fn who_is_not_there_is_never_root() {
        assert_eq!(who("nobody"), Err(Error::User("nobody".into())));
        assert_eq!(who("broken"), Err(Error::User("broken".into())));
        assert_eq!(who("ann:none"), Err(Error::Group("none".into())));
        for text in ["2147483648", "4294967294", "4294967296", "4294967295", "-1", "+5", "99999999999999999999"] {
            assert_eq!(who(text), Err(Error::Range(text.into())));
        }
        assert_eq!(who("7:2147483648"), Err(Error::Range("2147483648".into())));
        // Old files have such a user: it is known, so it is taken.
        let of = |user: &str| {
            let (passwd, group) = ("nfsnobody:x:4294967294:4294967294::/:\n", "nfs:x:4294967294:\n");
            resolve(user, passwd, group).map(|found| (found.uid, found.gid))
        };
        for user in ["nfsnobody", "4294967294", "nfsnobody:nfs", "4294967294:4294967294"] {
            assert_eq!(of(user), Ok((u32::MAX - 1, u32::MAX - 1)), "{user}");
        }
    }

    /// Input: users-with-empty-parts
    #[test]
    fn empty_parts_are_absent() {
        assert_eq!(who(":44").unwrap(), (0, 44, vec![44], "/root".into()));
        assert_eq!(who(":video").unwrap(), (0, 44, vec![44], "/root".into()));
        assert_eq!(who("ann:").unwrap(), (1000, 100, vec![100], "/home/ann".into()));
        assert_eq!(who("1000:").unwrap(), (1000, 100, vec![100], "/home/ann".into()));
        assert_eq!(who("5:").unwrap(), (5, 0, vec![0], "".into()));
        assert_eq!(who(":").unwrap(), (0, 0, vec![0], "/root".into()));
        assert_eq!(who("::"), Err(Error::Group(":".into())));
        for user in [":44", "ann:", ":", "0:"] {
            let identity = resolve(user, PASSWD, GROUP).unwrap();
            assert_eq!(missing_lines(user, &identity, "/", PASSWD, GROUP), (None, None), "{user}");
        }
        let identity = resolve(":9", PASSWD, GROUP).unwrap();
        assert_eq!(missing_lines(":9", &identity, "/", PASSWD, GROUP), (None, Some("9:x:9:\n".into())));
    }

    #[test]
    fn who_has_to_be_looked_up() {
        for (user, passwd, group) in [
            ("", false, false),
            ("0", false, false),
            (":5", false, false),
            ("7:8", false, false),
            ("7", true, false),
            ("7:", true, false),
            ("1000", true, true),
            ("1000:5", false, false),
            ("root", true, false),
            ("ann", true, true),
            ("ann:", true, false),
            ("ann:5", true, false),
            ("7:video", false, true),
            (":video", false, true),
            ("-1", true, false),
        ] {
            assert_eq!((needs_passwd(user), needs_group(user, &[], PASSWD)), (passwd, group), "{user}");
        }
        assert!(needs_group("", &["video".into()], PASSWD) && !needs_group("", &["7".into()], PASSWD));
    }

    /// Promise: users
    #[test]
    fn numbers_of_the_images_files_are_checked_too() {
        let who = |user: &str| {
            let passwd = "a:x:4294967295:100::/:\nb:x:7:4294967295::/:\nc:x:-1:0::/:\nd:x::0::/:\ne:x:9:9::/:\n";
            resolve(user, passwd, "bad:x:4294967295:e\nworse:x:-1:\nok:x:5:e\n").map(|i| (i.uid, i.gid, i.groups))
        };
        assert_eq!(who("a"), Err(Error::Range("4294967295".into())));
        assert_eq!(who("b"), Err(Error::Range("4294967295".into())));
        assert_eq!(who("c"), Err(Error::Range("-1".into())));
        assert_eq!(who("d"), Err(Error::User("d".into())));
        assert_eq!(who("e:bad"), Err(Error::Range("4294967295".into())));
        assert_eq!(who("e:worse"), Err(Error::Range("-1".into())));
        assert_eq!(who("e"), Ok((9, 9, vec![9, 5])));
    }

    #[test]
    fn more_groups() {
        let mut ann = resolve("ann", PASSWD, GROUP).unwrap();
        let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        add_groups(&mut ann, &words(&["audio", "video", "7", "audio"]), GROUP).unwrap();
        assert_eq!(ann.groups, [100, 44, 29, 7]);
        assert_eq!(add_groups(&mut ann, &words(&["none"]), GROUP), Err(Error::Group("none".into())));
        assert_eq!(add_groups(&mut ann, &words(&["4294967295"]), GROUP), Err(Error::Range("4294967295".into())));
    }

    /// A scan of the file for each name, or of all groups for each, would take minutes.
    /// Promise: very-many-entries
    #[test]
    fn many_groups_are_found_in_one_pass() {
        const MANY: u32 = 60_000;
        let group: String = (0..MANY).map(|n| format!("g{n}:x:{n}:u\ng{n}:x:7:\n")).collect();
        let mut user = resolve("u", "u:x:9:0::/:\n", &group).unwrap();
        assert_eq!(user.groups.len(), MANY as usize);
        user.groups.truncate(1);
        let names: Vec<String> = (0..MANY).rev().map(|n| format!("g{n}")).collect();
        add_groups(&mut user, &names, &group).unwrap();
        assert_eq!((user.groups.len(), user.groups[1]), (MANY as usize, MANY - 1));
        let all: String = (0..2 * MANY).map(|n| format!("g{n}:x:{n}:u\n")).collect();
        assert_eq!(resolve("u", "u:x:9:0::/:\n", &all).unwrap().groups.len(), GROUPS_MAX);
    }

    #[test]
    fn an_image_without_files() {
        let root = Identity { uid: 0, gid: 0, groups: vec![], home: None };
        assert_eq!(resolve("", "", "").unwrap(), root);
        // Somebody else's file.
        assert_eq!(resolve("", "ann:x:1000:100::/home/ann:\n", "").unwrap(), root);
    }

    /// Promise: unnamed-users
    #[test]
    fn lines_for_numbers_that_are_not_there() {
        let lines = |user: &str| {
            let (passwd, group) = missing_lines(user, &resolve(user, PASSWD, GROUP).unwrap(), "/srv", PASSWD, GROUP);
            [passwd.unwrap_or_default(), group.unwrap_or_default()]
        };
        for known in ["", "root", "ann", "0", "ann:video", "1000:44", "0:100"] {
            assert_eq!(lines(known), ["", ""], "{known}");
        }
        assert_eq!(lines("7"), ["7:*:7:0:container user:/srv:/bin/sh\n", ""]);
        assert_eq!(lines("7:8"), ["7:*:7:8:container user:/srv:/bin/sh\n", "8:x:8:7\n"]);
        assert_eq!(lines("7:video"), ["7:*:7:44:container user:/srv:/bin/sh\n", ""]);
        assert_eq!(lines("007"), ["7:*:7:0:container user:/srv:/bin/sh\n", ""]);
        assert_eq!(lines("1000"), ["", ""]);
        assert_eq!(lines("ann:9"), ["", "9:x:9:ann\n"]);
        let in_bare_image = |user: &str| missing_lines(user, &resolve(user, "", "").unwrap(), "/", "", "").1;
        assert_eq!(in_bare_image("7"), Some("0:x:0:7\n".into()), "the user's group is root's");
        assert_eq!(in_bare_image(""), None, "nobody was asked for");
    }

    #[test]
    fn a_working_directory_writes_one_line_only() {
        let identity = Identity { uid: 7, gid: 0, groups: Vec::new(), home: None };
        for (dir, home) in [("/srv/a b", "/srv/a b"), ("/x\nforged:x:0:0::/:/bin/sh", "/"), ("/a:/bin/false", "/")] {
            let (line, _) = missing_lines("7", &identity, dir, "", "");
            assert_eq!(line.unwrap(), format!("7:*:7:0:container user:{home}:/bin/sh\n"));
        }
    }
}
