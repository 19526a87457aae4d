"""Play on held-out seeds: what a policy is worth."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from hydrahive.core.errors import HydrahiveError
from hydrahive.core.streams import derived_seed, stream
from hydrahive.envs.extras import failures_in_a_line
from hydrahive.envs.vector import AT_THE_END, SnapshotVectorEnv, episode_facts, finished_episodes, pulse
from hydrahive.policies.ensemble import Playing
from hydrahive.policies.flat_weights import FlatWeights
from hydrahive.policies.gaussian import Distribution
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import build_network

EVALUATION_ENVS = 32
"""Environments played side by side; fixed, because bytes depend on the batch shape."""

BOOTSTRAP_SAMPLES = 10_000

RESAMPLED_AT_ONCE = 4_000_000
"""Games of resamples in memory, 8 bytes each and as much again."""

VALIDATION = "validation"
"""Purpose of the seeds that a pilot validates on."""

PATIENCE_STEPS = 200_000
"""Steps without an episode's end after which an evaluation gives up, where the environment declares no longer ones."""


@dataclass(frozen=True)
class Evaluation:
    """Of whole episodes.

    Attributes:
        scores: `[E]` float64.
        lengths: In env steps, `[E]` int64.
        games: Numbers of the games that they were in, `[E]` int64: agents of one world share theirs.
        facts: What else is told of episodes, `[F]` each, by name.
    """

    scores: np.ndarray
    lengths: np.ndarray
    games: np.ndarray
    facts: dict[str, np.ndarray] = field(default_factory=dict)

    def summary(self) -> dict[str, float]:
        """Mean with its 95% bootstrap interval (percentiles of means over resampled games), median and range."""
        low, high = np.percentile(self._resampled_means(), [2.5, 97.5])
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

    def error(self) -> float:
        """Standard error of the mean over games; 0 of a single one."""
        _, game = np.unique(self.games, return_inverse=True)
        means = np.bincount(game, self.scores) / np.bincount(game)
        return float(means.std(ddof=1) / np.sqrt(len(means))) if len(means) > 1 else 0.0

    def _resampled_means(self) -> np.ndarray:
        _, game = np.unique(self.games, return_inverse=True)
        sums, counts = np.bincount(game, self.scores), np.bincount(game)
        generator, games = stream(0, "bootstrap", len(sums)), len(sums)
        rows = max(1, RESAMPLED_AT_ONCE // games)
        means: list[np.ndarray] = []
        for first in range(0, BOOTSTRAP_SAMPLES, rows):
            picks = generator.integers(0, games, (min(rows, BOOTSTRAP_SAMPLES - first), games))
            means.append(sums[picks].sum(axis=1) / counts[picks].sum(axis=1))
        return np.concatenate(means)


def _any_told(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).any())


def evaluate_weights(config: RunConfig, weights: np.ndarray, episodes: int, purpose: str = "evaluation") -> Evaluation:
    """Play `episodes` episodes with a flat weights vector, on the seeds of a purpose."""
    network = build_network(config, torch.Generator())
    FlatWeights(network).load(weights)
    return evaluate(config, network, episodes, purpose=purpose)


def validate_weights(config: RunConfig, weights: np.ndarray) -> Evaluation:
    """Play a pilot's validation: on seeds that evaluations do not see, as they must not see what was chosen by it.

    How evaluations choose actions changes no byte of a run, so it has no say here: the environment's convention has.
    """
    assert config.pilot is not None, "pilots validate"
    conventional = replace(config, evaluate_actions="convention")
    return evaluate_weights(conventional, weights, config.pilot.episodes, VALIDATION)


