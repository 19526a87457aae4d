"""What an env runner counts for the run: env steps and the episodes that ended, as our own workers count them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from hydrahive.core.fragment import FragmentSummary
from hydrahive.envs.vector import SnapshotVectorEnv, episode_facts, finished_episodes


@dataclass
class Tally:
    """Since it was taken last.

    Attributes:
        env_steps: Agents' decisions.
        scores: Of episodes that ended.
        lengths: Theirs, in env steps.
        facts: What else environments told of them, by name.
        remarks: What is odd about the environments.
    """

    env_steps: int = 0
    scores: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    facts: dict[str, list[float]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count another's, too."""
        self.env_steps += other.env_steps
        self.scores += other.scores
        self.lengths += other.lengths
        for name, values in other.facts.items():
            self.facts.setdefault(name, []).extend(values)
        self.remarks = list(dict.fromkeys([*self.remarks, *other.remarks]))

    def as_text(self, worker: int, node: str, process: int) -> str:
        """As one line of JSON, with who counted it."""
        return json.dumps({"worker": worker, "node": node, "process": process, **asdict(self)})

    def summary(self, shard: int) -> FragmentSummary:
        """As a fragment's, of a worker that stands for a shard."""
        facts = {name: np.array(values, np.float64) for name, values in self.facts.items()}
        scores, lengths = np.array(self.scores, np.float64), np.array(self.lengths, np.int64)
        nothing = np.zeros(0, np.int64)
        return FragmentSummary(shard, self.env_steps, scores, lengths, 0.0, nothing, facts, remarks=tuple(self.remarks))


@dataclass(frozen=True)
class Counted:
    """A tally, and who counted it.

    Attributes:
        worker: RLlib's number of the env runner.
        node: Where it runs.
        process: Its pid.
        tally: What it counted.
    """

    worker: int
    node: str
    process: int
    tally: Tally

    @staticmethod
    def of(text: str) -> Counted:
        """What `Tally.as_text` wrote."""
        plain: dict[str, Any] = json.loads(text)
        worker, node, process = (plain.pop(name) for name in ("worker", "node", "process"))
        return Counted(worker, node, process, Tally(**plain))


class Counter:
    """Counts what happens in a vector."""

    def __init__(self, env: SnapshotVectorEnv) -> None:
        """Nothing yet."""
        self._env = env
        self._tally = Tally()
        self.begin()

    def begin(self) -> None:
        """All episodes begin."""
        self._returns = np.zeros(self._env.num_envs)
        self._lengths = np.zeros(self._env.num_envs, np.int64)

    def step(self, rewards: np.ndarray, ended: np.ndarray, resetting: np.ndarray, infos: dict[str, Any]) -> None:
        """Count a step; `resetting`: of rows in which nobody decided anything, bool `[num_envs]`."""
        self._tally.env_steps += int((~resetting).sum())
        self._returns += np.where(resetting, 0, rewards)
        self._lengths += ~resetting
        if ended.any():
            finished, scores, lengths = finished_episodes(infos, ended, self._returns, self._lengths)
            self._tally.scores += scores[finished].astype(float).tolist()
            self._tally.lengths += lengths[finished].astype(int).tolist()
            for name, values in episode_facts(infos).items():
                self._tally.facts.setdefault(name, []).extend(values[finished].tolist())
        forgetting = ended | resetting
        self._returns[forgetting], self._lengths[forgetting] = 0, 0

    def take(self) -> Tally:
        """What was counted since the last call."""
        tally, self._tally = self._tally, Tally()
        tally.remarks = list(self._env.remarks)
        return tally
