"""Who finds slices' gradients: a stateless worker, and the chief that gives slices to whoever is free.

What a slice's gradient is never depends on who finds it (`hydrahive.algorithms.base.sharing`), and they are summed in
order: a worker that is lost, late or wrong costs time, never a byte.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch

from hydrahive.algorithms.base.rule import Computing, Rule
from hydrahive.algorithms.base.sharing import Done, Offered, Standing, Work
from hydrahive.core.config import AlgorithmConfig
from hydrahive.core.errors import HydrahiveError, LostError
from hydrahive.core.state import State
from hydrahive.core.streams import stream
from hydrahive.runtime.config.machine_class import learner_device, prepare_torch
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import build_network

WORTH_SECONDS = 0.002
"""A slice that takes less is sooner found by the learner itself than sent: `auto` does not send it."""

PATIENCE = 1.25
"""Times what a worker usually takes, after which its slice is found a second time."""


@dataclass(frozen=True)
class Here:
    """A `Standing` whose vectors have arrived: those of networks that have changed since the last one.

    Attributes:
        vectors: By name, with their numbers.
        returns: As `Standing.returns`.
        gradient_steps: As `Standing.gradient_steps`.
        config: As `Standing.config`.
    """

    vectors: Mapping[str, tuple[int, np.ndarray]]
    returns: State
    gradient_steps: int
    config: AlgorithmConfig

    def standing(self) -> Standing:
        """As a rule takes it."""
        vectors = {name: (number, _given(vector)) for name, (number, vector) in self.vectors.items()}
        return Standing(vectors, self.returns, self.gradient_steps, self.config)


def _given(vector: np.ndarray) -> Callable[[], np.ndarray]:
    return lambda: vector


def computing_of(config: RunConfig, device: torch.device) -> Computing:
    """Where and how a run's gradients are found, whoever finds them."""
    own = config.learner
    return Computing(device, own.slices, config.precision == "bfloat16", own.at_once)


class SliceWorker:
    """Finds gradients of slices; it keeps nothing but copies of what it is told."""

    def __init__(self, config: RunConfig, device: str) -> None:
        """Build the run's networks; `device` is `cpu` or `cuda`."""
        self._config, self._device = config, learner_device(device)
        network = build_network(config, torch.Generator()).to(self._device)
        self._rule: Rule = config.algorithm.build(network, computing_of(config, self._device), config.seed)

    def find(self, here: Here, work: Work) -> Done:
        """A slice's gradient, on the learner's threads."""
        prepare_torch(self._config, self._config.learner.threads)
        return self._rule.find(here.standing(), work)


class Line(Protocol):
    """How a chief reaches slice workers, who are known by numbers."""

    def ask(self, worker: int, standing: Standing, work: Work) -> Any:
        """Have a slice's gradient found; what stands for the answer."""

    def ready(self, calls: Sequence[Any], timeout_s: float) -> list[Any]:
        """Those that are answered, or have failed; waits for the first of them so long at most."""

    def answer(self, call: Any) -> Done | None:
        """What came; None if it was called off in time.

        Raises:
            LostError: If the worker is gone.
            HydrahiveError: If it failed.
        """

    def call_off(self, call: Any) -> None:
        """Have it not begun, if it has not been yet; nobody waits for it any more."""


@dataclass(frozen=True)
class Helped:
    """What a slice worker did in an update.

    Attributes:
        worker: Who.
        rows: Of the slices that were taken from it: an equal part of each gradient step's rows a slice.
        slices: How many.
        audited: Whether each was found again by the learner.
        wrong: What it gave instead of a gradient, in words; empty if nothing was found wrong.
        is_lost: Whether it is gone.
    """

    worker: int
    rows: int = 0
    slices: int = 0
    audited: bool = False
    wrong: str = ""
    is_lost: bool = False


@dataclass
class _Known:
    """What a chief knows of a worker: the chance that its slices are found again; how long it takes; its open call."""

    share: float
    seconds: float = 0.0
    call: Any = None
    asked_at: float = 0.0
    audited: bool = False
    told: Helped | None = None


@dataclass
class _Slices:
    """The slices of a gradient step while they are being found: begun from both ends."""

    offered: Sequence[Offered]
    standing: Standing
    found: list[Done | None] = field(init=False)
    first: int = 0
    last: int = field(init=False)
    away: dict[int, int] = field(default_factory=dict)
    """Worker to slice."""

    def __post_init__(self) -> None:
        self.found, self.last = [None] * len(self.offered), len(self.offered)


TRIED = 12
"""Updates with, or without, help in a trial of which is faster; the first two are not counted."""

KEPT = 240
"""Updates that are made as the last trial says, before the other way is tried again."""


class Trial:
    """Whether an update comes sooner with help: tried in turns, by the time from update to update.

    Help by those who have other work is none where that work is what is waited for.
    """

    def __init__(self) -> None:
        """Nothing is known: begin alone."""
        self.is_helped = False
        self._turns: Iterator[tuple[bool, int]] = self._in_turns()
        self._periods: list[float] = []
        self._left = self._began = 0.0

    def begin(self) -> None:
        """An update begins."""
        now = time.perf_counter()
        if self._began:
            self._periods.append(now - self._began)
        self._began = now
        if self._left <= 0:
            self.is_helped, self._left = next(self._turns)
            self._periods.clear()
        self._left -= 1

    def _in_turns(self) -> Iterator[tuple[bool, int]]:
        """Each way for a few updates, and then the faster one for many."""
        while True:
            seconds = []
            for way in (False, True):
                yield way, TRIED
                seconds.append(float(np.median(self._periods[2:])))
            yield seconds[True] < seconds[False], KEPT


