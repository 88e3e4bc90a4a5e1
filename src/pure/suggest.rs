//! The known word that a mistyped one most likely means.

/// How many letters may differ; of a short word only a third of it.
const DISTANCE_MAX: usize = 3;

/// The known word that needs the fewest changes to become `word`; `None` where each needs too many.
pub fn suggest<'a>(known: impl Iterator<Item = &'a str>, word: &str) -> Option<&'a str> {
    let max = word.len().div_ceil(3).clamp(1, DISTANCE_MAX);
    let scored = known.map(|name| (distance(name.as_bytes(), word.as_bytes()), name));
    scored.filter(|(distance, _)| *distance <= max).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// Levenshtein's distance, for words up to 64 bytes.
pub fn distance(a: &[u8], b: &[u8]) -> usize {
    let b = b.get(..64).unwrap_or(b);
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, byte) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (other, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let change = diagonal + usize::from(byte != other);
            diagonal = *cell;
            left = change.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
    }
    // The first column was never written: it is only read as `i`.
    if b.is_empty() {
        a.len()
    } else {
        row.last().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, want) in [("", "", 0), ("abc", "abc", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3)] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), want, "{a} {b}");
        }
    }

    #[test]
    fn only_what_is_near() {
        let known = ["volume", "env", "user", "tmpfs"];
        let near = |word| suggest(known.iter().copied(), word);
        assert_eq!((near("volum"), near("evn"), near("e"), near("usr")), (Some("volume"), None, None, Some("user")));
        assert_eq!((near("tmpsf"), near(""), near("frobnicate")), (Some("tmpfs"), None, None));
    }
}
