//! Looks up many paths in the layers below at once. One by one, each path would cost a walk through all those layers:
//! hundreds of thousands of paths over hundreds of layers would take an hour.
//!
//! The layers are searched from the topmost down, each once. Of a layer only those directories are opened that it has
//! and that a query leads into. In a directory either the queried names are looked up or the directory is listed,
//! whichever are fewer: the work grows with the sum of queries and directory entries, not with their product. One
//! descriptor is open at a time.

use crate::layer::unpack::error::Step;
use crate::layer::unpack::lower::{LookupBudget, Lower};
use crate::layer::unpack::resolve::{open_real, DIRENT_BYTES};
use crate::sys::overlayfs::is_opaque;
use crate::sys::path::c_string;
use crate::sys::{fs, Error};
use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};

/// So many names are looked up without comparing their number with the directory's.
const FEW: usize = 16;

/// A path that is looked up.
pub struct Query<'l> {
    path: &'l [u8],
    /// Gets the number of the topmost layer that shows it, from 1.
    found: &'l Cell<u16>,
    /// The answer is known: the layers further below are not searched.
    done: Cell<bool>,
}

impl<'l> Query<'l> {
    /// `path` is normalized and not the root's; `found` is 0.
    pub fn new(path: &'l [u8], found: &'l Cell<u16>) -> Query<'l> {
        Query { path, found, done: Cell::new(false) }
    }

    /// The path's name in the directory whose path, with a slash, has `prefix` bytes.
    fn name(&self, prefix: usize) -> &'l [u8] {
        self.path.get(prefix..).and_then(|rest| names(rest).next()).unwrap_or(b"")
    }
}

/// A directory, as the queries that lead into it: a part of the sorted list.
struct LookupDir<'s, 'l> {
    inside: &'s [Query<'l>],
    prefix: usize,
}

/// The names in it that queries name: each with the queries at and below it.
struct Children<'s, 'l>(LookupDir<'s, 'l>);

impl<'s, 'l> Iterator for Children<'s, 'l> {
    type Item = &'s [Query<'l>];

    fn next(&mut self) -> Option<&'s [Query<'l>]> {
        let LookupDir { inside, prefix } = self.0;
        let name = inside.first()?.name(prefix);
        let (child, rest) = inside.split_at_checked(inside.partition_point(|query| query.name(prefix) == name))?;
        self.0.inside = rest;
        Some(child)
    }
}

impl<'s, 'l> LookupDir<'s, 'l> {
    fn children(&self) -> Children<'s, 'l> {
        Children(LookupDir { ..*self })
    }

    /// The queries at and below `name`.
    fn child(&self, name: &[u8]) -> Option<&'s [Query<'l>]> {
        let start = self.inside.partition_point(|query| query.name(self.prefix) < name);
        let inside = self.inside.get(start..)?;
        Children(LookupDir { inside, ..*self })
            .next()
            .filter(|_| inside.first().is_some_and(|s| s.name(self.prefix) == name))
    }
}

/// Finds out which of `lowers` (topmost first) shows the path of each query, honouring whiteouts and opaque marks as
/// [`crate::layer::unpack::lower::find`] does.
pub fn look_up(lowers: &[Lower], mut queries: Vec<Query<'_>>, budget: &mut LookupBudget) -> Step<()> {
    // Name by name, so that the queries into one directory stand together.
    queries.sort_unstable_by(|a, b| names(a.path).cmp(names(b.path)));
    let mut buffer = vec![0; DIRENT_BYTES];
    for (lower, number) in lowers.iter().zip(1..) {
        look_up_in(lower, number, &queries, budget, &mut buffer)?;
        queries.retain(|query| !query.done.get());
    }
    Ok(())
}

fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/')
}

