"""A trained policy, as Python programs use it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from hydrahive.core.errors import NotAsDeclaredError, UsageError
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.serving.policy import ServedPolicy


class Acted(NamedTuple):
    """What a policy does: actions as the environment takes them, and what it remembers."""

    actions: Any
    state: np.ndarray


class Policy:
    """The policy that a run shows, its pilot's best or its newest; its actions are the evaluator's, to the byte.

    It sees what `make_env` shows, and what a vector of the environment shows.

    Attributes:
        run: The run's name.
        env_steps: That it was trained for.
    """

    def __init__(self, folder: RunFolder) -> None:
        """Load it.

        Raises:
            UsageError: If the run has no checkpoint yet.
        """
        self._served = ServedPolicy(folder)
        self.run, self.env_steps = folder.name, self._served.checkpoint.boundary.progress.env_steps

    def __repr__(self) -> str:
        return f"Policy of {self.run!r} after {self.env_steps:,} env steps"

    @property
    def observation_space(self) -> Any:
        """Of what it sees."""
        return self._served.space

    @property
    def action_space(self) -> Any:
        """Of what it does."""
        return self._served.action_space

    def act(
        self,
        observations: Any,
        state: np.ndarray | None = None,
        legal: Any = None,
        *,
        draws: np.random.Generator | None = None,
    ) -> Acted:
        """Actions for one observation, or for several, `[N, ...]`; then everything else is several, too.

        Args:
            observations: What is seen: rows as `make_env` shows them, or one observation as the environment's own
                `step` gives it, a Dict, a Tuple or a number, with its mask if it holds one.
            state: What it remembered after the step before, `[M]` or `[N, M]`; None at an episode's beginning.
            legal: Which choices the environment allows, `[choices]` or `[N, choices]`; None for all.
            draws: Draws the actions as in training; None takes the likeliest.

        Raises:
            UsageError: If something does not have the shape, the type or the range that it should.
        """
        shape, lays_out = tuple(self._served.space.shape), self._served.lays_out
        if lays_out is not None and (isinstance(observations, dict | tuple) or (shape and np.ndim(observations) == 0)):
            try:
                legal = lays_out.mask(observations) if legal is None else legal
                observations = lays_out.one(observations)
            except NotAsDeclaredError as error:
                raise UsageError(f"observations: this one {error}") from None
        is_one = np.ndim(observations) == len(shape)
        if is_one:
            observations = np.asarray(observations)[None]
            state = None if state is None else np.asarray(state)[None]
            legal = None if legal is None else np.asarray(legal)[None]
        (given,) = self._served.answer([self._served.read(observations, state, legal)], draws)
        if not is_one:
            return Acted(given.actions, given.memory)
        action, is_choice = given.actions[0], given.actions.ndim == 1 and given.actions.dtype.kind in "iu"
        return Acted(int(action) if is_choice else action, given.memory[0])
