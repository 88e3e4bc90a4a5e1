//! Sockets that std does not have: packet and netlink sockets, interface flags.
