"""Any PettingZoo environment whose agents see and do alike, all at once or in turns; all share one policy."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from hydrahive.core.config import EnvConfig
from hydrahive.core.errors import ConfigError
from hydrahive.core.state import SnapshotKind


@dataclass(frozen=True)
class PettingZoo(EnvConfig):
    """A parallel or turn-based environment; every agent is one environment of the vector, a world's belong together.

    Where agents take turns, those who wait see how it goes on and may take their first action only, which does nothing:
    it teaches nothing, and what comes of the others' turns reaches them. Two players who share a policy are self-play.

    Attributes:
        id: The module that has `parallel_env` or, for turns, `env`, for example `pettingzoo.classic.connect_four_v3`.
        kwargs: Given to it.
        snapshots: `captured` keeps the state by every attribute's value; `none` is for environments whose state cannot
            be: their episodes are cut at each boundary, which enters no score.
    """

    id: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    snapshots: Literal["captured", "none"] = "captured"

    def __post_init__(self) -> None:
        """Refuse what cannot be made, or whose agents are unlike."""
        env = self.make_parallel()
        agents = list(env.possible_agents)
        for agent in agents[1:]:
            for kind in ("observation_space", "action_space"):
                first, other = getattr(env, kind)(agents[0]), getattr(env, kind)(agent)
                if first != other:
                    accepted = f"agents that share one policy: {agents[0]} and {agent} differ in {kind}"
                    raise ConfigError("id", self.id, accepted)
        env.close()

    @property
    def group(self) -> int:
        """The agents of a world."""
        return _agents_of(self.id, json.dumps(self.kwargs, sort_keys=True))

    @property
    def snapshot_kind(self) -> SnapshotKind:
        """As `snapshots` says."""
        return SnapshotKind.EXACT if self.snapshots == "captured" else SnapshotKind.RESTARTED

    def make_parallel(self, **options: Any) -> Any:
        """One world.

        Raises:
            ConfigError: If there is no such environment, or it does not take the arguments.
        """
        try:
            module = importlib.import_module(self.id)
        except (ImportError, ValueError) as error:
            accepted = f"a module with parallel_env or env that can be imported ({' '.join(str(error).split())})"
            raise ConfigError("id", self.id, accepted) from None
        if not (hasattr(module, "parallel_env") or hasattr(module, "env")):
            raise ConfigError("id", self.id, "a module with parallel_env or env; this one has neither")
        try:
            return _made(module, {**self.kwargs, **options})
        except Exception as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise ConfigError("kwargs", self.kwargs, f"what it can be made with ({said})") from None

    def make_vector(self, num_envs: int) -> Any:
        """As many whole worlds as have `num_envs` agents, at least one."""
        from hydrahive.envs.pettingzoo_vector import PettingZooVector

        worlds = [self.make_parallel() for _ in range(max(1, num_envs // self.group))]
        return PettingZooVector(self.id, worlds, captured=self.snapshots == "captured")

    def make_single(self, render_mode: str | None = None) -> Any:
        """One world, all agents at once, for playing and recording."""
        from hydrahive.envs.pettingzoo_vector import PettingZooVector, WorldView

        drawn = {} if render_mode is None else {"render_mode": render_mode}
        return WorldView(PettingZooVector(self.id, [self.make_parallel(**drawn)], captured=False))


def _made(module: Any, kwargs: dict[str, Any]) -> Any:
    """A parallel environment; one in which agents take turns is converted by PettingZoo."""
    if hasattr(module, "parallel_env"):
        return module.parallel_env(**kwargs)
    from pettingzoo.utils import conversions

    turns = module.env(**kwargs)
    if turns.metadata.get("is_parallelizable"):
        return conversions.aec_to_parallel(turns)
    return conversions.turn_based_aec_to_parallel(turns)


@cache
def _agents_of(module: str, kwargs: str) -> int:
    env = _made(importlib.import_module(module), json.loads(kwargs))
    count = len(env.possible_agents)
    env.close()
    return count
