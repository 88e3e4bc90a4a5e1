//! What must be true of the init for a machine to start it: a static program of the machine's architecture.

/// Names as `uname -m` has them, and the numbers in an ELF header.
const MACHINES: [(&str, u16); 5] = [("x86_64", 62), ("aarch64", 183), ("arm", 40), ("x86", 3), ("riscv64", 243)];
/// Types of ELF files: programs at a fixed place, and at any.
const EXECUTABLE: [u64; 2] = [2, 3];
/// Types of program headers.
const LOAD: u64 = 1;
const DYNAMIC: u64 = 2;
const INTERPRETER: u64 = 3;
/// The entry of the dynamic section that names a library.
const NEEDED: u64 = 1;

/// The architecture of an ELF file, by its name if that is known.
pub fn architecture(elf: &[u8]) -> Option<String> {
    let file = File::new(elf)?;
    let machine = file.number(18, 2)? as u16;
    let known = MACHINES.iter().find(|(_, number)| *number == machine);
    Some(known.map_or_else(|| format!("machine {machine}"), |(name, _)| name.to_string()))
}

/// Checks that `elf` is a static program for `architecture`. An error says what it is instead.
pub fn check(elf: &[u8], architecture: &str) -> Result<(), String> {
    let Some(file) = File::new(elf) else {
        let kind =
            if elf.starts_with(b"#!") { "a script: the initramfs has no interpreter for it" } else { "no ELF file" };
        return Err(format!("{kind}; PID 1 is a static binary"));
    };
    let truncated = "cut off: it ends before what its header names";
    let is = self::architecture(elf).ok_or(truncated)?;
    if is != architecture {
        return Err(format!("a binary for {is}, not for {architecture} (--arch)"));
    }
    if !EXECUTABLE.contains(&file.number(16, 2).ok_or(truncated)?) {
        return Err("an ELF file, but no program".into());
    }
    let (mut is_loaded, mut needs_libraries) = (false, false);
    for header in file.program_headers().ok_or(truncated)? {
        let (kind, start, length) = header;
        let part = elf.get(start..start.checked_add(length).ok_or(truncated)?).ok_or(truncated)?;
        match kind {
            LOAD => is_loaded = true,
            DYNAMIC => needs_libraries |= file.words(part).step_by(2).any(|tag| tag == NEEDED),
            INTERPRETER => needs_libraries = true,
            _ => {}
        }
    }
    if needs_libraries {
        return Err("not statically linked: the initramfs has no loader for it".into());
    }
    // A library may be loaded, too, but has no place to start at.
    match is_loaded && file.number(24, file.word).is_some_and(|entry| entry > 0) {
        true => Ok(()),
        false => Err("an ELF file, but no program".into()),
    }
}

/// A little-endian ELF file.
struct File<'a> {
    bytes: &'a [u8],
    /// The bytes of an address: 4 or 8.
    word: usize,
}

impl File<'_> {
    fn new(bytes: &[u8]) -> Option<File<'_>> {
        match bytes.get(..6)? {
            [0x7f, b'E', b'L', b'F', class @ (1 | 2), 1] => Some(File { bytes, word: 4 * usize::from(*class) }),
            _ => None,
        }
    }

    fn number(&self, at: usize, length: usize) -> Option<u64> {
        self.bytes.get(at..at.checked_add(length)?).map(little_endian)
    }

    fn words<'a>(&self, part: &'a [u8]) -> impl Iterator<Item = u64> + 'a {
        part.chunks_exact(self.word).map(little_endian)
    }

    /// Type, place in the file and length there of each.
    fn program_headers(&self) -> Option<Vec<(u64, usize, usize)>> {
        let word = self.word;
        let tail = 24 + 3 * word + 4;
        let start = usize::try_from(self.number(24 + word, word)?).ok()?;
        let (size, count) = (self.number(tail + 2, 2)? as usize, self.number(tail + 4, 2)? as usize);
        let header = |index: usize| {
            let at = start.checked_add(index * size)?;
            // After the type, a 64-bit header has the flags.
            let (offset, length) = if word == 8 { (8, 32) } else { (4, 16) };
            let place = |from: usize| usize::try_from(self.number(at.checked_add(from)?, word)?).ok();
            Some((self.number(at, 4)?, place(offset)?, place(length)?))
        };
        (0..count).map(header).collect()
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// A header, and a program header of each of `kinds` that covers `covered` bytes.
    fn file(machine: u16, kind: u16, kinds: &[u32], covered: u64) -> Vec<u8> {
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(64, 0);
        elf[16..18].copy_from_slice(&kind.to_le_bytes());
        elf[18..20].copy_from_slice(&machine.to_le_bytes());
        elf[24..32].copy_from_slice(&0x40_1000u64.to_le_bytes());
        elf[32..40].copy_from_slice(&64u64.to_le_bytes());
        elf[54..56].copy_from_slice(&56u16.to_le_bytes());
        elf[56..58].copy_from_slice(&(kinds.len() as u16).to_le_bytes());
        for kind in kinds {
            let mut header = vec![0; 56];
            header[..4].copy_from_slice(&kind.to_le_bytes());
            header[32..40].copy_from_slice(&covered.to_le_bytes());
            elf.extend(header);
        }
        elf
    }

    /// Promise: build-checks
    #[test]
    fn only_static_programs_of_the_architecture() {
        let good = file(62, 2, &[1], 64);
        assert_eq!(check(&good, "x86_64"), Ok(()));
        assert_eq!(check(&file(62, 3, &[1, 2], 0), "x86_64"), Ok(()), "static-pie");
        assert_eq!(check(&file(183, 2, &[1], 64), "aarch64"), Ok(()));
        let mut library = file(62, 3, &[1], 64);
        library[24..32].fill(0);
        let mut big_endian = good.clone();
        big_endian[5] = 2;
        for (elf, why) in [
            (file(183, 2, &[1], 64), "a binary for aarch64, not for x86_64 (--arch)"),
            (file(20, 2, &[1], 64), "a binary for machine 20, not for x86_64 (--arch)"),
            (file(62, 2, &[3, 1], 64), "not statically linked"),
            (file(62, 1, &[1], 64), "an ELF file, but no program"),
            (file(62, 4, &[1], 64), "an ELF file, but no program"),
            (file(62, 2, &[4], 64), "an ELF file, but no program"),
            (library, "an ELF file, but no program"),
            (file(62, 2, &[1], 1 << 20), "cut off"),
            (file(62, 2, &[1], u64::MAX), "cut off"),
            (good[..90].to_vec(), "cut off"),
            (good[..19].to_vec(), "cut off"),
            (big_endian, "no ELF file"),
            (b"#!/bin/sh\n".to_vec(), "a script"),
            (b"\x7fELF".to_vec(), "no ELF file"),
            (Vec::new(), "no ELF file"),
        ] {
            let told = check(&elf, "x86_64").unwrap_err();
            assert!(told.starts_with(why), "{told}: {why}");
        }
    }

    #[test]
    fn programs_of_this_host() {
        // This test is linked to libraries.
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(check(&own, std::env::consts::ARCH).unwrap_err().starts_with("not statically linked"));
        let dir = tempfile::tempdir().unwrap();
        let (source, program) = (dir.path().join("a.rs"), dir.path().join("a"));
        std::fs::write(&source, "fn main() {}").unwrap();
        let flags = ["-C", "target-feature=+crt-static", "-o"];
        let built = Command::new("rustc").arg(&source).args(flags).arg(&program).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        assert_eq!(check(&std::fs::read(&program).unwrap(), std::env::consts::ARCH), Ok(()));
    }
}
