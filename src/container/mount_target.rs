//! The container whose mounts are made.

use crate::container::pure::passwd::Identity;
use crate::report::Report;
use crate::store::volumes::Volumes;
use std::path::Path;

/// The container that mounts are made for, and what they are made of.
pub struct MountTarget<'a> {
    /// Its mounted root.
    pub root: &'a Path,
    /// Its own directory of the store, which is removed at its end.
    pub dir: &'a Path,
    pub volumes: &'a Volumes<'a>,
    pub identity: &'a Identity,
    pub report: &'a Report,
}
