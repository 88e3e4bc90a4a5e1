//! Oracle: where a member goes has no `.`, `..`, empty or over-long name in it, and
//! stays there when asked again; a mark means what the name without it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocinit::layer::pure::whiteout::{normalize, target, Meaning, WhiteoutTarget, MAX_NAME_BYTES, MAX_PATH_BYTES};

fuzz_target!(|input: &[u8]| {
    let Some((directory, path)) = input.split_first() else { return };
    let directory = directory & 1 == 1;
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).collect();
    let bad = |name: &&[u8]| *name == b".." || name.len() > MAX_NAME_BYTES || name.contains(&0);
    let harmless = path.len() <= MAX_PATH_BYTES && !names.iter().any(bad);
    match normalize(path) {
        Ok(target) => {
            assert!(harmless, "took {path:?}");
            assert_eq!(target.path(), names.join(&b'/'));
            check(&target);
        }
        Err(_) => assert!(!harmless, "refused {path:?}"),
    }
    let marked = names.iter().any(|name| name.starts_with(b".wh."));
    let Ok(found) = target(path, directory) else {
        assert!(!harmless || marked, "refused {path:?}");
        return;
    };
    assert!(harmless, "took {path:?}");
    check(&found);
    let (name, above) = names.split_last().map_or((&b""[..], &[][..]), |(name, above)| (name, above));
    match found.meaning {
        Meaning::Plain => assert!(!marked && found.path() == names.join(&b'/'), "{path:?}: {found:?}"),
        Meaning::Opaque => assert!(name == b".wh..wh..opq" && found.path() == above.join(&b'/'), "{path:?}: {found:?}"),
        Meaning::Whiteout => {
            assert_eq!(name.strip_prefix(b".wh."), Some(found.name()));
            assert_eq!(found.parent(), above.join(&b'/'));
        }
        Meaning::Ignored => assert!(names.iter().any(|name| name.starts_with(b".wh..wh.")), "{path:?}"),
    }
    let mark = matches!(found.meaning, Meaning::Opaque | Meaning::Whiteout);
    assert!(!mark || !directory && !above.iter().any(|name| name.starts_with(b".wh.")), "{path:?}: {found:?}");
});

/// A target is a clean path, and its own normal form.
fn check(found: &WhiteoutTarget) {
    let path = found.path();
    assert!(!matches!(found.name(), b"." | b".."), "{found:?}");
    assert!(path.is_empty() || path.split(|byte| *byte == b'/').all(|name| !matches!(name, b"" | b"." | b"..")));
    let joined =
        if found.parent().is_empty() { found.name().to_vec() } else { [found.parent(), found.name()].join(&b'/') };
    assert_eq!(path, joined);
    assert_eq!(normalize(path).map(|target| target.path().to_vec()), Ok(path.to_vec()));
}
