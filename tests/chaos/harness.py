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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NODES = 4
"""Nodes with one CPU each, besides the head, which has none: the learner, two env workers, and one to spare."""

QUICK_DETECTION = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_object_manager_pull_timeout_ms": "1000",
}
"""Ray's own settings for noticing a lost node soon, as docs/architecture.md recommends them for a cluster."""

PATIENCE_SECONDS = 240.0
"""A run that takes longer than this hangs."""

GAMES = Path(__file__).parents[1] / "games"

LEAVING = str(GAMES / "leaving.yaml")
"""PettingZoo's kind, with agents that leave in mid-game."""

EXPERIMENTS = {
    "snake/vtrace": [
        *("--shards", "4", "--boundary_every", "10", "--evaluate_every", "40", "--evaluate_episodes", "16"),
        *("--stop.env_steps", "600_000"),
    ],
    "cartpole/ppo": ["--shards", "4", "--boundary_every", "10", "--stop.env_steps", "150_000"],
    "cartpole/dqn": [
        *("--shards", "4", "--envs_per_shard", "4", "--boundary_every", "20", "--stop.env_steps", "15_000"),
    ],
    LEAVING: ["--shards", "4", "--boundary_every", "10", "--stop.env_steps", "120_000"],
    "cartpole/vtrace": ["--shards", "4", "--boundary_every", "10", "--stop.env_steps", "900_000"],
    "snake/ath-q-gru": ["--shards", "4", "--boundary_every", "10", "--stop.env_steps", "80_000"],
    "swarm/vtrace-lstm": [
        *("--shards", "4", "--envs_per_shard", "20", "--policy.core.hidden", "64", "--pictures_every", "0"),
        *("--boundary_every", "10", "--stop.env_steps", "500_000"),
    ],
}
OPTIONS = ["--recording", "false", "--metrics_every", "1", "--checkpoint.every_boundaries", "2", "--runs"]


@dataclass(frozen=True)
class Fault:
    """Something that happens once a run has come so far.

    Attributes:
        share: Of the run's env steps.
        kind: `kill` (SIGKILL), `freeze` (SIGSTOP, and SIGCONT after `seconds`), `kill node` (SIGKILL of the
            raylet that the victim runs under), `kill nodes` (of all of them at once), or `second driver` (the same
            command once more, which must be refused).
        victim: `env worker`, `learner`, `replay`, `evaluator`, `coordinator` or `driver`.
        seconds: How long a freeze lasts.
        replace_node: Whether a new node joins after `kill node`.
    """

    share: float
    kind: str
    victim: str
    seconds: float = 0.0
    replace_node: bool = False


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


def experiment_of(seed: int) -> str:
    """The experiment that a seed is for."""
    return list(EXPERIMENTS)[seed % len(EXPERIMENTS)]


def faults_of(seed: int) -> list[Fault]:
    """One to three faults, each drawn from this seed alone; some strike at the same moment."""
    draw = random.Random(seed)
    faults: list[Fault] = []
    for _ in range(draw.choice([1, 2, 2, 3])):
        together = faults and draw.random() < 0.25
        share = faults[-1].share if together else draw.uniform(0.05, 0.85)
        kind = draw.choice(["kill", "kill", "kill node", "kill nodes", "freeze", "freeze", "second driver"])
        victims = ["env worker", "env worker", "env worker", "learner"]
        if kind == "kill nodes":
            victims = ["env worker"]
        if "ath" in experiment_of(seed) or "dqn" in experiment_of(seed):
            victims += ["replay", "replay"]
        if kind in ("kill", "freeze") and "--evaluate_every" in EXPERIMENTS[experiment_of(seed)]:
            victims += ["evaluator", "evaluator"]
        if kind == "second driver":
            victims = ["driver"]
        if kind == "kill":
            victims += ["coordinator", "driver"]
        if kind == "freeze":
            victims += ["coordinator"]
        seconds = draw.choice([0.3, 2.0, 8.0, 25.0]) if kind == "freeze" else 0.0
        faults.append(Fault(share, kind, draw.choice(victims), seconds, draw.random() < 0.5))
    return sorted(faults, key=lambda fault: fault.share)


class Nodes:
    """A Ray cluster of several raylets on this machine."""

    def __init__(self, nodes: int = NODES) -> None:
        """Start the head and so many nodes."""
        from ray.cluster_utils import Cluster

        from hydrahive.runtime.cluster.connecting import embedded_node

        os.environ |= QUICK_DETECTION
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(GAMES), os.environ.get("PYTHONPATH")]))
        with embedded_node():  # nobody looks at its dashboard
            self._cluster = Cluster(
                initialize_head=True,
                head_node_args={"num_cpus": 0, "object_store_memory": 10**8, "include_dashboard": False},
            )
        self._nodes = [self.add() for _ in range(nodes)]
        self.address = self._cluster.address

    def raylet_of(self, pid: int) -> int | None:
        """The raylet among the nodes' (not the head's) that a process runs under."""
        raylets = {node.all_processes["raylet"][0].process.pid for node in self._nodes}
        while pid > 1:
            if pid in raylets:
                return pid
            pid = _parent(pid)
        return None

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
            return self._cluster.add_node(num_cpus=1, object_store_memory=10**8, wait=False, **options)


