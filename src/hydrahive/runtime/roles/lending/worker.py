"""An env worker of one's own whose acting is lent to a volunteer: the run never notices who acts.

It holds the shards like any other, so a volunteer who is late, wrong or gone costs nothing but that the round is
computed here. Who has not earned trust yet is compared with, not relied on: the round is computed here as well, and
only what is the same is his.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from hydrahive.core.errors import OutOfStepError, first_line
from hydrahive.core.fragment import HERE, VERIFIED, Fragment, FragmentSummary
from hydrahive.core.state import State
from hydrahive.core.watched import Wish
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import EnvWorker
from hydrahive.runtime.roles.lending.acting import acted_by, lent_of
from hydrahive.runtime.roles.lending.layout import Layout, Lent, RefusedLentError
from hydrahive.runtime.roles.lending.pace import Pace

FORETOLD_SECONDS = 1.0
"""Longest wait for what was to be told before a round; without it nothing is lent."""

Key = tuple[int, tuple[int, ...]]
"""A round, and which shards'."""


@dataclass(frozen=True)
class Lease:
    """A round's acting, lent.

    Attributes:
        id: Names it; nobody can guess it.
        round: The round.
        version: The weights version that is to act.
        shards: Whose fragments.
        states: Where the volunteer's copy of a shard does not stand there: the shard's state, by shard.
        least: Bytes of an answer for one shard, at least.
        most: Likewise at most.
    """

    id: str
    round: int
    version: int
    shards: tuple[int, ...]
    states: Mapping[int, State]
    least: int
    most: int


class Line(Protocol):
    """The way to the volunteer."""

    def offer(self, lease: Lease, weights: Any) -> None:
        """Have it offered to him; `weights` are what `foretell` was given."""

    def withdraw(self, lease: str) -> None:
        """It has ended: an answer is late."""

    def accuse(self, shard: int, round_: int, why: str) -> None:
        """He gave something else of a fragment than an honest machine of the run's class gives."""

    def let_go(self, why: str) -> None:
        """Somebody else may have his place."""


@dataclass
class _Open:
    """A lease that is under way, and what has come of it."""

    lease: Lease
    answers: dict[int, bytes] = field(default_factory=dict)
    is_over: bool = False

    @property
    def is_whole(self) -> bool:
        return len(self.answers) == len(self.lease.shards)


