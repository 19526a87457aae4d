"""How single environments of Gymnasium's registry are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from hydrahive.core.errors import ConfigError, HydrahiveError
from hydrahive.envs.extras import told
from hydrahive.envs.vector import pulse, with_own_metadata


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
            # An environment may change what it was given: each has its own.
            env = gymnasium.make(self.name, **options, **deepcopy(self.kwargs))
            for wrapper in self.wrappers:
                env = wrapper(env)
        except Exception as error:
            raise self._refused(error) from None
        refuse_statistics(env, self.name)
        pulse()
        return env

    def refuse_undrawn(self, render_mode: str) -> None:
        """Refuse to have an environment drawn whose class says that it is not.

        Raises:
            HydrahiveError: If its metadata does not name the mode.
        """
        import gymnasium
        from gymnasium.envs.registration import load_env_creator

        named = gymnasium.spec(self.name).entry_point
        made_by: Any = load_env_creator(named) if isinstance(named, str) else named
        metadata = getattr(made_by, "metadata", None)
        if isinstance(metadata, dict) and render_mode not in metadata.get("render_modes", (render_mode,)):
            raise HydrahiveError(f"{self.name} draws no pictures: its render_modes do not name {render_mode}")

    def make_vector(self, num_envs: int) -> Any:
        """The environment's own vector."""
        import gymnasium

        try:
            return with_own_metadata(
                lambda: gymnasium.make_vec(
                    self.name, num_envs, vectorization_mode="vector_entry_point", **deepcopy(self.kwargs)
                )
            )
        except Exception as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> ConfigError:
        return ConfigError(
            "env.init_args",
            self.name,
            f"what can be made ({told(error)})",
        )


def refuse_statistics(env: Any, name: str) -> None:
    """Refuse wrappers that normalise by what they have seen: each would have its own figures, and evaluation others.

    Raises:
        ConfigError: Names the keys that do the same for a whole run.
    """
    for layer in layers(env):
        kinds = {type(value).__name__ for value in vars(layer).values()} if hasattr(layer, "__dict__") else set()
        if any(kind.startswith("RunningMeanStd") for kind in kinds):
            accepted = (
                f"none that keep statistics of their own, as those of {name} do: policy.normalize normalises "
                "observations over all that a run has seen, algorithm.normalize_rewards its rewards"
            )
            raise ConfigError("env.init_args.wrappers", type(layer).__name__, accepted)


def layers(env: Any) -> Iterator[Any]:
    """An environment, and what it is put around, layer by layer."""
    seen = 0
    while env is not None and seen < MOST_LAYERS:
        yield env
        inside = vars(env) if hasattr(env, "__dict__") else {}
        env = next((inside[name] for name in ("env", "aec_env") if inside.get(name) is not None), None)
        seen += 1


MOST_LAYERS = 100
