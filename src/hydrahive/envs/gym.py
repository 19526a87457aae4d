"""Any Gymnasium environment whose state is plain data."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, Literal

from hydrahive.core.config import EnvConfig
from hydrahive.core.errors import ConfigError


@dataclass(frozen=True)
class Gym(EnvConfig):
    """An environment from Gymnasium's registry.

    Attributes:
        id: Its registered name, for example `CartPole-v1`.
        vectorization: `vector` uses the environment's own vector implementation, `sync` steps single ones in
            turn, `auto` takes the first where it exists.
    """

    id: str
    vectorization: Literal["auto", "vector", "sync"] = "auto"

    def __post_init__(self) -> None:
        """Refuse a name that Gymnasium does not know, offering the nearest."""
        import gymnasium

        import hydrahive.envs  # noqa: F401  registers our own

        registry = gymnasium.registry
        if self.id not in registry:
            near = difflib.get_close_matches(self.id, list(registry), n=3, cutoff=0.4)
            raise ConfigError("id", self.id, "a registered environment" + (f" ({', '.join(near)}?)" if near else ""))
        if self.vectorization == "vector" and registry[self.id].vector_entry_point is None:
            raise ConfigError("vectorization", "vector", f"'sync' or 'auto': {self.id} has no vector implementation")

    def make_vector(self, num_envs: int) -> Any:
        """`num_envs` environments as one vector with snapshots."""
        from hydrahive.envs.gym_vector import GymVector

        return GymVector(self.id, num_envs, self.vectorization)

    def make_single(self, render_mode: str | None = None) -> Any:
        """One environment as `gymnasium.make` gives it."""
        import gymnasium

        return gymnasium.make(self.id, render_mode=render_mode)
