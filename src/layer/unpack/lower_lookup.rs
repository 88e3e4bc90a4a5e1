//! Many paths looked for in the layers below at once. One by one, each would
//! cost a walk through all those layers: hundreds of thousands of paths over
//! hundreds of layers would take an hour.
//!
//! Here the layers are gone through from the topmost down, each once. A layer
//! is only looked at in directories that it has and that hold something sought,
//! and there either for the sought names or for those that the directory has,
//! whichever are fewer: the work grows with what is sought and what there is,
//! not with their product. One descriptor is open at a time.

use crate::layer::unpack::lower::Lower;
use crate::layer::unpack::resolve::{open_real, DIRENT_BYTES};
use crate::layer::unpack::{Reason, Step};
use crate::sys::overlayfs::is_opaque;
use crate::sys::path::c_string;
use crate::sys::{fs, Error};
use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};

/// So many names are looked for without comparing their number with the directory's.
const FEW: usize = 16;

/// Names that one layer may have looked for, or read, in those below: some
/// seconds' work. An honest layer needs ten thousands.
const MAX_LOOKS: usize = 8 << 20;

/// How many names were looked for in the layers below.
#[derive(Default)]
pub struct Looks(usize);

impl Looks {
    pub fn add(&mut self, count: usize) -> Step<()> {
        self.0 += count;
        if self.0 > MAX_LOOKS {
            return Err(Reason::Text("too much to be looked for in the layers below"));
        }
        Ok(())
    }
}

/// A path that is looked for.
pub struct Sought<'l> {
    path: &'l [u8],
    /// Gets the number of the topmost layer that shows it, from 1.
    below: &'l Cell<u16>,
    /// The layers further below are not asked.
    over: Cell<bool>,
}

impl<'l> Sought<'l> {
    /// `path` is normal and not the root's; `below` is 0.
    pub fn new(path: &'l [u8], below: &'l Cell<u16>) -> Sought<'l> {
        Sought { path, below, over: Cell::new(false) }
    }

    /// The path's name in the directory whose path, with a slash, has `prefix` bytes.
    fn name(&self, prefix: usize) -> &'l [u8] {
        self.path.get(prefix..).and_then(|rest| names(rest).next()).unwrap_or(b"")
    }
}

/// A directory, as what is sought in it: a part of the sorted list.
struct Place<'s, 'l> {
    inside: &'s [Sought<'l>],
    prefix: usize,
}

/// Its names that are sought: each with all that is sought at and below it.
struct Children<'s, 'l>(Place<'s, 'l>);

impl<'s, 'l> Iterator for Children<'s, 'l> {
    type Item = &'s [Sought<'l>];

    fn next(&mut self) -> Option<&'s [Sought<'l>]> {
        let Place { inside, prefix } = self.0;
        let name = inside.first()?.name(prefix);
        let (child, rest) = inside.split_at_checked(inside.partition_point(|sought| sought.name(prefix) == name))?;
        self.0.inside = rest;
        Some(child)
    }
}

impl<'s, 'l> Place<'s, 'l> {
    fn children(&self) -> Children<'s, 'l> {
        Children(Place { ..*self })
    }

    /// What is sought at and below `name`.
    fn child(&self, name: &[u8]) -> Option<&'s [Sought<'l>]> {
        let start = self.inside.partition_point(|sought| sought.name(self.prefix) < name);
        let inside = self.inside.get(start..)?;
        Children(Place { inside, ..*self })
            .next()
            .filter(|_| inside.first().is_some_and(|s| s.name(self.prefix) == name))
    }
}

/// Finds out which of `lowers` (topmost first) shows each of `sought`, honouring
/// whiteouts and opaque marks as [`crate::layer::unpack::lower::find`] does.
pub fn look(lowers: &[Lower], mut sought: Vec<Sought<'_>>, looks: &mut Looks) -> Step<()> {
    // By name after name: what a directory holds stands together.
    sought.sort_unstable_by(|a, b| names(a.path).cmp(names(b.path)));
    let mut buffer = vec![0; DIRENT_BYTES];
    for (lower, number) in lowers.iter().zip(1..) {
        look_in(lower, number, &sought, looks, &mut buffer)?;
        sought.retain(|sought| !sought.over.get());
    }
    Ok(())
}

fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/')
}

fn look_in(lower: &Lower, number: u16, sought: &[Sought<'_>], looks: &mut Looks, buffer: &mut [u8]) -> Step<()> {
    let mut todo = vec![Place { inside: sought, prefix: 0 }];
    while let Some(place) = todo.pop() {
        let Some(first) = place.inside.first() else { continue };
        let path = first.path.get(..place.prefix.saturating_sub(1)).unwrap_or(b"");
        let dir = open_real(lower.as_fd(), path, fs::O_RDONLY | fs::O_DIRECTORY)?;
        looks.add(1)?;
        if is_opaque(dir.as_fd())? {
            place.inside.iter().for_each(|sought| sought.over.set(true));
        }
        for child in candidates(dir.as_fd(), &place, looks, buffer)? {
            look_at(dir.as_fd(), child, place.prefix, number, &mut todo)?;
        }
    }
    Ok(())
}

/// The children that are to be looked at in `dir`: those of its names, or all
/// that are sought if it has more names than that.
fn candidates<'s, 'l>(
    dir: BorrowedFd<'_>,
    place: &Place<'s, 'l>,
    looks: &mut Looks,
    buffer: &mut [u8],
) -> Step<Vec<&'s [Sought<'l>]>> {
    let (mut found, mut read) = (Vec::new(), 0);
    while place.children().nth(FEW).is_some() && read <= place.inside.len() {
        let n = fs::getdents(dir, buffer)?;
        if n == 0 {
            return Ok(found);
        }
        let start = read;
        fs::for_each_name(buffer.get(..n).unwrap_or(b""), |name| {
            read += 1;
            found.extend(place.child(name.to_bytes()));
            Step::Ok(())
        })?;
        looks.add(read - start)?;
    }
    let all: Vec<_> = place.children().collect();
    looks.add(all.len())?;
    Ok(all)
}

