"""RLlib's modules as policies of ours, for whoever evaluates, plays, serves or exports them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from hydrahive.core.errors import ConfigError, first_line
from hydrahive.policies.agent import Agent
from hydrahive.policies.distributions import distribution_of
from hydrahive.policies.gaussian import Distribution
from hydrahive.rllib.config import Rllib
from hydrahive.rllib.masks import module_spec
from hydrahive.rllib.settings import settings
from hydrahive.rllib.shown import Shown, taken

CERTAIN = 1e4
"""Of the best action's score, that chance never overcomes it: actions by values are not drawn."""

FILTER_CLIP = 10.0
"""Standard deviations to which RLlib's MeanStdFilter clips."""


class RllibGaussian(Distribution):
    """RLlib's Gaussian actions: means and log deviations; squashed by tanh, or clipped, to the actions' bounds.

    The mode is squashed as what is drawn is; RLlib 2.60's own deterministic actions of SAC and TQC are not.
    """

    def __init__(self, space: spaces.Box, *, squashes: bool, normalizes: bool, clips: bool) -> None:
        """Of a space.

        Args:
            space: The actions.
            squashes: Whether tanh brings them into [-1, 1], as SAC does.
            normalizes: Whether [-1, 1] is stretched to the space's bounds, where it has any.
            clips: Whether they are clipped to them.
        """
        self._space, self._squashes = space, squashes
        bounded = bool(space.bounded_below.all() and space.bounded_above.all())
        self._stretches, self._clips = normalizes and bounded, clips and not normalizes
        size = int(np.prod(space.shape))
        self.parameters, self.action_shape = 2 * size, (size,)
        self.action_dtype = np.dtype(np.float32)

    def noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Standard normal, `[*shape, D]`."""
        return generator.standard_normal((*shape, self.action_shape[0]), np.float32)

    def drawn(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """Means and noise."""
        mean, log_std = parameters.chunk(2, dim=-1)
        return self._squashed(mean + log_std.exp() * noise)

    def mode(self, parameters: Tensor) -> Tensor:
        """The means."""
        return self._squashed(parameters.chunk(2, dim=-1)[0])

    def _squashed(self, actions: Tensor) -> Tensor:
        return actions.tanh() if self._squashes else actions

    def takes(self, actions: np.ndarray) -> bool:
        """Any numbers."""
        return bool(np.isfinite(actions).all())

    def for_env(self, actions: np.ndarray) -> np.ndarray:
        """Within the actions' bounds."""
        return self.tensors_for_env(torch.from_numpy(actions)).numpy().astype(self._space.dtype)

    def tensors_for_env(self, actions: Tensor) -> Tensor:
        """Likewise."""
        shaped = actions.reshape(-1, *self._space.shape)
        low, high = (torch.from_numpy(np.array(end, np.float32)) for end in (self._space.low, self._space.high))
        if self._stretches:
            shaped = low + (shaped + 1.0) * (high - low) / 2.0
        return torch.clamp(shaped, low, high) if self._stretches or self._clips else shaped

    def normal(self, parameters: Tensor) -> Tensor:
        """As they are."""
        return parameters

    def log_probs(self, normal: Tensor, actions: Tensor) -> Tensor:
        """Nobody learns from them here."""
        raise NotImplementedError

    def entropy(self, normal: Tensor) -> Tensor:
        """Likewise."""
        raise NotImplementedError

    def kl_divergence(self, p: Tensor, q: Tensor) -> Tensor:
        """Likewise."""
        raise NotImplementedError


