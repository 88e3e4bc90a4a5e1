//! Errors between clone and exec, as the child sends them to us.

use crate::sys::Error;

/// Where the child was when something failed.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    Session = 1,
    Namespace,
    Cgroup,
    Hostname,
    Loopback,
    Propagation,
    Root,
    /// The index of an [`crate::container::ops::Op`] comes with it.
    Op,
    Pivot,
    Terminal,
    WorkingDir,
    Keyring,
    /// The index of a limit comes with it.
    Limit,
    OomScore,
    Identity,
    Capabilities,
    Seccomp,
    Exec,
}

const STAGES: [Stage; 18] = [
    Stage::Session,
    Stage::Namespace,
    Stage::Cgroup,
    Stage::Hostname,
    Stage::Loopback,
    Stage::Propagation,
    Stage::Root,
    Stage::Op,
    Stage::Pivot,
    Stage::Terminal,
    Stage::WorkingDir,
    Stage::Keyring,
    Stage::Limit,
    Stage::OomScore,
    Stage::Identity,
    Stage::Capabilities,
    Stage::Seccomp,
    Stage::Exec,
];

/// A failed call of the child on its way through the pipe: 8 bytes, which a pipe writes in one piece.
#[derive(Clone, Copy)]
pub struct SetupError {
    pub stage: Stage,
    /// Which op or limit, for [`Stage::Op`] and [`Stage::Limit`].
    pub index: u16,
    pub errno: i32,
    /// The failed part is left out, and the container goes on.
    pub skipped: bool,
}

impl SetupError {
    pub const LENGTH: usize = 8;

    /// A failed call at that stage.
    pub fn at(stage: Stage) -> impl Fn(Error) -> SetupError {
        move |error| SetupError { stage, index: 0, errno: error.errno, skipped: false }
    }

    /// As bytes for the pipe.
    pub fn emit(self) -> [u8; SetupError::LENGTH] {
        let [a, b] = self.index.to_le_bytes();
        let [c, d, e, f] = self.errno.to_le_bytes();
        [self.stage as u8, self.skipped.into(), a, b, c, d, e, f]
    }

    /// From the pipe; `None` for what no child sends.
    pub fn parse(bytes: [u8; SetupError::LENGTH]) -> Option<SetupError> {
        let [stage, skipped, a, b, c, d, e, f] = bytes;
        Some(SetupError {
            stage: *STAGES.iter().find(|known| **known as u8 == stage)?,
            index: u16::from_le_bytes([a, b]),
            errno: i32::from_le_bytes([c, d, e, f]),
            skipped: skipped != 0,
        })
    }
}
