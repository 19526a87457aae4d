"""Memories of episodes that updates draw sequences from; plain classes, no torch and no Ray."""
