"""Gymnasium's vector environments with snapshots."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from hydrahive.core.errors import ConfigError, SnapshotUnsupportedError
from hydrahive.core.state import State, nested, under
from hydrahive.envs import plain_state
from hydrahive.envs.flat import MASK, Flattener, mask_row
from hydrahive.envs.gym import Maker
from hydrahive.envs.vector import SnapshotVectorEnv


class GymVector(SnapshotVectorEnv):
    """A vector environment from Gymnasium's registry, its state captured attribute by attribute.

    Observations other than Box are laid out flat. Masks of legal actions are taken from observations (a Dict's
    `action_mask`) or from infos (`action_mask`).
    """

    def __init__(self, maker: Maker, num_envs: int, vectorization: str, *, captured: bool = True) -> None:
        """Make the environments.

        Raises:
            ConfigError: If the environment cannot be made, or holds state that cannot be captured.
        """
        self.closed = True  # until there is something to close
        has_vector = gymnasium.spec(maker.name).vector_entry_point is not None
        if vectorization == "vector" or (vectorization == "auto" and has_vector):
            self._env = maker.make_vector(num_envs)
        else:
            # Checkers and order enforcers look on at every step and hold no game state.
            self._env = gymnasium.vector.SyncVectorEnv(
                [lambda: maker.make(disable_env_checker=True)] * num_envs,
                autoreset_mode=AutoresetMode.SAME_STEP,
            )
        self.closed = False
        self.num_envs = num_envs
        self.metadata = self._env.metadata
        self.single_action_space = self._env.single_action_space
        self._flat = Flattener(self._env.single_observation_space)
        self.single_observation_space = self._flat.space
        self.action_space = self._env.action_space
        self.observation_space = batch_space(self._flat.space, num_envs)
        self._legal: np.ndarray | None = None
        self._captured = captured
        self.reset(seed=0)
        try:
            self.snapshot()
        except SnapshotUnsupportedError as unsupported:
            accepted = f"an environment whose state can be captured, or snapshots: none; {unsupported}"
            raise ConfigError("env.init_args.id", maker.name, accepted) from None

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode everywhere."""
        observations, infos = self._env.reset(seed=seed, options=options)
        self._legal = None
        self._note_legal(observations, infos)
        return self._flat.observations(observations, self.num_envs), infos

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step everywhere."""
        observations, rewards, terminated, truncated, infos = self._env.step(actions)
        self._note_legal(observations, infos)
        if "final_obs" in infos:
            infos["final_obs"] = self._laid_out(infos["final_obs"])
        return self._flat.observations(observations, self.num_envs), rewards, terminated, truncated, infos

    def legal_actions(self) -> np.ndarray | None:
        """What the environment's masks say; where a mask forbids all, as behind an episode's end, all may be taken."""
        return self._legal

    def _note_legal(self, observations: Any, infos: dict[str, Any]) -> None:
        told = observations[MASK] if self._flat.has_mask else infos.get(MASK)
        begun = infos.get("_final_obs")
        if self._legal is not None and begun is not None:
            self._legal[begun] = True  # an episode that began tells its own mask, or none
        if told is None:
            return
        given = None if self._flat.has_mask else infos.get(f"_{MASK}")
        self._legal = _as_rows(told, self.num_envs, given, self._legal)

    def _laid_out(self, last: np.ndarray) -> np.ndarray:
        """The last observations of the episodes that ended, by environment; None elsewhere."""
        if isinstance(self._env.single_observation_space, spaces.Box):
            return last
        laid_out = np.full(self.num_envs, None, object)
        for i, observation in enumerate(last):
            if observation is not None:
                laid_out[i] = self._flat.one(observation)
        return laid_out

    def snapshot(self) -> State:
        """The environment's own snapshot where it offers one, else every attribute below it; and the mask."""
        if not self._captured:
            return {}
        env = self._env
        state = env.snapshot() if isinstance(env, SnapshotVectorEnv) else plain_state.capture(env)
        return state if self._legal is None else {**nested("env", state), "legal": self._legal.copy()}

    def restore(self, state: State) -> None:
        """Continue from `snapshot`'s state; without one, whoever restores begins all episodes anew."""
        if not self._captured:
            return
        self._legal = state["legal"].copy() if "legal" in state else None
        if self._legal is not None:
            state = under("env", state)
        if isinstance(self._env, SnapshotVectorEnv):
            self._env.restore(state)
        else:
            plain_state.restore(self._env, state)

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environments."""
        self._env.close()


def _as_rows(told: Any, count: int, given: np.ndarray | None, before: np.ndarray | None) -> np.ndarray:
    """Masks, one for each environment, as bool `[count, actions]`; whoever tells none keeps the one before."""
    if isinstance(told, tuple):
        told = list(zip(*told, strict=True))
    tells = np.ones(count, np.bool_) if given is None else given
    rows = [mask_row(told[i]) if tells[i] else None for i in range(count)]
    everything = np.ones_like(next(row for row in rows if row is not None))
    kept = [everything] * count if before is None else before
    return np.stack([kept[i] if row is None else row for i, row in enumerate(rows)])
