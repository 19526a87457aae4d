"""Trains a run: what is asked is looked up, a fleet gathered, the Trainer drives the schedule, the books are kept.

Imports every other room; Ray only through `cluster`.
"""
