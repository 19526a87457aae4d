"""How a ledger's file is laid out, and what is kept in it besides money: refusals."""
