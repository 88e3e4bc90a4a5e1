//! ocinit: PID 1 of an initramfs, or a command on a host.

use ocinit::boot::pipeline::{self, BootContext};
use ocinit::boot::pure::options::Config;
use ocinit::boot::shutdown::{self, Ending};
use ocinit::boot::{cli, consoles, early_mounts, options, pid1, root, root_end, runtime_info, storage};
use ocinit::container::{init, own_program};
use ocinit::disk::cache_device;
use ocinit::image::pull::PullContext;
use ocinit::kernel::coldplug::{self, Watcher};
use ocinit::net::dns::Resolver;
use ocinit::net::links::{self, Network};
use ocinit::net::ntp;
use ocinit::net::task::Kept;
use ocinit::report::{Failure, Outcome, Report, Section};
use ocinit::store::cache;
use ocinit::store::layers::Store;
use ocinit::sys::crash;
use ocinit::sys::last_words::{self, Allocator};
use std::cell::RefCell;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

#[used]
#[link_section = ".init_array"]
static AT_FIRST: extern "C" fn() = crash::at_first;

fn main() -> ! {
    last_words::started();
    if own_program::is_stray() {
        let what = "a container started the host's ocinit by a link in /proc, which is not allowed";
        Report::on_host().fail(&Failure::new("container", what));
        std::process::exit(126);
    }
    if init::is_called() {
        std::process::exit(init::main());
    }
    if std::process::id() == 1 && root_end::is_called() {
        root_end::run();
    }
    if std::process::id() == 1 {
        pid1::run(machine);
    }
    std::process::exit(cli::main());
}

/// Runs the boot and ends the machine, whether the boot failed or not.
fn machine() -> i32 {
    let mut report = Report::at_boot();
    let mut config = Config::default();
    let network = RefCell::new(Kept::default());
    let ending = boot(&mut config, &mut report, &network).unwrap_or_else(|failure| {
        report.fail(&failure);
        Ending::Failed
    });
    shutdown::finish(&config, &ending, &report, &|| network.borrow_mut().release());
    pid1::HANG
}

/// The steps of the boot, in the order of boot2container.
fn boot(config: &mut Config, report: &mut Report, kept: &RefCell<Kept>) -> Outcome<Ending> {
    early_mounts::mounts(report)?;
    options::read(config, report)?;
    let ready = prepare(config, report);
    consoles::tell_missing(report);
    // The last one is held to the end: devices that come while containers run get drivers, too.
    let (network, context, store, _devices) = ready?;

    kept.replace(Kept::start(network, report));
    let mut status = pipeline::run(&BootContext { config, store: &store, context, network: kept, report });
    kept.borrow_mut().stop(report);
    if status.root.is_none() || !config.has_no_container() {
        report.told(&["Execution is over, pipeline status: ", &status.code.to_string()].concat());
    }
    if let Some(root) = status.root.take() {
        root::hand_over(&root, report);
    }
    Ok(status.ending(config))
}

/// Prepares what containers need: modules, clock, network, store and host name.
fn prepare(config: &Config, report: &Report) -> Outcome<(Network, PullContext, Store, Option<Watcher>)> {
    report.section(Section::LoadModules);
    let devices = coldplug::load(&config.insmods, report);
    consoles::after_drivers();
    runtime_info::tell(report);
    ntp::raise_to_build_time(report);

    report.section(Section::Connect);
    let network = links::up(options::network_limits(config), report)
        .or_else(|failure| options::without_network(config, failure, report))?;
    let resolver = Resolver::new(&network.nameservers, &network.search);
    if let Some(peer) = &config.ntp_peer {
        report.section(Section::NtpSet);
        ntp::set(peer, &resolver, report);
    }
    let context = options::pull_context(config, resolver)?;

    report.section(Section::MountCachePartition);
    storage::make();
    let disk = cache_device::mount(&config.cache_device, &config.filesystems, &context.resolver, report);
    let on_disk = disk.is_some_and(|disk| cache::bind(&disk, report));
    let store = Store::at_boot(on_disk, report)?;

    report.section(Section::SetHostname);
    early_mounts::set_hostname(&config.hostname, report);
    Ok((network, context, store, devices))
}
