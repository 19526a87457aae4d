"""How the roles are called, whoever carries it out; and the fleet that carries it out in this process.

Imports `roles`, `runs` and `config`; no Ray.
"""
