"""Commands of a cluster that others work for: joining, leaving, accounts, serving, asking."""
