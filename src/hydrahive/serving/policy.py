"""A run's policy that answers: the one that it shows, in the evaluator's own batch shape, so with its own bytes."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hydrahive.core.durable import read_json
from hydrahive.core.errors import HydrahiveError, UsageError
from hydrahive.core.laid_out import StatedBox
from hydrahive.policies.ensemble import Playing
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.inspect.playing import load_ensemble, policy_of
from hydrahive.runtime.roles.evaluation import evaluation_columns
from hydrahive.runtime.roles.pictures import Played, played
from hydrahive.runtime.runs.checkpoints import Checkpoint
from hydrahive.runtime.runs.newest import BEST, shown_checkpoint
from hydrahive.runtime.runs.run_folder import RunFolder, find_run


def served(run: str, runs: Path) -> ServedPolicy:
    """The policy of a run, or of several with `TOGETHER` between them, in a folder of runs; errors as it."""
    return ServedPolicy(*(find_run(runs, one) for one in run.split(TOGETHER)))


@dataclass(frozen=True)
class Asked:
    """Rows that somebody wants actions for.

    Attributes:
        observations: `[N, *shape]`, of the environment's dtype.
        memory: `[N, M]` float32: what the policy remembers; zeros at an episode's beginning.
        legal: `[N, choices]` bool, where the environment masks its actions; None allows all.
    """

    observations: np.ndarray
    memory: np.ndarray
    legal: np.ndarray | None

    def digest(self) -> str:
        """Names the question: SHA-256 in hex of all of it."""
        hashed = hashlib.sha256()
        for array in (self.observations, self.memory, self.legal):
            hashed.update(b"none" if array is None else f"{array.shape}".encode() + array.tobytes())
        return hashed.hexdigest()


@dataclass(frozen=True)
class Given:
    """The answer.

    Attributes:
        actions: As the environment takes them, `[N, ...]`.
        memory: What the policy remembers after them, `[N, M]`.
        updates: The version that acted.
    """

    actions: np.ndarray
    memory: np.ndarray
    updates: int

    @property
    def is_finite(self) -> bool:
        """Whether it can be sent and sent back."""
        return bool(np.isfinite(self.actions).all() and np.isfinite(self.memory).all())


TOGETHER = ","
"""Between the runs of an ensemble, which is served as one."""


def shown_name(run: str) -> str:
    """What a run is called where it is served: its folder's name, wherever that lies."""
    return "+".join(Path(one).name for one in run.split(TOGETHER))


def require_names(runs: Sequence[str]) -> None:
    """Refuse to serve two runs under one name.

    Raises:
        UsageError: Says which.
    """
    names = [shown_name(run) for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"RUN: two are called {name!r}, by which a query chooses; serve them apart")


def require_one_precision(precisions: Mapping[str, str]) -> None:
    """Refuse runs that one process cannot compute side by side: all its matrix products are of one kind.

    Args:
        precisions: By run.

    Raises:
        UsageError: If one computes in the highest precision and another does not.
    """
    kinds = {precision == "highest": (run, precision) for run, precision in precisions.items()}
    if len(kinds) > 1:
        shown = " and ".join(f"{run!r} ({precision})" for run, precision in kinds.values())
        raise UsageError(f"RUN: {shown} are of different precision; serve them apart")


