//! rtnetlink messages: links, addresses, routes.
