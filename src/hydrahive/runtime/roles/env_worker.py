"""What an env worker does: holds shards and simulates their fragments."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from hydrahive.core.config import EnvConfig
from hydrahive.core.errors import ConfigError, FragmentError, OutOfStepError
from hydrahive.core.fragment import Fragment, FragmentSummary
from hydrahive.core.state import State
from hydrahive.core.watched import Wish
from hydrahive.envs.extras import told_where
from hydrahive.envs.vector import SnapshotVectorEnv, pulse_of
from hydrahive.policies.agent import Agent
from hydrahive.policies.distributions import distribution_of
from hydrahive.policies.flat_weights import FlatWeights
from hydrahive.runtime.config.fingerprint import fingerprint_of
from hydrahive.runtime.config.machine_class import machine_class
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.heart import Work
from hydrahive.runtime.roles.lookout import Lookout, Lookouts
from hydrahive.runtime.roles.shard import Shard, refuse_masks

WORKER_THREADS = 1
"""CPU threads of an env worker: one, so that its bytes and its share of the machine are always the same."""


def build_network(config: RunConfig, generator: torch.Generator) -> Agent:
    """The run's network for its environment's spaces.

    Raises:
        ConfigError: If network and environment do not fit.
    """
    with closing(config.env.make_vector(config.env.group)) as probe:
        refuse_unfit_masks(config, probe)
        seen, taken = probe.single_observation_space, probe.single_action_space
    network: Agent = config.algorithm.network(config.policy, seen, taken, generator, config.env.group)
    network.acts_in_bfloat16 = config.precision == "bfloat16"
    return network


def refuse_unfit_masks(config: RunConfig, env: SnapshotVectorEnv) -> None:
    """Refuse masks that a run's algorithm does not take, or that do not fit the actions.

    Raises:
        ConfigError: If there are such.
    """
    legal = env.legal_actions()
    if legal is not None and not config.algorithm.takes_masks:
        refuse_masks(config)
    choices = distribution_of(env.single_action_space).choices
    if legal is not None and legal.shape != (env.num_envs, choices):
        accepted = f"an environment whose masks say something of each of its {choices} actions"
        raise ConfigError("env", f"masks of {legal.shape[-1]}", accepted)


def shown_by(env: EnvConfig) -> tuple[Any, Any, int, int]:
    """What an environment shows and takes: both spaces, frames that an observation stacks, choices of its masks."""
    probe = env.make_vector(env.group)
    try:
        legal = probe.legal_actions()
        masks = 0 if legal is None else int(legal.shape[-1])
        return probe.single_observation_space, probe.single_action_space, probe.stack, masks
    finally:
        probe.close()


class EnvWorker:
    """Holds any number of a run's shards and one copy of the policy.

    The Trainer calls its methods one at a time, in an order that it fixes; nothing here decides anything.
    """

    def __init__(self, config: RunConfig, run_id: str) -> None:
        """Make a worker without shards."""
        self._config, self._run_id = config, run_id
        self._network = build_network(config, torch.Generator())
        self._weights = FlatWeights(self._network)
        self._version = -1
        self._shards: dict[int, Shard] = {}
        self._broken: dict[int, tuple[str, str]] = {}
        self._lookouts = Lookouts(config)
        self.work = Work()

    def machine_class(self) -> str:
        """What this process's bytes are relative to."""
        return machine_class(self._config)

    def fingerprint(self) -> dict[str, str]:
        """Which code this process computes with."""
        return fingerprint_of(self._config.env)

    def adopt(self, shard: int, state: State | None, segment: int = 0) -> None:
        """Take over a shard, from its first round or from a snapshot; its next fragment raises what fails here."""
        self._broken.pop(shard, None)
        self.release(shard)
        round_ = 0 if state is None else int(state["round"][0])
        self.work.begin(shard, round_, time.monotonic())
        try:
            with pulse_of(self._still_alive):
                env = self._config.env.make_vector(self._config.envs_per_shard)
            env.still_alive = self._still_alive
            adopted = Shard(self._config, self._run_id, shard, env, segment)
            if state is not None:
                adopted.restore(state)
            self._shards[shard] = adopted
        except (Exception, SystemExit) as error:  # games that are closed leave the process
            self._broken[shard] = (told_where(error), traceback.format_exc())
        finally:
            self.work.end()

    def release(self, shard: int) -> None:
        """Forget a shard that another worker has taken over; its environments are closed."""
        held = self._shards.pop(shard, None)
        if held is not None:
            with suppress(Exception, SystemExit):  # what an environment does when it is closed is its own affair
                held.env.close()

    def close(self) -> None:
        """Forget all shards."""
        for shard in list(self._shards):
            self.release(shard)

    def _still_alive(self) -> None:
        self.work.since = time.monotonic()

    def positions(self) -> dict[int, int]:
        """The next round of each shard that is here, after all calls made so far."""
        return {index: shard.round for index, shard in self._shards.items()}

    def simulate(
        self, shards: Sequence[int], round_: int, version: int, weights: np.ndarray, wishes: Sequence[Wish] = ()
    ) -> tuple[list[Fragment], list[FragmentSummary]]:
        """Compute one round's fragments of some shards under the given weights version; `wishes`: what is watched.

        Raises:
            OutOfStepError: If `round_` is not a shard's next, or the shard is not here.
            FragmentError: If an environment or the policy fails; the shard is forgotten.
        """
        if version != self._version:
            self._weights.load(weights)
            self._version = version
        done = [self._simulate(shard, round_, version, wishes) for shard in shards]
        return [fragment for fragment, _ in done], [summary for _, summary in done]

    def snapshot(self, shard: int) -> State:
        """The shard's state between the rounds it was asked for before and after this call.

        Raises:
            OutOfStepError: If the shard is not here.
        """
        return self._shard(shard).snapshot()

    def snapshots(self, shards: Sequence[int]) -> list[State]:
        """Likewise of several shards."""
        return [self.snapshot(shard) for shard in shards]

    def _shard(self, index: int) -> Shard:
        if index not in self._shards:
            raise OutOfStepError(f"shard {index} is not on this worker")
        return self._shards[index]

    def _simulate(
        self, index: int, round_: int, version: int, wishes: Sequence[Wish]
    ) -> tuple[Fragment, FragmentSummary]:
        if index in self._broken:
            raise FragmentError(index, round_, *self._broken.pop(index))
        shard = self._shard(index)

        def simulated(lookouts: Sequence[Lookout]) -> tuple[Fragment, FragmentSummary]:
            return shard.simulate(round_, version, self._network, lookouts)

        return self._guarded(index, round_, lambda: self._shown(index, wishes, simulated))

    def _shown(
        self,
        index: int,
        wishes: Sequence[Wish],
        make: Callable[[Sequence[Lookout]], tuple[Fragment, FragmentSummary]],
    ) -> tuple[Fragment, FragmentSummary]:
        """What `make` gives, with pictures of what is watched; it is given who looks on."""
        lookouts = self._lookouts.due(index, wishes, time.monotonic())
        fragment, summary = make(lookouts)
        if lookouts:
            summary = replace(summary, frames=tuple(self._lookouts.taken(lookouts, time.monotonic())))
        return fragment, summary

    def _guarded(
        self, index: int, round_: int, make: Callable[[], tuple[Fragment, FragmentSummary]]
    ) -> tuple[Fragment, FragmentSummary]:
        """What `make` gives; a shard whose environment fails in it is forgotten.

        Raises:
            OutOfStepError: As it does.
            FragmentError: If it fails otherwise.
        """
        self.work.begin(index, round_, time.monotonic())
        try:
            return make()
        except OutOfStepError:
            raise
        except (Exception, SystemExit) as error:
            self.release(index)  # in the middle of a fragment its state is good for nothing
            raise FragmentError(index, round_, told_where(error), traceback.format_exc()) from None
        finally:
            self.work.end()
