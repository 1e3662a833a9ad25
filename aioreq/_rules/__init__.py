"""What to say next: policy without sockets. Nothing here knows how bytes travel."""
