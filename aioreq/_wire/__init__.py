"""How to say it: bytes to events and back. Nothing here knows a socket, a loop or a policy."""
