"""Asking the cluster's coordinator from outside of a run: what it says, or why it does not, as the house's errors."""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from hydrahive.core.errors import HydrahiveError
from hydrahive.runtime.coordinator.actor import existing_coordinator


class AwayError(HydrahiveError):
    """The coordinator does not answer just now."""


class Inquirer:
    """Somebody who is connected to a cluster and asks its coordinator."""

    def __init__(self) -> None:
        """Find the coordinator.

        Raises:
            HydrahiveError: If there is none: nothing was trained on this cluster.
        """
        self._coordinator = existing_coordinator()

    def ask(self, method: str, *arguments: Any, timeout_s: float | None = None) -> Any:
        """What a method of `Coordinator` gives.

        Raises:
            HydrahiveError: What the method raised.
            AwayError: If no answer comes.
        """
        try:
            return ray.get(getattr(self._coordinator, method).remote(*arguments), timeout=timeout_s)
        except RayTaskError as error:
            raise error.cause from None
        except RayError:
            raise AwayError("the cluster's coordinator is just being restarted; try again") from None
