//! Which devices a control group may use, as the program that the kernel asks
//! at each use (Linux, cgroup-v2.rst, "Device controller"): extended BPF.

/// What may be done with a device; linux/bpf.h, `BPF_DEVCG_ACC_…`.
pub const MKNOD: u32 = 1;
pub const READ: u32 = 2;
pub const WRITE: u32 = 4;
pub const ALL: u32 = MKNOD | READ | WRITE;

/// linux/bpf.h, `BPF_DEVCG_DEV_…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Block = 1,
    Character = 2,
}

/// Devices that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Any where there is none; so with the numbers.
    pub kind: Option<Kind>,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    /// A set of [`READ`], [`WRITE`] and [`MKNOD`].
    pub access: u32,
}

const fn rule(kind: Kind, major: Option<u32>, minor: Option<u32>, access: u32) -> Rule {
    Rule { kind: Some(kind), major, minor, access }
}

/// What every container may use, as crun has it: it may make nodes of all, and open null, random, full, tty, zero,
/// urandom, ptmx, pts and net/tun. But not console, which is the host's: a container's `/dev/console` is one of its
/// pts, and by the device it could stop the host's output (TCOOFF).
pub const DEFAULT: [Rule; 11] = [
    rule(Kind::Character, None, None, MKNOD),
    rule(Kind::Block, None, None, MKNOD),
    rule(Kind::Character, Some(1), Some(3), ALL),
    rule(Kind::Character, Some(1), Some(8), ALL),
    rule(Kind::Character, Some(1), Some(7), ALL),
    rule(Kind::Character, Some(5), Some(0), ALL),
    rule(Kind::Character, Some(1), Some(5), ALL),
    rule(Kind::Character, Some(1), Some(9), ALL),
    rule(Kind::Character, Some(136), None, ALL),
    rule(Kind::Character, Some(5), Some(2), ALL),
    rule(Kind::Character, Some(10), Some(200), ALL),
];

/// linux/bpf_common.h and linux/bpf.h: a class, an operation, where the other operand is.
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xbf;
const MOVE_VALUE: u8 = 0xb7;
const AND_VALUE: u8 = 0x57;
const SHIFT_RIGHT_VALUE: u8 = 0x77;
const JUMP_UNLESS_VALUE: u8 = 0x55;
const EXIT: u8 = 0x95;

/// Registers: the answer, the question, and what it is taken apart into.
const ANSWER: u8 = 0;
const QUESTION: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// `struct bpf_insn`, as a little-endian machine reads it.
const fn instruction(code: u8, to: u8, from: u8, offset: i16, value: u32) -> u64 {
    code as u64 | (to as u64) << 8 | (from as u64) << 12 | (offset as u16 as u64) << 16 | (value as u64) << 32
}

/// The program: 1 for what one of the rules allows, else 0.
pub fn assemble(rules: &[Rule]) -> Vec<u64> {
    // struct bpf_cgroup_dev_ctx: access and kind, major, minor.
    let mut program = vec![
        instruction(LOAD_WORD, KIND, QUESTION, 0, 0),
        instruction(MOVE, ACCESS, KIND, 0, 0),
        instruction(AND_VALUE, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT_VALUE, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, QUESTION, 4, 0),
        instruction(LOAD_WORD, MINOR, QUESTION, 8, 0),
    ];
    for rule in rules {
        // What must be equal; else the next rule is asked.
        let numbers = [(KIND, rule.kind.map(|kind| kind as u32)), (MAJOR, rule.major), (MINOR, rule.minor)];
        let mut tests: Vec<(u8, u32)> = Vec::new();
        if rule.access != ALL {
            program.push(instruction(MOVE, ANSWER, ACCESS, 0, 0));
            program.push(instruction(AND_VALUE, ANSWER, 0, 0, ALL & !rule.access));
            tests.push((ANSWER, 0));
        }
        tests.extend(numbers.into_iter().filter_map(|(register, number)| Some((register, number?))));
        let count = tests.len();
        for (index, (register, value)) in tests.into_iter().enumerate() {
            let behind = (count - index - 1 + ANSWERING) as i16;
            program.push(instruction(JUMP_UNLESS_VALUE, register, 0, behind, value));
        }
        program.extend(answer(1));
    }
    program.extend(answer(0));
    program
}

const ANSWERING: usize = 2;

fn answer(value: u32) -> [u64; ANSWERING] {
    [instruction(MOVE_VALUE, ANSWER, 0, 0, value), instruction(EXIT, 0, 0, 0, 0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's interpreter, as far as we use it.
    fn run(program: &[u64], access: u32, kind: u32, numbers: (u32, u32)) -> u64 {
        let question = [access << 16 | kind, numbers.0, numbers.1];
        let mut registers = [0u64; 11];
        let mut at = 0;
        loop {
            let word = program[at];
            let (to, from) = (word as usize >> 8 & 15, word as usize >> 12 & 15);
            let (offset, value) = ((word >> 16) as i16, word >> 32);
            at += 1;
            match word as u8 {
                LOAD_WORD => {
                    assert_eq!(from, usize::from(QUESTION));
                    registers[to] = question[offset as usize / 4].into();
                }
                MOVE => registers[to] = registers[from],
                MOVE_VALUE => registers[to] = value,
                AND_VALUE => registers[to] &= value,
                SHIFT_RIGHT_VALUE => registers[to] >>= value,
                JUMP_UNLESS_VALUE if registers[to] != value => at += offset as usize,
                JUMP_UNLESS_VALUE => {}
                EXIT => return registers[0],
                code => panic!("instruction {code:#x}"),
            }
        }
    }

    /// Promise: device-list
    #[test]
    fn every_question_is_answered_as_the_rules_say() {
        let own = [
            Rule { kind: Some(Kind::Block), major: Some(8), minor: None, access: READ },
            Rule { kind: None, major: None, minor: Some(77), access: WRITE | MKNOD },
        ];
        for rules in [&DEFAULT[..], &own, &[], &[Rule { kind: None, major: None, minor: None, access: ALL }]] {
            let program = assemble(rules);
            for (kind, major, minor) in [1u32, 2]
                .into_iter()
                .flat_map(|k| [1, 5, 8, 10, 136].into_iter().flat_map(move |a| [0, 3, 7, 77, 200].map(|i| (k, a, i))))
            {
                for access in 1..=ALL {
                    let want = rules.iter().any(|rule| {
                        rule.kind.is_none_or(|wanted| wanted as u32 == kind)
                            && rule.major.is_none_or(|wanted| wanted == major)
                            && rule.minor.is_none_or(|wanted| wanted == minor)
                            && access & rule.access == access
                    });
                    let got = run(&program, access, kind, (major, minor));
                    assert_eq!(got == 1, want, "{rules:?} {access} {kind} {major}:{minor}");
                }
            }
        }
    }
}
