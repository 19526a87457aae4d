"""Who is owed what, and whose work is computed again: receipts on their way to the ledger, audits.

Imports `schedule` and what is below it; no Ray.
"""
