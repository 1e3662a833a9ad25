"""The only room with sockets: streams, connections, the pool. Nothing here decides what to say."""
