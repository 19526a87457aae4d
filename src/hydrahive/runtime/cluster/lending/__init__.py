"""Volunteers outside of Ray: env workers of one's own that lend their acting through the gateway."""
