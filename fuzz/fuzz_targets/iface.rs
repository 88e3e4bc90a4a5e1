//! Oracle: what is read from `b2c.iface` or `ip=`, written as a value of `b2c.iface`, is read as the same; its plan
//! makes each link once, after what it is made of.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocinit::net::pure::iface::{add, Iface};
use ocinit::net::pure::link_kind::LinkKind;
use ocinit::net::pure::plan::{NetworkConfig, Plan, Step};

fn check(iface: &Iface) {
    // What is meant for any card has no name to be written.
    let named = Iface { name: if iface.name.is_empty() { "any".into() } else { iface.name.clone() }, ..iface.clone() };
    let mut read = Vec::new();
    add(&mut read, &named.emit(), &mut Vec::new()).expect("what was written");
    assert_eq!(read, [named]);
}

fn check_plan(config: &NetworkConfig) {
    let Ok(Plan::Named(named)) = config.plan(false) else { return };
    let mut there = named.cards.clone();
    for step in &named.steps {
        match step {
            Step::Make(name, kind) => {
                if let LinkKind::Vlan { parent, .. } = kind {
                    assert!(there.contains(parent), "{step:?}");
                }
                assert!(!there.contains(name), "{step:?}");
                there.push(name.clone());
            }
            Step::Join { member, master, .. } => assert!(there.contains(member) && there.contains(master), "{step:?}"),
            Step::Raise(name) => assert!(there.contains(name), "{step:?}"),
        }
    }
    assert!(named.ifaces.iter().all(|each| each.iface.name.is_empty() || there.contains(&each.iface.name)));
}

fuzz_target!(|text: &str| {
    let mut config = NetworkConfig::default();
    for value in text.split_ascii_whitespace() {
        let _ = config.add(value, &mut Vec::new());
    }
    config.ifaces.iter().for_each(check);
    check_plan(&config);
    let mut config = NetworkConfig::default();
    for value in text.split_ascii_whitespace() {
        let _ = config.add_word("ip", value);
    }
    config.kernel.iter().filter_map(|word| word.iface.as_ref()).for_each(check);
    check_plan(&config);
});
