"""Atari 2600 games in the Arcade Learning Environment."""