TITLES = {
    "env worker": "ray::EnvWorkerActor",
    "learner": "ray::LearnerActor",
    "replay": "ray::ReplayActor",
    "evaluator": "ray::EvaluatorActor",
    "coordinator": "ray::CoordinatorActor",
}


class Run:
    """The driver of a run on the cluster: started, and started again when it is killed."""

    def __init__(self, experiment: str, name: str, runs: Path, address: str) -> None:
        """Start it."""
        options = [
            *EXPERIMENTS[experiment],
            *OPTIONS,
            str(runs),
            "--name",
            name,
            "--address",
            address,
            "--workers",
            "2",
        ]
        self._command = [sys.executable, "-m", "hydrahive.cli.main", "train", experiment, *options]
        self.folder = runs / name
        self._steps = int(EXPERIMENTS[experiment][-1])
        self._log = (runs / f"{name}.log").open("w")
        self.start()

    def start(self) -> None:
        """Run the command; it resumes by itself."""
        self.process = subprocess.Popen(self._command, stdout=self._log, stderr=subprocess.STDOUT)

    def is_second_refused(self) -> bool:
        """Start the same command a second time while this one trains; False if it was at its end just then."""
        second = subprocess.run(self._command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
        if self.process.poll() is None:
            assert second.returncode == 2, f"a second driver trains, too: {second.stderr}"
            assert "is being trained by another process" in second.stderr, second.stderr
        return self.process.poll() is None

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
    with cluster() as nodes:
        run = Run(experiment, f"seed-{seed}", runs, nodes.address)
        thaw: list[tuple[float, int]] = []
        try:
            _train(run, nodes, outcome, thaw, began + PATIENCE_SECONDS)
        finally:
            for _, pid in thaw:
                _signal(pid, signal.SIGCONT)
            if run.process.poll() is None:
                run.process.kill()
            code = run.process.wait()
    outcome.seconds = time.monotonic() - began
    if not outcome.trouble and code != 0:
        outcome.trouble = f"exit code {code}"
    if not outcome.trouble:
        summary = json.loads((run.folder / "summary.json").read_text())
        outcome.digest, outcome.state_digest = summary["digest"], summary["state_digest"]
        outcome.journal, outcome.trouble = journal_of(runs, run.folder.name)
        _read_events(outcome, run.events())
    return outcome


def _train(run: Run, nodes: Nodes, outcome: Outcome, thaw: list[tuple[float, int]], deadline: float) -> None:
    """Strike while the run trains, and start it again when its driver is killed, until it ends."""
    draw = random.Random(-outcome.seed - 1)
    coming = list(outcome.faults)
    while run.process.poll() is None or faults_killed_it(run):
        if run.process.poll() is not None:
            run.start()
        if time.monotonic() > deadline:
            outcome.trouble = "it hangs"
            return
        while coming and run.share() >= coming[0].share:
            fault = coming.pop(0)
            if _strike(fault, run, nodes, thaw, draw):
                outcome.struck.append(fault)
        while thaw and time.monotonic() >= thaw[0][0]:
            _signal(thaw.pop(0)[1], signal.SIGCONT)
        time.sleep(0.02)


def faults_killed_it(run: Run) -> bool:
    """Whether the driver ended by a SIGKILL, after which the same command is run again."""
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
    name = Path(experiment).stem if experiment == LEAVING else experiment.replace("/", "-")
    options = [*EXPERIMENTS[experiment], *OPTIONS, str(runs), "--name", name, "--workers", "0"]
    command = [sys.executable, "-m", "hydrahive.cli.main", "train", experiment, *options]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_SECONDS)
    summary = json.loads((runs / name / "summary.json").read_text())
    journal, problem = journal_of(runs, name)
    assert not problem, problem
    assert sum(steps for _, _, _, steps, *_ in journal) == summary["env_steps"]
    return Undisturbed(summary["digest"], summary["state_digest"], journal)


def pids_of(role: str, raylets: set[int]) -> list[int]:
    """The processes of a role below these raylets."""
    return sorted(pid for pid in titled(TITLES[role]) if raylets & set(ancestors(pid)))


def _strike(fault: Fault, run: Run, nodes: Nodes, thaw: list[tuple[float, int]], draw: random.Random) -> bool:
    """Do it to the real process; False if there is none just now."""
    if fault.kind == "second driver":
        return run.is_second_refused()
    if fault.victim == "driver":
        run.process.kill()
        run.process.wait()
        return True
    pids = pids_of(fault.victim, nodes.below())
    if not pids:
        return False
    pid = draw.choice(pids)
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
        thaw.append((time.monotonic() + fault.seconds, pid))
        thaw.sort()
    return True


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
def cluster(nodes: int = NODES) -> Iterator[Nodes]:
    """Nodes that end with the block."""
    started = Nodes(nodes)
    try:
        yield started
    finally:
        started.close()


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
