"""Any Gymnasium environment."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from hydrahive.core.config import EnvConfig
from hydrahive.core.errors import ConfigError
from hydrahive.core.state import SnapshotKind
from hydrahive.envs.extras import behind, failures_in_a_line, told
from hydrahive.envs.gym.maker import Maker
from hydrahive.envs.wrappers import wrappers_of


@dataclass(frozen=True)
class Gym(EnvConfig):
    """An environment from Gymnasium's registry.

    Attributes:
        id: Its registered name, for example `CartPole-v1`; `module:Name-v0` imports the module first, which
            registers it.
        vectorization: `vector` uses the environment's own vector implementation, `sync` steps single ones in
            turn, `auto` takes the first where it exists and declares when its episodes begin anew.
        snapshots: `captured` keeps the state by every attribute's value. `none` is for environments whose state cannot
            be: their episodes are cut at each boundary, which enters no score, and they are made anew. `reset` makes
            none anew, where that takes long and a reset with a seed forgets all that was.
        kwargs: Given to the environment when it is made.
        wrappers: Put around each environment, the innermost first: dotted paths of `gymnasium.Wrapper`s, or mappings of
            `class_path` and `init_args`.
    """

    id: str
    vectorization: Literal["auto", "vector", "sync"] = "auto"
    snapshots: Literal["captured", "none", "reset"] = "captured"
    kwargs: dict[str, Any] = field(default_factory=dict)
    wrappers: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse a name that Gymnasium does not know, offering the nearest."""
        import gymnasium

        import hydrahive.envs  # noqa: F401  registers our own

        try:
            name = self._registered()
        except Exception as error:  # whatever a user's module raises
            accepted = f"a module that can be imported before the colon ({told(error)})"
            raise ConfigError("id", self.id, accepted) from None
        registry = gymnasium.registry
        if name not in registry:
            near = difflib.get_close_matches(name, list(registry), n=3, cutoff=0.4)
            raise ConfigError("id", self.id, "a registered environment" + (f" ({', '.join(near)}?)" if near else ""))
        if name == "hydrahive/Atari-v0" or name.startswith("ALE/"):
            raise ConfigError("id", self.id, "{class_path: Atari, init_args: {game: ...}}, which can be restored")
        if self.vectorization == "vector" and not self.has_vector:
            raise ConfigError("vectorization", "vector", f"'sync' or 'auto': {self.id} has no vector implementation")
        wrappers = self._wrappers()
        if self.vectorization == "vector" and wrappers:
            raise ConfigError("vectorization", "vector", "'sync' or 'auto': wrappers go around single environments")

    def modules(self) -> tuple[str, ...]:
        """Those of the environment's class, its own vector's, and its wrappers'; and what these import."""
        import gymnasium
        from gymnasium.envs.registration import load_env_creator

        spec = gymnasium.registry[self._registered()]
        points = (spec.entry_point, spec.vector_entry_point)
        creators = [load_env_creator(point) if isinstance(point, str) else point for point in points if point]
        return behind([*creators, *self._wrappers()])

    @property
    def has_vector(self) -> bool:
        """Whether the environment has a vector implementation of its own."""
        import gymnasium

        return gymnasium.registry[self._registered()].vector_entry_point is not None

    @property
    def snapshot_kind(self) -> SnapshotKind:
        """As `snapshots` says."""
        return SnapshotKind.EXACT if self.snapshots == "captured" else SnapshotKind.RESTARTED

    @property
    def longest_episode(self) -> int | None:
        """The registered limit, or the one among `kwargs`."""
        import gymnasium

        limit: int | None = self.kwargs.get("max_episode_steps")
        return limit or gymnasium.registry[self._registered()].max_episode_steps

    def make_vector(self, num_envs: int) -> Any:
        """`num_envs` environments as one vector with snapshots."""
        from hydrahive.envs.gym.singles import GymSingles
        from hydrahive.envs.gym.vector import GymVector, says_when_it_resets

        kept = {"captured": self.snapshots == "captured", "anew": self.snapshots == "none"}
        maker = Maker(self._registered(), self.kwargs, tuple(self._wrappers()))
        with failures_in_a_line():
            if self.vectorization != "sync" and self.has_vector and not self.wrappers:
                together = maker.make_vector(num_envs)
                if self.vectorization == "vector" or says_when_it_resets(together):
                    return GymVector(maker, together, **kept)
                together.close()
            return GymSingles(maker, num_envs, **kept)

    def make_single(self, render_mode: str | None = None) -> Any:
        """One environment, its observations laid out as the vector's are."""
        from hydrahive.envs.gym.single import FlatSingle

        drawn = {} if render_mode is None else {"render_mode": render_mode}
        maker = Maker(self._registered(), self.kwargs | drawn, tuple(self._wrappers()))
        if render_mode is not None:
            maker.refuse_undrawn(render_mode)
        return FlatSingle(maker.make(), tells_score=maker.tells_score)

    def goal_judge(self) -> Any:
        """The environment's own `compute_reward`."""
        from hydrahive.envs.gym.goals import GymGoals

        with failures_in_a_line():
            return GymGoals(Maker(self._registered(), self.kwargs, tuple(self._wrappers())))

    def _wrappers(self) -> list[Callable[[Any], Any]]:
        return wrappers_of(self.wrappers, "gymnasium.Wrappers")

    def _registered(self) -> str:
        """The name in the registry, once the module before the colon is imported."""
        module, _, name = self.id.rpartition(":")
        if module:
            importlib.import_module(module)
        return name
