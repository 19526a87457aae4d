"""What is said of a run that one of RLlib's algorithms trains; without Ray and torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from hydrahive.core.config import CHANGING, AlgorithmConfig, made
from hydrahive.core.errors import ConfigError

UNUSED: dict[str, str] = {
    "shards": "RLlib's env runners hold environments: algorithm.config.num_envs_per_env_runner",
    "envs_per_shard": "RLlib says algorithm.config.num_envs_per_env_runner",
    "fragment_length": "RLlib says algorithm.config.rollout_fragment_length",
    "lag": "RLlib does not decide how old the weights are that act",
    "policy": "RLlib says algorithm.config.model_config",
    "replay": "RLlib says algorithm.config.replay_buffer_config",
    "curiosity": "RLlib has rewards of its own",
    "learner": "RLlib says algorithm.config.num_learners, num_gpus_per_learner and so on",
    "portable": "RLlib's bytes are not reproducible",
    "faults": "RLlib says algorithm.config.restart_failed_env_runners, sample_timeout_s and so on",
    "audit": "nobody can compute RLlib's work again",
    "remote": "RLlib's work cannot be lent to volunteers",
    "pilot": "a pilot's decisions are part of what repeats, and RLlib's runs do not",
}
"""Keys of a run that say nothing beside RLlib, and why."""


ABOUT_STEPS = 1_000
"""Env steps of an iteration whose keys do not say how many it samples."""


@dataclass(frozen=True)
class Rllib(AlgorithmConfig):
    """One of RLlib's algorithms (new API stack), trained by RLlib as a run of ours; such runs are not reproducible.

    Attributes:
        name: As RLlib calls it: PPO, IMPALA, APPO, DQN, SAC, TQC.
        config: RLlib's own keys, flat, as the methods of its AlgorithmConfig take them: {lr: 3.0e-4, gamma: 0.99}.
    """

    schedule: ClassVar[str] = "rllib"
    unused: ClassVar[Mapping[str, str]] = UNUSED
    run_defaults: ClassVar[Mapping[str, Any]] = {"schedule": "rllib", "boundary_every": 1, "metrics_every": 1}
    open_fields: ClassVar[frozenset[str]] = frozenset({"config"})
    figures: ClassVar[tuple[str, ...]] = ("loss", "policy_loss", "value_loss", "q_loss", "entropy", "learning_rate")
    network_maker = "hydrahive.rllib.policy:RllibPolicy"

    name: str = "PPO"
    config: dict[str, Any] = field(default_factory=dict, metadata={CHANGING: True})

    def __post_init__(self) -> None:
        """Refuse what RLlib does not have.

        Raises:
            ConfigError: Says which key, and the nearest names.
        """
        made("hydrahive.rllib.settings:refuse_unknown", self.name, self.config)

    def default_of(self, key: str) -> Any:
        """RLlib's own value at a dotted key of `config`, for keys that are not given; ConfigError if it has none."""
        return made("hydrahive.rllib.settings:default_of", self.name, key)

    @property
    def round_steps(self) -> int:
        """What one of its iterations is asked to sample; where only time is asked for, as many as many others do."""
        asked = self.config.get("min_sample_timesteps_per_iteration") or 0
        if not asked and self.name == "PPO":
            asked = self.config.get("train_batch_size_per_learner") or self.default_of("train_batch_size")
        return int(asked or ABOUT_STEPS)

    def network(self, policy: Any, observation_space: Any, action_space: Any, generator: Any, group: int = 1) -> Any:
        """RLlib's module as a policy of ours."""
        return made(self.network_maker, self, observation_space, action_space, group)

    def build(self, network: Any, computing: Any, seed: int) -> Any:
        """Never asked for: RLlib learns.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError("algorithm", "Rllib", "schedule: rllib, where RLlib learns itself")
