"""Fault injection: from one seed, whom to kill, freeze or delay and when, on a real Ray of several nodes.

Each seed trains one run through `hydrahive train` while its faults strike the real processes, and gives its digest.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from chaos.around import Clock, Hog, SlowLinks, StorageAway
from chaos.faults import EXPERIMENTS, GAMES, LEAVING, OPTIONS, Fault, faults_of

NODES = 4
"""Nodes with one CPU each, besides the head, which has none: the learner, two env workers, and one to spare."""

STORE_BYTES = 2 * 10**8
"""A node's object store; a replay's run wants half of it."""

QUICK_DETECTION = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_object_manager_pull_timeout_ms": "1000",
}
"""Ray's own settings for noticing a lost node soon, as docs/architecture.md recommends them for a cluster."""

PATIENCE_SECONDS = 240.0
"""A run that takes longer than this hangs."""


@dataclass
class Outcome:
    """What came of a seed."""

    seed: int
    experiment: str
    faults: list[Fault]
    struck: list[Fault] = field(default_factory=list)
    digest: str = ""
    state_digest: str = ""
    journal: frozenset[tuple[Any, ...]] = frozenset()
    seconds: float = 0.0
    back_seconds: list[float] = field(default_factory=list)
    worker_back_seconds: list[float] = field(default_factory=list)
    replayed_env_steps: int = 0
    hedged: int = 0
    trouble: str = ""


class Nodes:
    """A Ray cluster of several raylets on this machine."""

    def __init__(self, nodes: int = NODES, **environment: str) -> None:
        """Start the head and so many nodes, with more variables in their environment."""
        from ray.cluster_utils import Cluster

        from hydrahive.runtime.cluster.connecting import embedded_node

        os.environ |= QUICK_DETECTION | environment
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(GAMES), os.environ.get("PYTHONPATH")]))
        with embedded_node():  # nobody looks at its dashboard
            self._cluster = Cluster(
                initialize_head=True,
                head_node_args={"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False},
            )
        self._nodes = [self.add() for _ in range(nodes)]
        self.address = self._cluster.address
        self.clock: Clock

    def raylet_of(self, pid: int) -> int | None:
        """The raylet among the nodes' (not the head's) that a process runs under."""
        raylets = {node.all_processes["raylet"][0].process.pid for node in self._nodes}
        while pid > 1:
            if pid in raylets:
                return pid
            pid = _parent(pid)
        return None

    def node_id_of(self, pid: int) -> str:
        """Ray's name of the node that a process runs on."""
        raylet = self.raylet_of(pid)
        nodes = [*self._nodes, self._cluster.head_node]
        return next((str(n.node_id) for n in nodes if n.all_processes["raylet"][0].process.pid == raylet), "")

    def below(self) -> set[int]:
        """The raylets of this cluster, the head's too."""
        nodes = [*self._nodes, self._cluster.head_node]
        return {node.all_processes["raylet"][0].process.pid for node in nodes}

    def kill(self, raylet: int, *, replace: bool) -> None:
        """End a node as a power failure does."""
        node = next(node for node in self._nodes if node.all_processes["raylet"][0].process.pid == raylet)
        os.kill(raylet, signal.SIGKILL)
        self._nodes.remove(node)
        if replace:
            self._nodes.append(self.add())

    def close(self) -> None:
        """End everything."""
        self._cluster.shutdown()

    def add(self, **options: object) -> Any:
        """Another node with one CPU."""
        from hydrahive.runtime.cluster.connecting import embedded_node

        with embedded_node():
            return self._cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES, wait=False, **options)


TITLES = {
    "env worker": "ray::EnvWorkerActor",
    "learner": "ray::LearnerActor",
    "auditor": "ray::AuditorActor",
    "replay": "ray::ReplayActor",
    "evaluator": "ray::EvaluatorActor",
    "coordinator": "ray::CoordinatorActor",
    "slice worker": "ray::SliceWorkerActor",
}