class RllibPolicy(Agent):
    """A module of RLlib's that acts, with what its connectors do before it."""

    filter_mean: Tensor
    filter_std: Tensor

    def __init__(self, config: Rllib, observation_space: Any, action_space: Any, group: int = 1) -> None:
        """Build the module, with weights of its own.

        Args:
            config: Which algorithm, and its model.
            observation_space: Of one environment.
            action_space: Of one environment.
            group: Environments that belong together.

        Raises:
            ConfigError: If RLlib has no module for these spaces.
        """
        torch.nn.Module.__init__(self)
        self.normalizes = self.acts_in_bfloat16 = False
        self.core = None
        built = settings(config.name, config.config)
        connectors = config.config.get("env_to_module_connector", [])
        self._shown, action = Shown(observation_space), taken(action_space)
        seen: Any = self._shown.space
        self._flattens = "FlattenObservations" in connectors
        if self._flattens:
            seen = spaces.Box(seen.low.ravel(), seen.high.ravel())
        self.filters = "MeanStdFilter" in connectors
        if self.filters:
            self.register_buffer("filter_mean", torch.zeros(self._shown.space.shape))
            self.register_buffer("filter_std", torch.ones(self._shown.space.shape))
        try:
            self.module: Any = module_spec(built, seen, action, inference_only=True).build()
        except Exception as error:  # RLlib raises what it likes
            accepted = f"a model that RLlib builds for {seen}: {first_line(error)}"
            raise ConfigError("algorithm", config.name, accepted) from None
        self._by_values = config.name == "DQN"
        self.distribution = self._distribution(built, action_space, squashes=config.name in ("SAC", "TQC"))
        self._state = _flat_state(self.module)
        self.memory_size = sum(int(np.prod(shape)) for _, shape in self._state)

    def _distribution(self, built: Any, space: Any, *, squashes: bool) -> Distribution:
        if not isinstance(space, spaces.Box):
            return distribution_of(space)
        ways = {"normalizes": bool(built.normalize_actions), "clips": bool(built.clip_actions)}
        return RllibGaussian(space, squashes=squashes, **ways)

    def take_filter(self, state: dict[str, Any]) -> None:
        """Take over what a MeanStdFilter has seen, as RLlib keeps it."""
        from ray.rllib.utils.filter import RunningStat

        seen = RunningStat.from_state(next(iter(state.values()))["running_stats"][0])
        self.filter_mean.copy_(torch.from_numpy(np.array(seen.mean, np.float32)))
        self.filter_std.copy_(torch.from_numpy(np.array(seen.std + 1e-8, np.float32)))  # as RLlib divides by it

    def step(self, observations: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """One step of acting: scores `[N, P]` and the memory `[N, M]` after it."""
        seen = self._shown.tensors(observations)
        if self.filters:
            seen = ((seen - self.filter_mean) / self.filter_std).clamp(-FILTER_CLIP, FILTER_CLIP)
        if self._flattens:
            seen = seen.flatten(1)
        batch: dict[str, Any] = {"obs": seen}
        if self._state:
            batch = {"obs": seen.unsqueeze(1), "state_in": self._unflat(memory)}
        if self._by_values:
            told = self.module.compute_q_values(batch)
            scores = told["qf_preds"]
        else:
            told = self.module._forward_inference(batch)
            scores = told["action_dist_inputs"]
        if self._state:
            scores = scores.squeeze(1)
            memory = torch.cat([_at(told["state_out"], path).flatten(1) for path, _ in self._state], dim=1)
        return scores.float(), memory

    def behaviour(self, scores: Tensor, rank: float) -> Tensor:
        """Values as the certain choice of the best; other scores as they are."""
        if not self._by_values:
            return scores
        best = torch.zeros_like(scores).scatter_(-1, scores.argmax(-1, keepdim=True), CERTAIN)
        return torch.where(scores < -1e20, scores, best)

    def _unflat(self, memory: Tensor) -> Any:
        state: dict[str, Any] = {}
        begin = 0
        for path, shape in self._state:
            size = int(np.prod(shape))
            holder = state
            for name in path[:-1]:
                holder = holder.setdefault(name, {})
            holder[path[-1]] = memory[:, begin : begin + size].reshape(-1, *shape)
            begin += size
        return state


def _flat_state(module: Any) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
    """What a module remembers: the place of each array, and its shape."""
    found: list[tuple[tuple[str, ...], tuple[int, ...]]] = []

    def walk(state: Any, path: tuple[str, ...]) -> None:
        for name, value in sorted(state.items()):
            if isinstance(value, dict):
                walk(value, (*path, name))
            else:
                found.append(((*path, name), tuple(value.shape)))

    if module.is_stateful():
        walk(module.get_initial_state(), ())
    return found


def _at(state: Any, path: tuple[str, ...]) -> Tensor:
    for name in path:
        state = state[name]
    return state  # type: ignore[no-any-return]
