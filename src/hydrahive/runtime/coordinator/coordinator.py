"""The coordinator: who works on what, who is alive, and what people asked of a run. It records; it never schedules.

One per cluster, an actor that Ray restarts; besides the registry it holds the cluster's line to its ledger.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydrahive.core.errors import RefusedError, UsageError
from hydrahive.core.watched import Wish
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.posting import Sealed
from hydrahive.ledger.statements import balances, work_of
from hydrahive.ledger.till.limits import Limits, TooFast
from hydrahive.ledger.till.queries import Admitted, Queries, Query, Refused
from hydrahive.runtime.coordinator.registry import Asked, Heard, Registry
from hydrahive.runtime.fleet.ledger_line import Answer, RunAccount, settle
from hydrahive.runtime.runs.controls import Request
from hydrahive.runtime.runs.watch_feed import Feeds, Have, News, Shown


class Coordinator(Registry):
    """The registry of a cluster's runs, what people ask and see of them, and the cluster's line to its ledger."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic, ledger: Path | None = None) -> None:
        """Open or create the registry's file.

        Args:
            path: On a local disk.
            clock: Monotonic seconds, for signs of life.
            ledger: Where the cluster's ledger lies; None lets the first run say it.
        """
        super().__init__(path, clock)
        self._ledger: Ledger | None = None
        self._limits = Limits()
        self._queries: Queries | None = None
        self._feeds = Feeds(path.parent / "watched")
        self._ledger_path = self._noted_ledger() or ledger

    def call(self, run_id: str, name: str, state: str, env_steps: int, heard: int = 0) -> Heard:
        """A Trainer's regular call: it says how its run is and hears how its members are and what was asked of it.

        A state other than `running` or `paused` says that the run is no longer trained. Requests are told in the order
        in which they were made, each until a call says that it was `heard`: an answer may be lost with this process.
        """
        self._awake()
        now = time.time()
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?)", (run_id, name, state, env_steps, now))
            row = db.execute(
                "SELECT id, request FROM requests WHERE run_id = ? AND taken_at IS NULL AND id > ? ORDER BY id LIMIT 1",
                (run_id, heard),
            ).fetchone()
            db.execute(
                "UPDATE requests SET taken_at = ? WHERE run_id = ? AND taken_at IS NULL AND id <= ?",
                (now, run_id, heard),
            )
        nodes = self.nodes()
        return Heard(
            self.health(run_id),
            Asked(*row) if row else None,
            {node["node_id"]: node["owner"] for node in nodes if node["owner"]},
            frozenset(node["node_id"] for node in nodes if node["quarantined"]),
            self._feeds.watched(run_id),
        )

    def ask(self, name: str, request: Request) -> str:
        """Ask something of the live run of that name; its run id.

        Raises:
            UsageError: If no run, or more than one, of this name is being trained.
        """
        self._awake()
        live = [run for run in self.runs() if run["live"]]
        found = [run["run_id"] for run in live if name in (run["name"], run["run_id"])]
        if not found:
            names = ", ".join(sorted(run["name"] for run in live)) or "none"
            raise UsageError(f"RUN: no run {name!r} is being trained on this cluster; live runs: {names}")
        if len(found) > 1:
            raise UsageError(f"RUN: {len(found)} runs are named {name!r}; give one's id: {', '.join(found)}")
        with self._transaction() as db:
            db.execute(
                "INSERT INTO requests (run_id, request, asked_at) VALUES (?, ?, ?)", (found[0], request, time.time())
            )
        return str(found[0])

    def show(self, run_id: str, shown: Shown, *, last: bool = False) -> None:
        """Take what a Trainer shows to those who watch; `last`: keep it for whoever comes later."""
        self._awake()
        self._feeds.take(run_id, shown, last=last)

    def look(self, name: str, watcher: str, wish: Wish, have: Have) -> News:
        """What is new of a run for somebody who watches it, live or one that showed how it ended.

        Args:
            name: The run's, or its id.
            watcher: Who looks; he is forgotten when he does not for some seconds.
            wish: What he wants to see.
            have: What he has already.

        Raises:
            UsageError: If there is no such run, or nothing is known of it any more.
        """
        self._awake()
        known = [run for run in self.runs() if name in (run["name"], run["run_id"])]
        live = [str(run["run_id"]) for run in known if run["live"]]
        if len(live) > 1:
            raise UsageError(f"RUN: {len(live)} runs are named {name!r}; give one's id: {', '.join(live)}")
        if live:
            return self._feeds.look(live[0], watcher, wish, have)
        kept = next((str(run["run_id"]) for run in known if self._feeds.is_kept(str(run["run_id"]))), None)
        if kept is None:
            names = ", ".join(dict.fromkeys(run["name"] for run in self.runs() if run["live"])) or "none"
            gone = "it ended without a last word" if known else "nobody trained it on this cluster"
            raise UsageError(f"RUN: there is nothing to see of run {name!r}: {gone}; live runs: {names}")
        return self._feeds.look(kept, watcher, wish, have)

    def use_ledger(self, path: Path | None, *, insist: bool = False) -> str:
        """Open the cluster's ledger, at `path` where nothing else is settled yet, or it is insisted on; where it lies.

        Raises:
            LedgerError: If it cannot be used.
            UsageError: If nobody has said where it lies.
        """
        self._awake()
        is_open = self._ledger is not None and path == self._ledger_path
        if path is not None and (self._ledger_path is None or insist) and not is_open:
            Ledger(path).close()
            with self._transaction() as db:
                db.execute("INSERT OR REPLACE INTO facts VALUES ('ledger', ?)", (str(path),))
            self._ledger_path, self._ledger = path, None
        return str(self._opened_ledger().journal.path)

    def settle(self, run: RunAccount, postings: Sequence[Sealed]) -> Answer:
        """Settle a run's postings.

        Raises:
            LedgerError: If the ledger cannot be written, or refuses the run.
        """
        self._awake()
        return settle(self._opened_ledger(), run, postings)

    def enroll(self, node_id: str, owner: str, key: str) -> None:
        """Let a node work for an account, whose key proves that it may.

        Raises:
            RefusedError: If the key is not the account's, or it was caught; recorded in the ledger.
            UsageError: If the cluster has no ledger yet.
        """
        self._awake()
        accounts = self._opened_ledger().accounts
        accounts.prove(owner, key)
        accounts.require_good_standing(owner)
        with self._transaction() as db:
            db.execute(
                "INSERT INTO nodes (node_id, owner) VALUES (?, ?) ON CONFLICT DO UPDATE SET owner = excluded.owner",
                (node_id, owner),
            )

    def strike(self, owner: str, run_id: str, node_id: str, why: str) -> None:
        """Hold an account to what a machine of its did, at once; the run's books say the same later."""
        self._awake()
        self._opened_ledger().journal.strike(owner, run_id, node_id, why)

    def refuse_owner(self, node_id: str, owner: str) -> None:
        """Record in the ledger that a node says it works for an account, and has not shown its key."""
        self._awake()
        text = f"node {node_id} is labelled as {owner}'s, and has not shown the account's key"
        self._opened_ledger().journal.refuse("no-key", owner, text)

    def admit_queries(self, queries: Sequence[Query], per_second: int) -> list[Admitted | Refused | TooFast]:
        """For each query, in order: set its price aside, or say why it may not be answered.

        Raises:
            LedgerError: If the ledger cannot be written; nothing was set aside.
        """
        self._awake()
        return self._limits.admit(self._till(), queries, per_second)

    def settle_queries(self, answered: Sequence[int], failed: Sequence[int]) -> None:
        """Take the price of what was answered, and give that of what failed back; errors as `admit_queries`."""
        self._awake()
        self._till().settle(answered, failed)

    def answer_again(self, hold: int) -> bool:
        """Whether a query that was paid may be answered once more."""
        self._awake()
        return self._till().answer_again(hold)

    def is_somebodys(self, key: str) -> bool:
        """Whether an account has this key."""
        return self.account_of(key) is not None

    def account_of(self, key: str) -> str | None:
        """The account whose key this is; None if it is nobody's."""
        self._awake()
        return self._till().account_of(key)

    def why_not(self, owner: str) -> str:
        """Why an account may not work now; empty if it may. What is refused is recorded in the ledger."""
        self._awake()
        try:
            self._opened_ledger().accounts.require_good_standing(owner)
        except RefusedError as error:
            return str(error)
        return ""

    def query_balance(self, key: str) -> dict[str, int | str] | None:
        """What the account of a key has; None if it is nobody's."""
        self._awake()
        return self._till().balance(key)

    def earnings(self, owner: str) -> dict[str, Any] | None:
        """What the ledger shows of an account; None if it is not there."""
        self._awake()
        return next(iter(balances(self._opened_ledger().journal, owner)), None)

    def work_of(self, run: str) -> list[dict[str, Any]]:
        """What each owner did for a run, or for all runs of a sweep."""
        self._awake()
        return work_of(self._opened_ledger().journal, run)

    def _till(self) -> Queries:
        journal = self._opened_ledger().journal
        if self._queries is None or self._queries.journal is not journal:
            self._queries = Queries(journal)
        return self._queries

    def _opened_ledger(self) -> Ledger:
        if self._ledger_path is None:
            raise UsageError(
                "this cluster has no ledger yet: HYDRAHIVE_LEDGER names one where its head is started, or "
                "the first training says where it is"
            )
        if self._ledger is None:
            self._ledger = Ledger(self._ledger_path)
        return self._ledger

    def _noted_ledger(self) -> Path | None:
        row = self._db.execute("SELECT value FROM facts WHERE name = 'ledger'").fetchone()
        return Path(row[0]) if row else None
