//! Whole machines: a kernel, our initramfs, a wire, a real registry. Each
//! scenario boots one and reads its console.
//!
//! The release of `./dev build` is what boots. Timing decides nothing here but
//! the limit that ends a guest which hangs; it is only told, at the end.

#[macro_use]
#[path = "../support/skip.rs"]
mod skip;

#[path = "../escapes/evil.rs"]
mod evil;
#[path = "../support/netns.rs"]
mod netns;
#[path = "../support/mod.rs"]
mod support;
#[path = "../escapes/table.rs"]
mod table;

mod bad;
mod blobs;
mod cache;
mod consoles;
mod containers;
mod devices;
mod ends;
mod escapes;
mod extra_args;
mod faults;
mod filesystems;
mod golden;
mod harness;
mod hop;
mod host_tool;
mod https;
mod iface;
mod ipv6;
mod lab;
mod lan;
mod limits;
mod lines;
mod machine;
mod modules;
mod nested;
mod pipelines;
mod proxy;
mod root;
mod storage;
mod words;