fn look_at<'s, 'l>(
    dir: BorrowedFd<'_>,
    child: &'s [Sought<'l>],
    prefix: usize,
    number: u16,
    todo: &mut Vec<Place<'s, 'l>>,
) -> Step<()> {
    let Some(first) = child.first() else { return Ok(()) };
    let name = first.name(prefix);
    let stat = match fs::statat(dir, &c_string(name)?) {
        Err(Error { errno: libc::ENOENT, .. }) => return Ok(()),
        result => result?,
    };
    let end = prefix + name.len();
    let (itself, inside) = child.split_at_checked(usize::from(first.path.len() == end)).unwrap_or_default();
    if let Some(sought) = itself.first().filter(|sought| !stat.is_whiteout() && sought.below.get() == 0) {
        sought.below.set(number);
    }
    // Anything but a directory hides what the layers below have here.
    let over = if stat.is(fs::S_IFDIR) { itself } else { child };
    over.iter().for_each(|sought| sought.over.set(true));
    if stat.is(fs::S_IFDIR) && !inside.is_empty() {
        todo.push(Place { inside, prefix: end + 1 });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::unpack::lower::find;
    use crate::sys::overlayfs;
    use std::ffi::CString;
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;
    use std::sync::Arc;

    fn lower(path: &Path) -> Lower {
        Arc::new(File::open(path).unwrap().into())
    }

    /// The numbers that are found, and the work.
    fn look_for(lowers: &[Lower], paths: &[Vec<u8>]) -> (Vec<u16>, usize) {
        let below: Vec<_> = paths.iter().map(|_| Cell::new(0)).collect();
        let sought = paths.iter().zip(&below).map(|(path, below)| Sought::new(path, below)).collect();
        let mut looks = Looks::default();
        assert!(look(lowers, sought, &mut looks).is_ok());
        (below.iter().map(Cell::get).collect(), looks.0)
    }

    /// Numbers below `end`, by a seed.
    struct Random(u32);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (self.0 >> 16) as usize % end
        }
    }

    /// One of 75 names, of which some sort before others with a slash.
    fn name(random: &mut Random) -> String {
        format!("n{}{}", random.below(25), ["", "!", "-x"][random.below(12).saturating_sub(9)])
    }

    /// Fills `dir` with some of those names.
    fn fill(random: &mut Random, dir: &Path, levels: usize) {
        let here = File::open(dir).unwrap();
        for _ in 0..random.below(20) {
            let name = name(random);
            let (path, c_name) = (dir.join(&name), CString::new(name).unwrap());
            if path.symlink_metadata().is_ok() {
                continue;
            }
            match random.below(10) {
                0 => fs::mknodat(here.as_fd(), &c_name, fs::S_IFCHR, (0, 0)).unwrap(),
                1 => std::fs::write(&path, b"").unwrap(),
                2 => std::os::unix::fs::symlink("n1", &path).unwrap(),
                _ => {
                    std::fs::create_dir(&path).unwrap();
                    if levels > 1 {
                        fill(random, &path, levels - 1);
                    }
                }
            }
        }
        if random.below(12) == 0 {
            overlayfs::set_opaque(here.as_fd()).unwrap();
        }
    }

    fn paths(random: &mut Random) -> Vec<Vec<u8>> {
        let mut paths = std::collections::BTreeSet::new();
        for _ in 0..random.below(600) {
            let names: Vec<_> = (0..random.below(3) + 1).map(|_| name(random)).collect();
            paths.insert(names.join("/").into_bytes());
        }
        paths.into_iter().collect()
    }

    #[test]
    fn finds_what_a_walk_for_each_path_finds() {
        let dir = tempfile::tempdir().unwrap();
        if dir.path().metadata().unwrap().uid() != 0 {
            skip!("opaque marks take root");
        }
        let random = &mut Random(1);
        let (mut shown, mut hidden) = (0, 0);
        for round in 0..8 {
            let lowers: Vec<_> = (0..random.below(6) + 1)
                .map(|number| {
                    let path = dir.path().join(format!("{round}-{number}"));
                    std::fs::create_dir(&path).unwrap();
                    fill(random, &path, 3);
                    lower(&path)
                })
                .collect();
            let paths = paths(random);
            let (numbers, _) = look_for(&lowers, &paths);
            for (path, number) in paths.iter().zip(numbers) {
                let found = find(&lowers, path, &mut Looks::default());
                let stat = found.ok().unwrap().map(|found| (found.stat.dev, found.stat.ino));
                let at = |lower| crate::layer::unpack::lower::at(lower, path).ok().unwrap().stat;
                let ours = lowers.get(usize::from(number).wrapping_sub(1)).map(|lower| (at(lower).dev, at(lower).ino));
                assert_eq!(ours, stat, "{round} {}", path.escape_ascii());
                *if ours.is_some() { &mut shown } else { &mut hidden } += 1;
            }
        }
        assert!(shown > 50 && hidden > 500, "{shown} {hidden}");
    }

    #[test]
    fn the_work_is_no_product_of_paths_and_layers() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["d", "d/p7", "d/p7/x"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        for name in 0..1000 {
            File::create(dir.path().join(format!("d/other{name}"))).unwrap();
        }
        let lowers = vec![lower(dir.path()); 499];
        let all = |name: &dyn Fn(usize) -> String| (0..195_000).map(|i| name(i).into_bytes()).collect::<Vec<_>>();
        // In the root, in parents of their own that are there or not, and both.
        for (paths, found, each) in [
            (all(&|i| format!("n{i}")), 0, 2),
            (all(&|i| format!("p{i}/x")), 0, 2),
            (all(&|i| format!("d/p{}{}", i / 2, ["", "/x"][i % 2])), 2, 1006),
            // Fewer than the directory has names.
            (all(&|i| format!("d/n{i}"))[..20].to_vec(), 0, 2000),
        ] {
            let (numbers, looks) = look_for(&lowers, &paths);
            assert_eq!(numbers.iter().filter(|number| **number == 1).count(), found);
            assert!(looks <= each * lowers.len() + paths.len(), "{looks} looks");
        }
        let (_, looks) = look_for(&lowers, &[b"d/n1".to_vec()]);
        assert_eq!(looks, 4 * lowers.len());
    }

    #[test]
    fn the_work_is_bounded() {
        let mut looks = Looks::default();
        assert!(looks.add(MAX_LOOKS).is_ok() && looks.add(1).is_err());
    }
}
