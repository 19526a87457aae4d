"""The fleet's interface: how each role is called; and the inline fleet, which calls them in this process without Ray.

Imports `roles`, `runs` and `config`; no Ray.
"""
