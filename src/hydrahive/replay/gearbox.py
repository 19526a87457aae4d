"""ATH's gears: when the sequences get longer or shorter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hydrahive.core.replayed import ReplayEvent
from hydrahive.replay.config import Ath


@dataclass
class GearState:
    """All that the next shift depends on besides the stored episodes.

    Attributes:
        gear: The gear, from 1.
        episodes: Episodes that have finished.
        since_shift: Of these since the last shift, which is what cools down.
        upshift_at: How many had finished at the last upshift; None before the first.
        best: Best score so far.
        since_best: Episodes since then.
        alerts: Stagnation alerts since then.
        wants_down: Whether an alert waits for the cooldown to end.
        resets: How often the gear was set back to 1.
    """

    gear: int = 1
    episodes: int = 0
    since_shift: int = 0
    upshift_at: int | None = None
    best: float | None = None
    since_best: int = 0
    alerts: int = 0
    wants_down: bool = False
    resets: int = 0


class Gearbox:
    """Shifts after finished episodes, by how many reach the deepest buckets and by how long no record has come."""

    def __init__(self, config: Ath) -> None:
        """Begin in the first gear."""
        self.config, self.table = config, config.table()
        self.state = GearState()

    @property
    def sequence(self) -> int:
        """Frames of a sequence in the present gear."""
        return self.table[self.state.gear - 1][0]

    @property
    def batch(self) -> int:
        """Sequences in a batch in the present gear."""
        return self.table[self.state.gear - 1][1]

    def finished(self, score: float, deep_episodes: Callable[[int], int]) -> Iterator[ReplayEvent]:
        """Take note of a finished episode, which is already stored, and shift if it is time.

        Args:
            score: The episode's.
            deep_episodes: Episodes in the deepest buckets, summed over them, with sequences of a given length.
        """
        state = self.state
        state.episodes += 1
        state.since_shift += 1
        yield from self._judge(score)
        if state.since_shift <= self.config.cooldown:
            return
        # D(L) = sum of n_i over the three deepest buckets i, n_i the stored episodes of at least (i + 1) L frames.
        # D(L_g) > up shifts to g + 1, D(L_g) < down to g - 1 (docs/replay.md, Adaptive Temporal Horizon: Shifts); and
        # unless `hunting` only where the new gear would not at once call for shifting back.
        signal = deep_episodes(self.sequence)
        if state.wants_down:
            state.wants_down = False
            yield from self._shift(max(1, state.gear - max(1, state.alerts)), f"stagnation, {state.alerts} alerts")
        elif signal > self.config.up_threshold and state.gear < len(self.table):
            there = deep_episodes(self.table[state.gear][0])
            if self.config.hunting or there >= self.config.down_threshold:
                state.upshift_at = state.episodes
                yield from self._shift(state.gear + 1, f"{signal} in the deepest buckets")
        elif signal < self.config.down_threshold and state.gear > 1:
            there = deep_episodes(self.table[state.gear - 2][0])
            if self.config.hunting or there <= self.config.up_threshold:
                yield from self._shift(state.gear - 1, f"{signal} in the deepest buckets")

    def _judge(self, score: float) -> Iterator[ReplayEvent]:
        """Tell records, stagnation and its end."""
        state, config = self.state, self.config
        if state.best is None or score > state.best:
            if state.alerts:
                yield self._event("replay_stagnation_over", f"new best score {score:g}", score=score)
            state.best, state.since_best, state.alerts, state.wants_down = score, 0, 0, False
            if config.record_restarts_cooldown:
                state.since_shift = 0
            return
        state.since_best += 1
        if config.stagnation_episodes and state.since_best % config.stagnation_episodes == 0:
            state.alerts += 1
            recently = state.upshift_at is not None and (
                state.episodes - state.upshift_at <= config.stagnation_episodes
            )
            state.wants_down |= not recently
            text = f"stagnation alert {state.alerts}: no new best score for {state.since_best} episodes"
            yield self._event("replay_stagnant", text, alerts=state.alerts)
        if config.reset_episodes and state.since_best >= config.reset_episodes * (state.resets + 1):
            state.resets += 1
            state.wants_down = False
            text = f"no new best score for {state.since_best} episodes, back to gear 1"
            yield self._event("replay_reset", text, resets=state.resets)
            yield from self._shift(1, "reset")

    def _shift(self, gear: int, why: str) -> Iterator[ReplayEvent]:
        state = self.state
        state.since_shift = 0
        if gear == state.gear:
            return
        way = "up" if gear > state.gear else "down"
        state.gear = gear
        yield self.shift_event(f"shifting {way} ({why})", way)

    def shift_event(self, what: str, way: str) -> ReplayEvent:
        """An event that tells the present gear."""
        text = f"{what}: gear {self.state.gear}, {self.batch} sequences of {self.sequence}"
        facts = {"way": way, "gear": self.state.gear, "sequence": self.sequence, "batch": self.batch}
        return self._event("replay_shift", text, **facts)

    def _event(self, kind: str, text: str, **facts: Any) -> ReplayEvent:
        return ReplayEvent(kind, f"replay, episode {self.state.episodes:,}: {text}", self.state.episodes, facts)
