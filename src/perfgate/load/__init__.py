"""Load on a server, and what its answers say: the measuring client."""
