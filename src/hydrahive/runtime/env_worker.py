"""What an env worker does: holds shards and simulates their fragments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from hydrahive.core.fragment import Fragment, FragmentSummary
from hydrahive.core.state import State
from hydrahive.policies.actor_critic import ActorCritic
from hydrahive.policies.flat_weights import FlatWeights
from hydrahive.runtime.config import RunConfig
from hydrahive.runtime.machine_class import machine_class
from hydrahive.runtime.shard import Shard

WORKER_THREADS = 1
"""CPU threads of an env worker: one, so that its bytes and its share of the machine are always the same."""


def build_policy(config: RunConfig, generator: torch.Generator) -> ActorCritic:
    """The run's network for its environment's spaces.

    Raises:
        ConfigError: If network and environment do not fit.
    """
    probe = config.env.make_vector(1)
    try:
        spaces = probe.single_observation_space, probe.single_action_space
        return ActorCritic(config.policy, *spaces, generator)
    finally:
        probe.close()


class EnvWorker:
    """Holds any number of a run's shards and one copy of the policy.

    The Trainer calls its methods one at a time, in an order that it fixes; nothing here decides anything.
    """

    def __init__(self, config: RunConfig, run_id: str) -> None:
        """Make a worker without shards."""
        self._config, self._run_id = config, run_id
        self._policy = build_policy(config, torch.Generator())
        self._weights = FlatWeights(self._policy)
        self._version = -1
        self._shards: dict[int, Shard] = {}

    def machine_class(self) -> str:
        """What this process's bytes are relative to."""
        return machine_class(self._config)

    def adopt(self, shard: int, state: State | None) -> None:
        """Take over a shard, from its first round or from a snapshot."""
        env = self._config.env.make_vector(self._config.envs_per_shard)
        self._shards[shard] = Shard(self._config, self._run_id, shard, env)
        if state is not None:
            self._shards[shard].restore(state)

    def simulate(
        self, shards: Sequence[int], round_: int, version: int, weights: np.ndarray
    ) -> tuple[list[Fragment], list[FragmentSummary]]:
        """Compute one round's fragments of some shards under the given weights version."""
        if version != self._version:
            self._weights.load(weights)
            self._version = version
        done = [self._shards[shard].simulate(round_, version, self._policy) for shard in shards]
        return [fragment for fragment, _ in done], [summary for _, summary in done]

    def snapshot(self, shard: int) -> State:
        """The shard's state between the rounds it was asked for before and after this call."""
        return self._shards[shard].snapshot()
