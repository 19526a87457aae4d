"""What worlds say of themselves, for a critic."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from hydrahive.core.errors import ConfigError, NotAsDeclaredError
from hydrahive.envs.extras import told
from hydrahive.envs.flat import Flattener, as_row


class States:
    """The states of worlds as rows of numbers.

    Attributes:
        space: Of such a row.
        size: Numbers of it.
    """

    def __init__(self, name: str, world: Any) -> None:
        """For worlds like `world`.

        Raises:
            ConfigError: If they say nothing of themselves.
        """
        space = getattr(world, "state_space", None)
        if not isinstance(space, spaces.Space):
            accepted = f"false: {name} has no state_space, so nothing is known of what its state() gives"
            raise ConfigError("env.init_args.central_state", True, accepted)
        self._flat = Flattener(space)
        self.space = as_row(self._flat.space)
        self.size = int(self.space.shape[0])

    def of(self, world: Any) -> np.ndarray:
        """A world's state, float32 `[size]`.

        Raises:
            NotAsDeclaredError: If it gives something else than its space says.
        """
        try:
            given = world.state()
        except Exception as error:  # whatever a user's world raises
            raise NotAsDeclaredError(f"raises {told(error)} in its state()") from None
        try:
            return self._flat.one(given).ravel().astype(np.float32)
        except NotAsDeclaredError as wrong:
            raise wrong.of("in its state()") from None
