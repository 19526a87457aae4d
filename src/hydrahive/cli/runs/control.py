"""`hydrahive pause`, `continue` and `stop`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

from hydrahive.cli.arguments import add_run, command_parser, positive
from hydrahive.core.errors import HydrahiveError

DESCRIPTIONS = {
    "pause": "Have a run that is being trained wait. Its newest boundary is written; pausing changes no byte.",
    "continue": "Have a paused run go on.",
    "stop": "End a run that is being trained at its newest boundary; the same train command resumes it.",
}

REACHED = {"pause": ("paused",), "continue": ("running",), "stop": ("ended",)}
"""The states that show that a run has done what was asked."""

LOOK_SECONDS = 0.1
"""Time between two looks at the run."""

GONE_SECONDS = 5.0
"""Time after which a run whose lock nobody holds has ended."""


def run(arguments: Sequence[str]) -> int:
    """Ask a live run to pause, continue or stop, and wait until it has."""
    command: Any = arguments[0]
    parser = command_parser(command, DESCRIPTIONS[command])
    add_run(parser)
    parser.add_argument("--address", help="the Ray cluster it is trained on; without it, RUN is looked up in --runs")
    parser.add_argument("--timeout", type=positive, default=60, help="seconds to wait for the run (default: 60)")
    given = parser.parse_args(arguments[1:])
    state = _through_cluster(command, given) if given.address else _through_folder(command, given)
    print(f"{given.run}: {state['state']} at {state['env_steps']:,} env steps")
    return 0


def _through_folder(command: Any, given: argparse.Namespace) -> dict[str, Any]:
    from hydrahive.runtime.runs.controls import FolderControls
    from hydrahive.runtime.runs.run_folder import find_run, runs_folder

    controls = FolderControls(find_run(runs_folder(given.runs), given.run).path)
    name, alive_at = controls.ask(command), time.monotonic()

    def state() -> dict[str, Any]:
        nonlocal alive_at
        told = controls.state()
        if name in told["answered"]:
            return told
        if controls.is_live():
            alive_at = time.monotonic()
        is_gone = time.monotonic() - alive_at > GONE_SECONDS  # a process that starts lets go of its lock for a moment
        return {**told, "state": "ended" if is_gone else "unanswered"}

    return _wait(command, given, state)


def _through_cluster(command: Any, given: argparse.Namespace) -> dict[str, Any]:
    from hydrahive.runtime.cluster.connecting import connected
    from hydrahive.runtime.coordinator.asking import AwayError, Inquirer

    with connected(given.address):
        inquirer = Inquirer()
        run_id = inquirer.ask("ask", given.run, command)

        def state() -> dict[str, Any]:
            try:
                runs: list[dict[str, Any]] = inquirer.ask("runs")
            except AwayError:
                return {"state": "unknown", "env_steps": 0}
            facts = next(run for run in runs if run["run_id"] == run_id)
            return facts if facts["live"] else {**facts, "state": "ended"}

        return _wait(command, given, state)


def _wait(command: str, given: argparse.Namespace, state: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Look until the run has done what was asked.

    Raises:
        HydrahiveError: If it has ended instead, or takes too long.
    """
    deadline = time.monotonic() + given.timeout
    while True:
        facts = state()
        if facts["state"] in REACHED[command]:
            return facts
        if facts["state"] == "ended":
            raise HydrahiveError(f"run {given.run!r} has ended at {facts['env_steps']:,} env steps")
        if time.monotonic() > deadline:
            raise HydrahiveError(f"run {given.run!r} did not {command} within {given.timeout} s; it still may")
        time.sleep(LOOK_SECONDS)
