//! PID 1 of an initramfs, or a command line on a host.

use ocinit::proto::options::Config;
use ocinit::report::{Failure, Outcome, Report};
use ocinit::steps::container::{init, own_program};
use ocinit::steps::end::Ending;
use ocinit::steps::network::{self, Network};
use ocinit::steps::pipeline::{self, Machine};
use ocinit::steps::pull::Access;
use ocinit::steps::resolver::Resolver;
use ocinit::steps::store::Store;
use ocinit::steps::{cache, cli, clock, drivers, early, end, options, reaper};
use ocinit::sys::last_words::{self, Allocator};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

#[used]
#[link_section = ".init_array"]
static AT_FIRST: extern "C" fn() = last_words::at_first;

fn main() -> ! {
    last_words::started();
    if own_program::is_stray() {
        let what = "this program of the host was started by a container's link to it";
        Report::on_host().fail(&Failure::new("container", what));
        std::process::exit(126);
    }
    if init::is_called() {
        std::process::exit(init::main());
    }
    if std::process::id() == 1 {
        reaper::run(machine);
    }
    std::process::exit(cli::main());
}

/// From power to power off, whatever happens in between.
fn machine() -> i32 {
    let mut report = Report::at_boot();
    let mut config = Config::default();
    let ending = boot(&mut config, &mut report).unwrap_or_else(|failure| {
        report.fail(&failure);
        Ending::Failed
    });
    end::finish(&config, &ending, &report);
    reaper::HANG
}

/// The boot: one list of steps. The order is the dialect's.
fn boot(config: &mut Config, report: &mut Report) -> Outcome<Ending> {
    early::mounts(report)?;
    options::read(config, report)?;
    report.section("boot", true);
    let ready = prepare(config, report);
    report.end_section("boot");
    let (network, access, store) = ready?;

    let status =
        pipeline::run(&Machine { config, store: &store, access, resolv_conf: network::resolv_conf(&network), report });
    report.exact(&["Execution is over, pipeline status: ", &status.code.to_string()].concat());
    Ok(status.ending(config))
}

/// Everything that containers need of the machine.
fn prepare(config: &Config, report: &Report) -> Outcome<(Network, Access, Store)> {
    drivers::load(&config.insmods, report);
    clock::floor(report);
    let network = network::up_within(options::network_limits(config), report)
        .or_else(|failure| options::without_network(config, failure, report))?;
    let resolver = Resolver::from_lease(&network.nameservers, network.domain.as_deref());
    if let Some(peer) = &config.ntp_peer {
        clock::set(peer, &resolver, report);
    }
    let access = Access::at_boot(config, resolver)?;
    let on_disk = cache::open(config, &access.resolver, report);
    let store = Store::at_boot(on_disk, report)?;
    early::set_hostname(&config.hostname, report);
    Ok((network, access, store))
}
