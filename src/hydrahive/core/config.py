"""What all configs share: the bases of the parts that can be chosen, and how values are refused."""

from __future__ import annotations

import importlib
import inspect
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, TypeVar, get_type_hints

from hydrahive.core.errors import ConfigError
from hydrahive.core.replayed import Draw, Told
from hydrahive.core.state import SnapshotKind

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """What a config chooses by `class_path`. Its annotations are evaluated where its class stands.

    Parsers look at them from the module of a subclass, where their names may mean nothing: then they check nothing.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Evaluate the annotations.

        Raises:
            TypeError: If one of their names is not known yet, or to type checkers only.
        """
        super().__init_subclass__(**options)
        own = inspect.get_annotations(cls)
        try:
            hints = get_type_hints(cls)
        except NameError as error:
            cls.__annotations__ = {}  # Python still lists the class among its base's subclasses for a while
            raise TypeError(f"{cls.__name__}: {error} where the class stands, and its fields' types need it") from None
        cls.__annotations__ = {name: hints[name] for name in own}


@dataclass(frozen=True)
class EnvConfig(Part):
    """An environment: how to build it as a vector of environments and as a single one.

    `step_weight` is what an env step counts in the ledger, in Snake steps: a class declares what its steps cost.
    `tells_fatal_actions` declares that its vectors say which actions would end the episode badly. `evaluated` is how
    policies are evaluated on it by convention: by their likeliest actions, or by actions drawn as in training.
    `numpy_products` declares that its steps may multiply matrices in numpy, whose BLAS then is part of the class.
    """

    numpy_products: ClassVar[bool] = True
    step_weight: ClassVar[int] = 1
    tells_fatal_actions: ClassVar[bool] = False
    evaluated: ClassVar[Literal["greedy", "sampled"]] = "greedy"

    def modules(self) -> tuple[str, ...]:
        """The modules whose code its steps run: the versions of their packages say what the bytes are relative to."""
        return (type(self).__module__,)

    @property
    def snapshot_kind(self) -> SnapshotKind:
        """How the environment's state can be kept and given back."""
        return SnapshotKind.EXACT

    @property
    def scores_all_episodes(self) -> bool:
        """Whether every episode that ends has a score, as a replay needs it."""
        return True

    @property
    def longest_episode(self) -> int | None:
        """Env steps after which an episode is truncated, where a limit is known."""
        return None

    def normalised(self, score: float) -> dict[str, float]:
        """A mean score on scales on which others publish it, by the scales' names."""
        return {}

    @property
    def group(self) -> int:
        """Environments that belong together, as the agents of one world; a vector has whole groups."""
        return 1

    def goal_judge(self) -> Any:
        """What says what other goals would have been worth, as `hydrahive.envs.gym.goals.GymGoals`.

        Raises:
            ConfigError: If there are no goals, or the environment does not say.
        """
        accepted = "an environment with goals: a Dict with observation, achieved_goal and desired_goal"
        raise ConfigError("env", type(self).__name__, accepted)

    def make_vector(self, num_envs: int) -> Any:
        """A `hydrahive.envs.vector.SnapshotVectorEnv` of `num_envs` environments."""
        raise NotImplementedError(f"{type(self).__name__} must define make_vector")

    def make_single(self, render_mode: str | None = None) -> Any:
        """One `gymnasium.Env` with the same spaces, for playing and recording."""
        raise NotImplementedError(f"{type(self).__name__} must define make_single")


@dataclass(frozen=True)
class EncoderConfig(Part):
    """A network that turns observations into features; `maker` names its class, as `made` takes it."""

    maker: ClassVar[str]

    def build(self, observation_space: Any, generator: Any) -> Any:
        """A `torch.nn.Module` with an `out_features` attribute, its weights drawn from `generator`."""
        return made(self.maker, self, observation_space, generator)


