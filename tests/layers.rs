//! Layers, hostile and benign, unpacked by the code that a boot runs. docs/inputs.md has the rules that they show;
//! those of whole stacks are shown in cli/layers.rs.

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
