"""Gymnasium's own vector implementations, with snapshots."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from hydrahive.core.errors import ConfigError, NotAsDeclaredError, SnapshotUnsupportedError
from hydrahive.core.state import State, nested, under
from hydrahive.envs.flat import MASK, Flattener
from hydrahive.envs.given import KINDS, Masks, begun, in_words, stepped
from hydrahive.envs.gym.maker import Maker
from hydrahive.envs.plain import state as plain_state
from hydrahive.envs.plain.names import Names
from hydrahive.envs.taken import Actions
from hydrahive.envs.vector import SnapshotVectorEnv, refuse_hidden_state, several

MODES = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)

LAST = ("final_obs", "final_observation")
"""Where last observations stand in infos; the second is Gymnasium's name of before 1.0."""


def says_when_it_resets(env: Any) -> bool:
    """Whether a vector declares, as Gymnasium asks it to, whether and when episodes begin anew by themselves."""
    return env.metadata.get("autoreset_mode") in MODES


class GymVector(SnapshotVectorEnv):
    """A vector environment from Gymnasium's registry, its state captured attribute by attribute.

    Observations other than Box are laid out flat. Masks of legal actions are taken from observations (a Dict's
    `action_mask`) or from infos (`action_mask`). A vector that resets nothing by itself is reset in the same step.
    """

    def __init__(self, maker: Maker, env: Any, *, captured: bool = True, anew: bool = False) -> None:
        """Wrap what a maker made.

        Args:
            maker: Who made it.
            env: It.
            captured: Whether its state can be taken out.
            anew: Whether a reset with a seed makes another in its place, for it may keep what nobody sees.

        Raises:
            ConfigError: If it does not say when episodes begin anew, or holds state that cannot be captured.
        """
        self.closed = True  # until it is ours to close
        if not says_when_it_resets(env):
            accepted = "'sync' or 'auto': its own vector declares no autoreset_mode"
            raise ConfigError("env.init_args.vectorization", "vector", accepted)
        self.closed = False
        self._env, self.num_envs, self.metadata = env, env.num_envs, dict(env.metadata)
        self._is_reset_by_us = env.metadata["autoreset_mode"] == AutoresetMode.DISABLED
        if self._is_reset_by_us:
            self.metadata["autoreset_mode"] = AutoresetMode.SAME_STEP
        self._flat, self._actions = Flattener(env.single_observation_space), Actions(env.single_action_space)
        self._masks, self._name = Masks(self._actions.space), maker.name
        self.single_observation_space, self.single_action_space = self._flat.space, self._actions.space
        self.lays_out = self._flat
        self.observation_space = several(self.single_observation_space, env.num_envs)
        self.action_space = several(self.single_action_space, env.num_envs)
        self._legal: np.ndarray | None = None
        self._captured, self._tells_score = captured, maker.tells_score
        self._maker, self._is_made_anew = maker, False
        self.reset(seed=0)
        self._is_made_anew = anew
        self._names = Names.of(env)
        refuse_hidden_state(self, maker.name)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode everywhere."""
        if self._is_made_anew and seed is not None:
            self._env.close()
            self._env = self._maker.make_vector(self.num_envs)
        given = self._env.reset(seed=seed, options=options)
        try:
            observations, infos = begun(given)
            return self._seen(observations, infos), {}
        except NotAsDeclaredError as wrong:
            raise wrong.of(f"the vector of {self._name}, when reset,") from None

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step everywhere.

        Raises:
            NotAsDeclaredError: If the vector gives what is no step, or something else than its spaces say; or if
                episodes begin anew in the step in which they end, and their last observations are kept back.
        """
        given = self._env.step(self._actions.batch(actions))
        try:
            return self._stepped(*stepped(given))
        except NotAsDeclaredError as wrong:
            raise wrong.of(f"the vector of {self._name}") from None

    def _stepped(
        self, observations: Any, rewards: Any, terminated: Any, truncated: Any, infos: dict[str, Any]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        rewards, terminated, truncated = (
            self._numbers(told, of) for told, of in ((rewards, "rewards"), (terminated, "ends"), (truncated, "cuts"))
        )
        terminated, truncated = terminated.astype(np.bool_), truncated.astype(np.bool_)
        seen, ended, told = self._seen(observations, infos), terminated | truncated, {}
        if ended.any():
            told = self._told_of_ends(infos, ended)
            if self._is_reset_by_us:
                told["final_obs"], told["_final_obs"] = seen.copy(), ended
                seen = self._seen(*begun(self._env.reset(options={"reset_mask": ended})))
            elif not self.resets_on_next_step and "final_obs" not in told:
                raise NotAsDeclaredError("begins episodes anew in the same step and gives no final_obs")
        return seen, rewards, terminated, truncated, told

    def _told_of_ends(self, infos: dict[str, Any], ended: np.ndarray) -> dict[str, Any]:
        """What infos say of episodes that ended: their last observations, and numbers, wherever a mode puts these."""
        told: dict[str, Any] = {}
        key = next((key for key in LAST if key in infos), None)
        if key is not None and not self._is_reset_by_us:
            told["final_obs"], told["_final_obs"] = self._laid_out(infos[key], ended), ended
        final = infos.get("final_info")
        if isinstance(final, np.ndarray) and final.dtype == object:  # an array of dicts, as before Gymnasium 1.0
            told["final_info"] = _side_by_side(final)
        elif isinstance(final, dict):
            told["final_info"] = dict(final)
        elif self.resets_on_next_step or self._is_reset_by_us:
            told["final_info"] = {name: value for name, value in infos.items() if isinstance(value, np.ndarray)}
        if not self._tells_score:
            told.get("final_info", {}).pop("score", None)
        return told

    def _numbers(self, told: Any, of: str) -> np.ndarray:
        """A step's rewards, or ends, `[num_envs]`."""
        array = np.asarray(told)
        if array.shape != (self.num_envs,) or array.dtype.kind not in KINDS:
            raise NotAsDeclaredError(f"gave {in_words(told)} as {of}; expected {self.num_envs} numbers")
        return array

    def _seen(self, observations: Any, infos: dict[str, Any]) -> np.ndarray:
        """Observations, laid out; what is legal is noted."""
        told = self._flat.mask(observations) if self._flat.has_mask else infos.get(MASK)
        if told is None:
            self._legal = None if self._legal is None else np.ones_like(self._legal)
        else:
            self._legal = self._as_rows(told, None if self._flat.has_mask else infos.get(f"_{MASK}"))
        return self._flat.observations(observations, self.num_envs)

    def _as_rows(self, told: Any, given: np.ndarray | None) -> np.ndarray:
        """Masks, one for each environment, as bool `[num_envs, choices]`; who tells none may take any."""
        if isinstance(told, tuple):
            told = list(zip(*told, strict=True))
        tells = np.ones(self.num_envs, np.bool_) if given is None else given
        everything = np.ones(self._masks.choices, np.bool_)
        return np.stack([self._masks.row(told[i]) if tells[i] else everything for i in range(self.num_envs)])

    def _laid_out(self, last: Any, ended: np.ndarray) -> np.ndarray:
        """The last observations of the episodes that ended, by environment, whether told one by one or together."""
        if not (isinstance(last, np.ndarray) and last.dtype == object):
            return self._flat.observations(last, self.num_envs)
        laid_out = np.full(self.num_envs, None, object)
        for i in np.flatnonzero(ended):
            laid_out[i] = self._flat.one(last[i])
        return laid_out

    def legal_actions(self) -> np.ndarray | None:
        """What the environment's masks say; where one forbids all, as behind an episode's end, all may be taken."""
        return self._legal

    def snapshot(self) -> State:
        """The environment's own snapshot where it offers one, else every attribute below it; and the mask."""
        if not self._captured:
            return {}
        env = self._env
        state = self._own(env.snapshot()) if _keeps_itself(env) else plain_state.capture(env, self._names)
        return state if self._legal is None else {**nested("env", state), "legal": self._legal.copy()}

    def restore(self, state: State) -> None:
        """Continue from `snapshot`'s state; without one, whoever restores begins all episodes anew."""
        if not self._captured:
            return
        self._legal = state["legal"].copy() if "legal" in state else None
        if self._legal is not None:
            state = under("env", state)
        if _keeps_itself(self._env):
            self._env.restore(state)
        else:
            plain_state.restore(self._env, state, self._names)

    def _own(self, state: Any) -> State:
        """What a simulator gave as its state, of which it may go on to change the arrays.

        Raises:
            SnapshotUnsupportedError: If a checkpoint could not hold it.
        """
        arrays = state if isinstance(state, dict) else {"": state}
        for name, array in arrays.items():
            if not (isinstance(name, str) and name and isinstance(array, np.ndarray) and array.dtype.kind in KINDS):
                what = f"{name!r}: {in_words(array)}" if isinstance(state, dict) else in_words(state)
                raise SnapshotUnsupportedError(f"its snapshot() gave {what}; expected numbers as arrays, by name")
        return {name: array.copy() for name, array in arrays.items()}

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environments."""
        self._env.close()


def _keeps_itself(env: Any) -> bool:
    """Whether a vector takes out and puts back its state itself."""
    return callable(getattr(env, "snapshot", None)) and callable(getattr(env, "restore", None))


def _side_by_side(told: np.ndarray) -> dict[str, np.ndarray]:
    """Numbers of episodes' last infos by name, float64 `[num_envs]`; not a number where none was told."""
    rows = [one if isinstance(one, dict) else {} for one in told]
    names = dict.fromkeys(name for row in rows for name in row if isinstance(name, str))
    numbers = {name: [row.get(name, np.nan) for row in rows] for name in names}
    return {name: np.array(row, np.float64) for name, row in numbers.items() if all(map(_is_number, row))}


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float | np.number | np.bool_) and not np.iscomplexobj(value)
