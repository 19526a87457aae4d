"""What the gateway knows: runs that want volunteers, volunteers' processes, and leases. No HTTP, no Ray.

Nothing is believed of a volunteer: run, round, shard, version and length are the lease's; of what comes only the
bytes are passed on, once, to the lender that waits for them.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hydrahive.core.errors import HydrahiveError
from hydrahive.runtime.cluster.lending.words import Accused, Crowd, Offer, Session, Wanted
from hydrahive.runtime.config.fingerprint import difference_in_words
from hydrahive.runtime.config.machine_class import bytes_of
from hydrahive.serving.gateway.blobs import Blobs

SILENT_SECONDS = 30.0
"""Time after which a volunteer's process that is not heard of is gone."""

PROOF_SECONDS = 300.0
"""Longest time for a known fragment: its code may have to be compiled first."""

RUN_SECONDS = 15.0
"""Time after which a run that does not ask any more is over."""

REST_SECONDS = 30.0
"""Time for which one that was let go because it was too slow is not given work; doubles each time."""

SESSIONS, SESSIONS_EACH = 10_000, 64
"""Volunteers' processes in all, and of one account."""

FAULTS = 20
"""Answers of one process that may be refused before it must begin anew."""


class RefusedHereError(HydrahiveError):
    """What a volunteer asks is refused, with an HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        """Why, in one line."""
        super().__init__(text)
        self.status = status


@dataclass
class Lease:
    """A lease on its way.

    Attributes:
        offer: What is lent.
        lender: The actor that waits for it.
        weights: Name of the weights.
        states: By shard the name of a state, or none.
        answered: Shards whose answer has come.
    """

    offer: Offer
    lender: Any
    weights: str
    states: dict[int, str]
    answered: set[int] = field(default_factory=set)


@dataclass
class Process:
    """A volunteer's process.

    Attributes:
        id: Names it; nobody can guess it.
        account: Whom it earns for.
        is_shown: Whether the account's name may be shown to everybody.
        run_id: The run that it works for.
        nonce: Of the known fragment that it was asked for.
        digest: What comes of that.
        proven: Whether it has computed that.
        seen_at: When it was heard of last, on the desk's clock.
        rests_until: Until when it is not given work.
        rests: How often it had to rest.
        faults: How many of its answers were refused.
        leases: Those that it has not fetched yet.
        rung: Set when there is something to fetch, or it is over.
        over: Why it is over; empty while it is not.
        received: Bytes of its answers.
    """

    id: str
    account: str
    is_shown: bool
    run_id: str
    nonce: int
    digest: str
    seen_at: float
    proven: bool = False
    rests_until: float = 0.0
    rests: int = 0
    faults: int = 0
    leases: deque[Lease] = field(default_factory=deque)
    rung: asyncio.Event = field(default_factory=asyncio.Event)
    over: str = ""
    received: int = 0


class Desk:
    """Keeps the books of the gateway; all calls come from one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nobody; `clock` gives monotonic seconds."""
        self._clock = clock
        self.name = secrets.token_hex(4)
        self.blobs = Blobs()
        self.runs: dict[str, tuple[Wanted, float]] = {}
        self.processes: dict[str, Process] = {}
        self.leases: dict[str, Lease] = {}
        self._accused: dict[str, list[Accused]] = {}
        self._ended: OrderedDict[str, Process] = OrderedDict()
        self.answers = self.received = self.sent = 0

    def announce(self, wanted: Wanted) -> Crowd:
        """A run's regular question: who is there, and who was caught since the last one."""
        now = self._clock()
        self.runs[wanted.run_id] = wanted, now
        self.sweep()
        there = [one for one in self.processes.values() if one.run_id == wanted.run_id and one.proven]
        sessions = tuple(Session(one.id, one.account) for one in there if one.rests_until <= now)
        return Crowd(sessions, tuple(self._accused.pop(wanted.run_id, ())), self.name)

    def sweep(self) -> None:
        """Forget runs that are over, and processes that are silent."""
        now = self._clock()
        for run_id in [run_id for run_id, (_, at) in self.runs.items() if now - at > RUN_SECONDS]:
            del self.runs[run_id]
            self._accused.pop(run_id, None)
        for one in list(self.processes.values()):
            if one.run_id not in self.runs:
                self.end(one, "the run is over, or does not ask for volunteers any more")
            elif now - one.seen_at > (most := SILENT_SECONDS if one.proven else PROOF_SECONDS):
                self.end(one, f"nothing was heard of it for {most:.0f} s")

    def enter(self, account: str, run: str | None, *, is_shown: bool) -> tuple[Process, Wanted]:
        """A process of an account's wants to work, for a run by name or for the one with the fewest.

        Raises:
            RefusedHereError: If nobody wants volunteers, or there are too many.
        """
        self.sweep()
        wanted = [one for one, _ in self.runs.values() if run in (None, one.name, one.run_id)]
        if not wanted:
            what = "no run wants volunteers now" if run is None else f"no run {run!r} wants volunteers now"
            raise RefusedHereError(404, f"{what}; ask again")
        mine = [one for one in self.processes.values() if one.account == account]
        if len(self.processes) >= SESSIONS or len(mine) >= SESSIONS_EACH:
            raise RefusedHereError(429, f"{len(mine)} processes of this account are here already; ask again later")
        crowd = {one.run_id: 0 for one in wanted}
        for one in self.processes.values():
            if one.run_id in crowd:
                crowd[one.run_id] += 1
        chosen = min(wanted, key=lambda one: crowd[one.run_id])
        nonce = secrets.choice(list(chosen.known))
        name, digest = secrets.token_hex(16), chosen.known[nonce]
        process = Process(name, account, is_shown, chosen.run_id, nonce, digest, self._clock())
        self.processes[process.id] = process
        return process, chosen

    def prove(self, process: Process, machine_class: str, fingerprint: dict[str, str], digest: str) -> None:
        """Whether it is of the run's machine class, whatever it says of itself.

        Raises:
            RefusedHereError: If it is not; says in what they differ. The process is over.
        """
        wanted, _ = self.runs[process.run_id]
        if bytes_of(machine_class) != bytes_of(wanted.machine_class):
            text = f"its machine class is {machine_class}, the run's is {wanted.machine_class}"
            if not wanted.portable:
                text += "; a run with portable: true takes more machines"
        elif versions := difference_in_words(wanted.fingerprint, fingerprint, "the run is computed with", "it has"):
            text = versions
        elif digest != process.digest:
            text = "it computes other bytes than the run's own machines"
        else:
            process.proven = True
            return
        self.end(process, text)
        raise RefusedHereError(409, f"this machine cannot work for run {wanted.name!r}: {text}")

    def of(self, process: str, account: str) -> Process:
        """An account's process, which was heard of now.

        Raises:
            RefusedHereError: If it is not there any more.
        """
        found = self.processes.get(process)
        if found is None or found.account != account:
            ended = self._ended.get(process)
            raise RefusedHereError(410, ended.over if ended else "this process is not known here: begin anew")
        found.seen_at = self._clock()
        return found

    def offer(self, offer: Offer, lender: Any, weights: bytes) -> None:
        """Have a lease fetched; one for somebody who is gone is forgotten, and missed by who lends."""
        process = self.processes.get(offer.session)
        if process is None:
            return
        states = {shard: self.blobs.keep(state) if state else "" for shard, state in offer.states.items()}
        lease = Lease(offer, lender, self.blobs.keep(weights), states)
        self.leases[offer.id] = lease
        process.leases.append(lease)
        process.rung.set()

    def fetch(self, process: Process) -> list[Lease]:
        """What is to be done next."""
        found = [lease for lease in process.leases if lease.offer.id in self.leases]
        process.leases.clear()
        process.rung.clear()
        return found

    def withdraw(self, lease: str) -> None:
        """A lease has ended."""
        self.leases.pop(lease, None)

    def leased(self, lease: str, shard: int, account: str) -> tuple[Process, Lease]:
        """A lease of an account's, before its answer is read.

        Raises:
            RefusedHereError: If there is none, or it has ended.
        """
        found = self.leases.get(lease)
        process = self.processes.get(found.offer.session) if found else None
        if found is None or process is None or process.account != account:
            raise RefusedHereError(410, "there is no such lease, or it has ended")
        if shard not in found.offer.states:
            raise RefusedHereError(404, f"shard {shard} is not in this lease")
        process.seen_at = self._clock()
        return process, found

    def take(self, process: Process, lease: Lease, shard: int, size: int) -> bool:
        """An answer has come whole; whether it is the first for its shard."""
        self.received += size
        process.received += size
        if shard in lease.answered:
            return False
        lease.answered.add(shard)
        self.answers += 1
        if len(lease.answered) == len(lease.offer.states):
            self.leases.pop(lease.offer.id, None)
        return True

    def fault(self, process: Process, why: str) -> None:
        """An answer of its was refused before it was read to its end."""
        process.faults += 1
        if process.faults >= FAULTS:
            self.end(process, f"{FAULTS} of its answers were refused; the last: {why}")

    def accuse(self, session: str, shard: int, round_: int, why: str) -> None:
        """A lender found that it gave something else than an honest machine gives, also if it has left since."""
        process = self.processes.get(session) or self._ended.get(session)
        if process is None:
            return
        accused = Accused(session, process.account, shard, round_, why)
        self._accused.setdefault(process.run_id, []).append(accused)
        for one in [one for one in self.processes.values() if one.account == process.account]:
            self.end(one, f"what it gave was not what an honest machine gives: {why}")

    def let_go(self, session: str, why: str) -> None:
        """It is too slow: somebody else may have its place for a while."""
        process = self.processes.get(session)
        if process is not None:
            process.rests += 1
            process.rests_until = self._clock() + REST_SECONDS * 2 ** (process.rests - 1)
            process.leases.clear()

    def end(self, process: Process, why: str) -> None:
        """It does not work here any more; told once to whoever waits."""
        process.over = process.over or why
        process.rung.set()
        self.processes.pop(process.id, None)
        process.leases.clear()
        self._ended[process.id] = process  # he may still ask why, and be accused
        while len(self._ended) > SESSIONS:
            self._ended.popitem(last=False)
        for lease in [one for one in self.leases.values() if one.offer.session == process.id]:
            self.leases.pop(lease.offer.id, None)

    def shown_accounts(self) -> set[str]:
        """Accounts whose names may be shown."""
        return {one.account for one in self.processes.values() if one.is_shown}
