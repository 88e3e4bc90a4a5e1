//! What the kernel needs to execute a file, by the file's beginning.

use crate::container::pure::process::interpreter;

/// How much of a file is looked at: a program's headers are there, and the name of its loader.
pub const HEAD_BYTES: usize = 4096;

/// A file that is to be executed.
#[derive(Debug, PartialEq, Eq)]
pub enum Program<'a> {
    /// Its interpreter.
    Script(&'a [u8]),
    /// Its architecture (elf(5), `e_machine`), and its loader if it has one.
    Elf { machine: u16, loader: Option<&'a [u8]> },
    /// The kernel cannot execute it.
    Unknown,
}

/// What the file is that begins with `head`.
pub fn program(head: &[u8]) -> Program<'_> {
    if let Some(path) = interpreter(head) {
        return Program::Script(path);
    }
    // elf(5): the class (64 bits or 32) and the byte order come after the magic number.
    match head {
        [0x7f, b'E', b'L', b'F', class @ 1..=2, order @ 1..=2, ..] => {
            let elf = Elf { head, wide: *class == 2, big: *order == 2 };
            elf.number(18, 2)
                .map_or(Program::Unknown, |machine| Program::Elf { machine: machine as u16, loader: elf.loader() })
        }
        _ => Program::Unknown,
    }
}

struct Elf<'a> {
    head: &'a [u8],
    /// Addresses have 64 bits.
    wide: bool,
    /// The most significant byte comes first.
    big: bool,
}

impl<'a> Elf<'a> {
    fn number(&self, at: usize, length: usize) -> Option<usize> {
        let bytes = self.head.get(at..at.checked_add(length)?)?;
        let add = |number: usize, byte: &u8| number << 8 | usize::from(*byte);
        Some(if self.big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
    }

    /// The path in the segment PT_INTERP, if that lies in the file's beginning.
    fn loader(&self) -> Option<&'a [u8]> {
        const PT_INTERP: usize = 3;
        let (width, table, sizes, offset, size) = if self.wide { (8, 32, 54, 8, 32) } else { (4, 28, 42, 4, 16) };
        let (table, entry) = (self.number(table, width)?, self.number(sizes, 2)?);
        for index in 0..self.number(sizes + 2, 2)? {
            let header = table.checked_add(index * entry)?;
            if self.number(header, 4)? == PT_INTERP {
                let start = self.number(header.checked_add(offset)?, width)?;
                let end = start.checked_add(self.number(header.checked_add(size)?, width)?)?;
                return self.head.get(start..end)?.split(|byte| *byte == 0).next();
            }
        }
        None
    }
}

/// Whether programs for `machine` may run on a kernel that runs those for `own`: the same, or its sibling of 32 bits.
pub fn runs_on(machine: u16, own: u16) -> bool {
    const SIBLINGS: [(u16, u16); 2] = [(62, 3), (183, 40)];
    machine == own || SIBLINGS.contains(&(own, machine))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<u8> {
        let bytes = std::fs::read("/proc/self/exe").unwrap();
        bytes[..HEAD_BYTES].to_vec()
    }

    #[test]
    fn this_program_and_its_loader() {
        let head = own();
        let Program::Elf { machine, loader } = program(&head) else { panic!("no ELF") };
        assert!(runs_on(machine, machine));
        let loader = std::str::from_utf8(loader.expect("a test is linked dynamically")).unwrap();
        assert!(loader.starts_with('/') && std::path::Path::new(loader).is_file(), "{loader}");
    }

    /// A header of 32 bits in the other byte order, with a loader behind its one segment.
    fn old() -> Vec<u8> {
        let mut head = vec![0; 100];
        head[..6].copy_from_slice(b"\x7fELF\x01\x02");
        head[18..20].copy_from_slice(&8u16.to_be_bytes());
        head[28..32].copy_from_slice(&52u32.to_be_bytes());
        head[42..44].copy_from_slice(&32u16.to_be_bytes());
        head[44..46].copy_from_slice(&1u16.to_be_bytes());
        head[52..56].copy_from_slice(&3u32.to_be_bytes());
        head[56..60].copy_from_slice(&84u32.to_be_bytes());
        head[68..72].copy_from_slice(&9u32.to_be_bytes());
        head[84..93].copy_from_slice(b"/lib/ld.1");
        head
    }

    #[test]
    fn other_forms_and_what_is_cut_off() {
        let head = old();
        assert_eq!(program(&head), Program::Elf { machine: 8, loader: Some(b"/lib/ld.1") });
        for length in 0..head.len() {
            let cut = program(&head[..length]);
            let want = |loader| Program::Elf { machine: 8, loader };
            assert!(cut == Program::Unknown || cut == want(None) || length >= 93 && cut == want(Some(b"/lib/ld.1")));
            assert_eq!(cut == Program::Unknown, length < 20, "{length}");
        }
        assert_eq!(program(b"#! /bin/sh -e\n"), Program::Script(b"/bin/sh"));
        for other in [&b""[..], b"echo", b"\x7fELF", b"\x7fELF\x03\x01", b"#!\n", b"MZ\0\0"] {
            assert_eq!(program(other), Program::Unknown);
        }
        // Each number as large as it can be, at each place.
        for at in 0..head.len() - 4 {
            let mut spoiled = old();
            spoiled[at..at + 4].fill(0xff);
            program(&spoiled);
        }
    }

    #[test]
    fn siblings() {
        assert!(runs_on(62, 62) && runs_on(3, 62) && runs_on(40, 183));
        assert!(!runs_on(62, 3) && !runs_on(183, 62) && !runs_on(62, 183) && !runs_on(183, 40));
    }
}