fn look_up_in(
    lower: &Lower,
    number: u16,
    queries: &[Query<'_>],
    budget: &mut LookupBudget,
    buffer: &mut [u8],
) -> Step<()> {
    let mut todo = vec![LookupDir { inside: queries, prefix: 0 }];
    while let Some(here) = todo.pop() {
        let Some(first) = here.inside.first() else { continue };
        let path = first.path.get(..here.prefix.saturating_sub(1)).unwrap_or(b"");
        let dir = open_real(lower.as_fd(), path, fs::O_RDONLY | fs::O_DIRECTORY)?;
        budget.spend(1)?;
        if is_opaque(dir.as_fd())? {
            here.inside.iter().for_each(|query| query.done.set(true));
        }
        for child in candidates(dir.as_fd(), &here, budget, buffer)? {
            look_up_name(dir.as_fd(), child, here.prefix, number, &mut todo)?;
        }
    }
    Ok(())
}

/// The children that are to be looked up in `dir`: those that it lists, or all that are queried if it has more names
/// than those.
fn candidates<'s, 'l>(
    dir: BorrowedFd<'_>,
    here: &LookupDir<'s, 'l>,
    budget: &mut LookupBudget,
    buffer: &mut [u8],
) -> Step<Vec<&'s [Query<'l>]>> {
    let (mut found, mut read) = (Vec::new(), 0);
    while here.children().nth(FEW).is_some() && read <= here.inside.len() {
        let n = fs::getdents(dir, buffer)?;
        if n == 0 {
            return Ok(found);
        }
        let start = read;
        fs::for_each_name(buffer.get(..n).unwrap_or(b""), |name| {
            read += 1;
            found.extend(here.child(name.to_bytes()));
            Step::Ok(())
        })?;
        budget.spend(read - start)?;
    }
    let all: Vec<_> = here.children().collect();
    budget.spend(all.len())?;
    Ok(all)
}

fn look_up_name<'s, 'l>(
    dir: BorrowedFd<'_>,
    child: &'s [Query<'l>],
    prefix: usize,
    number: u16,
    todo: &mut Vec<LookupDir<'s, 'l>>,
) -> Step<()> {
    let Some(first) = child.first() else { return Ok(()) };
    let name = first.name(prefix);
    let stat = match fs::statat(dir, &c_string(name)?) {
        Err(Error { errno: libc::ENOENT, .. }) => return Ok(()),
        result => result?,
    };
    let end = prefix + name.len();
    let (itself, inside) = child.split_at_checked(usize::from(first.path.len() == end)).unwrap_or_default();
    if let Some(query) = itself.first().filter(|query| !stat.is_whiteout() && query.found.get() == 0) {
        query.found.set(number);
    }
    // Anything but a directory hides what the layers below have here.
    let done = if stat.is(fs::S_IFDIR) { itself } else { child };
    done.iter().for_each(|query| query.done.set(true));
    if stat.is(fs::S_IFDIR) && !inside.is_empty() {
        todo.push(LookupDir { inside, prefix: end + 1 });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::unpack::lower::{find, MAX_LOOKUPS};
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
        let found: Vec<_> = paths.iter().map(|_| Cell::new(0)).collect();
        let queries = paths.iter().zip(&found).map(|(path, found)| Query::new(path, found)).collect();
        let mut budget = LookupBudget::default();
        assert!(look_up(lowers, queries, &mut budget).is_ok());
        (found.iter().map(Cell::get).collect(), budget.0)
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
                let found = find(&lowers, path, &mut LookupBudget::default());
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
            let (numbers, work) = look_for(&lowers, &paths);
            assert_eq!(numbers.iter().filter(|number| **number == 1).count(), found);
            assert!(work <= each * lowers.len() + paths.len(), "{work} lookups");
        }
        let (_, work) = look_for(&lowers, &[b"d/n1".to_vec()]);
        assert_eq!(work, 4 * lowers.len());
    }

    #[test]
    fn the_work_is_bounded() {
        let mut budget = LookupBudget::default();
        assert!(budget.spend(MAX_LOOKUPS).is_ok() && budget.spend(1).is_err());
    }
}
