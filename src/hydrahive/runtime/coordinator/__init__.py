"""The cluster's one registry: members, leases, requests, its line to the ledger, and its figures for Prometheus.

Imports what is below `schedule`; imports Ray.
"""
