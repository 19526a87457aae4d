"""EnvPool's environments (Weng et al. 2022): many games stepped at once by compiled code."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from hydrahive.core.config import EnvConfig, require_integer
from hydrahive.core.errors import ConfigError
from hydrahive.core.state import SnapshotKind
from hydrahive.core.streams import derived_seed
from hydrahive.envs.extras import failures_in_a_line, told
from hydrahive.envs.gym.maker import Maker
from hydrahive.envs.vector import several

SEEDS = 2**31
"""EnvPool's are below this."""


@dataclass(frozen=True)
class EnvPool(EnvConfig):
    """An environment of EnvPool's.

    Its state cannot be taken out: episodes are cut at each boundary, which enters no score, and begin anew with seeds.

    Attributes:
        id: As `envpool.list_all_envs()` names it, for example `Pong-v5`.
        kwargs: Given to `envpool.make`.
        threads: That step the games of a vector; they change no byte.
    """

    id: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    threads: int = 1

    numpy_products: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what EnvPool does not have, offering the nearest."""
        require_integer("threads", self.threads, 1, 256)
        try:
            import envpool
        except ImportError as error:
            raise ConfigError("id", self.id, f"EnvPool to be installed ({told(error)})") from None
        known = envpool.list_all_envs()
        if self.id not in known:
            near = difflib.get_close_matches(self.id, known, n=3, cutoff=0.5)
            raise ConfigError("id", self.id, "one of EnvPool's" + (f" ({', '.join(near)}?)" if near else ""))
        reserved = {"num_envs", "seed", "env_seed", "batch_size", "num_threads", "env_type"} & set(self.kwargs)
        if reserved:
            raise ConfigError("kwargs", self.kwargs, f"none of {', '.join(sorted(reserved))}, which the run decides")

    def modules(self) -> tuple[str, ...]:
        """EnvPool's."""
        return ("envpool",)

    @property
    def snapshot_kind(self) -> SnapshotKind:
        """None are taken."""
        return SnapshotKind.RESTARTED

    @property
    def longest_episode(self) -> int | None:
        """The limit that EnvPool's spec declares."""
        with failures_in_a_line():
            limit = int(_spec(self.id, self.kwargs).config.max_episode_steps)
        return limit if 0 < limit < SEEDS - 1 else None

    def make_vector(self, num_envs: int) -> Any:
        """`num_envs` environments as one vector."""
        from hydrahive.envs.gym.vector import GymVector

        with failures_in_a_line():
            pools = Pools(self.id, num_envs, {**self.kwargs, "num_threads": min(self.threads, num_envs)})
            return GymVector(Maker(self.id), pools, captured=False)

    def make_single(self, render_mode: str | None = None) -> Any:
        """One environment, its observations laid out as the vector's are."""
        from hydrahive.envs.gym.single import FlatSingle

        drawn = {} if render_mode is None else {"render_mode": render_mode}
        with failures_in_a_line():
            return FlatSingle(_First(Pools(self.id, 1, {**self.kwargs, **drawn, "num_threads": 1}), render_mode))


def _spec(name: str, kwargs: dict[str, Any]) -> Any:
    import envpool

    return envpool.make_spec(name, **kwargs)


class Pools(VectorEnv[Any, Any, Any]):
    """One pool of EnvPool's after the other: a pool has its seeds from when it is made, so a seed makes a new one."""

    def __init__(self, name: str, num_envs: int, kwargs: dict[str, Any]) -> None:
        """So many environments of a name.

        Raises:
            ConfigError: If EnvPool cannot make it, or several play in it.
        """
        self.closed = True  # until there is something to close
        self._name, self._kwargs, self.num_envs = name, kwargs, num_envs
        self._pool = self._made(0)
        if self._pool.spec.config.max_num_players != 1:
            raise ConfigError("env.init_args.id", name, "a game of one player")
        self.single_observation_space = self._pool.observation_space
        self.single_action_space = self._pool.action_space
        self.observation_space = several(self.single_observation_space, num_envs)
        self.action_space = several(self.single_action_space, num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}
        self.closed = False

    def _made(self, seed: int) -> Any:
        import envpool

        seeds = [derived_seed(seed, "pool", i) % SEEDS for i in range(self.num_envs)]
        try:
            return envpool.make(
                self._name, env_type="gymnasium", num_envs=self.num_envs, env_seed=seeds, **self._kwargs
            )
        except Exception as error:
            accepted = f"what EnvPool can make ({told(error)})"
            raise ConfigError("env.init_args", self._name, accepted) from None

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin all episodes, with a seed in another pool."""
        first = seed[0] if isinstance(seed, list) else seed
        if first is not None:
            self._pool.close()
            self._pool = self._made(first)
        observations, _ = self._pool.reset()
        return observations, {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all; of infos nothing is taken, for those of resets look like those of steps."""
        observations, rewards, terminated, truncated, _ = self._pool.step(np.asarray(actions))
        return observations, rewards, terminated, truncated, {}

    def render(self) -> Any:
        """The first one as EnvPool draws it."""
        return self._pool.render(env_ids=0)[0]

    def close_extras(self, **kwargs: Any) -> None:
        """Close the pool."""
        self._pool.close()


class _First(gymnasium.Env[Any, Any]):
    """The only environment of a pool, for playing and recording."""

    def __init__(self, pools: Pools, render_mode: str | None) -> None:
        self._pools, self.render_mode = pools, render_mode
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 30}
        self.observation_space, self.action_space = pools.single_observation_space, pools.single_action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        observations, infos = self._pools.reset(seed=seed)
        return _of_first(observations), infos

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observations, rewards, terminated, truncated, infos = self._pools.step(np.asarray(action)[None])
        return _of_first(observations), float(rewards[0]), bool(terminated[0]), bool(truncated[0]), infos

    def render(self) -> Any:
        return self._pools.render()

    def close(self) -> None:
        self._pools.close()


def _of_first(observations: Any) -> Any:
    if isinstance(observations, dict):
        return {name: _of_first(part) for name, part in observations.items()}
    return observations[0]
