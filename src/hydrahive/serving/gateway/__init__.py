"""The gateway: volunteers fetch acting over HTTPS and bring it back; the only port that a stranger reaches."""
