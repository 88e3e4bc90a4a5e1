//! Messages that make VLANs, bonds and bridges.

use super::{
    interface, put, request, set_link, IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO, NLM_F_ACK, NLM_F_CREATE, RTM_NEWLINK,
};
use crate::net::pure::link_kind::LinkKind;

pub(super) const IFLA_LINK: u16 = 5;
pub(super) const IFLA_MASTER: u16 = 10;
pub(super) const IFLA_INFO_DATA: u16 = 2;
pub(super) const IFLA_VLAN_ID: u16 = 1;
pub(super) const IFLA_BOND_MODE: u16 = 1;
pub(super) const IFLA_BOND_MIIMON: u16 = 3;
/// How often a bond looks at its members' carriers, in milliseconds. The kernel's default is never.
pub(super) const MIIMON_MS: u32 = 100;

/// Makes a link, a VLAN's of the link `parent`. One that is there gets these settings: the module of bonds makes a
/// `bond0` by itself.
pub fn make_link(name: &str, kind: &LinkKind, parent: u32) -> Vec<u8> {
    let mut message = request(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE, &interface(0, 0, 0));
    put(&mut message, IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
    let (mut about, mut data) = (Vec::new(), Vec::new());
    match kind {
        LinkKind::Vlan { id, .. } => {
            put(&mut message, IFLA_LINK, &parent.to_ne_bytes());
            put(&mut data, IFLA_VLAN_ID, &id.to_ne_bytes());
        }
        LinkKind::Bond { mode, .. } => {
            put(&mut data, IFLA_BOND_MODE, &[*mode]);
            put(&mut data, IFLA_BOND_MIIMON, &MIIMON_MS.to_ne_bytes());
        }
        LinkKind::Card | LinkKind::Bridge { .. } => {}
    }
    put(&mut about, IFLA_INFO_KIND, kind.text().as_bytes());
    if !data.is_empty() {
        put(&mut about, IFLA_INFO_DATA, &data);
    }
    put(&mut message, IFLA_LINKINFO, &about);
    message
}

/// Makes a link a member of the bond or bridge `master`.
pub fn set_master(index: u32, master: u32) -> Vec<u8> {
    let mut message = set_link(index, 0, 0);
    put(&mut message, IFLA_MASTER, &master.to_ne_bytes());
    message
}
