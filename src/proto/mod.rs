//! Pure protocol cores: bytes in, values out. No socket, file, clock or random
//! source; time and identifiers are arguments.
#![forbid(unsafe_code)]

pub mod archive;
pub mod auth;
pub mod authfile;
pub mod base64;
pub mod capability;
pub mod cmdline;
pub mod cosign;
pub mod device_filter;
pub mod dhcp;
pub mod digest;
pub mod distribution;
pub mod dns;
pub mod docker_archive;
pub mod env_file;
pub mod etc;
pub mod flags;
pub mod gzip;
pub mod http;
pub mod http_date;
pub mod mirror;
pub mod modules;
pub mod nearest;
pub mod netlink;
pub mod oci;
pub mod options;
pub mod passwd;
pub mod process;
pub mod progress;
pub mod proxy;
pub mod reference;
pub mod retry;
pub mod scrub;
pub mod seccomp;
pub mod shutdown;
pub mod signal_name;
pub mod sntp;
pub mod superblock;
pub mod tar;
pub mod volume;
pub mod whiteout;
pub mod words;
