//! Oracle: whatever a layer holds, nothing outside of its directory changes, and how it
//! arrives changes nothing. Takes root; two generators make layers of the bytes: one of
//! names and links that aim outside, one of what builders write.
#![no_main]
#![allow(dead_code, reason = "the tests' own modules, of which this takes a part")]

#[macro_use]
#[path = "../../tests/support/skip.rs"]
mod skip;
#[path = "../../tests/layers/builder.rs"]
mod builder;
#[path = "../../tests/support/canaries.rs"]
mod canaries;
#[path = "../../tests/layers/generator.rs"]
mod generator;
#[path = "../../tests/layers/world.rs"]
mod world;

use libfuzzer_sys::fuzz_target;
use std::path::{Path, PathBuf};
use world::{tree, World};

fuzz_target!(|input: &[u8]| {
    let Some((hostile, mut bytes)) = input.split_first() else { return };
    let mut random = |below: usize| {
        let Some((&[high, low], rest)) = bytes.split_first_chunk() else { return 0 };
        bytes = rest;
        usize::from(u16::from_be_bytes([high, low])) % below
    };
    let layers = match hostile & 1 {
        0 => (0..2).map(|_| generator::hostile(&mut random)).collect(),
        _ => generator::stack(&mut random).layers,
    };
    let mut world = World::new();
    let mut dirs: Vec<PathBuf> = Vec::new();
    for layer in layers {
        let lowers: Vec<&Path> = dirs.iter().map(|dir| &**dir).collect();
        // Each read is of another size than the first time.
        let (one, two) = (world.unpack(&layer, &lowers), world.unpack(&layer, &lowers));
        assert_eq!(one.as_ref().map(|layer| tree(&layer.dir)), two.as_ref().map(|layer| tree(&layer.dir)));
        match one {
            Ok(layer) => dirs.insert(0, layer.dir),
            Err(_) => return,
        }
    }
});
