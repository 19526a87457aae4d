"""RLlib's env runner on our vectors, and the callback through which it counts for the run."""

from __future__ import annotations

import os
from typing import Any

import ray
import tree
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.utils.metrics import ENV_TO_MODULE_CONNECTOR

from hydrahive.core.streams import derived_seed
from hydrahive.rllib.tallies import Tally

COUNTED = "hydrahive"
"""Under which env runners' tallies stand in RLlib's results."""


def _environments(runner: Any) -> list[Any]:
    """Ours that an env runner has: a vector, or worlds."""
    inner = runner.env.unwrapped
    return [one.unwrapped for one in inner.envs] if hasattr(inner, "envs") else [inner]


def seed(runner: Any, since: int = 0) -> None:
    """Give an env runner's environments seeds of their own: no two runners the same, nor one before and after a resume.

    RLlib gives all its runners the same.

    Args:
        runner: One that has not begun an episode.
        since: Env steps before.
    """
    if runner.env is None:  # it holds the connectors, and samples nothing
        return
    for i, env in enumerate(_environments(runner)):
        env.take()  # RLlib steps worlds once to see what they are like
        env.seed = derived_seed(runner.config.env_config["seed"], "rllib-env", runner.worker_index or 0, i, since)


class WorldRunner(MultiAgentEnvRunner):
    """RLlib's env runner for worlds of several agents."""

    def make_env(self) -> None:
        """Make them, each with a seed of its own."""
        super().make_env()
        seed(self)


class EnvRunner(SingleAgentEnvRunner):
    """Begins an episode in the step in which the one before ended, where the vector does.

    RLlib's own expects vectors that spend a step on it. Where ours do not, an episode would begin with its second
    observation, and its first reward would be lost.
    """

    _fresh: list[int]
    _to_module: Any = None

    def make_env(self) -> None:
        """Make the environments, with a seed of their own."""
        super().make_env()
        seed(self)

    def _new_episode(self, env_index: int, episodes: Any = None) -> None:
        super()._new_episode(env_index, episodes)
        begun = self.env.unwrapped.begun.pop(env_index, None)
        if begun is None:
            return
        held = episodes if episodes is not None else self._ongoing_episodes
        held[env_index].add_env_reset(observation=begun, infos={})
        self._make_on_episode_callback("on_episode_start", env_index, held)
        if not hasattr(self, "_fresh"):
            self._fresh = []
        self._fresh.append(env_index)

    @property
    def _cached_to_module(self) -> Any:
        """What the module is given next; rows of episodes that have just begun are made when it is asked for."""
        fresh = getattr(self, "_fresh", [])
        if fresh and self._to_module is not None:
            self._fresh = []
            self._to_module = self._with_fresh(self._to_module, fresh)
        return self._to_module

    @_cached_to_module.setter
    def _cached_to_module(self, given: Any) -> None:
        self._to_module = given

    def _with_fresh(self, batch: Any, fresh: list[int]) -> Any:
        """The batch with the rows of these environments made anew, of the first observations of their episodes."""
        made = self._env_to_module(
            episodes=[self._ongoing_episodes[i] for i in fresh],
            batch={},
            explore=self.config.explore,
            rl_module=self.module,
            shared_data={},
            metrics=self.metrics,
            metrics_prefix_key=(ENV_TO_MODULE_CONNECTOR,),
        )

        def put(rows: Any, new: Any) -> Any:
            rows = rows.clone()
            rows[fresh] = new
            return rows

        return tree.map_structure(put, {name: batch[name] for name in made}, made)

    def _reset_envs_and_episodes(self, explore: Any) -> None:
        self._fresh = []
        super()._reset_envs_and_episodes(explore)


class Counts(RLlibCallback):
    """Hands what the environments counted to RLlib's results, from which the run takes it."""

    def on_sample_end(self, *, env_runner: Any, metrics_logger: Any, samples: Any, **kwargs: Any) -> None:
        """Of what was sampled just now."""
        tally = Tally()
        for env in _environments(env_runner):
            tally.add(env.take())
        if env_runner.config.in_evaluation:
            return
        node = ray.get_runtime_context().get_node_id()
        metrics_logger.log_value(
            COUNTED, tally.as_text(env_runner.worker_index, node, os.getpid()), reduce="item_series"
        )
