"""The proof that an upload never lies: what servers, disks and callers do wrong, and what aioreq makes of it."""
