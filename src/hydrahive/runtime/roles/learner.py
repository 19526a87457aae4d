"""What the learner does: turns each round of fragments into the next weights version."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hydrahive.algorithms.base.rule import Computing, Round, Rule
from hydrahive.algorithms.rnd import Curiosity
from hydrahive.core.errors import DivergedError, OutOfStepError
from hydrahive.core.fragment import Fragment
from hydrahive.core.receipt import Consumed, consumed
from hydrahive.core.replayed import Judgement, Sample
from hydrahive.core.state import State, nested, under
from hydrahive.core.streams import derived_seed
from hydrahive.runtime.config.changes import algorithm_at, algorithms
from hydrahive.runtime.config.fingerprint import fingerprint_of
from hydrahive.runtime.config.machine_class import learner_device, machine_class
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import build_network, shown_by
from hydrahive.runtime.roles.intake import Intake, Leased
from hydrahive.runtime.roles.magnitudes import because_of
from hydrahive.runtime.roles.slices import Chief, Helped, Line, computing_of


@dataclass(frozen=True)
class Learned:
    """What the learner says of an update.

    Attributes:
        metrics: Its figures.
        consumed: For each part of the round what was consumed of it.
        helped: What slice workers did.
    """

    metrics: dict[str, float]
    consumed: tuple[tuple[Consumed, ...], ...]
    helped: tuple[Helped, ...] = ()


class Learner:
    """Holds weights, optimizer and the counters that schedules run on; version v has seen v updates."""

    def __init__(self, config: RunConfig, device: str) -> None:
        """Draw the initial weights; `device` is `cpu` or `cuda`."""
        self._config = config
        self._device = learner_device(device)
        generator = torch.Generator().manual_seed(derived_seed(config.seed, "weights"))
        computing = computing_of(config, self._device)
        network = build_network(config, generator).to(self._device)
        self._rule: Rule = config.algorithm.build(network, computing, config.seed)
        self._curiosity = self._curiosity_of(computing)
        self._intake = Intake(config)
        self._algorithms = algorithms(config)
        self._judged: Judgement | None = None
        self._chief: Chief | None = None
        self.version = 0
        self.env_steps = 0

    def follow(self, config: RunConfig) -> None:
        """Make the next updates as a config says that differs in what can change inside a run only."""
        self._config, self._algorithms = config, algorithms(config)

    def help_from(self, line: Line, secret: bytes, shares: Mapping[int, float]) -> None:
        """Have slices' gradients found by others, too; they change no byte.

        Args:
            line: To slice workers.
            secret: The run's, by which it is drawn what of theirs is found again.
            shares: Who they are, and of how many of its updates each has all found again.
        """
        if self._chief is None:
            self._chief = Chief(line, secret)
        self._chief.helped_by(shares, is_tried=self._config.learner.workers == "auto")
        self._rule.help_from(self._chief if shares else None)

    def machine_class(self) -> str:
        """What this process's bytes are relative to."""
        return machine_class(self._config, self._device.type)

    def fingerprint(self) -> dict[str, str]:
        """Which code this process computes with."""
        return fingerprint_of(self._config.env)

    def weights(self) -> np.ndarray:
        """The weights of the current version as one flat vector."""
        weights: np.ndarray = self._rule.weights.numpy()
        return weights

    def update(
        self,
        version: int,
        keep_actions: Sequence[bool],
        sample: Sample | None,
        *parts: Sequence[Fragment],
        leased: Sequence[Sequence[Leased]] | None = None,
    ) -> tuple[np.ndarray, Learned, Judgement | None]:
        """Learn from one round: the next version's weights, what is to be said of the update, and what it `judged`.

        Args:
            version: The version to update; must be the current one.
            keep_actions: By part, whether somebody may audit it; empty for nobody.
            sample: What the replay gives with the round; None without one.
            *parts: The round's fragments, however they are grouped; they are learned in shard order.
            leased: What was asked for, grouped likewise; None where this process has made them itself.

        Raises:
            RefusedWorkError: If a part is not what was asked for; nothing was learned.
            OutOfStepError: If `version` is not the current one: an update was lost or repeated.
            DivergedError: If the loss or the gradient is not finite.
        """
        if version != self.version:
            raise OutOfStepError(
                f"the learner is at version {self.version}; an update of version {version} was asked for"
            )
        started = time.perf_counter()
        if leased is not None:
            parts = tuple(map(self._intake.fragments, parts, leased))
        told = self._consumed(parts, keep_actions)
        fragments = sorted((fragment for part in parts for fragment in part), key=lambda fragment: fragment.id.shard)
        round_ = Round(fragments, sample, self.env_steps)
        algorithm = algorithm_at(self._algorithms, version)
        if algorithm != self._rule.config:
            self._rule.change(algorithm)
        new: dict[str, float] = {}
        if self._curiosity is not None:
            round_, new = self._curiosity.added(round_)
        if self._chief is not None:
            self._chief.begin(version)
        try:
            metrics = {**self._rule.learn(round_), **new}
            loss = metrics.get("loss", 0.0)  # an update may have nothing to learn from yet
            if not np.isfinite(loss):
                raise DivergedError(f"the loss is {loss} in update {version}")
        except DivergedError as diverged:
            raise DivergedError(f"{diverged}{because_of(fragments, self._config)}") from None
        self._judged = self._rule.judgement()
        self.version += 1
        self.env_steps += round_.valid_rows
        lags = [version - fragment.version for fragment in fragments]
        metrics |= {
            "lag": float(np.mean(lags)),
            "lag_max": max(lags),
            "gradient_steps": self._rule.gradient_steps,
            "learn_seconds": time.perf_counter() - started,
        }
        helped = self._chief.helped() if self._chief is not None else ()
        metrics |= {"slices_elsewhere": sum(one.slices for one in helped)} if self._chief is not None else {}
        return self.weights(), Learned(metrics, told, helped), self._judged

    def judged(self) -> Judgement | None:
        """What the last update found of replayed rows, for the replay to hear with the next round."""
        return self._judged

    def position(self) -> int:
        """The current version, after all calls made so far."""
        return self.version

    def state(self) -> State:
        """Weights, optimizer and counters: what the digest is taken over."""
        counters = np.array([self.version, self._rule.gradient_steps, self.env_steps], np.int64)
        judged = nested("judged", vars(self._judged)) if self._judged else {}
        curiosity = nested("curiosity", self._curiosity.state()) if self._curiosity else {}
        return {**self._rule.state(), **judged, **curiosity, "counters": counters}

    def restore(self, state: State) -> None:
        """Continue from `state`'s version."""
        self.version, gradient_steps, self.env_steps = (int(value) for value in state["counters"])
        self._rule.restore(state, gradient_steps)
        if self._curiosity is not None:
            self._curiosity.restore(under("curiosity", state))
        self._judged = Judgement(**judged) if (judged := under("judged", state)) else None

    def load_weights(self, state: State) -> None:
        """Begin version 0 with the weights of another run's `state`."""
        self._rule.load_weights(state)

    def _curiosity_of(self, computing: Computing) -> Curiosity | None:
        """What rewards novelty, where that is wanted."""
        if self._config.curiosity is None:
            return None
        space, *_ = shown_by(self._config.env)
        return Curiosity(self._config.curiosity, self._config.policy.encoder, space, computing, self._config.seed)

    def _consumed(
        self, parts: Sequence[Sequence[Fragment]], keep_actions: Sequence[bool]
    ) -> tuple[tuple[Consumed, ...], ...]:
        """What is to be said of each part's fragments; nothing where nobody keeps accounts or audits."""
        if not (self._config.ledger.enabled or any(keep_actions)):
            return tuple(() for _ in parts)
        by_part = zip(parts, keep_actions or [False] * len(parts), strict=True)
        return tuple(tuple(consumed(fragment, keep_actions=keep) for fragment in part) for part, keep in by_part)
