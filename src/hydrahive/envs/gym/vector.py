"""Gymnasium's own vector implementations, with snapshots."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from hydrahive.core.errors import ConfigError
from hydrahive.core.state import State, nested, under
from hydrahive.envs import plain_state
from hydrahive.envs.flat import MASK, Flattener, mask_row
from hydrahive.envs.gym.maker import Maker
from hydrahive.envs.plain_names import Names
from hydrahive.envs.vector import SnapshotVectorEnv, refuse_hidden_state

MODES = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)


def says_when_it_resets(env: Any) -> bool:
    """Whether a vector declares, as Gymnasium asks it to, that episodes begin anew by themselves, and when."""
    return env.metadata.get("autoreset_mode") in MODES


class GymVector(SnapshotVectorEnv):
    """A vector environment from Gymnasium's registry, its state captured attribute by attribute.

    Observations other than Box are laid out flat. Masks of legal actions are taken from observations (a Dict's
    `action_mask`) or from infos (`action_mask`).
    """

    def __init__(self, maker: Maker, env: Any, *, captured: bool = True) -> None:
        """Wrap what a maker made.

        Raises:
            ConfigError: If it does not say when episodes begin anew, or holds state that cannot be captured.
        """
        self.closed = True  # until it is ours to close
        if not says_when_it_resets(env):
            accepted = "'sync' or 'auto': its own vector declares no autoreset_mode of next or same step"
            raise ConfigError("env.init_args.vectorization", "vector", accepted)
        self.closed = False
        self._env, self.num_envs, self.metadata = env, env.num_envs, env.metadata
        self.single_action_space = env.single_action_space
        self._flat = Flattener(env.single_observation_space)
        self.single_observation_space = self._flat.space
        self.action_space = env.action_space
        self.observation_space = batch_space(self._flat.space, env.num_envs)
        self._legal: np.ndarray | None = None
        self._captured, self._tells_score = captured, maker.tells_score
        self.reset(seed=0)
        self._names = Names.of(env)
        refuse_hidden_state(self, maker.name)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode everywhere."""
        observations, infos = self._env.reset(seed=seed, options=options)
        self._note_legal(observations, infos)
        return self._flat.observations(observations, self.num_envs), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step everywhere.

        Raises:
            ValueError: If episodes begin anew in the step in which they end, and their last observations are kept back.
        """
        observations, rewards, terminated, truncated, infos = self._env.step(actions)
        terminated, truncated = np.asarray(terminated, np.bool_), np.asarray(truncated, np.bool_)
        self._note_legal(observations, infos)
        ended = terminated | truncated
        told = {name: infos[name] for name in ("final_obs", "_final_obs", "final_info") if name in infos}
        if ended.any() and not self.resets_on_next_step and "final_obs" not in told:
            raise ValueError("its vector begins episodes anew in the same step and gives no final_obs")
        if "final_obs" in told:
            told["final_obs"] = self._laid_out(told["final_obs"])
        if "final_info" in told and not self._tells_score:
            told["final_info"] = {name: values for name, values in told["final_info"].items() if name != "score"}
        return self._flat.observations(observations, self.num_envs), rewards, terminated, truncated, told

    def legal_actions(self) -> np.ndarray | None:
        """What the environment's masks say; where one forbids all, as behind an episode's end, all may be taken."""
        return self._legal

    def _note_legal(self, observations: Any, infos: dict[str, Any]) -> None:
        told = observations[MASK] if self._flat.has_mask else infos.get(MASK)
        if told is None:
            self._legal = None if self._legal is None else np.ones_like(self._legal)
            return
        given = None if self._flat.has_mask else infos.get(f"_{MASK}")
        self._legal = _as_rows(told, self.num_envs, given)

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
        state = env.snapshot() if isinstance(env, SnapshotVectorEnv) else plain_state.capture(env, self._names)
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
            plain_state.restore(self._env, state, self._names)

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environments."""
        self._env.close()


def _as_rows(told: Any, count: int, given: np.ndarray | None) -> np.ndarray:
    """Masks, one for each environment, as bool `[count, actions]`; who tells none may take any."""
    if isinstance(told, tuple):
        told = list(zip(*told, strict=True))
    tells = np.ones(count, np.bool_) if given is None else given
    rows = [mask_row(told[i]) if tells[i] else None for i in range(count)]
    everything = np.ones_like(next(row for row in rows if row is not None))
    return np.stack([everything if row is None else row for row in rows])
