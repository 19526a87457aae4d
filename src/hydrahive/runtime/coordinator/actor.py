"""The coordinator as the cluster's one detached actor."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hydrahive.core.errors import HydrahiveError, LedgerError
from hydrahive.ledger.ledger import FILE
from hydrahive.ledger.posting import Sealed
from hydrahive.runtime.coordinator.coordinator import Coordinator
from hydrahive.runtime.coordinator.keeping import Keeping
from hydrahive.runtime.coordinator.metrics import Figures, LedgerMetrics, RunMetrics
from hydrahive.runtime.fleet.ledger_line import Answer, RunAccount
from hydrahive.runtime.runs.run_folder import runs_folder

OPEN_SECONDS = 90.0
"""For which the coordinator is asked for the ledger while it is being restarted."""

SAY_SECONDS = 30.0
"""After which it is said that it is waited for."""

PAUSES = (0.1, 0.3, 1.0, 3.0)
"""Seconds between attempts, the last again and again."""

NAME, NAMESPACE = "hydrahive-coordinator", "hydrahive"


class CoordinatorActor(Coordinator):
    """`Coordinator` in a process of its own, on the head.

    Its file is HYDRAHIVE_COORDINATOR of the head's environment, so that quarantines and proven owners can outlive the
    head's container; else it lies in the Ray session's folder.
    """

    def __init__(self) -> None:
        """Open the file, or find it again after a restart."""
        said = _environment_of_the_head()
        context = ray.get_runtime_context()
        session = Path(context.get_temp_dir()) / context.get_session_name()
        place = said.get("HYDRAHIVE_COORDINATOR") or session / "hydrahive" / "coordinator.sqlite"
        ledger = said.get("HYDRAHIVE_LEDGER") or None
        if ledger is None and said.get("HYDRAHIVE_RUNS"):
            ledger = str(runs_folder(said["HYDRAHIVE_RUNS"]) / FILE)
        super().__init__(Path(place), ledger=None if ledger is None else Path(ledger).absolute())
        self._metrics = LedgerMetrics()
        self._run_metrics = RunMetrics()
        backups = said.get("HYDRAHIVE_BACKUPS")
        Keeping(self._metrics.alive, lambda: self._ledger_path, Path(backups) if backups else None).start()

    def export(self, figures: Figures) -> None:
        """Export a run's figures to Prometheus."""
        self._run_metrics.export(figures)

    def settle(self, run: RunAccount, postings: Sequence[Sealed]) -> Answer:
        """As `Coordinator.settle`; exports what came of it."""
        answer = super().settle(run, postings)
        for settled in answer.settled:
            if settled:
                self._metrics.export(run.name, settled)
        return answer


def _environment_of_the_head() -> dict[str, str]:
    """The environment that the head was started with: the operator's word.

    A job's `runtime_env` may say something else to its own processes, and whichever job comes first starts the
    coordinator; so what counts is the environment of the raylet, which started this process.
    """
    try:
        rows = Path(f"/proc/{os.getppid()}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # there is no /proc
        return dict(os.environ)
    return dict(row.split("=", 1) for row in rows if "=" in row)


def on_the_head() -> Any:
    """Ray's scheduling strategy for actors that belong beside the cluster's own state."""
    heads = [node for node in ray.nodes() if node["Alive"] and "node:__internal_head__" in node["Resources"]]
    return NodeAffinitySchedulingStrategy(heads[0]["NodeID"], soft=False) if heads else "DEFAULT"


def coordinator() -> Any:
    """The cluster's coordinator, started on the head node if there is none yet."""
    actor: Any = ray.remote(CoordinatorActor)
    return actor.options(
        name=NAME,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=0,
        scheduling_strategy=on_the_head(),
    ).remote()


class CoordinatorLine:
    """The cluster's ledger, through its coordinator."""

    def __init__(self, path: Path | None, *, embedded: bool) -> None:
        """Have the coordinator open the ledger, at `path` where the cluster has none yet.

        Raises:
            LedgerError: If the ledger cannot be used, or the coordinator is not there.
        """
        self._coordinator = coordinator()
        self._call: Any = None
        where = self._asked(path, insist=embedded)
        self.place = where if embedded else f"{where} on the head"

    def post(self, run: RunAccount, postings: Sequence[Sealed]) -> None:
        """Send them."""
        self._call = self._coordinator.settle.remote(run, list(postings))

    def answer(self, timeout_s: float) -> Answer | None:
        """The coordinator's answer, if it is there."""
        if not ray.wait([self._call], timeout=timeout_s, fetch_local=False)[0]:
            return None
        call, self._call = self._call, None
        try:
            answer: Answer = ray.get(call)
        except ray.exceptions.RayTaskError as error:
            raise _ledger_error(error) from None
        except ray.exceptions.RayError as error:
            raise LedgerError(f"the coordinator is away ({type(error).__name__})") from None
        return answer

    def close(self) -> None:
        """The coordinator stays."""

    def _asked(self, path: Path | None, *, insist: bool) -> str:
        began, is_said = time.monotonic(), False
        for attempt in itertools.count():
            try:
                place: str = ray.get(self._coordinator.use_ledger.remote(path, insist=insist))
            except ray.exceptions.RayTaskError as error:
                raise _ledger_error(error) from None
            except ray.exceptions.RayError as error:
                waited = time.monotonic() - began
                if waited > OPEN_SECONDS:
                    text = f"the coordinator has been away for {waited:.0f} s ({type(error).__name__})"
                    raise LedgerError(text) from None
                if waited > SAY_SECONDS and not is_said:
                    is_said = True
                    print("waiting for the coordinator, which is being restarted", file=sys.stderr, flush=True)
                time.sleep(PAUSES[min(attempt, len(PAUSES) - 1)])
            else:
                return place
        raise AssertionError("the last attempt returns or raises")


def _ledger_error(error: Any) -> HydrahiveError:
    """The house's own error that a call on the coordinator raised."""
    if isinstance(error.cause, HydrahiveError):
        return error.cause
    return LedgerError(f"{type(error.cause).__name__} in the coordinator: {error.cause}")


def existing_coordinator() -> Any:
    """The cluster's coordinator.

    Raises:
        HydrahiveError: If there is none: nothing was trained on this cluster.
    """
    try:
        return ray.get_actor(NAME, namespace=NAMESPACE)
    except ValueError:
        raise HydrahiveError("no run was ever trained on this cluster: it has no coordinator") from None
