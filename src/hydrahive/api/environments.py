"""Environments, as Python programs use them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydrahive.api.run import Run
from hydrahive.api.training import config_of
from hydrahive.core.config import EnvConfig


def make_env(
    env: EnvConfig | Run | str | Path | Mapping[str, Any],
    num_envs: int | None = None,
    *,
    render_mode: str | None = None,
    **overrides: Any,
) -> Any:
    """An environment as its policies see it.

    Args:
        env: Its config, a run, or an experiment as `train` takes it.
        num_envs: A vector of so many, with snapshots; None for a single `gymnasium.Env`.
        render_mode: Of a single one, as Gymnasium's.
        **overrides: As `train`'s, where an experiment is given.

    Raises:
        ConfigError: If it cannot be made.
    """
    if isinstance(env, Run):
        chosen = env.config.env
    else:
        chosen = env if isinstance(env, EnvConfig) else config_of(env, overrides)[0].env
    return chosen.make_single(render_mode) if num_envs is None else chosen.make_vector(num_envs)
