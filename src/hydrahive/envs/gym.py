"""Any Gymnasium environment."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from typing import Any, Literal

from hydrahive.core.config import EnvConfig
from hydrahive.core.errors import ConfigError
from hydrahive.core.state import SnapshotKind


@dataclass(frozen=True)
class Gym(EnvConfig):
    """An environment from Gymnasium's registry.

    Attributes:
        id: Its registered name, for example `CartPole-v1`; `module:Name-v0` imports the module first, which
            registers it.
        vectorization: `vector` uses the environment's own vector implementation, `sync` steps single ones in
            turn, `auto` takes the first where it exists.
        snapshots: `captured` keeps the state by every attribute's value; `none` is for environments whose state cannot
            be: their episodes are cut at each boundary, which enters no score.
    """

    id: str
    vectorization: Literal["auto", "vector", "sync"] = "auto"
    snapshots: Literal["captured", "none"] = "captured"

    def __post_init__(self) -> None:
        """Refuse a name that Gymnasium does not know, offering the nearest."""
        import gymnasium

        import hydrahive.envs  # noqa: F401  registers our own

        try:
            name = self._registered()
        except ImportError as error:
            raise ConfigError("id", self.id, f"a module that can be imported before the colon ({error})") from None
        registry = gymnasium.registry
        if name not in registry:
            near = difflib.get_close_matches(name, list(registry), n=3, cutoff=0.4)
            raise ConfigError("id", self.id, "a registered environment" + (f" ({', '.join(near)}?)" if near else ""))
        if self.vectorization == "vector" and registry[name].vector_entry_point is None:
            raise ConfigError("vectorization", "vector", f"'sync' or 'auto': {self.id} has no vector implementation")

    @property
    def snapshot_kind(self) -> SnapshotKind:
        """As `snapshots` says."""
        return SnapshotKind.EXACT if self.snapshots == "captured" else SnapshotKind.RESTARTED

    def make_vector(self, num_envs: int) -> Any:
        """`num_envs` environments as one vector with snapshots."""
        from hydrahive.envs.gym_vector import GymVector

        return GymVector(self._registered(), num_envs, self.vectorization, captured=self.snapshots == "captured")

    def make_single(self, render_mode: str | None = None) -> Any:
        """One environment, its observations laid out as the vector's are."""
        import gymnasium

        from hydrahive.envs.gym_single import FlatSingle

        drawn: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}
        return FlatSingle(gymnasium.make(self._registered(), **drawn))

    def _registered(self) -> str:
        """The name in the registry, once the module before the colon is imported."""
        module, _, name = self.id.rpartition(":")
        if module:
            importlib.import_module(module)
        return name
