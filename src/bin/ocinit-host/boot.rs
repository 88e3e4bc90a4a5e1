//! `ocinit-host boot`: an image, a machine, and a table of what it took.

use clap::Args;
use ocinit::host::qemu::Machine;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Args)]
pub struct Boot {
    /// An initramfs made before
    #[arg(long, value_name = "FILE")]
    initramfs: PathBuf,
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    #[arg(long, default_value = "256")]
    memory: u32,
    #[arg(last = true)]
    options: Vec<String>,
}

pub fn boot(args: &Boot) -> Result<ExitCode, String> {
    let kernel = ocinit::host::kernel::find(args.kernel.as_deref(), None, std::path::Path::new("target/kernel"))?;
    let mut machine =
        Machine::new(kernel.image, &args.initramfs, format!("console=ttyS0 quiet {}", args.options.join(" ")));
    machine.memory_mb = args.memory;
    let boot = machine
        .boot(&mut |at: Duration, line| println!("{:6.2} {line}", at.as_secs_f64()))
        .map_err(|e| e.to_string())?;
    println!("{:?} {:?} ordered={}", boot.wall, boot.status, boot.ended_in_order());
    Ok(ExitCode::SUCCESS)
}
