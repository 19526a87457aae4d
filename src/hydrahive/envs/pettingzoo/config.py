"""Any PettingZoo environment, all agents at once or in turns, sharing one policy or in groups of like ones."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from hydrahive.core.config import EnvConfig, require
from hydrahive.core.errors import ConfigError
from hydrahive.core.state import SnapshotKind
from hydrahive.envs.extras import behind, failures_in_a_line, told
from hydrahive.envs.gym.maker import layers
from hydrahive.envs.pettingzoo.groups import members_of
from hydrahive.envs.vector import pulse
from hydrahive.envs.wrappers import wrappers_of


@dataclass(frozen=True)
class PettingZoo(EnvConfig):
    """A parallel or turn-based environment; every agent is one environment of the vector, a world's belong together.

    Where agents take turns, those who wait see how it goes on and may take their first action only, which does nothing:
    it teaches nothing, and what comes of the others' turns reaches them. Two players who share a policy are self-play.

    Attributes:
        id: The module that has `parallel_env` or, for turns, `env`, for example `pettingzoo.classic.connect_four_v3`.
        kwargs: Given to it.
        snapshots: `captured` keeps the state by every attribute's value; `none` is for environments whose state cannot
            be: their episodes are cut at each boundary, which enters no score, and they are made anew; `reset` makes
            none anew, where a reset with a seed forgets all that was.
        groups: Names of groups, and for each the agents in it, by name or pattern (`wolf_*`), where agents are unlike.
            Observations are then rows of numbers as long as the longest, and say which group sees it; of counted
            actions those that others have are masked. The encoder `PerGroup` gives each group a policy of its own.
        team_rewards: Whether each agent is paid what those of its group who are there (all, without groups) earn in a
            step on average, instead of what it earns itself.
        central_state: Whether what `state()` of a world gives is shown to the critic of `central_critic`; no agent acts
            on it.
        wrappers: Put around each world in which all act at once, the innermost first: dotted paths of what takes a
            `pettingzoo.ParallelEnv` and gives one, or mappings of `class_path` and `init_args`.
    """

    id: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    snapshots: Literal["captured", "none", "reset"] = "captured"
    groups: dict[str, list[str]] | None = None
    team_rewards: bool = False
    central_state: bool = False
    wrappers: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse what cannot be made, and groups whose agents are unlike."""
        env = self.make_parallel()
        try:
            agents = list(env.possible_agents)
            require(bool(agents), "id", self.id, "an environment with agents; its possible_agents are none")
            self._refuse_unlike(env, agents)
        except ConfigError:
            raise
        except Exception as error:  # whatever a user's environment raises
            accepted = f"an environment with possible_agents and a space of each ({told(error)})"
            raise ConfigError("id", self.id, accepted) from None
        env.close()

    def _refuse_unlike(self, env: Any, agents: list[str]) -> None:
        for alike in members_of(self.groups, agents):
            for agent in alike[1:]:
                for kind in ("observation_space", "action_space"):
                    if getattr(env, kind)(alike[0]) != getattr(env, kind)(agent):
                        accepted = f"agents alike, or `groups` of such: {alike[0]} and {agent} differ in {kind}"
                        raise ConfigError("id" if self.groups is None else "groups", self.groups or self.id, accepted)

    def modules(self) -> tuple[str, ...]:
        """Those of the world's class and of its wrappers, and what these import."""
        world = self.make_parallel()
        try:
            return (self.id, *behind(map(type, layers(world))))
        finally:
            world.close()

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
        except Exception as error:  # whatever a user's module raises
            accepted = f"a module with parallel_env or env that can be imported ({told(error)})"
            raise ConfigError("id", self.id, accepted) from None
        if not (hasattr(module, "parallel_env") or hasattr(module, "env")):
            raise ConfigError("id", self.id, "a module with parallel_env or env; this one has neither")
        try:
            world = _made(module, {**deepcopy(self.kwargs), **options})
        except Exception as error:
            raise ConfigError("kwargs", self.kwargs, f"what it can be made with ({told(error)})") from None
        pulse()
        return self._wrapped(world)

    def _wrapped(self, world: Any) -> Any:
        from hydrahive.envs.pettingzoo.vector import TURNS

        wrappers = wrappers_of(self.wrappers, "wrappers of pettingzoo.ParallelEnv")
        if wrappers and isinstance(world, TURNS):
            raise ConfigError("wrappers", self.wrappers, "none, where agents take turns")
        try:
            for wrapper in wrappers:
                world = wrapper(world)
        except Exception as error:  # whatever a user's wrapper raises
            raise ConfigError("wrappers", self.wrappers, f"what goes around {self.id} ({told(error)})") from None
        return world

    def make_vector(self, num_envs: int) -> Any:
        """As many whole worlds as have `num_envs` agents, at least one."""
        worlds = [self.make_parallel() for _ in range(max(1, num_envs // self.group))]
        with failures_in_a_line():
            anew = self.make_parallel if self.snapshots == "none" else None
            captured = self.snapshots == "captured"
            return self._vector(worlds, captured=captured, anew=anew)

    def _vector(self, worlds: list[Any], *, captured: bool, anew: Callable[[], Any] | None = None) -> Any:
        from hydrahive.envs.pettingzoo.vector import PettingZooVector

        return PettingZooVector(
            self.id, worlds, self.groups, captured=captured, anew=anew,
            team_rewards=self.team_rewards, central_state=self.central_state,
        )  # fmt: skip

    def make_single(self, render_mode: str | None = None) -> Any:
        """One world, all agents at once, for playing and recording."""
        from hydrahive.envs.pettingzoo.vector import WorldView

        drawn = {} if render_mode is None else {"render_mode": render_mode}
        worlds = [self.make_parallel(**drawn)]
        vector = self._vector(worlds, captured=False)
        return WorldView(vector, is_drawn=bool(drawn))


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
