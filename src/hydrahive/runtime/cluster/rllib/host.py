"""The actor in which RLlib's Algorithm works, and what Ray must reserve for it."""

from __future__ import annotations

import os
import threading
from typing import Any

from hydrahive.core.errors import UsageError, first_line
from hydrahive.rllib.config import Rllib
from hydrahive.rllib.settings import algorithm_class
from hydrahive.rllib.trained import ENV, Trained, configured
from hydrahive.runtime.cluster.actors import Process
from hydrahive.runtime.config.fingerprint import fingerprint_of, version_of
from hydrahive.runtime.config.machine_class import prepare_torch
from hydrahive.runtime.config.run_config import RunConfig

ANY_MACHINE = "any, for RLlib"
"""In place of a machine class: such runs promise no bytes, so any machine may go on with them."""


class HostActor(Process, Trained):
    """`Trained` in a process of its own."""

    def __init__(self, config: RunConfig, workers: int) -> None:
        """Build RLlib's Algorithm, and its env runners."""
        prepare_torch(config, config.learner.threads)
        threading.excepthook = _end
        self._run_config = config
        super().__init__(rllib_of(config), config.env, config.seed, workers)

    def machine_class(self) -> str:
        """None in particular."""
        return ANY_MACHINE

    def fingerprint(self) -> dict[str, str]:
        """Which code this process computes with, Ray's included."""
        return {**fingerprint_of(self._run_config.env), "ray": version_of("ray")}


def _end(hook: threading.ExceptHookArgs) -> None:
    """End the process where one of RLlib's threads has failed: it would wait for that for ever."""
    threading.__excepthook__(hook)
    os._exit(1)


def rllib_of(config: RunConfig) -> Rllib:
    """A run's algorithm, which is RLlib's."""
    assert isinstance(config.algorithm, Rllib), "schedule: rllib"
    return config.algorithm


def bundles_of(config: RunConfig, workers: int) -> list[dict[str, float]]:
    """What RLlib itself asks Ray to reserve: for its Algorithm first, then for env runners, learners and so on.

    Raises:
        UsageError: If RLlib finds that the values do not go together.
    """
    algorithm = rllib_of(config)
    built = configured(algorithm, config.env, config.seed, workers)
    try:
        asked: Any = algorithm_class(algorithm.name).default_resource_request(built.to_dict() | {"env": ENV})
    except Exception as error:  # RLlib raises what it likes
        text = f"algorithm: RLlib's {algorithm.name} does not take these values together: {first_line(error)}"
        raise UsageError(text) from None
    return [dict(bundle) for bundle in asked.bundles]
