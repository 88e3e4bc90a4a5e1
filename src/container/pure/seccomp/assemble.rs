//! From a filter to classic BPF: which convention, which number, which arguments.
//!
//! Only the jumps that skip a whole part may be long: a conditional jump of
//! classic BPF reaches 255 instructions.

use crate::container::pure::seccomp::abi::{Abi, X32_BIT};
use crate::container::pure::seccomp::error::Error;
use crate::container::pure::seccomp::filter::{Call, Comparison, Condition, Filter, Instruction};

/// linux/bpf_common.h
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

/// `struct seccomp_data` (linux/seccomp.h): number, architecture, address, arguments.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

const KILL_THREAD: u32 = 0;
/// The kernel takes no more (linux/bpf_common.h, `BPF_MAXINSNS`).
const INSTRUCTIONS_MAX: usize = 4096;

const fn plain(code: u16, value: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, value }
}

/// The program; it ends every call that it is asked about.
pub fn assemble(filter: &Filter) -> Result<Vec<Instruction>, Error> {
    let mut program = vec![plain(LOAD, ARCHITECTURE_AT)];
    for abi in [Abi::X86_64, Abi::X86, Abi::Aarch64, Abi::Arm] {
        if filter.abis.contains(&abi) {
            let body = body(filter, abi);
            program.extend(unless(JUMP_EQUAL, audit_number(abi), body.len()));
            program.extend(body);
        }
    }
    // As libseccomp has it for whom the filter does not know.
    program.push(plain(RETURN, KILL_THREAD));
    if program.len() > INSTRUCTIONS_MAX {
        return Err(Error::TooLong);
    }
    Ok(program)
}

/// `AUDIT_ARCH_…` (linux/audit.h): the ELF machine, and bits for 64 and little-endian.
const fn audit_number(abi: Abi) -> u32 {
    match abi {
        Abi::X86_64 | Abi::X32 => 0xc000_003e,
        Abi::X86 => 0x4000_0003,
        Abi::Aarch64 => 0xc000_00b7,
        Abi::Arm => 0x4000_0028,
    }
}

/// Goes on if the comparison holds, else skips `length` instructions.
fn unless(code: u16, value: u32, length: usize) -> Vec<Instruction> {
    match u8::try_from(length) {
        Ok(jump_false) => vec![Instruction { code, jump_true: 0, jump_false, value }],
        Err(_) => vec![Instruction { code, jump_true: 1, jump_false: 0, value }, plain(JUMP, length as u32)],
    }
}

/// All that comes behind the architecture; it returns in every case.
fn body(filter: &Filter, abi: Abi) -> Vec<Instruction> {
    let mut program = vec![plain(LOAD, NUMBER_AT)];
    if abi == Abi::X86_64 {
        let x32 = if filter.abis.contains(&Abi::X32) {
            tree(&ranges(filter, Abi::X32), filter, Abi::X32)
        } else {
            // -1 is what a tracer leaves of a call that it has answered itself.
            tree(&[(0, Leaf::Return(KILL_THREAD)), (u32::MAX, Leaf::Return(filter.default))], filter, Abi::X32)
        };
        program.extend(unless(JUMP_GREATER_OR_EQUAL, X32_BIT, x32.len()));
        program.extend(x32);
    }
    program.extend(tree(&ranges(filter, abi), filter, abi));
    program
}

/// What becomes of the numbers of a range.
#[derive(Clone, Copy)]
enum Leaf<'a> {
    Return(u32),
    When(&'a [(Vec<Condition>, u32)]),
}

/// Where each range begins, in order; the first at 0.
fn ranges(filter: &Filter, abi: Abi) -> Vec<(u32, Leaf<'_>)> {
    let numbered = abi.entries().zip(&filter.calls).filter_map(|(entry, call)| {
        let leaf = match call {
            Call::Unlisted => return None,
            Call::Return(value) => Leaf::Return(*value),
            Call::When(rules) => Leaf::When(rules),
        };
        Some((abi.number_of(&entry)?, leaf))
    });
    let mut numbered: Vec<_> = numbered.collect();
    numbered.sort_by_key(|(number, _)| *number);
    let default = Leaf::Return(filter.default);
    let mut ranges: Vec<(u32, Leaf)> = Vec::new();
    let mut add = |start, leaf| match (ranges.last(), leaf) {
        (Some((_, Leaf::Return(last))), Leaf::Return(value)) if *last == value => {}
        _ => ranges.push((start, leaf)),
    };
    let mut next = 0;
    for (number, leaf) in numbered {
        if number > next {
            add(next, default);
        }
        add(number, leaf);
        next = number + 1;
    }
    add(next, default);
    ranges
}