COMMAND = [sys.executable, "-m", "hydrahive.cli.main"]

AFTERMATH_SECONDS = 40.0
"""For which a driver may end in a line after a full store or a storage that was away; the same command goes on."""

Later = list[tuple[float, Callable[[], object]]]
"""What is undone, and when."""


class Run:
    """The driver of a run on the cluster: started, and started again when it is killed."""

    def __init__(self, experiment: str, name: str, runs: Path, address: str, *, stored: bool = False) -> None:
        """Start it; `stored`: in a storage."""
        self.bucket = runs / f"{name}-bucket"
        place, self.folder = str(runs), runs / name
        self._environment = dict(os.environ)
        if stored:
            from hydrahive.runtime.runs.storage import scratch_of

            self.bucket.mkdir()
            place = f"file://{self.bucket}"
            os.environ["HYDRAHIVE_SCRATCH"] = str(runs / f"{name}-scratch")
            self.folder = scratch_of(place) / name
            self._environment = {**os.environ, "HYDRAHIVE_LEDGER": str(runs / "ledger.sqlite")}
            del os.environ["HYDRAHIVE_SCRATCH"]
        options = [*EXPERIMENTS[experiment], *OPTIONS, place, "--name", name, "--address", address, "--workers", "2"]
        self._command = [*COMMAND, "train", experiment.partition(" ")[0], *options]
        self._steps = int(EXPERIMENTS[experiment][-1])
        self._log = (runs / f"{name}.log").open("w")
        self.may_fail_until = 0.0
        self.start()

    def start(self) -> None:
        """Run the command; it resumes by itself."""
        self.process = subprocess.Popen(
            self._command, stdout=self._log, stderr=subprocess.STDOUT, env=self._environment
        )

    def is_second_refused(self) -> bool:
        """Start the same command a second time while this one trains; False if it was at its end just then."""
        second = subprocess.run(
            self._command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, env=self._environment
        )
        if "is finished already" in second.stdout:  # the first one only has to close
            assert second.returncode == 0, second.stderr
            return False
        if self.process.poll() is None:
            assert second.returncode == 2, f"a second driver trains, too: {second.stdout}{second.stderr}"
            is_away = "cannot write to" in second.stderr and not self.bucket.is_dir()
            assert is_away or "is being trained by another process" in second.stderr, second.stderr
        return self.process.poll() is None

    def is_killed(self) -> bool:
        """Kill it."""
        self.process.kill()
        self.process.wait()
        return True

    def share(self) -> float:
        """How far it has come."""
        try:
            with (self.folder / "metrics.jsonl").open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - 4096))
                lines = file.read().splitlines()
            return json.loads(lines[-1])["env_steps"] / self._steps
        except (OSError, IndexError, ValueError):
            return 0.0

    def events(self) -> list[dict[str, object]]:
        """What happened."""
        return [json.loads(line) for line in (self.folder / "events.jsonl").read_text().splitlines()]


def run_seed(seed: int, experiment: str, runs: Path) -> Outcome:
    """Train one run under this seed's faults; `trouble` says if it hung or failed."""
    outcome = Outcome(seed, experiment, faults_of(seed))
    began = time.monotonic()
    runs.mkdir(parents=True, exist_ok=True)
    clock = Clock(runs / f"seed-{seed}.clock")
    kinds = {fault.kind for fault in outcome.faults}
    no_room = any(fault.kind == "fill store" and not fault.replace_node for fault in outcome.faults)
    full = {"RAY_local_fs_capacity_threshold": "0.0001"} if no_room else {}
    with cluster(**clock.environment(), **full) as nodes:
        nodes.clock = clock
        run = Run(experiment, f"seed-{seed}", runs, nodes.address, stored="storage away" in kinds)
        later: Later = []
        try:
            _train(run, nodes, outcome, later, began + PATIENCE_SECONDS)
        finally:
            for _, undo in later:
                undo()
            if run.process.poll() is None:
                run.process.kill()
            code = run.process.wait()
    outcome.seconds = time.monotonic() - began
    if not outcome.trouble and code != 0:
        outcome.trouble = f"exit code {code}"
    if not outcome.trouble:
        place = run.bucket / run.folder.name if run.bucket.is_dir() else run.folder
        summary = json.loads((place / "summary.json").read_text())
        outcome.digest, outcome.state_digest = summary["digest"], summary["state_digest"]
        outcome.journal, outcome.trouble = journal_of(runs, run.folder.name)
        _read_events(outcome, run.events())
    return outcome


