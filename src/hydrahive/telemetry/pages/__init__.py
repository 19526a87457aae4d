"""Pages to be read, each one file that needs no other."""
