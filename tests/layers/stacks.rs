//! Random stacks of layers, unpacked by us (and merged by overlayfs) and by
//! Debian's umoci, compared path by path. Each kind of difference is in a table
//! here with its reason; any other is a failure.
//!
//! `STACKS=20000` compares more of them, `SEED=N` starts at another one.

use crate::generator::{seeded, stack, Odd, Stack};
use crate::world::{nodes, overlay, ready, Node, World};
use ocinit::host::image::{self, Image};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Mutex;

type Tree = BTreeMap<String, Node>;

pub fn installed(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        skip!("{tool} is not installed (./dev setup brings it)");
    }
    true
}

/// Layers, lowest first, merged by overlayfs after we unpacked them, and as umoci
/// unpacks them; or why there is no such tree.
pub fn both(layers: &[Vec<u8>]) -> (Result<Tree, String>, Result<Tree, String>) {
    let mut world = World::new();
    let theirs = umoci(&world.layer(), layers);
    (merged(&mut world, layers), theirs)
}

fn umoci(work: &Path, layers: &[Vec<u8>]) -> Result<Tree, String> {
    let image = Image::new(layers.to_vec(), serde_json::json!({}));
    image::write(&work.join("oci"), &[Image { compressed: false, ..image }]).unwrap();
    let mut umoci = Command::new("umoci");
    umoci.args(["raw", "unpack", "--image", "oci:latest", "rootfs"]).current_dir(work);
    let output = umoci.output().unwrap();
    match output.status.success() {
        true => Ok(nodes(&work.join("rootfs"))),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().into()),
    }
}

fn merged(world: &mut World, layers: &[Vec<u8>]) -> Result<Tree, String> {
    let mut dirs: Vec<PathBuf> = Vec::new();
    for tar in layers {
        let lowers: Vec<&Path> = dirs.iter().map(|dir| &**dir).collect();
        let layer = world.unpack(tar, &lowers)?;
        // overlayfs does not read the mark of a root: ocinit leaves out the layers below such a one.
        dirs.truncate(if layer.is_opaque(".") { 0 } else { dirs.len() });
        dirs.insert(0, layer.dir);
    }
    let dirs: Vec<&Path> = dirs.iter().map(|dir| &**dir).collect();
    Ok(overlay(world, &dirs, nodes))
}

/// A path at which the trees differ, and what both have there.
struct Difference<'a> {
    path: &'a str,
    ours: &'a Node,
    theirs: &'a Node,
    stack: &'a Stack,
}

/// Differences that are meant to be: where, what of a node, and why.
struct Class {
    why: &'static str,
    covers: fn(&Difference<'_>) -> bool,
    forgive: fn(&mut Node),
}

const CLASSES: [Class; 8] = [
    Class {
        why: "a directory's time: umoci changes it when it makes or removes names in there",
        covers: |d| d.ours.is_dir() && d.theirs.time.is_none(),
        forgive: |node| node.time = None,
    },
    Class {
        why: "the root's time where no layer has one: 1970 for umoci, that of its making for us",
        covers: |d| d.path.is_empty() && d.theirs.time == Some((0, 0)) && d.ours.time.is_none(),
        forgive: |node| node.time = None,
    },
    Class {
        why: "the root's mode where no layer has one: podman's 0555, umoci's 0755",
        covers: |d| d.path.is_empty() && d.ours.time.is_none(),
        forgive: |node| node.mode |= 0o200,
    },
    Class {
        why: "an attribute without a value: Go's tar reader leaves it out, GNU tar and we do not",
        covers: |_| true,
        forgive: |node| node.xattrs.retain(|line| !line.ends_with("=Some([])")),
    },
    Class {
        why: "a missing parent in a set-group-ID directory: umoci lets the kernel hand the group down",
        covers: |d| d.ours.is_dir() && d.stack.is_odd(Odd::SetGroup, d.path),
        forgive: |node| (node.mode, node.owner.1) = (node.mode & !0o2000, 0),
    },
    Class {
        why: "a mark after what its layer has in that place: the same tree for us (docs/inputs.md#opaque-anywhere), not for umoci",
        covers: |d| d.ours.is_dir() && d.stack.is_odd(Odd::LateMark, d.path),
        forgive: |node| (node.mode, node.owner, node.time, node.xattrs) = (0, (0, 0), None, Vec::new()),
    },
    Class {
        why:
            "a directory that is described twice: umoci takes the first one's attributes away, containerd and we do not",
        covers: |d| d.ours.is_dir() && d.stack.is_odd(Odd::Twice, d.path),
        forgive: |node| node.xattrs = Vec::new(),
    },
    Class {
        why: "a hardlink to a lower layer's file of several names: overlayfs parts them, as at any copying up",
        covers: |d| d.stack.has(Odd::LowerHardlink),
        forgive: |node| node.group = None,
    },
];

/// Stacks whose trees are another matter altogether, or that one side refuses:
/// a part of its message (none: any), what the stack must have for it, and why.
type Whole = (&'static str, Option<Odd>, &'static str);
const LOWER_SYMLINK: &str =
    "a path through a lower layer's symlink: a directory takes its place (docs/inputs.md#implied-parents), umoci follows it";
const REFUSED_BY_UMOCI: [Whole; 2] = [
    (
        "not a directory",
        None,
        "a path through a lower layer's file: a directory takes its place (docs/inputs.md#implied-parents), umoci refuses",
    ),
    ("", Some(Odd::LowerSymlink), LOWER_SYMLINK),
];
const REFUSED_BY_US: [Whole; 2] = [
    (
        "open: not a directory",
        None,
        "a mark inside of a file of its layer: refused as any member there (docs/inputs.md#replaced-members)",
    ),
    ("", Some(Odd::LowerSymlink), LOWER_SYMLINK),
];
const OTHER_TREES: [Whole; 1] = [("", Some(Odd::LowerSymlink), LOWER_SYMLINK)];

/// How it went, in stacks.
#[derive(Default)]
struct Tally {
    same: u64,
    explained: u64,
    refused: u64,
    /// By their reason; a stack may have several.
    reasons: BTreeMap<&'static str, u64>,
    unexplained: Vec<String>,
}

impl Tally {
    fn add(&mut self, seed: u64, stack: &Stack, verdict: Verdict) {
        match verdict {
            Verdict::Refused => self.refused += 1,
            Verdict::Explained(reasons) if reasons.is_empty() => self.same += 1,
            Verdict::Explained(reasons) => {
                self.explained += 1;
                reasons.into_iter().for_each(|reason| *self.reasons.entry(reason).or_default() += 1);
            }
            Verdict::Unexplained(lines) => {
                let told = [&stack.told[..], &lines].concat().join("\n");
                self.unexplained.push(format!("SEED={seed} STACKS=1, {:?}\n{told}", stack.odd));
            }
        }
    }

