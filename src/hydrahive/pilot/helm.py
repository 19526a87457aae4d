"""The values that a pilot has moved: what each is by whom, and what is in force from which update on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydrahive.pilot.seen import Move

RATE, ENTROPY = "algorithm.learning_rate", "algorithm.entropy_cost"
"""Keys that guards and roll-backs move, where an algorithm has them."""


def scaled(value: Any, factor: float) -> Any:
    """A number, or both ends of a schedule as plain data, times a factor."""
    if isinstance(value, Mapping):
        return {**value, "start": value["start"] * factor, "end": value["end"] * factor}
    return value * factor


class Helm:
    """Each key's own value times everybody's factors; whoever looks gets the moves that make it so.

    Attributes:
        own: The values by key: the config's, or those that a search has found.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        """Begin with the config's values, as plain data, of the keys that may be moved."""
        self.own = dict(values)
        self._factors: dict[str, dict[str, float]] = {}
        self._told = dict(values)
        self._moves: list[Move] = []
        self._owned: list[tuple[int, dict[str, Any]]] = []

    def has(self, key: str) -> bool:
        """Whether there is a value to move: an entropy of no cost stays so."""
        value = self.own.get(key)
        return value is not None and value != 0

    def factor(self, whose: str, key: str) -> float:
        """What somebody multiplies a key by."""
        return self._factors.get(whose, {}).get(key, 1.0)

    def turn(self, whose: str, key: str, factor: float) -> None:
        """Multiply a key by another factor from now on."""
        self._factors.setdefault(whose, {})[key] = factor

    def value(self, key: str) -> Any:
        """What a key comes to."""
        value = self.own[key]
        for factors in self._factors.values():
            if factors.get(key, 1.0) != 1.0:
                value = scaled(value, factors[key])
        return value

    def moves(self, from_update: int) -> tuple[Move, ...]:
        """What is other than nobody has been told, to hold from an update on."""
        now = {key: self.value(key) for key in self.own}
        new = [Move(from_update, key, value) for key, value in now.items() if value != self._told[key]]
        self._told |= {move.key: move.value for move in new}
        self._moves += new
        if not self._owned or self._owned[-1][1] != self.own:
            self._owned.append((from_update, dict(self.own)))
        return tuple(new)

    @property
    def line(self) -> tuple[Move, ...]:
        """All moves on the run's line, in order."""
        return tuple(self._moves)

    def go_back(self, updates: int, config: Mapping[str, Any]) -> None:
        """Stand where the run's line stood at an update; the next moves let go of factors that were in force then.

        Args:
            updates: Moves from there on are forgotten.
            config: The values of no moves.
        """
        self._moves = [move for move in self._moves if move.from_update < updates]
        self._told = {**config, **{move.key: move.value for move in self._moves}}
        self._owned = [(at, own) for at, own in self._owned if at < updates]
        self.own, self._factors = dict(self._owned[-1][1] if self._owned else config), {}
