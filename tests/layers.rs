//! Layers, hostile and benign, unpacked by the code that a boot runs. The
//! numbers are those of the list of cases: parsing 1-12, paths 13-20,
//! whiteouts 21-25, compression 26 and 28 (24 and 27 are in `host/layers.rs`).

#[macro_use]
#[path = "support/skip.rs"]
mod skip;

#[path = "layers/builder.rs"]
mod builder;
#[path = "support/canaries.rs"]
mod canaries;
#[path = "layers/compression.rs"]
mod compression;
#[path = "layers/decoders.rs"]
mod decoders;
#[path = "layers/generator.rs"]
mod generator;
#[path = "layers/oracles.rs"]
mod oracles;
#[path = "layers/parsing.rs"]
mod parsing;
#[path = "layers/paths.rs"]
mod paths;
#[path = "layers/stacks.rs"]
mod stacks;
#[path = "layers/whiteouts.rs"]
mod whiteouts;
#[path = "layers/world.rs"]
mod world;
