//! A filter as rules for each call, and the instructions that it is assembled to.

use crate::container::pure::seccomp::abi::Abi;

/// One instruction of classic BPF (linux/filter.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub value: u32,
}

/// A filter before it is assembled.
pub struct Filter {
    /// For every call that is not listed.
    pub default: u32,
    /// Any other way to call the kernel kills the thread.
    pub abis: Vec<Abi>,
    /// In the order of the table.
    pub calls: Vec<Call>,
}

/// What the kernel is to answer to a call.
#[derive(Clone, PartialEq, Eq)]
pub enum Call {
    Unlisted,
    Return(u32),
    /// That of the first rule whose conditions all hold; else the default.
    When(Vec<(Vec<Condition>, u32)>),
}

/// A condition on one argument of a call.
#[derive(Clone, PartialEq, Eq)]
pub struct Condition {
    /// 0 to 5.
    pub argument: u32,
    pub comparison: Comparison,
    pub value: u64,
    /// What of the argument is looked at; only [`Comparison::Equal`] has less than all.
    pub mask: u64,
}

/// How an argument compares with the condition's value; all are unsigned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

pub const EPERM: u32 = 1;
pub const EINVAL: u32 = 22;
pub const ENOSYS: u32 = 38;

pub const ALLOW: u32 = 0x7fff_0000;

/// `SECCOMP_RET_ERRNO`, with the number in the low half.
pub const fn errno(number: u32) -> u32 {
    0x0005_0000 | number & 0xffff
}
