"""The contract between environments and shards."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Protocol

import numpy as np
from gymnasium import Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from hydrahive.core.errors import ConfigError, SnapshotUnsupportedError
from hydrahive.core.state import State

BEGINS_ANEW = "hydrahive_begins_anew"
"""Key in a single environment's infos: the learner's episode has ended here, though the game goes on."""

GAME_LENGTH = "hydrahive_game_length"
"""Key of whole games' lengths in env steps, `[num_envs]`, where some episodes end for the learner only."""

NO_FACTS = ("score", "length", GAME_LENGTH)
"""What is told of episodes under other names."""

MOST_REMARKS = 20
"""Of a vector; more of them nobody reads."""

AT_THE_END = 2**62
"""Env steps, for `advance`, at which every curriculum is in its last stage."""


_PULSE: list[Callable[[], object]] = []
"""Who hears that this process lives while environments are being made, or looked at."""


@contextmanager
def pulse_of(still_alive: Callable[[], object]) -> Iterator[None]:
    """Have `still_alive` called whenever one environment more was made in the block, or something else was done."""
    _PULSE.append(still_alive)
    try:
        yield
    finally:
        _PULSE.pop()


def pulse() -> None:
    """Say that one environment more was made, or that something else goes on."""
    for still_alive in _PULSE:
        still_alive()


def several(space: Space[Any], count: int) -> Space[Any]:
    """The space of so many at once; `space` itself is left alone, of which Gymnasium's function starts a generator."""
    return batch_space(deepcopy(space), count)


def with_own_metadata(make: Callable[[], Any]) -> Any:
    """The vector that `make` gives, with metadata of its own.

    A vector whose class has none writes into the dict that all of these share (ALE's does), so that every other one in
    the process would seem to declare the same.
    """
    before = dict(VectorEnv.metadata)
    try:
        env = make()
        if env.metadata is VectorEnv.metadata:
            env.metadata = dict(env.metadata)
        return env
    finally:
        VectorEnv.metadata.clear()
        VectorEnv.metadata.update(before)


class LaysOut(Protocol):
    """Takes an observation apart, as an environment's own `step` gives it."""

    def one(self, given: Any) -> np.ndarray:
        """As the network sees it.

        Raises:
            NotAsDeclaredError: If it is not what the environment's space says.
        """

    def mask(self, given: Any) -> Any:
        """The mask in it; None where there is none."""


class SnapshotVectorEnv(VectorEnv[Any, Any, Any]):
    """A Gymnasium vector environment whose whole state can be taken out and put back.

    Two methods matter besides Gymnasium's own: `snapshot` and `restore`. After `restore(snapshot())` the
    environment must continue exactly as it would have. When episodes end, `infos["final_info"]["score"]`
    may hold their scores, `[num_envs]`; without it the score is the sum of rewards. Where episodes may end for the
    learner only, their score is not a number, and `infos["final_info"][GAME_LENGTH]` holds lengths. With
    same-step autoreset `infos["final_obs"]` holds the last observations of the episodes that ended, `[num_envs, ...]`.

    Attributes:
        remarks: What is odd, and no fault: sentences for people, each once.
        stack: Frames along an observation's first axis, the newest last, each step pushing one; zeros before an
            episode's first. 1 where observations are none of that kind.
        still_alive: Called before each step, and by whatever takes long in `restore`.
        lays_out: Makes rows of what the environment itself shows, where that is something else than Boxes.
    """

    stack: int = 1
    remarks: tuple[str, ...] = ()
    still_alive: Callable[[], object] = staticmethod(lambda: None)
    lays_out: LaysOut | None = None

    @abstractmethod
    def snapshot(self) -> State:
        """The whole state as arrays that do not change when the environment steps on."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Continue from a state that `snapshot` gave.

        Raises:
            ValueError: If the state is of another environment.
        """

    def advance(self, env_steps: int) -> None:
        """Be told how far the run is, in env steps as if no row were masked; a curriculum may depend on it."""

    def remark(self, text: str) -> None:
        """Have something told to whoever trains or tries the environment, once."""
        if text not in self.remarks and len(self.remarks) < MOST_REMARKS:
            self.remarks = (*self.remarks, text)

    def present(self) -> np.ndarray | None:
        """Which environments have somebody in them now, bool `[num_envs]`; None where all have."""
        return None

    def legal_actions(self) -> np.ndarray | None:
        """Which actions may be taken now, bool `[num_envs, actions]` (choices side by side); None where all may."""
        return None

    def fatal_actions(self) -> np.ndarray:
        """Which actions would now end the episode badly, bool `[num_envs, actions]`.

        Only environments whose config declares `tells_fatal_actions` know that.
        """
        raise NotImplementedError(f"{type(self).__name__} does not know which actions are fatal")

    def thumbnail(self, index: int) -> np.ndarray | None:
        """A small picture of what environment `index` looks like now, for whoever watches; drawing it changes nothing.

        Returns:
            `uint8 [H, W, 3]`, or `[H, W]` in grey; None where only what is observed can be shown.
        """
        return None

    @property
    def resets_on_next_step(self) -> bool:
        """Whether the step after an episode's end only resets, ignoring its action."""
        return bool(self.metadata.get("autoreset_mode") == AutoresetMode.NEXT_STEP)


def refuse_hidden_state(env: SnapshotVectorEnv, name: str) -> None:
    """Take a snapshot of a vector, to see whether one can be taken.

    Raises:
        ConfigError: If it holds state that cannot be captured.
    """
    try:
        env.snapshot()
    except SnapshotUnsupportedError as unsupported:
        accepted = f"an environment whose state can be captured, or snapshots: none; {unsupported}"
        raise ConfigError("env.init_args.id", name, accepted) from None


def episode_facts(infos: dict[str, Any]) -> dict[str, np.ndarray]:
    """The numbers, one each, that a step's infos tell of episodes besides scores, by name, float64 `[num_envs]`.

    As Gymnasium has it, `_name` says of which episodes `name` was told; it is not a number for the others.
    """
    told = infos.get("final_info", {})
    names = [name for name in told if isinstance(name, str) and name not in NO_FACTS and not name.startswith("_")]
    arrays = {name: told[name] for name in names}
    return {
        name: np.where(told.get(f"_{name}", True), values.astype(np.float64), np.nan)
        for name, values in arrays.items()
        if isinstance(values, np.ndarray) and values.dtype.kind in "fiub" and values.ndim == 1
    }


def finished_episodes(
    infos: dict[str, Any], ended: np.ndarray, returns: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which of the episodes that ended in a step have a score; and all scores and lengths, `[num_envs]` each."""
    told = infos.get("final_info", {})
    scores = told.get("score", returns)
    if GAME_LENGTH not in told:
        return ended, scores, lengths
    return ended & ~np.isnan(scores), scores, told[GAME_LENGTH]


def take_state(target: np.ndarray, state: State, name: str) -> None:
    """Copy `state[name]` into `target`.

    Raises:
        ValueError: If the array is missing or has another shape or dtype.
    """
    source = state.get(name)
    if source is None or source.shape != target.shape or source.dtype != target.dtype:
        found = "nothing" if source is None else f"{source.dtype}{list(source.shape)}"
        raise ValueError(f"state {name!r}: expected {target.dtype}{list(target.shape)}, found {found}")
    np.copyto(target, source)