class ServedPolicy:
    """The policy of one run, or of several together; it follows what a run shows while that is trained."""

    def __init__(self, folder: RunFolder, *others: RunFolder) -> None:
        """Load it; an ensemble of several stays as it is.

        Raises:
            UsageError: If the run has no checkpoint yet.
        """
        self.name, self._folder, self._others = "+".join(one.name for one in (folder, *others)), folder, others
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        folder.refresh()
        self._take(shown_checkpoint(folder))
        env = self.config.env.make_vector(self.config.env.group)
        shown = env.single_observation_space
        self.space: Any = (
            shown.seen if isinstance(shown, StatedBox) else shown
        )  # what only a critic reads, nobody needs to send
        self._unsent = shown.state.shape[0] if isinstance(shown, StatedBox) else 0
        self.action_space, self.lays_out = env.single_action_space, env.lays_out
        legal = env.legal_actions()
        self.choices = None if legal is None else int(legal.shape[1])
        env.close()

    def _take(self, checkpoint: Checkpoint) -> None:
        config: RunConfig
        network: Playing
        self.digest = checkpoint.digest
        if self._others:
            config, network, _ = load_ensemble((self._folder, *self._others))
            digests = [checkpoint.digest, *(shown_checkpoint(other).digest for other in self._others)]
            self.digest = hashlib.sha256("".join(digests).encode()).hexdigest()
        else:
            config, network = policy_of(self._folder, checkpoint)
        self.config, self._network, self.checkpoint = config, network, checkpoint
        self.columns, self.memory_size = evaluation_columns(config), network.memory_size

    def follow(self) -> bool:
        """Load the checkpoint that the run shows if it is another one; whether it was.

        A storage or a disk that fails leaves the policy as it is: the next look may do better.
        """
        if self._others:
            return False
        try:
            self._folder.refresh()
            names = {path.name for path in (self._folder.path / "checkpoints").iterdir() if path.name.isdigit()}
            names |= {json.dumps(read_json(self._folder.path / BEST))}
            if names == self._seen:
                return False
            newest = shown_checkpoint(self._folder)
        except (OSError, HydrahiveError):
            return False
        self._seen = names
        if newest.digest == self.checkpoint.digest:
            return False
        with self._lock:
            self._take(newest)
        return True

    def facts(self) -> dict[str, Any]:
        """What is answering, as plain data."""
        checkpoint = self.checkpoint
        return {
            "run": self.name,
            "experiment": self.config.experiment,
            "digest": self.digest,
            "machine_class": checkpoint.machine_class,
            "updates": checkpoint.boundary.updates,
            "env_steps": checkpoint.boundary.progress.env_steps,
            "score_mean": checkpoint.boundary.progress.score_mean,
            "observation": {"shape": list(self.space.shape), "dtype": str(self.space.dtype)},
            "action": str(self.action_space),
            "memory": self.memory_size,
            "choices": self.choices,
        }

    def read(self, observations: Any, memory: Any, legal: Any) -> Asked:
        """What somebody sent, as arrays.

        Raises:
            UsageError: If it does not have the shape, the type or the range that the policy wants.
        """
        rows = _array("observations", observations)
        shape = tuple(self.space.shape)
        if rows.ndim != 1 + len(shape) or rows.shape[1:] != shape or not len(rows):
            raise UsageError(f"observations: shape {list(rows.shape)} is not accepted; expected [N, {_shape(shape)}]")
        kept = np.zeros((len(rows), self.memory_size)) if memory is None else _array("state", memory)
        if kept.shape != (len(rows), self.memory_size):
            raise UsageError(
                f"state: shape {list(kept.shape)} is not accepted; expected [{len(rows)}, {self.memory_size}]"
            )
        remembered = _as("state", np.dtype(np.float32), kept)
        seen = _as("observations", self.space.dtype, rows)
        if self._unsent:
            seen = np.pad(seen, ((0, 0), (0, self._unsent)))
        return Asked(seen, remembered, self._read_legal(legal, len(rows)))

    def _read_legal(self, legal: Any, rows: int) -> np.ndarray | None:
        if legal is None:
            return None
        if self.choices is None:
            raise UsageError("legal: this run's environment allows every action at any time")
        mask = _array("legal", legal)
        if mask.shape != (rows, self.choices) or not mask.any(axis=1).all():
            raise UsageError(f"legal: expected [{rows}, {self.choices}] with at least one true in each row")
        return mask.astype(np.bool_)

    @torch.inference_mode()
    def answer(self, asked: Sequence[Asked], draws: np.random.Generator | None = None) -> list[Given]:
        """Actions for the rows of several queries, computed together in batches of the evaluator's shape.

        Args:
            asked: The queries.
            draws: Draws the actions, as in training; None takes the likeliest.
        """
        with self._lock:
            network, columns, updates = self._network, self.columns, self.checkpoint.boundary.updates
            observations = np.concatenate([one.observations for one in asked])
            memory = np.concatenate([one.memory for one in asked])
            legal = self._legal_of(asked)
            actions, after = [], []
            for begin in range(0, len(observations), columns):
                part = slice(begin, begin + columns)
                rows = len(observations[part])
                scores, kept = network.step(
                    torch.tensor(_padded(observations[part], columns)), torch.tensor(_padded(memory[part], columns))
                )
                if legal is not None:
                    mask = torch.tensor(_padded(legal[part], columns, True))
                    scores = network.distribution.masked(scores, mask)
                chosen = network.distribution.for_env(_chosen(network, scores, draws).numpy())
                actions.append(chosen[:rows].copy())
                after.append(kept[:rows].numpy().copy())
        bounds = np.cumsum([len(one.observations) for one in asked])[:-1]
        parts = zip(np.split(np.concatenate(actions), bounds), np.split(np.concatenate(after), bounds), strict=True)
        return [Given(*part, updates) for part in parts]

    def _legal_of(self, asked: Sequence[Asked]) -> np.ndarray | None:
        """All masks, all true where none was given; None if nobody gave one."""
        if self.choices is None or all(one.legal is None for one in asked):
            return None
        full = [
            np.ones((len(one.observations), self.choices), np.bool_) if one.legal is None else one.legal
            for one in asked
        ]
        return np.concatenate(full)

    def play(self, episode: int, frames: int) -> tuple[Played, int]:
        """Play held-out episode number `episode`, with at most so many pictures; it, and the version that played.

        Raises:
            HydrahiveError: If the environment fails.
        """
        with self._lock:
            config, network, updates = self.config, self._network, self.checkpoint.boundary.updates
        return played(config, network, episode, frames), updates


def _chosen(network: Playing, scores: torch.Tensor, draws: np.random.Generator | None) -> torch.Tensor:
    """The likeliest actions, or drawn ones, `[N, ...]`."""
    if draws is None:
        return network.distribution.mode(scores)
    noise = torch.from_numpy(network.distribution.noise(draws, (len(scores),)))
    return network.distribution.drawn(network.behaviour(scores, 1.0), noise)


def _padded(rows: np.ndarray, columns: int, fill: Any = 0) -> np.ndarray:
    if len(rows) == columns:
        return rows
    full: np.ndarray = np.full((columns, *rows.shape[1:]), fill, rows.dtype)
    full[: len(rows)] = rows
    return full


def _array(name: str, given: Any) -> np.ndarray:
    try:
        array = np.asarray(given, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{name}: is not a regular array of numbers") from None
    if not np.isfinite(array).all():
        raise UsageError(f"{name}: holds a value that is not finite")
    return array


def _as(name: str, dtype: Any, rows: np.ndarray) -> np.ndarray:
    """The rows in another type, if it can hold them."""
    if np.issubdtype(dtype, np.floating):
        with np.errstate(over="ignore"):
            held: np.ndarray = rows.astype(dtype)
        if not np.isfinite(held).all():
            raise UsageError(f"{name}: holds a value that {dtype} does not reach")
        return held
    info = np.iinfo(dtype)
    if (rows != np.floor(rows)).any() or rows.min() < info.min or rows.max() > info.max:
        raise UsageError(f"{name}: expected whole numbers from {info.min} to {info.max}")
    return rows.astype(dtype)


def _shape(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
