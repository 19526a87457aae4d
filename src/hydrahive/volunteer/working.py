"""A volunteer's process at work: one thread fetches, one acts, several bring back."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from hydrahive.core.errors import HydrahiveError, first_line
from hydrahive.volunteer.acting import Acting, config_of
from hydrahive.volunteer.budget import Budget
from hydrahive.volunteer.line import Line, TurnedAwayError

SAY_SECONDS = 10.0
"""Time between two lines about what was earned."""

LOOK_SECONDS = 0.5
"""Time between two looks at whether work may go on."""

ENTER_SECONDS = 5.0
"""Time between two questions whether somebody wants volunteers."""

AHEAD = 64
"""Leases that are fetched and not begun, at most."""

REFUSED = (401, 403, 409, 422)
"""Statuses for which nothing would be gained by asking again."""


NOBODY = 404
"""The status with which a gateway says that no run wants volunteers now."""


@dataclass
class _Todo:
    """A lease, and what it needs on its way."""

    lease: dict[str, Any]
    weights: Future[bytes]
    states: dict[int, Future[bytes]] = field(default_factory=dict)


class Over(Exception):  # noqa: N818  an end, not an error
    """The gateway does not know this process any more; why."""


class Working:
    """Works for whatever a gateway has, until its budget is spent or it is told to stop."""

    acting_class: type[Acting] = Acting

    def __init__(
        self,
        line: Line,
        budget: Budget,
        say: Callable[[str], None],
        pinned: Callable[[], None],
        run: str | None = None,
        *,
        is_shown: bool = False,
    ) -> None:
        """Get ready.

        Args:
            line: To the gateway.
            budget: What is allowed.
            say: Takes lines for people.
            pinned: Begins this process anew with pinned instructions, unless it is.
            run: A run by name; None for any.
            is_shown: Whether the account's name may be shown.
        """
        self._line, self._budget, self._say, self._pinned = line, budget, say, pinned
        self._run, self._is_shown = run, is_shown
        self.stop = threading.Event()
        self.env_steps = 0
        self._said_at, self._last = time.monotonic(), ""
        self._putting = ThreadPoolExecutor(16, "put")

    def work(self) -> None:
        """Work.

        Raises:
            HydrahiveError: If the gateway refuses this account or this machine, or is none.
        """
        waited = False
        while not self.stop.is_set() and not self._budget.is_spent:
            if not self._budget.may_work():
                self.stop.wait(LOOK_SECONDS)
                continue
            try:
                body = {"run": self._run, "shown": self._is_shown}
                entered = self._line.asked("POST", "/v1/workers", body, attempts=1)
            except HydrahiveError as error:
                if isinstance(error, TurnedAwayError) and error.status != NOBODY:
                    raise
                if not waited:
                    self._say(f"waiting: {first_line(error)}")
                waited = True
                self.stop.wait(ENTER_SECONDS)
                continue
            waited = False
            self._work_as(entered)

    def _work_as(self, entered: dict[str, Any]) -> None:
        worker = str(entered["worker"])
        if entered["portable"]:
            self._pinned()
        acting = self.acting_class(config_of(entered["config"]), str(entered["run_id"]))
        try:
            self._say(f"asked to work for run {entered['run']}: computing the known fragment")
            digest, class_, fingerprint = acting.known(int(entered["nonce"]))
            proof = {"worker": worker, "machine_class": class_, "fingerprint": fingerprint, "digest": digest}
            self._line.asked("POST", "/v1/proof", proof)
            self._say(f"working for run {entered['run']}; Ctrl-C leaves")
            self._act_for(worker, acting)
        except (Over, TurnedAwayError) as over:
            if isinstance(over, TurnedAwayError) and over.status in REFUSED:
                raise
            self._say(f"begins anew: {over}")
            self.stop.wait(1.0)
        finally:
            acting.close()
            self._leave(worker)

    def _act_for(self, worker: str, acting: Acting) -> None:
        todo: queue.Queue[_Todo | BaseException] = queue.Queue(AHEAD)
        done = threading.Event()
        fetcher = threading.Thread(target=self._fetch, args=(worker, acting.weights_bytes, todo, done), daemon=True)
        fetcher.start()
        try:
            while not self.stop.is_set() and self._budget.may_work():
                self._tell()
                try:
                    next_ = todo.get(timeout=LOOK_SECONDS)
                except queue.Empty:
                    continue
                if isinstance(next_, BaseException):
                    raise next_
                self._do(next_, acting)
        finally:
            done.set()

    def _fetch(
        self, worker: str, weights_bytes: int, todo: queue.Queue[_Todo | BaseException], done: threading.Event
    ) -> None:
        """Ask for leases, and begin to fetch what they need, ahead of who acts."""
        fetched: dict[str, Future[bytes]] = {}
        try:
            while not done.is_set():
                for lease in self._line.asked("POST", "/v1/lease", {"worker": worker})["leases"]:
                    name = lease["weights"]
                    if name not in fetched:
                        fetched[name] = self._line.fetched("weights", name, weights_bytes)
                        while len(fetched) > 8:
                            del fetched[next(iter(fetched))]
                    named = {int(shard): name for shard, name in lease["states"].items() if name}
                    sizes = {int(shard): int(size) for shard, size in lease["sizes"].items()}
                    states = {shard: self._line.fetched("states", of, sizes[shard]) for shard, of in named.items()}
                    todo.put(_Todo(lease, fetched[name], states))
        except TurnedAwayError as turned:
            todo.put(Over(str(turned)) if turned.status == 410 else turned)
        except (HydrahiveError, KeyError, TypeError, ValueError, AttributeError) as error:
            todo.put(error if isinstance(error, HydrahiveError) else HydrahiveError(f"this is no gateway: {error!r}"))

    def _do(self, todo: _Todo, acting: Acting) -> None:
        """Act for a lease; what cannot be done of it is missed by who lent it, and given anew."""
        lease = todo.lease
        try:
            acting.load(str(lease["weights"]), todo.weights.result())
            for shard, state in todo.states.items():
                acting.stand(shard, state.result())
        except TurnedAwayError:  # it was withdrawn meanwhile
            return
        round_, version = int(lease["round"]), int(lease["version"])
        for shard in map(int, lease["states"]):
            if acting.stands_at(shard) != round_:
                continue
            body, env_steps = acting.acted(shard, round_, version)
            self._putting.submit(self._put, f"/v1/fragments/{lease['lease']}/{shard}", body, env_steps)

    def _put(self, path: str, body: bytes, env_steps: int) -> None:
        try:
            self._line.put(path, body)
        except HydrahiveError:  # it is late, or nobody is there
            return
        self.env_steps += env_steps

    def _leave(self, worker: str) -> None:
        try:
            self._line.asked("POST", "/v1/leave", {"worker": worker}, attempts=1)
        except HydrahiveError:  # it is known no more, or will not be in a moment
            return

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._said_at < SAY_SECONDS:
            return
        self._said_at = now
        threading.Thread(target=self._tell_earnings, daemon=True).start()

    def _tell_earnings(self) -> None:
        try:
            row = self._line.asked("GET", "/v1/earnings", attempts=1)
        except HydrahiveError:
            return
        moved = self._line.traffic.received + self._line.traffic.sent
        each = f", {moved / self.env_steps:.1f} bytes an env step" if self.env_steps else ""
        pending = row["pending_microtokens"]
        waits = f" (and {pending / 1e6:,.6f} until it is verified)" if pending else ""
        tokens = f"{row['balance_microtokens'] / 1e6:,.6f} tokens{waits}"
        text = f"{row['account']}: {row['env_steps']:,} env steps paid, {tokens}; here {self.env_steps:,} sent{each}"
        if text != self._last:
            self._say(text)
        self._last = text
