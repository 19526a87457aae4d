"""Play on held-out seeds: what a policy is worth."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from hydrahive.core.streams import derived_seed, stream
from hydrahive.envs.vector import AT_THE_END, episode_facts, finished_episodes
from hydrahive.policies.flat_weights import FlatWeights
from hydrahive.policies.network import Network
from hydrahive.runtime.config import RunConfig
from hydrahive.runtime.env_worker import build_network

EVALUATION_ENVS = 32
"""Environments played side by side; fixed, because bytes depend on the batch shape."""

BOOTSTRAP_SAMPLES = 10_000


@dataclass(frozen=True)
class Evaluation:
    """Of whole episodes: scores, `[E]` float64, lengths in env steps, `[E]` int64, and what else is told of them."""

    scores: np.ndarray
    lengths: np.ndarray
    facts: dict[str, np.ndarray] = field(default_factory=dict)

    def summary(self) -> dict[str, float]:
        """Mean with its 95% bootstrap interval (percentiles of resampled means), median and range."""
        generator = stream(0, "bootstrap", len(self.scores))
        picks = generator.integers(0, len(self.scores), (BOOTSTRAP_SAMPLES, len(self.scores)))
        low, high = np.percentile(self.scores[picks].mean(axis=1), [2.5, 97.5])
        return {
            "episodes": len(self.scores),
            "mean": float(self.scores.mean()),
            "mean_low": float(low),
            "mean_high": float(high),
            "median": float(np.median(self.scores)),
            "min": float(self.scores.min()),
            "max": float(self.scores.max()),
            "length_mean": float(self.lengths.mean()),
            **{f"{name}_mean": float(np.nanmean(values)) for name, values in self.facts.items() if _any_told(values)},
        }


def _any_told(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).any())


def evaluate_weights(config: RunConfig, weights: np.ndarray, episodes: int) -> Evaluation:
    """Play `episodes` episodes with a flat weights vector."""
    network = build_network(config, torch.Generator())
    FlatWeights(network).load(weights)
    return evaluate(config, network, episodes)


def is_sampled(config: RunConfig) -> bool:
    """Whether a run's policies are evaluated by actions drawn as in training, not by the likeliest ones."""
    return (config.env.evaluated if config.evaluate_actions == "convention" else config.evaluate_actions) == "sampled"


class Player:
    """Chooses actions as a run's config wants them for evaluation: the likeliest, or drawn from seeds of their own."""

    def __init__(self, config: RunConfig, network: Network, *purpose: int) -> None:
        """Play with a network; `purpose` tells apart what must not draw alike."""
        self._network, self._distribution = network, network.distribution
        self._draws = stream(config.seed, "evaluation-actions", *purpose) if is_sampled(config) else None

    def actions(self, scores: Tensor, legal: np.ndarray | None) -> np.ndarray:
        """Actions as the environment takes them, for the network's scores `[N, P]` and masks `[N, choices]`."""
        if self._draws is not None:
            scores = self._network.behaviour(scores, 1.0)
        if legal is not None:
            scores = self._distribution.masked(scores, torch.from_numpy(legal))
        if self._draws is None:
            chosen = self._distribution.mode(scores)
        else:
            noise = torch.from_numpy(self._distribution.noise(self._draws, (len(scores),)))
            chosen = self._distribution.drawn(scores, noise)
        return self._distribution.for_env(chosen.numpy())


@torch.inference_mode()
def evaluate(config: RunConfig, network: Network, episodes: int) -> Evaluation:
    """Play exactly `episodes` episodes.

    Each environment plays its own fixed share of them, so that short episodes are not counted more often than
    long ones. The seeds are drawn for this purpose only; training never sees them.
    """
    columns = -(-EVALUATION_ENVS // config.env.group) * config.env.group
    env = config.env.make_vector(columns)
    env.advance(AT_THE_END)
    player = Player(config, network)
    observations, _ = env.reset(seed=derived_seed(config.seed, "evaluation"))
    present = env.present()
    players = np.arange(columns) if present is None else np.flatnonzero(present)
    shares = np.zeros(columns, np.int64)
    shares[players] = [len(range(i, episodes, len(players))) for i in range(len(players))]
    scores: list[list[float]] = [[] for _ in shares]
    lengths: list[list[int]] = [[] for _ in shares]
    facts: dict[str, list[float]] = {}
    returns, steps = np.zeros(len(shares)), np.zeros(len(shares), np.int64)
    resetting = np.zeros(len(shares), np.bool_)
    memory = torch.zeros((len(shares), network.memory_size))
    while any(len(played) < share for played, share in zip(scores, shares, strict=True)):
        action_scores, memory = network.step(torch.tensor(observations), memory)
        actions = player.actions(action_scores, env.legal_actions())
        here = env.present()
        observations, rewards, terminated, truncated, infos = env.step(actions)
        if here is not None:
            resetting = resetting | ~here
        returns = np.where(resetting, 0, returns + rewards)
        steps = np.where(resetting, 0, steps + 1)
        ended = terminated | truncated
        memory[torch.from_numpy(ended | resetting)] = 0.0
        finished, final, final_steps = finished_episodes(infos, ended, returns, steps)
        told = episode_facts(infos)
        for i in np.flatnonzero(finished):
            if len(scores[i]) < shares[i]:
                scores[i].append(float(final[i]))
                lengths[i].append(int(final_steps[i]))
                for name, values in told.items():
                    facts.setdefault(name, []).append(float(values[i]))
        resetting = ended if env.resets_on_next_step else np.zeros(columns, np.bool_)
        if not env.resets_on_next_step:
            returns[ended], steps[ended] = 0, 0
    env.close()
    kept = {name: np.array(values) for name, values in facts.items()}
    return Evaluation(np.array(list(chain(*scores))), np.array(list(chain(*lengths))), kept)
