//! What a container gets from the host that it runs on.

use crate::report::Report;
use crate::store::volumes::Volumes;

/// What the host gives a container.
pub struct HostContext<'a> {
    pub hostname: &'a str,
    /// The text of `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// `NAME=value` for every container.
    pub env: Vec<String>,
    /// What `--env NAME` takes its value from: the pipeline's variables; on a host the environment.
    pub own_env: Vec<String>,
    /// Signals go to the container, as on a host's command line; at boot they end it.
    pub forward_signals: bool,
    /// It runs beside the pipeline, which has the console's input.
    pub service: bool,
    /// Memory that the host keeps for itself while the container runs.
    pub kept_bytes: u64,
    pub volumes: &'a Volumes<'a>,
    /// Called when the container's own program runs.
    pub started: &'a dyn Fn(),
    pub report: &'a Report,
}