def evaluation_columns(config: RunConfig) -> int:
    """Environments of an evaluation: whole worlds."""
    return -(-EVALUATION_ENVS // config.env.group) * config.env.group


def columns_against_others(config: RunConfig) -> int:
    """Environments of an evaluation in which one agent of each world counts: worlds enough for each agent to be one."""
    return max(evaluation_columns(config), config.env.group**2)


def is_sampled(config: RunConfig) -> bool:
    """Whether a run's policies are evaluated by actions drawn as in training, not by the likeliest ones."""
    return (config.env.evaluated if config.evaluate_actions == "convention" else config.evaluate_actions) == "sampled"


class Player:
    """Chooses actions as a run's config wants them for evaluation: the likeliest, or drawn from seeds of their own."""

    def __init__(self, config: RunConfig, network: Playing, *purpose: int) -> None:
        """Play with a network; `purpose` tells apart what must not draw alike."""
        self._network, self._distribution = network, network.distribution
        self._draws = stream(config.seed, "evaluation-actions", *purpose) if is_sampled(config) else None

    def actions(self, scores: Tensor, legal: np.ndarray | None) -> np.ndarray:
        """Actions as the environment takes them, for the network's scores `[N, P]` and masks `[N, choices]`."""
        if legal is not None:
            scores = self._distribution.masked(scores, torch.from_numpy(legal))
        if self._draws is not None:
            scores = self._network.behaviour(scores, 1.0)
        if self._draws is None:
            chosen = self._distribution.mode(scores)
        else:
            noise = torch.from_numpy(self._distribution.noise(self._draws, (len(scores),)))
            chosen = self._distribution.drawn(scores, noise)
        return self._distribution.for_env(chosen.numpy())


class Opponent:
    """Whoever plays the other agents of a world: another network, or nobody who knows anything."""

    def __init__(self, config: RunConfig, network: Playing | None) -> None:
        """Have `network`, or chance, play all columns but those of one agent in each world, another one in each."""
        columns = columns_against_others(config)
        self.network, self._player = network, None if network is None else Player(config, network, 1)
        world, agent = np.divmod(np.arange(columns), config.env.group)
        self.is_his = world % config.env.group != agent
        self._draws = stream(config.seed, "evaluation-opponent")
        self._memory = torch.zeros((columns, 0 if network is None else network.memory_size))

    def replace(
        self, actions: np.ndarray, distribution: Distribution, observations: Tensor, legal: np.ndarray | None
    ) -> np.ndarray:
        """All columns' actions, the opponent's among them."""
        if self.network is None or self._player is None:
            noise = distribution.noise(self._draws, (len(actions),))
            his = distribution.for_env(distribution.random(noise, legal))
        else:
            scores, self._memory = self.network.step(observations, self._memory)
            his = self._player.actions(scores, legal)
        mine: np.ndarray = actions.copy()
        mine[self.is_his] = his[self.is_his]
        return mine

    def forget(self, columns: np.ndarray) -> None:
        """Begin anew where episodes have ended."""
        self._memory[torch.from_numpy(columns)] = 0.0


def evaluate(
    config: RunConfig,
    network: Playing,
    episodes: int,
    opponent: Opponent | None = None,
    purpose: str = "evaluation",
) -> Evaluation:
    """Play exactly `episodes` episodes, against an opponent if there is one, whose episodes are not counted.

    Each environment plays its own fixed share of them, so that short episodes are not counted more often than
    long ones. The seeds are drawn for a `purpose` only; training never sees them.

    Raises:
        HydrahiveError: If the environment fails, or no episode ends for so long that none may ever.
    """
    columns = evaluation_columns(config) if opponent is None else columns_against_others(config)
    with failures_in_a_line(), closing(config.env.make_vector(columns)) as env:
        return _evaluated(config, env, network, episodes, opponent, purpose)


@torch.inference_mode()
def _evaluated(
    config: RunConfig,
    env: SnapshotVectorEnv,
    network: Playing,
    episodes: int,
    opponent: Opponent | None,
    purpose: str,
) -> Evaluation:
    env.advance(AT_THE_END)
    player = Player(config, network)
    observations, _ = env.reset(seed=derived_seed(config.seed, purpose))
    shares = _shares(env, episodes, opponent)
    scores: list[list[float]] = [[] for _ in shares]
    lengths: list[list[int]] = [[] for _ in shares]
    facts: dict[str, list[float]] = {}
    returns, steps = np.zeros(len(shares)), np.zeros(len(shares), np.int64)
    resetting = np.zeros(len(shares), np.bool_)
    memory = torch.zeros((len(shares), network.memory_size))
    since_an_end, patience = 0, max(PATIENCE_STEPS, 2 + (config.env.longest_episode or 0))
    while any(len(played) < share for played, share in zip(scores, shares, strict=True)):
        seen, legal = torch.tensor(observations), env.legal_actions()
        action_scores, memory = network.step(seen, memory)
        actions = player.actions(action_scores, legal)
        if opponent is not None:
            actions = opponent.replace(actions, network.distribution, seen, legal)
        here = env.present()
        pulse()
        observations, rewards, terminated, truncated, infos = env.step(actions)
        if here is not None:
            resetting = resetting | ~here
        returns = np.where(resetting, 0, returns + rewards)
        steps = np.where(resetting, 0, steps + 1)
        ended = terminated | truncated
        since_an_end = 0 if ended.any() else since_an_end + 1
        if since_an_end == patience:
            raise HydrahiveError(f"no episode ended in {patience:,} steps: has the environment a time limit?")
        memory[torch.from_numpy(ended | resetting)] = 0.0
        if opponent is not None:
            opponent.forget(ended | resetting)
        finished, final, final_steps = finished_episodes(infos, ended, returns, steps)
        told = episode_facts(infos)
        for i in np.flatnonzero(finished):
            if len(scores[i]) < shares[i]:
                scores[i].append(float(final[i]))
                lengths[i].append(int(final_steps[i]))
                for name, values in told.items():
                    facts.setdefault(name, []).append(float(values[i]))
        resetting = ended if env.resets_on_next_step else np.zeros(len(shares), np.bool_)
        if not env.resets_on_next_step:
            returns[ended], steps[ended] = 0, 0
    games = [i // config.env.group * episodes + game for i, played in enumerate(scores) for game in range(len(played))]
    kept = {name: np.array(values) for name, values in facts.items()}
    return Evaluation(np.array(list(chain(*scores))), np.array(list(chain(*lengths))), np.array(games), kept)


def _shares(env: SnapshotVectorEnv, episodes: int, opponent: Opponent | None) -> np.ndarray:
    """How many of the counted episodes each environment plays, `[N]` int64: who is there when the worlds begin.

    Raises:
        HydrahiveError: If nobody is.
    """
    present = env.present()
    counted = np.ones(env.num_envs, np.bool_) if opponent is None else ~opponent.is_his
    players = np.flatnonzero(counted if present is None else counted & present)
    if not len(players):
        raise HydrahiveError("nobody whose episodes count is there when the worlds begin")
    shares = np.zeros(env.num_envs, np.int64)
    shares[players] = [len(range(i, episodes, len(players))) for i in range(len(players))]
    return shares