    /// Past the tests' own output, which is not shown where they pass.
    fn tell(&self, first: u64) -> std::io::Result<()> {
        let (mut out, unexplained) = (std::io::stderr().lock(), self.unexplained.len());
        let all = self.same + self.explained + self.refused + unexplained as u64;
        write!(out, "stacks: {all} compared with umoci from seed {first}: {} the same, ", self.same)?;
        write!(out, "{} differ as explained, {} refused by both, ", self.explained, self.refused)?;
        writeln!(out, "{unexplained} differ otherwise")?;
        self.reasons.iter().try_for_each(|(reason, count)| writeln!(out, "stacks: {count:6} {reason}"))
    }
}

enum Verdict {
    Refused,
    /// The trees are the same but for this.
    Explained(Vec<&'static str>),
    Unexplained(Vec<String>),
}

fn compare(stack: &Stack) -> Verdict {
    let explain = |table: &[Whole], lines: Vec<String>| {
        let fits = |(part, odd, _): &&Whole| lines[0].contains(part) && odd.is_none_or(|odd| stack.has(odd));
        match table.iter().find(fits) {
            Some((_, _, why)) => Verdict::Explained(vec![why]),
            None => Verdict::Unexplained(lines),
        }
    };
    let (ours, theirs) = match both(&stack.layers) {
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        (Err(_), Err(_)) => return Verdict::Refused,
        (Err(text), Ok(_)) => return explain(&REFUSED_BY_US, vec![format!("only we refuse: {text}")]),
        (Ok(_), Err(text)) => return explain(&REFUSED_BY_UMOCI, vec![format!("only umoci refuses: {text}")]),
    };
    let (mut classes, mut unexplained) = (BTreeSet::new(), Vec::new());
    let mut paths: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    paths.retain(|path| ours.get(*path) != theirs.get(*path));
    for path in paths {
        let explained = match (ours.get(path), theirs.get(path)) {
            (Some(ours), Some(theirs)) => forgiven(&Difference { path, ours, theirs, stack }),
            _ => None,
        };
        match explained {
            Some(why) => classes.extend(why),
            None => unexplained.push(format!("{path}\n  ours  {:?}\n  umoci {:?}", ours.get(path), theirs.get(path))),
        }
    }
    if unexplained.is_empty() {
        return Verdict::Explained(classes.into_iter().collect());
    }
    explain(&OTHER_TREES, unexplained)
}

/// The classes that together explain a difference.
fn forgiven(difference: &Difference<'_>) -> Option<Vec<&'static str>> {
    let (mut ours, mut theirs) = (difference.ours.clone(), difference.theirs.clone());
    let mut why = Vec::new();
    for class in CLASSES.iter().filter(|class| (class.covers)(difference)) {
        let (mut less_ours, mut less_theirs) = (ours.clone(), theirs.clone());
        (class.forgive)(&mut less_ours);
        (class.forgive)(&mut less_theirs);
        if less_ours.unlike(&less_theirs) < ours.unlike(&theirs) {
            (ours, theirs) = (less_ours, less_theirs);
            why.push(class.why);
        }
    }
    (ours == theirs).then_some(why)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

/// Promise: umoci-tree
#[test]
fn random_stacks_like_umoci() {
    if !ready() || !installed("umoci") {
        return;
    }
    let (first, count) = (number("SEED", 1), number("STACKS", 500));
    let (next, tally) = (AtomicU64::new(first), Mutex::new(Tally::default()));
    let work = || loop {
        let seed = next.fetch_add(1, Relaxed);
        if seed >= first + count || tally.lock().unwrap().unexplained.len() > 2 {
            return;
        }
        let stack = stack(&mut seeded(seed));
        let verdict = compare(&stack);
        tally.lock().unwrap().add(seed, &stack, verdict);
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let tally = tally.into_inner().unwrap();
    tally.tell(first).unwrap();
    assert!(tally.unexplained.is_empty(), "{}", tally.unexplained.join("\n\n"));
    assert!(tally.refused * 4 < count, "too many stacks are refused: {} of {count}", tally.refused);
}
