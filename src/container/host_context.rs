//! What a container gets from the host that it runs on.

use crate::report::Report;
use crate::store::volumes::Volumes;

/// The machine around a container.
pub struct HostContext<'a> {
    pub hostname: &'a str,
    /// The text of `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// `NAME=value` for every container.
    pub env: Vec<String>,
    /// What `--env NAME` takes its value from: the pipeline's variables; on a host the environment.
    pub own_env: Vec<String>,
    /// On a host's command line signals go to the container; at boot they end it.
    pub forward_signals: bool,
    /// It runs beside the pipeline, whose the console's input is.
    pub service: bool,
    /// Memory that the machine keeps for itself while it runs.
    pub kept_bytes: u64,
    pub volumes: &'a Volumes<'a>,
    /// Called when the container's own program runs.
    pub started: &'a dyn Fn(),
    pub report: &'a Report,
}