/// A binary search for the range that the number lies in.
fn tree(ranges: &[(u32, Leaf)], filter: &Filter, abi: Abi) -> Vec<Instruction> {
    if let [(_, leaf)] = ranges {
        return match leaf {
            Leaf::Return(value) => vec![plain(RETURN, *value)],
            Leaf::When(rules) => conditions(rules, filter, abi),
        };
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let Some((start, _)) = high.first() else { return Vec::new() };
    let (low, high) = (tree(low, filter, abi), tree(high, filter, abi));
    let mut program = unless(JUMP_GREATER_OR_EQUAL, *start, high.len());
    program.extend(high);
    program.extend(low);
    program
}

/// The rules one after the other, then the default.
fn conditions(rules: &[(Vec<Condition>, u32)], filter: &Filter, abi: Abi) -> Vec<Instruction> {
    // x32, too, as libseccomp has it.
    let wide = matches!(abi, Abi::X86_64 | Abi::Aarch64);
    let mut program = Vec::new();
    for (conditions, action) in rules {
        // From the last to the first: each must know how far it is to the next rule.
        let mut rule = vec![plain(RETURN, *action)];
        for condition in conditions.iter().rev() {
            let mut code = compare(condition, wide, rule.len());
            code.append(&mut rule);
            rule = code;
        }
        program.append(&mut rule);
    }
    program.push(plain(RETURN, filter.default));
    program
}

/// A place that a comparison may go to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Next,
    Held,
    Failed,
}

/// Falls through if the condition holds, else skips what is behind it, too:
/// `rest` instructions. Registers are of 32 bits: the high half is compared
/// first, where there is one.
fn compare(condition: &Condition, wide: bool, rest: usize) -> Vec<Instruction> {
    let (value, mask) = (condition.value, condition.mask);
    // What must be greater, and whether equal will do; or whether it must not.
    let (code, negated) = match condition.comparison {
        Comparison::Equal => (JUMP_EQUAL, false),
        Comparison::NotEqual => (JUMP_EQUAL, true),
        Comparison::Greater => (JUMP_GREATER, false),
        Comparison::LessOrEqual => (JUMP_GREATER, true),
        Comparison::GreaterOrEqual => (JUMP_GREATER_OR_EQUAL, false),
        Comparison::Less => (JUMP_GREATER_OR_EQUAL, true),
    };
    let (yes, no) = if negated { (To::Failed, To::Held) } else { (To::Held, To::Failed) };
    let mut steps: Vec<(Instruction, To, To)> = Vec::new();
    let load = |steps: &mut Vec<(Instruction, To, To)>, at: u32, mask: u32| {
        steps.push((plain(LOAD, ARGUMENTS_AT + 8 * condition.argument + at), To::Next, To::Next));
        if mask != u32::MAX {
            steps.push((plain(AND, mask), To::Next, To::Next));
        }
    };
    if wide {
        let high = (value >> 32) as u32;
        load(&mut steps, 4, (mask >> 32) as u32);
        if code != JUMP_EQUAL {
            steps.push((plain(JUMP_GREATER, high), yes, To::Next));
        }
        steps.push((plain(JUMP_EQUAL, high), To::Next, no));
    }
    load(&mut steps, 0, mask as u32);
    steps.push((plain(code, value as u32), yes, no));
    let length = steps.len();
    let place = |(index, (instruction, yes, no)): (usize, (Instruction, To, To))| {
        let distance = |to| match to {
            To::Next => 0,
            To::Held => (length - 1 - index) as u8,
            To::Failed => (length - 1 - index + rest) as u8,
        };
        Instruction { jump_true: distance(yes), jump_false: distance(no), ..instruction }
    };
    steps.into_iter().enumerate().map(place).collect()
}
