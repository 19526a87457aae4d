"""The run's side of the accounts: receipts on their way to the ledger; audits, which compute work again.

Imports `schedule` and what is below it; no Ray.
"""
