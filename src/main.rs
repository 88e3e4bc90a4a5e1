//! ocinit: PID 1 of an initramfs, or a command on a host.

use ocinit::boot::options::Sources;
use ocinit::boot::pipeline::{self, BootContext};
use ocinit::boot::pure::options::Config;
use ocinit::boot::shutdown::{self, Ending};
use ocinit::boot::{
    cli, consoles, early_mounts, extra_args, keymap, options, pid1, root, root_end, runtime_info, storage,
};
use ocinit::container::{init, own_program};
use ocinit::disk::cache_device;
use ocinit::image::pull::PullContext;
use ocinit::kernel::coldplug::{self, Watcher};
use ocinit::net::discipline::{Discipline, Peers};
use ocinit::net::dns::Resolver;
use ocinit::net::ifaces;
use ocinit::net::links::Network;
use ocinit::net::ntp;
use ocinit::net::task::Kept;
use ocinit::report::{Failure, Outcome, Report, Section};
use ocinit::store::layers::Store;
use ocinit::store::{cache, clock};
use ocinit::sys::crash;
use ocinit::sys::last_words::{self, Allocator};
use std::cell::RefCell;
use std::sync::Arc;

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
    network.borrow_mut().stop(&report);
    shutdown::finish(&config, &ending, &report, &|| network.borrow_mut().release());
    pid1::HANG
}

/// The steps of the boot, in the order of boot2container.
fn boot(config: &mut Config, report: &mut Report, kept: &RefCell<Kept>) -> Outcome<Ending> {
    early_mounts::mounts(report)?;
    let mut sources = options::read(config, report)?;
    let ready = prepare(config, &mut sources, kept, report);
    consoles::tell_missing(report);
    // The last ones are held to the end: devices that come while containers run get drivers, too, and the clock is kept
    // right.
    let (context, store, (_devices, discipline)) = ready?;

    let mut status = pipeline::run(&BootContext { config, store: &store, context, network: kept, report });
    // A root has time synchronization and leases of its own.
    drop(discipline);
    kept.borrow_mut().stop(report);
    clock::stamp();
    if status.root.is_none() || !config.has_no_container() {
        report.told(&["Execution is over, pipeline status: ", &status.code.to_string()].concat());
    }
    if let Some(root) = status.root.take() {
        root::hand_over(&root, report);
    }
    Ok(status.ending(config))
}

/// What goes on while containers run, in processes of their own.
type Background = (Option<Watcher>, Option<Discipline>);

/// Prepares what containers need: modules, network, the options that it brings, clock, store and host name.
fn prepare(
    config: &mut Config,
    sources: &mut Sources,
    kept: &RefCell<Kept>,
    report: &mut Report,
) -> Outcome<(PullContext, Store, Background)> {
    report.section(Section::LoadModules);
    let devices = coldplug::load(&config.insmods, report);
    consoles::after_drivers();
    runtime_info::tell(report);
    ntp::raise_to_build_time(report);

    report.section(Section::Connect);
    let network = ifaces::up(&config.network, &options::network_limits(config), report)
        .or_else(|failure| options::without_network(config, failure, report))?;
    // From now on: what follows may take longer than a lease.
    kept.replace(Kept::start(network, report));
    let kept = kept.borrow();
    let network = kept.network();
    let resolver = Arc::new(Resolver::new(&network.nameservers, &network.search));
    // A certificate of their server needs a clock. Else it waits for them, as they may name its peer.
    let early_peer = config.ntp_peer.clone().filter(|_| config.extra_args.need_a_clock());
    let mut is_set = set_clock(early_peer.as_deref(), network, &resolver, report);
    extra_args::apply(config, sources, network, &resolver, report)?;
    let peer = config.ntp_peer.as_deref();
    is_set |= set_clock(peer.filter(|peer| early_peer.as_deref() != Some(*peer)), network, &resolver, report);
    let peers = peer.map(|peer| Peers { peer, of_lease: &network.ntp, resolver: &resolver });
    let discipline = peers.and_then(|peers| Discipline::start(&peers, &clock::stamp, report));
    let context = options::pull_context(config, resolver)?;

    report.section(Section::MountCachePartition);
    storage::make();
    let disk = cache_device::mount(&config.cache_device, &config.filesystems, &context.resolver, report);
    let on_disk = disk.is_some_and(|disk| cache::bind(&disk, report));
    let store = Store::at_boot(on_disk, report)?;
    clock::raise(is_set, report);

    report.section(Section::SetHostname);
    early_mounts::set_hostname(&config.hostname, report);
    if let Some(name) = &config.keymap {
        report.section(Section::SetKeymap);
        keymap::load(name, report);
    }
    Ok((context, store, (devices, discipline)))
}

/// Whether there is a peer, and the clock was set by it.
fn set_clock(peer: Option<&str>, network: &Network, resolver: &Resolver, report: &Report) -> bool {
    peer.is_some_and(|peer| {
        report.section(Section::NtpSet);
        ntp::set(peer, &network.ntp, resolver, report)
    })
}
