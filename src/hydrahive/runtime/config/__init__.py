"""Everything that defines a run: its config, how it is read, and what its bytes are relative to.

Imports no other room of the runtime.
"""
