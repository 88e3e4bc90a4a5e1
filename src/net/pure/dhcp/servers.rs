//! The servers that have answered, and how those failed that did.

use crate::net::pure::merge::join;
use core::net::Ipv4Addr;

/// More are not remembered.
const MAX: usize = 8;

/// How a server failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    NoAck,
    Refused,
    AddressInUse,
}

impl Fault {
    fn text(self) -> &'static str {
        match self {
            Fault::NoAck => "offers, but does not acknowledge",
            Fault::Refused => "refuses what it has offered",
            Fault::AddressInUse => "offers an address that is in use",
        }
    }
}

/// Those that have answered.
#[derive(Default)]
pub struct Servers(Vec<(Ipv4Addr, Option<Fault>)>);

impl Servers {
    pub fn seen(&mut self, server: Ipv4Addr) {
        if !self.0.iter().any(|(other, _)| *other == server) && self.0.len() < MAX {
            self.0.push((server, None));
        }
    }

    pub fn set(&mut self, server: Ipv4Addr, fault: Option<Fault>) {
        self.seen(server);
        if let Some(entry) = self.0.iter_mut().find(|(other, _)| *other == server) {
            entry.1 = fault;
        }
    }

    /// Whether it is to be asked after others: it has failed, and it is not the only one.
    pub fn is_last(&self, server: Ipv4Addr) -> bool {
        self.0.len() > 1 && self.0.iter().any(|(other, fault)| *other == server && fault.is_some())
    }

    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    pub fn are_several(&self) -> bool {
        self.0.len() > 1
    }

    /// `10.0.0.9 offers, but does not acknowledge`, one after the other.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (server, fault) in &self.0 {
            if let Some(fault) = fault {
                join(&mut text, ", ", &format!("{server} {}", fault.text()));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_server_is_last_only_where_there_are_others() {
        let (one, two) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let mut servers = Servers::default();
        servers.set(one, Some(Fault::NoAck));
        assert!(!servers.is_last(one) && !servers.are_several());
        servers.seen(two);
        assert!(servers.is_last(one) && !servers.is_last(two));
        servers.set(two, Some(Fault::Refused));
        assert_eq!(servers.text(), "10.0.0.1 offers, but does not acknowledge, 10.0.0.2 refuses what it has offered");
        servers.set(one, None);
        assert!(!servers.is_last(one));
        for host in 3..20 {
            servers.seen(Ipv4Addr::new(10, 0, 0, host));
        }
        assert_eq!(servers.0.len(), MAX);
    }
}
