"""Single Gymnasium environments side by side, with snapshots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from hydrahive.core.errors import NotAsDeclaredError
from hydrahive.core.state import State, nested, under
from hydrahive.envs.flat import MASK, Flattener
from hydrahive.envs.given import Masks, begun, is_over, number, stepped
from hydrahive.envs.gym.maker import Maker
from hydrahive.envs.plain import state as plain_state
from hydrahive.envs.plain.names import Names
from hydrahive.envs.taken import Actions
from hydrahive.envs.vector import SnapshotVectorEnv, refuse_hidden_state, several


class GymSingles(SnapshotVectorEnv):
    """Environments stepped in turn; where an episode ends, the next one begins in the same step.

    Observations are laid out flat, and copied: an environment may give the same array again. Of infos there is left
    what is used: masks of legal actions, and at an episode's end the plain numbers among them. A score is believed of
    our own environments only.
    """

    def __init__(self, maker: Maker, num_envs: int, *, captured: bool = True, anew: bool = False) -> None:
        """Make the environments.

        Args:
            maker: Makes one.
            num_envs: How many.
            captured: Whether their state can be taken out.
            anew: Whether a reset with a seed makes others in their place, for one may keep what nobody sees.

        Raises:
            ConfigError: If they cannot be made, or hold state that cannot be captured.
        """
        self.closed = True  # until there is something to close
        # Checkers look on at every step and hold no game state.
        self._envs = [maker.make(disable_env_checker=True) for _ in range(num_envs)]
        self.closed = False
        self.num_envs, self._tells_score, self._captured = num_envs, maker.tells_score, captured
        self._name, self._maker, self._is_made_anew = maker.name, maker, False
        self.metadata = {**self._envs[0].metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        self._flat = Flattener(self._envs[0].observation_space)
        self._actions = Actions(self._envs[0].action_space)
        self._masks = Masks(self._actions.space)
        self.single_observation_space, self.single_action_space = self._flat.space, self._actions.space
        self.lays_out = self._flat
        self.observation_space = several(self.single_observation_space, num_envs)
        self.action_space = several(self.single_action_space, num_envs)
        self._observations = np.zeros((num_envs, *self._flat.space.shape), self._flat.space.dtype)
        self._legal: np.ndarray | None = None
        self.reset(seed=0)
        self._is_made_anew = anew
        self._names = Names.of(self._envs)
        refuse_hidden_state(self, maker.name)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode everywhere; of one seed each environment has the next."""
        self._legal = None
        if self._is_made_anew and seed is not None:
            for env in self._envs:
                env.close()
            self._envs = [self._maker.make(disable_env_checker=True) for _ in range(self.num_envs)]
        for i in range(self.num_envs):
            self._begin(i, seed[i] if isinstance(seed, list) else None if seed is None else seed + i, options)
        return self._observations.copy(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step everywhere.

        Raises:
            NotAsDeclaredError: If an environment gives what is no step, or something else than its spaces say.
        """
        rewards = np.zeros(self.num_envs, np.float64)
        terminated, truncated = np.zeros(self.num_envs, np.bool_), np.zeros(self.num_envs, np.bool_)
        last: np.ndarray = np.full(self.num_envs, None, object)
        numbers: list[dict[str, float]] = [{} for _ in range(self.num_envs)]
        for i, env in enumerate(self._envs):
            given = env.step(self._actions.one(actions[i]))
            try:
                observation, reward, ended, cut, info = stepped(given)
                rewards[i], terminated[i], truncated[i] = number(reward), is_over(ended), is_over(cut)
                self._see(i, observation, info)
            except NotAsDeclaredError as wrong:
                raise wrong.of(self._who(i)) from None
            if terminated[i] or truncated[i]:
                last[i], numbers[i] = self._observations[i].copy(), self._numbers(info)
                self._begin(i, None, None)
        ended = terminated | truncated
        infos: dict[str, Any] = {}
        if ended.any():
            infos = {"final_obs": last, "_final_obs": ended, "final_info": _side_by_side(numbers)}
        return self._observations.copy(), rewards, terminated, truncated, infos

    def _begin(self, i: int, seed: int | None, options: dict[str, Any] | None) -> None:
        given = self._envs[i].reset(seed=seed, options=options)
        try:
            self._see(i, *begun(given))
        except NotAsDeclaredError as wrong:
            raise wrong.of(f"{self._who(i)}, when reset,") from None

    def _who(self, i: int) -> str:
        return f"environment {i} of {self._name}"

    def _see(self, i: int, observation: Any, info: dict[str, Any]) -> None:
        self._observations[i] = self._flat.one(observation)
        told = self._flat.mask(observation) if self._flat.has_mask else info.get(MASK)
        if told is not None:
            row = self._masks.row(told)
            if self._legal is None:
                self._legal = np.ones((self.num_envs, len(row)), np.bool_)
            self._legal[i] = row
        elif self._legal is not None:
            self._legal[i] = True

    def _numbers(self, info: dict[str, Any]) -> dict[str, float]:
        """The plain numbers of an episode's last infos, but for a score that is not of our own making."""
        told = {name: _finite(value) for name, value in info.items() if isinstance(name, str) and _is_number(value)}
        numbers = {name: value for name, value in told.items() if value is not None}
        if not self._tells_score:
            numbers.pop("score", None)
        return numbers

    def legal_actions(self) -> np.ndarray | None:
        """What the environments' masks say; who tells none, or forbids all, may take any."""
        return self._legal

    def snapshot(self) -> State:
        """Every attribute of every environment, and the masks."""
        if not self._captured:
            return {}
        state = nested("envs", plain_state.capture(self._envs, self._names))
        return state if self._legal is None else {**state, "legal": self._legal.copy()}

    def restore(self, state: State) -> None:
        """Continue from `snapshot`'s state; without one, whoever restores begins all episodes anew."""
        if not self._captured:
            return
        plain_state.restore(self._envs, under("envs", state), self._names)
        self._legal = state["legal"].copy() if "legal" in state else None

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environments."""
        for env in self._envs:
            env.close()


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float | np.number | np.bool_) and not isinstance(value, np.complexfloating)


def _finite(value: Any) -> float | None:
    """A number that all readers of JSON know; None for infinity, for what is none, and for what is too large."""
    try:
        plain = float(value)
    except OverflowError:
        return None
    return plain if math.isfinite(plain) else None


def _side_by_side(numbers: Sequence[dict[str, float]]) -> dict[str, np.ndarray]:
    """Numbers by name, float64 `[num_envs]`; not a number where an environment told none."""
    names = dict.fromkeys(name for told in numbers for name in told)
    return {name: np.array([told.get(name, np.nan) for told in numbers]) for name in names}
