"""PPO whose learning rate is multiplied for a while: a run that collapses, and that may recover."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hydrahive.algorithms.config import PPO
from hydrahive.algorithms.ppo import PPOUpdate
from hydrahive.core.schedules import value_at


@dataclass(frozen=True)
class Poisoned(PPO):
    """Attributes:
    since: Env steps from which on.
    until: Env steps up to which.
    times: What the learning rate is multiplied by.
    """

    maker = "poisoned:PoisonedUpdate"
    since: int = 40_000
    until: int = 48_000
    times: float = 300.0


class PoisonedUpdate(PPOUpdate):
    config: Poisoned

    def update(self, round_):
        own, rate = self.config, value_at(self.config.learning_rate, round_.env_steps)
        if own.since <= round_.env_steps < own.until:
            self.config = replace(own, learning_rate=rate * own.times)
        told = yield from super().update(round_)
        self.config = own
        return {**told, "learning_rate": rate}
