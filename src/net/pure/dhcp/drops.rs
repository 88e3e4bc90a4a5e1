//! Packets that the client did not use: why, and how many.

use crate::net::pure::merge::join;

/// Why a packet to the client's port was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    IpChecksum,
    UdpChecksum,
    Fragment,
    Cut,
    NotReply,
    NotEthernet,
    OtherTransaction,
    OtherHardware,
    Magic,
    OptionPastEnd,
    NoMessageType,
    NoServer,
    BadAddress,
    OtherServer,
    Unexpected,
}

impl Drop {
    pub const COUNT: usize = Drop::Unexpected as usize + 1;

    const ALL: [Drop; Drop::COUNT] = [
        Drop::IpChecksum,
        Drop::UdpChecksum,
        Drop::Fragment,
        Drop::Cut,
        Drop::NotReply,
        Drop::NotEthernet,
        Drop::OtherTransaction,
        Drop::OtherHardware,
        Drop::Magic,
        Drop::OptionPastEnd,
        Drop::NoMessageType,
        Drop::NoServer,
        Drop::BadAddress,
        Drop::OtherServer,
        Drop::Unexpected,
    ];

    pub fn text(self) -> &'static str {
        match self {
            Drop::IpChecksum => "wrong IP checksum",
            Drop::UdpChecksum => "wrong UDP checksum",
            Drop::Fragment => "fragmented",
            Drop::Cut => "cut short",
            Drop::NotReply => "not a reply",
            Drop::NotEthernet => "not for Ethernet",
            Drop::OtherTransaction => "another transaction",
            Drop::OtherHardware => "another hardware address",
            Drop::Magic => "not DHCP (wrong magic)",
            Drop::OptionPastEnd => "option past the end",
            Drop::NoMessageType => "no message type",
            Drop::NoServer => "no server identifier",
            Drop::BadAddress => "unusable address offered",
            Drop::OtherServer => "another server",
            Drop::Unexpected => "out of turn",
        }
    }
}

/// How many packets were dropped, by reason.
#[derive(Clone, Copy, Default)]
pub struct Drops([u16; Drop::COUNT]);

impl Drops {
    pub fn count(&mut self, reason: Drop) {
        if let Some(count) = self.0.get_mut(reason as usize) {
            *count = count.saturating_add(1);
        }
    }

    pub fn of(&self, reason: Drop) -> u16 {
        self.0.get(reason as usize).copied().unwrap_or(0)
    }

    /// `2 another transaction, 1 cut short`; empty when nothing was dropped.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (reason, count) in Drop::ALL.iter().zip(self.0).filter(|(_, count)| *count > 0) {
            join(&mut text, ", ", &format!("{count} {}", reason.text()));
        }
        text
    }
}
