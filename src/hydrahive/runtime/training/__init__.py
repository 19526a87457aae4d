"""Trains a run: found or resumed, its fleet gathered, the Trainer's loop, rows, checkpoints, pause and stop, accounts.

Imports every other room; Ray only through `cluster`.
"""
