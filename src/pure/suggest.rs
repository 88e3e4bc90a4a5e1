//! The known word that a mistyped one most likely means.

/// How many letters may differ; of a short word only a third of it.
const DISTANCE_MAX: usize = 3;

/// The known word that needs the fewest changes to become `word`; `None` where each needs too many.
pub fn suggest<'a>(known: &mut dyn Iterator<Item = &'a str>, word: &str) -> Option<&'a str> {
    let max = word.len().div_ceil(3).clamp(1, DISTANCE_MAX);
    let scored = known.map(|name| (distance(name.as_bytes(), word.as_bytes()), name));
    scored.filter(|(distance, _)| *distance <= max).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// How many letters have to be changed, added, left out or swapped with the next one (the distance of optimal string
/// alignment), for words up to 64 bytes.
pub fn distance(a: &[u8], b: &[u8]) -> usize {
    let b = b.get(..64).unwrap_or(b);
    let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or_default();
    let (mut above, mut row): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=b.len()).collect());
    for (i, byte) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let change = cell(&row, j) + usize::from(byte != other);
            let mut least = change.min(cell(&row, j + 1) + 1).min(cell(&next, j) + 1);
            let (before, other_before) =
                (i.checked_sub(1).and_then(|i| a.get(i)), j.checked_sub(1).and_then(|j| b.get(j)));
            if (before, Some(byte)) == (Some(other), other_before) {
                least = least.min(cell(&above, j - 1) + 1);
            }
            next.push(least);
        }
        above = std::mem::replace(&mut row, next);
    }
    cell(&row, b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, want) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "", 3),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("ab", "ba", 1),
            ("env", "evn", 1),
            ("abcd", "badc", 2),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), want, "{a} {b}");
        }
    }

    #[test]
    fn only_what_is_near() {
        let known = ["volume", "env", "user", "tmpfs"];
        let near = |word| suggest(&mut known.iter().copied(), word);
        assert_eq!(
            (near("volum"), near("evn"), near("e"), near("usr")),
            (Some("volume"), Some("env"), None, Some("user"))
        );
        assert_eq!((near("tmpsf"), near(""), near("frobnicate")), (Some("tmpfs"), None, None));
    }
}