@dataclass(frozen=True)
class CoreConfig(Part):
    """A policy's memory between steps; `kind` says which."""

    kind: ClassVar[str] = "another"

    @property
    def memory_size(self) -> int:
        """Numbers of memory for each environment."""
        raise NotImplementedError(f"{type(self).__name__} must define memory_size")

    def build(self, in_features: int, generator: Any) -> Any:
        """A module as `hydrahive.policies.cores.RecurrentCore`: its `memory_size`, `out_features`, `forward`.

        Its weights are drawn from `generator`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define build")


CHANGING = "changing"
"""Marks such fields in their metadata."""


def changing(default: T) -> T:
    """The default of a field whose value may be another while a run is trained: the next update alone depends on it."""
    marked: T = field(default=default, metadata={CHANGING: True})
    return marked


@dataclass(frozen=True)
class AlgorithmConfig(Part):
    """A learning rule: which network acts, what acting records besides the action, and the update.

    `replays` is what it draws from a replay: `nothing`, `sequences` where there is one, or `transitions`, which it
    needs, and which `replay_defaults` describe where a config names none; `judges` declares that it says how far off
    they were. `takes_masks` declares that it learns from actions of which some were not legal. `figures` are what its
    updates tell. `network_maker` and `maker` name the classes of the network and of the rule, as `made` takes them.
    Fields with a `changing` default may get other values during a run. Where somebody else trains, `schedule` is the
    one that the run must have, `run_defaults` are other defaults of the run's keys, `unused` says which of them mean
    nothing then, and why; of `open_fields`, which hold another's keys, `default_of` knows those that are not given.
    """

    network_maker: ClassVar[str]
    maker: ClassVar[str]
    replays: ClassVar[Literal["nothing", "sequences", "transitions"]] = "nothing"
    judges: ClassVar[bool] = False
    replay_defaults: ClassVar[Mapping[str, Any]] = {}
    takes_masks: ClassVar[bool] = True
    figures: ClassVar[tuple[str, ...]] = ()
    schedule: ClassVar[str] = ""
    run_defaults: ClassVar[Mapping[str, Any]] = {}
    unused: ClassVar[Mapping[str, str]] = {}
    open_fields: ClassVar[frozenset[str]] = frozenset()

    def default_of(self, key: str) -> Any:
        """The value of a dotted key of an open field that is not given.

        Raises:
            ConfigError: If there is no such key.
        """
        raise ConfigError(key, None, "a known key")

    @property
    def round_steps(self) -> int:
        """Env steps of an update, about, where somebody else decides them; else 0."""
        return 0

    @property
    def changeable(self) -> frozenset[str]:
        """The keys whose defaults are `changing`."""
        return frozenset(one.name for one in fields(self) if CHANGING in one.metadata)

    @property
    def carries(self) -> tuple[str, ...]:
        """Names of the int64 numbers that its agent carries for each environment, besides the policy's memory."""
        return ()

    @property
    def carries_noise(self) -> bool:
        """Whether its agent carries the noise of each number of an action, `[D]` float32."""
        return False

    @property
    def avoids_fatal_actions(self) -> bool:
        """Whether its agent asks which actions would end the episode badly."""
        return False

    def network(self, policy: Any, observation_space: Any, action_space: Any, generator: Any, group: int = 1) -> Any:
        """The `hydrahive.policies.agent.Agent` that acts and learns, for one environment's spaces.

        `group`: environments that belong together, as the agents of one world.
        """
        return made(self.network_maker, policy, observation_space, action_space, generator)

    def build(self, network: Any, computing: Any, seed: int) -> Any:
        """The `hydrahive.algorithms.base.rule.Rule` over `network`."""
        return made(self.maker, self, network, computing, seed)

    def for_policy(self, policy: Any) -> AlgorithmConfig:
        """This config with what it leaves to the policy's kind filled in."""
        return self

    def wants(self, told: Told) -> Draw | None:
        """What the next update draws from the replay; None: one batch of as many sequences as its `ratio` says."""
        return None

    @property
    def reach(self) -> int:
        """Env steps from a row to what it led to, where rows are drawn."""
        return 1


@dataclass(frozen=True)
class ReplayConfig(Part):
    """A memory that updates draw from; `maker` names its class, as `made` takes it.

    `gives` is what is drawn: `sequences` or `transitions`. `needs_scores` declares that it goes by episodes' scores,
    `needs_goals` that it puts other goals in the place of those that were played for.

    Attributes:
        capacity: Frames that are kept; the oldest leave first, of sequences whole finished episodes.
    """

    maker: ClassVar[str]
    gives: ClassVar[Literal["sequences", "transitions"]]
    needs_scores: ClassVar[bool] = False
    needs_goals: ClassVar[bool] = False

    capacity: int = 125_000

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        require_integer("capacity", self.capacity, 1)

    @property
    def keeps_memory_every(self) -> int | None:
        """Frames of an episode between two of a recurrent policy's memories that it wants; None for none."""
        return None

    def frames_beside(self, fresh: int) -> int:
        """Frames to replay in an update beside so many fresh ones."""
        return 0

    def drawn_rows(self, memory: int, frames: int | None, batches: int) -> int:
        """Rows of the largest sample, of so many frames or batches, for a policy with so many numbers of memory."""
        return 0

    def stored_bytes(self, layout: Any) -> int:
        """Memory of `capacity` frames of a `hydrahive.replay.episodes.Layout`."""
        raise NotImplementedError(f"{type(self).__name__} must define stored_bytes")

    def build(self, layout: Any) -> Any:
        """What keeps them, for a `hydrahive.replay.episodes.Layout`: a `hydrahive.replay.interface.Memory`."""
        return made(self.maker, self, layout)


def made(maker: str, *arguments: Any, **options: Any) -> Any:
    """What `package.module:name` makes of the arguments; the module is imported only now.

    So a config names its maker without importing it: configs are read without torch, and no circle of imports is left.
    """
    module, _, name = maker.partition(":")
    return getattr(importlib.import_module(module), name)(*arguments, **options)


def require(accepted: bool, key: str, given: object, expected: str) -> None:
    """Refuse a config value.

    Raises:
        ConfigError: If `accepted` is False; says what was given for `key` and what is expected.
    """
    if not accepted:
        raise ConfigError(key, given, expected)


def require_integer(key: str, given: int, low: int, high: int | None = None) -> None:
    """Refuse an integer outside `[low, high]`."""
    expected = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"
    whole = isinstance(given, int) and not isinstance(given, bool)
    require(whole and low <= given and (high is None or given <= high), key, given, expected)


def require_number(
    key: str, given: float, low: float = -math.inf, high: float = math.inf, *, above: bool = False, by: str = ""
) -> None:
    """Refuse a number that is not finite or outside `[low, high]`.

    Args:
        key: Its name.
        given: The number.
        low: The smallest that is accepted.
        high: The largest.
        above: Whether `low` itself is refused, too.
        by: Another key, whose value is the bound that is not a constant.
    """
    is_number = isinstance(given, int | float) and not isinstance(given, bool) and abs(given) <= sys.float_info.max
    inside = is_number and given <= high and (given > low if above else given >= low)
    bounds = []
    if math.isfinite(low):
        bounds.append(f"{'above' if above else 'of at least'} {low:g}")
    if math.isfinite(high):
        bounds.append(f"of at most {high:g}")
    said = " ".join(["a finite number", " and ".join(bounds)]).strip()
    require(inside, key, given, f"{said}, which is {by}" if by else said)
