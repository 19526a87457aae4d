"""Everything that defines a run: its config and how it is read, its machine class, the versions it is computed with.

Imports no other room of the runtime.
"""
