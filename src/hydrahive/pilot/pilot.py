"""The pilot: a fold over what is seen at a run's boundaries. The same boundaries give the same decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydrahive.pilot.best import Champions, Falling
from hydrahive.pilot.config import PilotConfig
from hydrahive.pilot.convergence import Progressing
from hydrahive.pilot.guards import Watch
from hydrahive.pilot.helm import ENTROPY, RATE, Helm, scaled
from hydrahive.pilot.meta import verdict_on
from hydrahive.pilot.search.searching import Searching
from hydrahive.pilot.seen import Move, Order, Seen, Told, Validation
from hydrahive.pilot.trend import regime_of


@dataclass(frozen=True)
class Course:
    """What a pilot knows of its run.

    Attributes:
        boundary_every: Updates between boundaries.
        lead: Boundaries from a decision to the first update that nobody has been given yet.
        seed: The run's.
        values: The config's, as plain data, of the keys that may be moved.
    """

    boundary_every: int
    lead: int
    seed: int
    values: Mapping[str, Any]


class Pilot:
    """Decides at boundaries, in their order; keeps nothing that does not follow from what it saw.

    Attributes:
        champions: The run's best boundaries.
        progress: Whether it still gets better.
        validations: On the run's line, oldest first.
        ends: Why the run has ended; None while it goes on.
    """

    def __init__(self, config: PilotConfig, course: Course) -> None:
        """Nothing is seen yet."""
        self._config, self._course = config, course
        self._helm = Helm(course.values)
        self.champions = Champions(config.top, config.noise)
        self.progress = Progressing(config.convergence)
        self.validations: list[Validation] = []
        self.ends: str | None = None
        rollback = config.rollback
        self._falling = Falling(rollback) if rollback else None
        self._guards = Watch(config.guards, self._helm) if config.guards else None
        self._search = Searching(config.search, self._helm, course.seed) if config.search else None
        self._asked: list[int] = []
        self._curve: list[tuple[int, float]] = []
        self._regime = "ranging"
        self._back_to: list[int] = []
        self._at_target = 0

    @property
    def moves(self) -> tuple[Move, ...]:
        """All moves on the run's line."""
        return self._helm.line

    @property
    def held(self) -> frozenset[int]:
        """Boundaries whose checkpoints are to be kept: the best, and those that are being validated."""
        return self.champions.held | frozenset(self._asked)

    @property
    def awaited(self) -> tuple[int, ...]:
        """Boundaries whose validations were asked for and are not decided upon, oldest first."""
        return tuple(self._asked)

    def decides(self, updates: int) -> int | None:
        """The boundary whose validation is decided upon at another one, if there is one."""
        wait = (self._config.delay - self._course.lead) * self._course.boundary_every
        return self._asked[0] if self._asked and self._asked[0] + wait <= updates else None

    def validates(self, updates: int) -> bool:
        """Whether the policy of this boundary is to be validated, as far as is known before it is decided upon."""
        last = self._asked[-1] if self._asked else (self.validations[-1].updates if self.validations else 0)
        every = self._config.every * (1 if self._regime == "volatile" else self.progress.wider())
        return updates - last >= every * self._course.boundary_every

    def take(self, seen: Seen) -> Order:
        """Look at a boundary, and decide."""
        told: list[Told] = []
        if seen.score is not None:
            self._curve.append((seen.updates, seen.score))
        if seen.validation is not None:
            self._asked = [updates for updates in self._asked if updates > seen.validation.updates]
        if self._guards is not None:
            told += self._guards.take(seen.figures)
        if seen.validation is not None:
            told += self._judge(seen.validation)
            if self._falls():
                return self._go_back(told)
            told += self._ends_with(seen.validation)
            if self.ends is None:
                told += self._steer(seen)
        validate = self.ends is None and self.validates(seen.updates)
        if validate:
            self._asked.append(seen.updates)
        moves = () if self.ends else self._helm.moves(self._acts_at(seen.updates))
        told += [
            Told("pilot_change", f"{move.key} is {_shown(move.value)} from update {move.from_update} on")
            for move in moves
        ]
        return Order(validate, moves, None, self.ends, tuple(told))

    def _acts_at(self, updates: int) -> int:
        return updates + self._course.lead * self._course.boundary_every

    def _judge(self, validation: Validation) -> list[Told]:
        """Hold a validation against those before it."""
        told = list[Told]()
        self.validations.append(validation)
        facts = {"updates": validation.updates, "mean": validation.mean, "error": validation.error}
        why = self.champions.take(validation)
        best = self.champions.best
        assert best is not None, "there is one from the first validation on"
        if why is not None:
            text = f"update {best.updates} is the best so far: {best.mean:.4g} ({why})"
            told.append(Told("pilot_best", text, {**facts, "updates": best.updates, "mean": best.mean}))
        changed = self.progress.take(validation, best.mean, is_new_best=why is not None)
        if changed:
            told.append(Told("pilot_state", f"{self.progress.state}: {self.progress.in_words()}", facts))
        if self._config.regimes is not None:
            told += self._follow_regime()
        return told

    def _follow_regime(self) -> list[Told]:
        """Have entropy cost more while scores range around a mean and get no better."""
        config = self._config.regimes
        assert config is not None, "who calls has looked"
        scores = [one.mean for one in self.validations[-config.window :]]
        regime, before = regime_of(scores, config.volatile, config.trending), self._regime
        self._regime = regime
        wanted = config.entropy if regime == "ranging" and self.progress.state != "active" else 1.0
        if self._helm.has(ENTROPY) and self._helm.factor("regimes", ENTROPY) != wanted:
            self._helm.turn("regimes", ENTROPY, wanted)
        return [Told("pilot_regime", f"scores are {regime} now")] if regime != before else []

    def _falls(self) -> bool:
        """Whether the run has got worse, and may go back."""
        rollback, training = self._config.rollback, [score for _, score in self._curve]
        if rollback is None or self._falling is None:
            return False
        is_confirmed = self._falling.take(self.validations, training, self._config.noise)
        return is_confirmed and len(self._back_to) < rollback.most

    def _go_back(self, told: list[Told]) -> Order:
        """Have the run go on from its best boundary, with gentler values the more often it was there."""
        rollback, best = self._config.rollback, self.champions.best
        assert rollback is not None, "whoever goes back may"
        assert best is not None, "who has fallen was higher"
        self._back_to.append(best.updates)
        times, newest = self._back_to.count(best.updates), self.validations[-1]
        self._helm.go_back(best.updates, self._course.values)
        if self._helm.has(RATE):
            # where a search was trying another rate, that may have been all that was wrong the first time
            tried = self._config.search is not None and RATE in self._config.search.space
            self._helm.own[RATE] = scaled(self._helm.own[RATE], rollback.gentler ** (times - tried))
        self.champions.go_back()
        self.validations = [one for one in self.validations if one.updates <= best.updates]
        self.progress.go_back(len(self.validations))
        self._curve = [(at, score) for at, score in self._curve if at <= best.updates]
        self._asked, self._at_target = [], 0
        for part in (self._falling, self._guards, self._search):
            if part is not None:
                part.go_back()
        moves = self._helm.moves(best.updates)
        changed = ", ".join(f"{move.key} {_shown(move.value)}" for move in moves) or "the values of then"
        text = (
            f"scores fell to {newest.mean:.4g} from {best.mean:.4g}, {rollback.after} validations in a row below "
            f"what they were, beyond noise: back to update {best.updates}, with {changed}"
        )
        told.append(Told("pilot_back", text, {"updates": best.updates, "mean": newest.mean, "best": best.mean}))
        return Order(False, moves, best.updates, None, tuple(told))

    def _ends_with(self, validation: Validation) -> list[Told]:
        """See whether the run is to end."""
        config = self._config
        if config.target is not None:
            self._at_target = self._at_target + 1 if validation.mean >= config.target else 0
            if self._at_target >= config.held:
                self.ends = "target"
                text = f"{config.target:g} was held for {self._at_target} validations: the run ends"
                return [Told("pilot_ends", text, {"why": "target"})]
        if self.progress.state != "dormant":
            return []
        verdict = verdict_on(self.validations, config.dormant)
        if verdict.does == "go_on":
            self.progress.wake()
            return [Told("pilot_state", f"the run goes on: {verdict.why}")]
        self.ends = verdict.does
        return [Told("pilot_ends", f"{verdict.does}: {verdict.why}; the run ends", {"why": verdict.does})]

    def _steer(self, seen: Seen) -> list[Told]:
        """Have the search judge its probe, and begin another."""
        search = self._config.search
        if self._search is None or search is None:
            return []
        curve = self._curve if search.by == "training" else [(one.updates, one.mean) for one in self.validations]
        if not curve:
            return []
        settle, best = search.settle * self._course.boundary_every, max(score for _, score in curve)
        return self._search.take(curve, best, self._acts_at(seen.updates), settle)

    def found(self) -> dict[str, Any]:
        """The values that are in force in the end, by key."""
        return {key: self._helm.value(key) for key in self._helm.own}


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{value['start']:.3g} to {value['end']:.3g}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
