"""How single environments of Gymnasium's registry are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hydrahive.core.errors import ConfigError
from hydrahive.envs.extras import told


@dataclass(frozen=True)
class Maker:
    """How single environments are made.

    Attributes:
        name: In Gymnasium's registry.
        kwargs: For the environment.
        wrappers: Put around it, the innermost first.
    """

    name: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    wrappers: tuple[Callable[[Any], Any], ...] = ()

    @property
    def tells_score(self) -> bool:
        """Whether a `score` in the environment's infos is the episode's, as only our own environments promise."""
        return self.name.startswith("hydrahive/")

    def make(self, **options: Any) -> Any:
        """One environment; `options` are `gymnasium.make`'s own."""
        import gymnasium

        try:
            env = gymnasium.make(self.name, **options, **self.kwargs)
            for wrapper in self.wrappers:
                env = wrapper(env)
        except Exception as error:
            raise self._refused(error) from None
        return env

    def make_vector(self, num_envs: int) -> Any:
        """The environment's own vector."""
        import gymnasium

        from hydrahive.envs.vector import with_own_metadata

        try:
            return with_own_metadata(
                lambda: gymnasium.make_vec(self.name, num_envs, vectorization_mode="vector_entry_point", **self.kwargs)
            )
        except Exception as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> ConfigError:
        return ConfigError(
            "env.init_args",
            self.name,
            f"what can be made ({told(error)})",
        )
