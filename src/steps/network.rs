//! Links up, DHCP on every wired interface, address, route.
