//! Binary keymaps, as `loadkeys -b` and busybox's dumpkmap write them: `bkeymap`, a byte for each of 256 tables that
//! says whether it is there, and for each that is there 128 numbers of two bytes.

const MAGIC: &[u8; 7] = b"bkeymap";
/// One for each combination of modifiers (Linux, uapi/linux/keyboard.h, MAX_NR_KEYMAPS).
const TABLES: usize = 256;
/// busybox's NR_KEYS; the kernel has more, for keys that no keymap of this form names.
const KEYS: usize = 128;
/// The largest keymap.
pub const SIZE_MAX: u64 = (MAGIC.len() + TABLES + TABLES * KEYS * 2) as u64;

/// Why a file is no keymap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    Magic,
    /// The byte of a table is neither 0 nor 1.
    Flag,
    /// Its tables are cut off, or something follows them.
    Length,
}

impl Error {
    pub fn text(self) -> &'static str {
        match self {
            Error::Magic => "not a binary keymap: loadkeys -b FILE makes one",
            Error::Flag => "not a binary keymap: its list of tables is wrong",
            Error::Length => "its length is not that of its tables",
        }
    }
}

/// The tables of a keymap: the number of each, and its entries.
pub fn parse(bytes: &[u8]) -> Result<Vec<(u8, Vec<u16>)>, Error> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(Error::Magic)?;
    let (flags, entries) = rest.split_at_checked(TABLES).ok_or(Error::Length)?;
    if flags.iter().any(|flag| *flag > 1) {
        return Err(Error::Flag);
    }
    let numbers = (0..=u8::MAX).zip(flags).filter(|(_, flag)| **flag == 1).map(|(number, _)| number);
    if entries.len() != numbers.clone().count() * KEYS * 2 {
        return Err(Error::Length);
    }
    // In the order of the machine's bytes, which is little-endian on every architecture that we run on.
    let entry = |pair: &[u8]| u16::from_le_bytes(pair.try_into().unwrap_or_default());
    Ok(numbers.zip(entries.chunks_exact(KEYS * 2).map(|table| table.chunks_exact(2).map(entry).collect())).collect())
}

/// How well a file's name is that of the keymap `name`: boot2container takes `NAME.kmap`. None if it is another's.
pub fn rank(file: &str, name: &str) -> Option<usize> {
    let rest = file.strip_prefix(name)?;
    [".kmap", ".bmap", ""].iter().position(|extension| *extension == rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As dumpkmap writes it: the tables that it asks the kernel for, each entry in the machine's order.
    fn dumped() -> Vec<u8> {
        let tables = [0u8, 1, 2, 4, 5, 6, 8, 9, 10, 12];
        let mut out = MAGIC.to_vec();
        out.extend((0..=u8::MAX).map(|number| u8::from(tables.contains(&number))));
        for table in tables {
            out.extend((0..KEYS as u16).flat_map(|key| (u16::from(table) << 8 | key).to_ne_bytes()));
        }
        out
    }

    /// Promise: keymap
    #[test]
    fn the_tables_of_dumpkmap() {
        let dumped = dumped();
        assert_eq!(dumped.len(), 7 + 256 + 10 * 256);
        let tables = parse(&dumped).unwrap();
        assert_eq!(tables.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2, 4, 5, 6, 8, 9, 10, 12]);
        for (number, entries) in &tables {
            let want: Vec<u16> = (0..128).map(|key| u16::from(*number) << 8 | key).collect();
            assert_eq!(entries, &want);
        }
        let none = [&MAGIC[..], &[0; TABLES]].concat();
        assert_eq!(parse(&none), Ok(Vec::new()));
        let all = [&MAGIC[..], &[1; TABLES], &[0; TABLES * KEYS * 2]].concat();
        assert_eq!((all.len() as u64, parse(&all).map(|tables| tables.len())), (SIZE_MAX, Ok(256)));
    }

    /// Promise: keymap
    #[test]
    fn what_is_no_keymap() {
        let dumped = dumped();
        for length in 0..dumped.len() {
            let want = if length < MAGIC.len() { Error::Magic } else { Error::Length };
            assert_eq!(parse(&dumped[..length]), Err(want), "{length}");
        }
        assert_eq!(parse(&[&dumped[..], b"x"].concat()), Err(Error::Length));
        assert_eq!(parse(b"keymaps 0-2,4-6,8,12\n"), Err(Error::Magic));
        let mut flags = dumped.clone();
        flags[7 + 3] = 2;
        assert_eq!(parse(&flags), Err(Error::Flag));
        // A table more than there are entries.
        flags[7 + 3] = 1;
        assert_eq!(parse(&flags), Err(Error::Length));
    }

    #[test]
    fn names_of_files() {
        for (file, want) in [("de.kmap", Some(0)), ("de.bmap", Some(1)), ("de", Some(2)), ("de.map", None)] {
            assert_eq!(rank(file, "de"), want, "{file}");
        }
        for other in ["", "d", "de-latin1.kmap", "xde.kmap", "de.kmap.gz"] {
            assert_eq!(rank(other, "de"), None, "{other}");
        }
    }
}