def _train(run: Run, nodes: Nodes, outcome: Outcome, later: Later, deadline: float) -> None:
    """Strike while the run trains, and start it again when its driver is killed, until it ends."""
    draw = random.Random(-outcome.seed - 1)
    coming = list(outcome.faults)
    while run.process.poll() is None or may_go_on(run):
        if run.process.poll() is not None:
            run.start()
        if time.monotonic() > deadline:
            outcome.trouble = "it hangs"
            return
        while coming and run.share() >= coming[0].share:
            fault = coming.pop(0)
            if _strike(fault, run, nodes, later, draw):
                outcome.struck.append(fault)
            later.sort(key=lambda item: item[0])
        while later and time.monotonic() >= later[0][0]:
            later.pop(0)[1]()
        time.sleep(0.02)


def may_go_on(run: Run) -> bool:
    """Whether the same command is run again: its driver was killed, or met a full store or no storage."""
    if run.process.returncode == 1 and time.monotonic() < run.may_fail_until:
        time.sleep(1)
        return True
    return run.process.returncode == -signal.SIGKILL


def difference(outcome: Outcome, expected: Undisturbed) -> str:
    """What of a seed's run is not as the undisturbed one's; empty if nothing."""
    if outcome.trouble:
        return outcome.trouble
    if (outcome.digest, outcome.state_digest) != (expected.digest, expected.state_digest):
        return f"digest {outcome.digest[:12]} instead of {expected.digest[:12]}"
    if outcome.journal != expected.journal:
        return f"journal: {len(outcome.journal ^ expected.journal)} credits differ from the undisturbed run's"
    return ""


def journal_of(runs: Path, name: str) -> tuple[frozenset[tuple[Any, ...]], str]:
    """A run's set of (fragment, steps, amount, digest), and what is wrong with the ledger (empty if nothing)."""
    from hydrahive.ledger.ledger import Ledger
    from hydrahive.ledger.statements import work_credits
    from hydrahive.ledger.verification import verify

    ledger = Ledger(runs / "ledger.sqlite")
    problem = verify(ledger.journal).problem
    mine = [row for row in work_credits(ledger.journal) if row["run"] == name]
    ledger.close()
    keys = ("segment", "round", "shard", "env_steps", "amount", "state", "digest")
    return frozenset(tuple(row[key] for key in keys) for row in mine), problem or ""


@dataclass(frozen=True)
class Undisturbed:
    """What a run comes to when nothing happens to it."""

    digest: str
    state_digest: str
    journal: frozenset[tuple[Any, ...]]


