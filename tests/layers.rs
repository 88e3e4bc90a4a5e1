//! Layers, hostile and benign, unpacked by the code that a boot runs. The
//! numbers are those of the list of cases: parsing 1-12, paths 13-20,
//! whiteouts 21-23, compression 26 and 28.

#[path = "layers/builder.rs"]
mod builder;
#[path = "layers/compression.rs"]
mod compression;
#[path = "layers/oracles.rs"]
mod oracles;
#[path = "layers/parsing.rs"]
mod parsing;
#[path = "layers/paths.rs"]
mod paths;
#[path = "layers/whiteouts.rs"]
mod whiteouts;
#[path = "layers/world.rs"]
mod world;
