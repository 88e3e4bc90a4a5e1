//! DHCP (RFC 2131, 2132, 3442): messages, and the client as a state machine.
