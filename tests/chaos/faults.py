"""What a seed draws: which run, and what happens to it when."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

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
    "cartpole/vtrace --audit.workers all": [
        *("--shards", "4", "--boundary_every", "10", "--audit.workers", "all", "--stop.env_steps", "400_000"),
    ],
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
            raylet that the victim runs under), `kill nodes` (of all of them at once), `second driver` (the same command
            once more, which must be refused), `fill store` (somebody takes the whole object store of the victim's
            node), `storage away` (the run lies in a storage, which nobody can reach), `slow links` (every packet takes
            20 ms longer), or `clock back` (all clocks jump an hour back).
        victim: `env worker`, `learner`, `replay`, `evaluator`, `auditor`, `coordinator`, `driver` or `all`.
        seconds: How long it lasts.
        replace_node: Whether a new node joins after `kill node`; with `fill store`, whether disks have room for what
            does not fit.
    """

    share: float
    kind: str
    victim: str
    seconds: float = 0.0
    replace_node: bool = False


KINDS = (
    *("kill", "kill", "kill", "freeze", "freeze", "freeze", "kill node", "kill node", "kill nodes", "second driver"),
    *("fill store", "storage away", "slow links", "clock back"),
)

VICTIMS = {
    "kill nodes": ["env worker"],
    "second driver": ["driver"],
    "storage away": ["all"],
    "slow links": ["all"],
    "clock back": ["all"],
}

LASTING = ("freeze", "fill store", "storage away", "slow links")


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
        kind = draw.choice(KINDS)
        victims = VICTIMS.get(kind, ["env worker", "env worker", "env worker", "learner"])[:]
        if kind in ("kill", "freeze", "kill node"):
            victims += ["replay", "replay"] if "ath" in experiment_of(seed) or "dqn" in experiment_of(seed) else []
        if kind in ("kill", "freeze"):
            options = EXPERIMENTS[experiment_of(seed)]
            victims += ["evaluator", "evaluator"] if "--evaluate_every" in options else []
            victims += ["auditor", "auditor"] if "--audit.workers" in options else []
            victims += ["coordinator", "driver"] if kind == "kill" else ["coordinator"]
        seconds = draw.choice([0.3, 2.0, 8.0, 25.0]) if kind in LASTING else 0.0
        faults.append(Fault(share, kind, draw.choice(victims), seconds, draw.random() < 0.5))
    return sorted(faults, key=lambda fault: fault.share)