class Chief:
    """Gives slices to whoever is free, finds the others itself, and believes nobody whom it is to check.

    A slice that does not come in the time that its worker usually takes is found here; who comes too late has worked
    for nothing. Whoever is audited in an update has every slice of it found again before it counts.
    """

    def __init__(self, line: Line, secret: bytes) -> None:
        """Work alone; `secret` is the run's, by which audits are drawn."""
        self._line, self._secret = line, secret
        self._workers: dict[int, _Known] = {}
        self._seconds = 0.0
        self._trial: Trial | None = None

    def helped_by(self, shares: Mapping[int, float], *, is_tried: bool = False) -> None:
        """Have these workers from now on, each with the chance that an update's slices are found again.

        `is_tried`: only where that is found to be faster; a trial goes on as long as they are the same.
        """
        if not is_tried or self._trial is None or shares.keys() != self._workers.keys():
            self._trial = Trial() if is_tried else None
        gone = {number: known for number, known in self._workers.items() if number not in shares}
        self._workers = {number: self._workers.get(number, _Known(share)) for number, share in shares.items()}
        for number, share in shares.items():
            self._workers[number].share = share
        for known in gone.values():
            if known.call is not None:
                self._line.call_off(known.call)

    def begin(self, version: int) -> None:
        """An update begins."""
        if self._trial is not None:
            self._trial.begin()
        for number, known in self._workers.items():
            draw = stream(int.from_bytes(self._secret, "big"), "slices", version, number).random()
            known.audited, known.told = bool(draw < known.share), None

    def helped(self) -> tuple[Helped, ...]:
        """What each worker did since the update began."""
        return tuple(known.told for _, known in sorted(self._workers.items()) if known.told is not None)

    def found(self, offered: Sequence[Offered], standing: Standing) -> list[Done]:
        """As `hydrahive.algorithms.base.sharing.Hands`."""
        slices = _Slices(offered, standing)
        while slices.first < slices.last or slices.away:
            if slices.first < slices.last:
                self._hand_out(slices)
                slices.found[slices.first] = self._own(slices, slices.first)
                slices.first += 1
                self._collect(slices, 0.0)
            elif not self._collect(slices, self._patience(slices)):
                self._do_without_the_latest(slices)
        assert all(one is not None for one in slices.found), "each is found"
        return [one for one in slices.found if one is not None]

    def _own(self, slices: _Slices, i: int) -> Done:
        began = time.perf_counter()
        done = slices.offered[i].own()
        took = time.perf_counter() - began
        self._seconds += (took - self._seconds) * (0.2 if self._seconds else 1.0)
        return done

    def _hand_out(self, slices: _Slices) -> None:
        """Give the last slices to who is free; the chief has one itself."""
        if self._trial is not None and (self._seconds < WORTH_SECONDS or not self._trial.is_helped):
            return
        for number, known in self._workers.items():
            if slices.last - slices.first < 2:
                return
            if known.call is None and not (known.told and (known.told.wrong or known.told.is_lost)):
                slices.last -= 1
                known.call = self._line.ask(number, slices.standing, slices.offered[slices.last].work())
                known.asked_at = time.perf_counter()
                slices.away[number] = slices.last

    def _collect(self, slices: _Slices, timeout_s: float) -> bool:
        """Take what has come; whether anything has."""
        waited = {id(known.call): number for number, known in self._workers.items() if known.call is not None}
        calls = [known.call for known in self._workers.values() if known.call is not None]
        came = self._line.ready(calls, timeout_s) if calls else []
        for call in came:
            number = waited[id(call)]
            self._take(slices, number, call)
        return bool(came)

    def _take(self, slices: _Slices, number: int, call: Any) -> None:
        known, i = self._workers[number], slices.away.pop(number, None)
        known.call = None
        took = time.perf_counter() - known.asked_at
        known.seconds += (took - known.seconds) * (0.2 if known.seconds else 1.0)
        try:
            done = self._line.answer(call)
        except LostError:
            self._note(number, is_lost=True)
            done = None
        except HydrahiveError as error:
            self._note(number, wrong=str(error))
            done = None
        if i is None:
            return  # it was found meanwhile
        wrong = "" if done is None else done.wrong(slices.offered[i].size)
        if done is None or wrong or known.audited:
            mine = self._own(slices, i)
            if done is not None and not mine.equals(done):
                self._note(number, wrong=wrong or "another gradient than the learner")
                done = None
            slices.found[i] = mine
        else:
            slices.found[i] = done
        if done is not None:
            self._note(number, rows=slices.offered[i].rows)

    def _note(self, number: int, *, rows: int | None = None, wrong: str = "", is_lost: bool = False) -> None:
        known = self._workers[number]
        told = known.told or Helped(number, audited=known.audited)
        known.told = replace(
            told,
            rows=told.rows + (rows or 0),
            slices=told.slices + (rows is not None),
            wrong=told.wrong or wrong,
            is_lost=told.is_lost or is_lost,
        )

    def _latest(self, slices: _Slices) -> tuple[int, float]:
        """The worker that is to come last of those who are away, and in how many seconds."""
        now = time.perf_counter()
        left = {
            number: PATIENCE * (known.seconds or self._seconds) - (now - known.asked_at)
            for number, known in self._workers.items()
            if number in slices.away
        }
        number = max(left, key=lambda one: (left[one], one))
        return number, left[number]

    def _patience(self, slices: _Slices) -> float:
        """How long to wait for who is away: not at all, where finding it here is sooner."""
        _, left = self._latest(slices)
        return left if 0 < left <= self._seconds else 0.0

    def _do_without_the_latest(self, slices: _Slices) -> None:
        number, _ = self._latest(slices)
        self._line.call_off(self._workers[number].call)
        i = slices.away.pop(number)
        slices.found[i] = self._own(slices, i)
