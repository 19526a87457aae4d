"""Gymnasium's vector environments with snapshots."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from hydrahive.core.errors import ConfigError, SnapshotUnsupportedError
from hydrahive.core.state import State
from hydrahive.envs import plain_state
from hydrahive.envs.vector import SnapshotVectorEnv


class GymVector(SnapshotVectorEnv):
    """A vector environment from Gymnasium's registry, stepped as it is, its state captured attribute by attribute."""

    def __init__(self, env_id: str, num_envs: int, vectorization: str) -> None:
        """Make the environments.

        Raises:
            ConfigError: If the environment holds state that cannot be captured.
        """
        has_vector = gymnasium.spec(env_id).vector_entry_point is not None
        if vectorization == "vector" or (vectorization == "auto" and has_vector):
            self._env = gymnasium.make_vec(env_id, num_envs, vectorization_mode="vector_entry_point")
        else:
            # Checkers and order enforcers look on at every step and hold no game state.
            self._env = gymnasium.vector.SyncVectorEnv(
                [lambda: gymnasium.make(env_id, disable_env_checker=True)] * num_envs,
                autoreset_mode=AutoresetMode.SAME_STEP,
            )
        self.num_envs = num_envs
        self.metadata = self._env.metadata
        self.single_action_space = self._env.single_action_space
        self.single_observation_space = self._env.single_observation_space
        self.action_space = self._env.action_space
        self.observation_space = self._env.observation_space
        self._env.reset(seed=0)
        try:
            self.snapshot()
        except SnapshotUnsupportedError as unsupported:
            raise ConfigError(
                "env.init_args.id", env_id, f"an environment that can be captured; {unsupported}"
            ) from None

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode everywhere."""
        return self._env.reset(seed=seed, options=options)  # type: ignore[arg-type]

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step everywhere."""
        return self._env.step(actions)

    def snapshot(self) -> State:
        """The environment's own snapshot where it offers one, else every attribute below it."""
        if isinstance(self._env, SnapshotVectorEnv):
            return self._env.snapshot()
        return plain_state.capture(self._env)

    def restore(self, state: State) -> None:
        """Continue from `snapshot`'s state."""
        if isinstance(self._env, SnapshotVectorEnv):
            self._env.restore(state)
        else:
            plain_state.restore(self._env, state)

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environments."""
        self._env.close()
