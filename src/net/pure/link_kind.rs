//! The kinds of links that are made here.

/// What a link is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LinkKind {
    /// A device that is there, or comes.
    #[default]
    Card,
    Vlan {
        parent: String,
        id: u16,
    },
    /// The number of its mode is the kernel's (`linux/if_bonding.h`).
    Bond {
        members: Vec<String>,
        mode: u8,
    },
    Bridge {
        members: Vec<String>,
    },
}

impl LinkKind {
    /// The kernel's word for it; empty for a card.
    pub fn text(&self) -> &'static str {
        match self {
            LinkKind::Card => "",
            LinkKind::Vlan { .. } => "vlan",
            LinkKind::Bond { .. } => "bond",
            LinkKind::Bridge { .. } => "bridge",
        }
    }

    /// The module of its driver.
    pub fn module(&self) -> &'static str {
        match self {
            LinkKind::Card => "",
            LinkKind::Vlan { .. } => "8021q",
            LinkKind::Bond { .. } => "bonding",
            LinkKind::Bridge { .. } => "bridge",
        }
    }
}