class LendingWorker(EnvWorker):
    """As `EnvWorker`; `foretell`, `answer`, `trust` and `gone` may be called from other threads."""

    def __init__(self, config: RunConfig, run_id: str, line: Line, clock: Callable[[], float] = time.monotonic) -> None:
        """Lend through `line`, to somebody who is not trusted yet; `clock` gives monotonic seconds."""
        super().__init__(config, run_id)
        self._line, self._clock = line, clock
        self._layout, self._pace = Layout(config), Pace(config.remote, clock)
        self._changed = threading.Condition()
        self._foretold: dict[Key, tuple[int, Any]] = {}
        self._open: dict[Key, _Open] = {}
        self._at: dict[int, int] = {}
        """The round that his copy of a shard stands at when he has done all that he was given."""
        self._is_trusted, self._is_there, self._doubt = False, True, ""

    def trust(self, is_trusted: bool) -> None:
        """Rely on him from now on, or do not."""
        self._is_trusted = is_trusted

    def gone(self) -> None:
        """He is gone, or not wanted any more."""
        with self._changed:
            self._is_there = False
            self._end_all()
            self._changed.notify_all()

    def foretell(self, shards: Sequence[int], round_: int, version: int, weights: Any) -> None:
        """Say what `simulate` will be asked; what he can go on with is offered to him at once.

        Args:
            shards: Which shards.
            round_: The round.
            version: The weights version.
            weights: What the line is to be given for them.
        """
        key = round_, tuple(shards)
        with self._changed:
            self._foretold[key] = version, weights
            self._lend_ahead(key)
            self._changed.notify_all()

    def answer(self, lease: str, shard: int, body: bytes) -> bool:
        """Take what he gives for one shard; whether it was still waited for."""
        with self._changed:
            mine = next((one for one in self._open.values() if one.lease.id == lease), None)
            if mine is None or shard not in mine.lease.shards:
                return False
            mine.answers.setdefault(shard, body)
            self._changed.notify_all()
            return True

    def adopt(self, shard: int, state: State | None, segment: int = 0) -> None:
        """As `EnvWorker.adopt`; his copy stands elsewhere, and a version's number may mean others since."""
        self._forget_copy(shard)
        self._version = -1
        super().adopt(shard, state, segment)

    def release(self, shard: int) -> None:
        """As `EnvWorker.release`."""
        self._forget_copy(shard)
        super().release(shard)

    def simulate(
        self, shards: Sequence[int], round_: int, version: int, weights: np.ndarray, wishes: Sequence[Wish] = ()
    ) -> tuple[list[Fragment], list[FragmentSummary]]:
        """As `EnvWorker.simulate`; the summaries say who acted."""
        key = round_, tuple(shards)
        open_ = self._lease_of(key)

        def here() -> tuple[list[Fragment], list[FragmentSummary]]:
            fragments, summaries = EnvWorker.simulate(self, shards, round_, version, weights, wishes)
            for summary in summaries:
                self._pace.note_own(summary.seconds)
            self._judge_doubt(fragments, shards, round_)
            return fragments, [replace(summary, lent=HERE) for summary in summaries]

        try:
            if open_ is None:
                return here()
            if self._is_trusted:
                lent = self._waited_for(open_)
                theirs = None if lent is None else self._made_of(lent, round_, version, wishes)
                return here() if theirs is None else theirs
            made = here()
            lent = self._waited_for(open_)
            self._judge_doubt(made[0], shards, round_)
            return made if lent is None else self._compared(made, lent)
        finally:
            with self._changed:
                self._foretold.pop(key, None)
                self._end(key)

    def _lease_of(self, key: Key) -> _Open | None:
        """What was lent of a round, or is now; None if it is computed here."""
        round_, shards = key
        with self._changed:
            self._changed.wait_for(lambda: key in self._foretold or not self._is_there, FORETOLD_SECONDS)
            if key in self._open:
                return self._open[key]
            is_here = all(shard in self._shards and self._shards[shard].round == round_ for shard in shards)
            # An environment that is rebuilt goes on from its state as itself at boundaries only.
            is_boundary = round_ > 0 and round_ % self._config.boundary_every == 0  # a fresh one is none yet
            is_here &= self._config.env.snapshot_kind.goes_on or is_boundary
            if not (self._is_there and is_here and key in self._foretold) or self._pace.rests:
                return None
            # What he was given after this round goes on from a copy that is replaced now.
            self._end_all()
            self._at.clear()
            self._pace.begin()
            open_ = self._lend(key, {shard: self.snapshot(shard) for shard in shards})
            for later in sorted(self._foretold):
                self._lend_ahead(later)
            return open_

    def _lend_ahead(self, key: Key) -> None:
        """Lend a round before it is due, if his copies will stand there and he has not too much to do."""
        round_, shards = key
        is_next = key not in self._open and all(self._at.get(shard) == round_ for shard in shards)
        if (
            is_next
            and self._is_there
            and len(self._open) < self._config.remote.rounds_per_lease
            and not self._pace.rests
        ):
            self._lend(key, {})

    def _lend(self, key: Key, states: Mapping[int, State]) -> _Open:
        round_, shards = key
        version, weights = self._foretold[key]
        lease = Lease(secrets.token_hex(16), round_, version, shards, states, self._layout.least, self._layout.most)
        self._open[key] = open_ = _Open(lease)
        self._at |= dict.fromkeys(shards, round_ + 1)
        self._line.offer(lease, weights)
        return open_

    def _waited_for(self, open_: _Open) -> dict[int, Lent] | None:
        """What he gave; None if it is not there in time, or nothing that acting gives."""
        shards = open_.lease.shards
        patience, began = self._pace.patience_s(len(shards)), self._clock()
        with self._changed:
            self._changed.wait_for(lambda: open_.is_whole or open_.is_over or not self._is_there, patience)
            waited_s = self._clock() - began
            is_in_time = open_.is_whole and self._pace.in_time(waited_s, len(shards), is_trusted=self._is_trusted)
            if self._is_there and not open_.is_over and not is_in_time:
                self._be_late(len(shards))
            if not open_.is_whole:
                return None
        try:
            return {shard: self._layout.unpacked(open_.answers[shard]) for shard in shards}
        except RefusedLentError as refused:
            self._doubt = str(refused)  # a policy that has diverged gives the same to everybody
            return None

    def _be_late(self, shards: int) -> None:
        """He goes on from where he is, and may come in time with a later round, until he never does."""
        if not self._pace.late(shards):
            return
        self._end_all()
        self._at.clear()
        if self._pace.is_tired:
            self._line.let_go("it was late again and again")

    def _compared(
        self, made: tuple[list[Fragment], list[FragmentSummary]], lent: Mapping[int, Lent]
    ) -> tuple[list[Fragment], list[FragmentSummary]]:
        """What was computed here; as verified where he gave the same."""
        fragments, summaries = made
        for fragment, summary in zip(fragments, summaries, strict=True):
            shard = summary.shard
            if not lent[shard].equals(lent_of(fragment, summary, self._shards[shard])):
                self._accuse(shard, fragment.id.round, f"the policy of version {fragment.version} acts otherwise")
                return made
        return fragments, [replace(summary, lent=VERIFIED) for summary in summaries]

    def _made_of(
        self, lent: Mapping[int, Lent], round_: int, version: int, wishes: Sequence[Wish]
    ) -> tuple[list[Fragment], list[FragmentSummary]] | None:
        """The fragments that follow from how he acted; None where the environments do not take it, and it is done here.

        Raises:
            FragmentError: If they do not, and cannot be brought back to where they were.
        """
        before = {shard: self.snapshot(shard) for shard in lent} if self._config.env.snapshot_kind.goes_on else {}
        done = []
        for shard, given in lent.items():
            acted = partial(acted_by, self._shards[shard], round_, version, given)
            made = partial(self._shown, shard, wishes, acted)

            try:
                done.append(made() if before else self._guarded(shard, round_, made))
            except OutOfStepError:
                raise
            except Exception as error:
                if not before:
                    self._line.let_go("what it did could not be gone on from")
                    self.gone()
                    raise
                self._doubt = f"the environment does not take how it acted: {first_line(error)}"
                for back, state in before.items():
                    self._shards[back].restore(state)
                return None
        return [fragment for fragment, _ in done], [summary for _, summary in done]

    def _judge_doubt(self, fragments: Sequence[Fragment], shards: Sequence[int], round_: int) -> None:
        """What he gave was no acting: that is held against him, unless a diverged policy gives it here, too."""
        doubt, self._doubt = self._doubt, ""
        if doubt and not any(np.isnan(fragment.behaviour).any() for fragment in fragments):
            self._accuse(shards[0], round_, doubt)

    def _accuse(self, shard: int, round_: int, why: str) -> None:
        self._line.accuse(shard, round_, why)
        self.gone()

    def _forget_copy(self, shard: int) -> None:
        with self._changed:
            self._at.pop(shard, None)
            for key in [key for key in self._open if shard in key[1]]:
                self._end(key)

    def _end_all(self) -> None:
        for key in list(self._open):
            self._end(key)

    def _end(self, key: Key) -> None:
        """A lease is over; what he has not given for it is late."""
        open_ = self._open.pop(key, None)
        if open_ is not None:
            open_.is_over = True
            if not open_.is_whole:
                self._line.withdraw(open_.lease.id)