def undisturbed(experiment: str, runs: Path) -> Undisturbed:
    """The same run, inline."""
    name = Path(experiment).stem if experiment == LEAVING else experiment.replace("/", "-").replace(" ", "")
    options = [*EXPERIMENTS[experiment], *OPTIONS, str(runs), "--name", name, "--workers", "0"]
    command = [*COMMAND, "train", experiment.partition(" ")[0], *options]
    path = os.pathsep.join(filter(None, [str(GAMES), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_SECONDS, env=environment)
    summary = json.loads((runs / name / "summary.json").read_text())
    journal, problem = journal_of(runs, name)
    assert not problem, problem
    assert sum(steps for _, _, _, steps, *_ in journal) == summary["env_steps"]
    return Undisturbed(summary["digest"], summary["state_digest"], journal)


def pids_of(role: str, raylets: set[int]) -> list[int]:
    """The processes of a role below these raylets."""
    return sorted(pid for pid in titled(TITLES[role]) if raylets & set(ancestors(pid)))


def _strike(fault: Fault, run: Run, nodes: Nodes, later: Later, draw: random.Random) -> bool:
    """Do it to the real process; False if there is none just now."""
    if fault.victim == "driver":
        return run.is_second_refused() if fault.kind == "second driver" else run.is_killed()
    if fault.victim == "all":
        return _trouble_around(fault, run, nodes, later)
    pids = pids_of(fault.victim, nodes.below())
    if not pids:
        return False
    pid = draw.choice(pids)
    until = time.monotonic() + fault.seconds
    if fault.kind == "fill store":
        run.may_fail_until = max(run.may_fail_until, until + AFTERMATH_SECONDS)
        hog = Hog(nodes.address, nodes.node_id_of(pid))
        later.append((until, hog.end))
        return True
    if fault.kind == "kill nodes":
        raylets = {raylet for one in pids if (raylet := nodes.raylet_of(one)) is not None}
        for raylet in raylets:
            nodes.kill(raylet, replace=True)
        return bool(raylets)
    if fault.kind == "kill node":
        raylet = nodes.raylet_of(pid)
        if raylet is None:
            return False
        nodes.kill(raylet, replace=fault.replace_node)
    elif fault.kind == "kill":
        _signal(pid, signal.SIGKILL)
    else:
        _signal(pid, signal.SIGSTOP)
        later.append((until, partial(_signal, pid, signal.SIGCONT)))
    return True


def _trouble_around(fault: Fault, run: Run, nodes: Nodes, later: Later) -> bool:
    """What befalls everybody at once; False if it cannot be had here."""
    until = time.monotonic() + fault.seconds
    if fault.kind == "clock back":
        nodes.clock.set_back(3600.0)
        return True
    if fault.kind == "storage away":
        run.may_fail_until = max(run.may_fail_until, until + AFTERMATH_SECONDS)
    trouble = StorageAway(run.bucket) if fault.kind == "storage away" else SlowLinks()
    if trouble.begin():
        later.append((until, trouble.end))
    return trouble.has_begun


def _read_events(outcome: Outcome, events: list[dict[str, object]]) -> None:
    """How long each recovery took, and what it cost; a worker's own recoveries apart."""
    lost = {"env worker": False, "learner": False}
    for event in events:
        kind = event["kind"]
        if kind in ("worker_lost", "learner_lost", "replay_lost"):
            lost["env worker" if kind == "worker_lost" else "learner"] = True
        elif kind == "recovering":
            outcome.replayed_env_steps += int(str(event["env_steps"]))
        elif kind == "hedged":
            outcome.hedged += 1
        elif kind == "recovered":
            seconds = float(str(event["seconds"]))
            outcome.back_seconds.append(seconds)
            if not lost["learner"]:
                outcome.worker_back_seconds.append(seconds)
            lost = dict.fromkeys(lost, False)


@contextmanager
def cluster(nodes: int = NODES, **environment: str) -> Iterator[Nodes]:
    """Nodes that end with the block."""
    before = dict(os.environ)
    started = Nodes(nodes, **environment)
    try:
        yield started
    finally:
        started.close()
        for name in environment:
            os.environ.pop(name, None)
            os.environ.update({name: before[name]} if name in before else {})


def _signal(pid: int, signum: int) -> None:
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return


def titled(title: str) -> list[int]:
    """The processes whose title begins so."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "cmdline").read_bytes().startswith(title.encode()):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def ancestors(pid: int) -> Iterator[int]:
    """Its parent, that one's parent, and so on."""
    while pid > 1:
        pid = _parent(pid)
        yield pid
