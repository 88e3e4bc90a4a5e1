//! Names in their order, each with a number.
//!
//! A stranger's document or archive may hold hundreds of thousands of names, so finding one must not be a scan of all.
//! This one type takes the place of the maps and sets of such names: each type of the standard library's B-trees has
//! thousands of bytes of code of its own.

type Entry = (Vec<u8>, usize);

/// The most names of a piece: no more are moved to make room for another.
const PIECE_MAX: usize = 512;

/// A sorted list in pieces.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// All names in their order; no piece is empty.
    pieces: Vec<Vec<Entry>>,
}

impl Index {
    /// The names, numbered from 0 on; of several the last one counts.
    pub fn of(names: &mut dyn Iterator<Item = &str>) -> Index {
        let mut index = Index::default();
        for (number, name) in names.enumerate() {
            index.insert(name.as_bytes(), number);
        }
        index
    }

    pub fn get(&self, name: &[u8]) -> Option<usize> {
        self.from(name).next().filter(|(found, _)| *found == name).map(|(_, number)| number)
    }

    /// Gives the name this number. The answer is the number that it had before.
    pub fn insert(&mut self, name: &[u8], number: usize) -> Option<usize> {
        let (at, place) = self.find(name);
        if self.pieces.is_empty() {
            self.pieces.push(Vec::new());
        }
        let piece = self.pieces.get_mut(at)?;
        if let Some((_, old)) = piece.get_mut(place).filter(|(found, _)| found == name) {
            return Some(std::mem::replace(old, number));
        }
        piece.insert(place, (name.into(), number));
        if piece.len() > PIECE_MAX {
            let half = piece.split_off(PIECE_MAX / 2);
            self.pieces.insert(at + 1, half);
        }
        None
    }

    /// Removes the name. The answer is the number that it had.
    pub fn remove(&mut self, name: &[u8]) -> Option<usize> {
        let (at, place) = self.find(name);
        let piece = self.pieces.get_mut(at)?;
        piece.get(place).filter(|(found, _)| found == name)?;
        let (_, number) = piece.remove(place);
        if piece.is_empty() {
            self.pieces.remove(at);
        }
        Some(number)
    }

    /// The names from `name` on.
    pub fn from(&self, name: &[u8]) -> Names<'_> {
        let (piece, place) = self.find(name);
        Names { pieces: self.pieces.get(piece..).unwrap_or_default(), place }
    }

    /// The piece for the name, and the place there of the first name that is not before it.
    fn find(&self, name: &[u8]) -> (usize, usize) {
        let begins_before = |piece: &Vec<Entry>| piece.first().is_some_and(|(first, _)| first.as_slice() <= name);
        let piece = self.pieces.partition_point(begins_before).saturating_sub(1);
        let entries = self.pieces.get(piece).map_or(&[][..], Vec::as_slice);
        (piece, entries.partition_point(|(other, _)| other.as_slice() < name))
    }
}

/// Names of an [`Index`] with their numbers.
pub struct Names<'a> {
    pieces: &'a [Vec<Entry>],
    place: usize,
}

impl<'a> Iterator for Names<'a> {
    type Item = (&'a [u8], usize);

    #[inline(never)]
    fn next(&mut self) -> Option<(&'a [u8], usize)> {
        loop {
            let (piece, rest) = self.pieces.split_first()?;
            if let Some((name, number)) = piece.get(self.place) {
                self.place += 1;
                return Some((name, *number));
            }
            (self.pieces, self.place) = (rest, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn all<'a>(names: impl Iterator<Item = (&'a [u8], usize)>) -> Vec<(Vec<u8>, usize)> {
        names.map(|(name, number)| (name.to_vec(), number)).collect()
    }

    /// The standard library's map says what is right, from nothing to many pieces and back.
    #[test]
    fn does_what_a_map_does() {
        let (mut index, mut map) = (Index::default(), BTreeMap::new());
        assert!(index.get(b"").is_none() && index.remove(b"a").is_none() && index.from(b"").next().is_none());
        let mut random = 1_u32;
        for step in 0..60_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // More are added than removed, and later the other way round.
            let adds = ((random >> 8) & 7) < if step < 30_000 { 6 } else { 1 };
            let name = ((random >> 16) & 0x1fff).to_string().into_bytes();
            match adds {
                true => assert_eq!(index.insert(&name, step), map.insert(name, step)),
                false => assert_eq!(index.remove(&name), map.remove(&name)),
            }
            if step % 5000 == 0 {
                let want: Vec<_> = map.clone().into_iter().collect();
                assert_eq!(all(index.from(b"")), want, "{step}");
                assert!(index.pieces.iter().all(|piece| (1..=PIECE_MAX).contains(&piece.len())));
            }
        }
        for name in (0..9000).map(|number: u32| number.to_string().into_bytes()) {
            assert_eq!(index.get(&name), map.get(&name).copied());
            let behind = map.range(name.clone()..).next().map(|(name, number)| (name.as_slice(), *number));
            assert_eq!(index.from(&name).next(), behind);
        }
        let names: Vec<_> = map.into_keys().collect();
        assert!(names.iter().all(|name| index.remove(name).is_some()) && index == Index::default());
    }

    #[test]
    fn sorted_names_and_the_empty_one() {
        let mut index = Index::default();
        let names: Vec<Vec<u8>> = (0..2000_u32).map(|number| number.to_be_bytes().to_vec()).collect();
        for (number, name) in names.iter().enumerate() {
            assert_eq!(index.insert(name, number), None);
        }
        assert_eq!(index.insert(b"", 7), None);
        assert_eq!((index.get(b""), index.get(&names[1999]), index.get(b"\xff")), (Some(7), Some(1999), None));
        assert_eq!(all(index.from(b"\0\0\x07")), all(names[1792..].iter().map(Vec::as_slice).zip(1792..)));
        assert!(index.from(b"\xff").next().is_none());
        let index = Index::of(&mut ["b", "a", "b"].into_iter());
        assert_eq!(all(index.from(b"")), [(b"a".to_vec(), 1), (b"b".to_vec(), 2)]);
    }
}
