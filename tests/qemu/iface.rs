//! Interfaces by name on a machine whose drivers are modules: `b2c.iface` and `ip=`.

use crate::lab::{lab, Seen, POWER_DOWN};
use ocinit::host::modules::{self, Profile};
use ocinit::host::qemu::Machine;

/// A machine with the modules of VLANs, bonds and bridges.
fn boot(name: &str, words: &str, prepare: impl FnOnce(&mut Machine)) -> Option<Seen> {
    let lab = lab()?;
    let names = ["8021q", "bonding", "bridge"].map(String::from);
    let initramfs = lab.build(name, |spec| {
        spec.modules = Some(modules::select(&lab.modules, Profile::Vm, &names).unwrap());
    });
    Some(lab.boot(name, words, |machine| {
        machine.initrd = initramfs;
        prepare(machine);
    }))
}

fn second_card(machine: &mut Machine) {
    let card = ["-netdev", "user,id=second", "-device", "virtio-net-pci,netdev=second,romfile="];
    machine.extra.extend(card.map(String::from));
}

/// Promise: iface
#[test]
fn a_bond_with_a_lease() {
    let words = r#"b2c.iface=bond0,bond=eth0+eth1,dhcp b2c.run="pull:payload cat /sys/class/net/bond0/bonding/mode"
        b2c.run="pull:payload cat /sys/class/net/bond0/bonding/slaves""#;
    let Some(seen) = boot("iface-bond", words, second_card) else { return };
    seen.over(0, POWER_DOWN);
    seen.says("network    bond0 10.0.2.15/24 gw 10.0.2.2 dns 10.0.2.3");
    seen.at("active-backup 1");
    seen.at("eth0 eth1");
}

/// Promise: iface
#[test]
fn a_vlan_beside_its_card() {
    let words = r#"b2c.iface=eth0,dhcp b2c.iface=eth0.12,address=10.99.0.9/24,mtu=1400
        b2c.run="pull:payload cat /proc/net/vlan/config""#;
    let Some(seen) = boot("iface-vlan", words, |_| ()) else { return };
    seen.over(0, POWER_DOWN);
    seen.says("network    eth0 10.0.2.15/24 gw 10.0.2.2, eth0.12 10.99.0.9/24 dns 10.0.2.3");
    seen.says("eth0.12        | 12  | eth0");
}

/// Promise: iface
#[test]
fn a_bridge_with_an_address() {
    let words = r#"b2c.iface=br0,bridge=eth0,address=10.0.2.20/24,gateway=10.0.2.2,nameserver=10.0.2.3
        b2c.run="pull:payload ls /sys/class/net/br0/brif""#;
    let Some(seen) = boot("iface-bridge", words, |_| ()) else { return };
    seen.over(0, POWER_DOWN);
    seen.says("network    br0 10.0.2.20/24 gw 10.0.2.2 dns 10.0.2.3");
    seen.at("eth0");
}

/// Two networks, each with its router: the machine goes on with one of them, and says with which.
/// Promise: iface
#[test]
fn two_default_routes() {
    let words = r#"b2c.iface=eth0,address=10.0.2.20/24,gateway=10.0.2.2,nameserver=10.0.2.3
        b2c.iface=eth1,address=10.0.3.20/24,gateway=10.0.3.2"#;
    let Some(seen) = boot("two-default-routes", words, |machine| {
        let card = ["-netdev", "user,id=second,net=10.0.3.0/24", "-device", "virtio-net-pci,netdev=second,romfile="];
        machine.extra.extend(card.map(String::from));
    }) else {
        return;
    };
    seen.over(0, POWER_DOWN);
    seen.golden_from("two-default-routes", "WARN two default");
}

/// The card's driver is a module, so that the kernel itself has done nothing.
/// Promise: ip-words
#[test]
fn a_static_address_by_ip() {
    let words = r#"ip=10.0.2.20::10.0.2.2:255.255.255.0::eth0:off:10.0.2.3 b2c.run="pull:payload""#;
    let Some(seen) = boot("iface-ip", words, |_| ()) else { return };
    seen.over(0, POWER_DOWN);
    seen.says("network    eth0 10.0.2.20/24 gw 10.0.2.2 dns 10.0.2.3");
}

/// Promise: iface, failures-are-told
#[test]
fn an_interface_that_is_absent() {
    let words = r#"b2c.iface=eth7,dhcp b2c.carrier_timeout=2 b2c.run="pull:payload""#;
    let Some(seen) = boot("iface-absent", words, |_| ()) else { return };
    seen.ends(POWER_DOWN);
    seen.golden("iface-absent");
}
