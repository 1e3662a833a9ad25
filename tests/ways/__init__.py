"""The ways to a server: proxies, Unix sockets, names and addresses, and whom to trust there."""
