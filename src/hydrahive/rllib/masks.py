"""RLlib's modules where environments say which actions are legal."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from gymnasium import spaces
from ray.rllib.core.rl_module.apis import TARGET_NETWORK_ACTION_DIST_INPUTS as OLD_LOGITS
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from hydrahive.core.errors import ConfigError
from hydrahive.core.fragment import MASKED
from hydrahive.rllib.shown import MASK, OBSERVATIONS

LOGITS, VALUES, OBS = "action_dist_inputs", "qf_preds", "obs"


def module_spec(built: Any, seen: Any, action: Any, *, inference_only: bool = False) -> RLModuleSpec:
    """RLlib's default module of an algorithm for these spaces, with masks where observations have them.

    Raises:
        ConfigError: If the algorithm takes no masks.
    """
    spec = built.get_default_rl_module_spec()
    if isinstance(seen, spaces.Dict):
        if built.algo_class.__name__ in ("SAC", "TQC"):
            accepted = "PPO, IMPALA, APPO or DQN, where an environment says which actions are legal"
            raise ConfigError("name", built.algo_class.__name__, accepted)
        spec.module_class = masked(spec.module_class)
    spec.observation_space, spec.action_space = seen, action
    spec.model_config = {**(spec.model_config or {}), **dict(built.model_config)}
    spec.inference_only = inference_only
    return spec


@cache
def masked(base: Any) -> Any:
    """A module of RLlib's that sees observations without their masks, and leaves only legal actions."""
    ways = _OfValues if hasattr(base, "compute_q_values") else _OfLogits
    return type(f"Masked{base.__name__}", (ways, base), {})


class _Inner:
    """Its layers are made for observations without masks."""

    def __init__(self, *, observation_space: Any, **given: Any) -> None:
        super().__init__(observation_space=observation_space[OBSERVATIONS], **given)  # type: ignore[call-arg]


class _OfLogits(_Inner):
    """Of those that say how likely actions are."""

    def _forward_inference(self, batch: Any, **given: Any) -> Any:
        plain, mask = _parted(batch)
        return _allowed(super()._forward_inference(plain, **given), mask)  # type: ignore[misc]

    def _forward_exploration(self, batch: Any, **given: Any) -> Any:
        plain, mask = _parted(batch)
        return _allowed(super()._forward_exploration(plain, **given), mask)  # type: ignore[misc]

    def _forward_train(self, batch: Any, **given: Any) -> Any:
        plain, mask = _parted(batch)
        return _allowed(super()._forward_train(plain, **given), mask)  # type: ignore[misc]

    def compute_values(self, batch: Any, embeddings: Any = None) -> Any:
        """Of states, which have no masks."""
        return super().compute_values(_parted(batch)[0], embeddings)  # type: ignore[misc]

    def forward_target(self, batch: Any, **given: Any) -> Any:
        """APPO's older policy."""
        plain, mask = _parted(batch)
        return _allowed(super().forward_target(plain, **given), mask)  # type: ignore[misc]


class _OfValues(_Inner):
    """Of those that say what actions are worth: RLlib's DQN takes no action that is worth minus infinity."""

    def _qf_forward_helper(self, batch: Any, *given: Any, **named: Any) -> Any:
        plain, mask = _parted(batch)
        told = super()._qf_forward_helper(plain, *given, **named)  # type: ignore[misc]
        told[VALUES] = torch.where(mask > 0, told[VALUES], torch.full_like(told[VALUES], -math.inf))
        return told


def _parted(batch: Any) -> tuple[Any, Any]:
    """A batch with plain observations, and the masks of its actions."""
    seen = batch[OBS]
    return {**batch, OBS: seen[OBSERVATIONS]}, seen[MASK]


def _allowed(told: Any, mask: Any) -> Any:
    """What a module says, with only legal actions left."""
    for name in (LOGITS, OLD_LOGITS):
        if name in told:
            told[name] = torch.where(mask > 0, told[name], torch.full_like(told[name], MASKED))
    return told
