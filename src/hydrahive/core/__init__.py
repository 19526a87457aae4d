"""The words of the design as types; imports nothing of the house, no torch and no Ray."""
