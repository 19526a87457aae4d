"""What actors with critics share: slices of replayed rows, the critics' steps, and their targets."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from hydrahive.algorithms.base.batch import edges
from hydrahive.algorithms.base.learning import Algorithm
from hydrahive.algorithms.base.optimizer import OptimizerSettings
from hydrahive.algorithms.base.rule import Round
from hydrahive.algorithms.base.steps import Loss, summed
from hydrahive.algorithms.control_config import _OffPolicy
from hydrahive.algorithms.returns import discounted
from hydrahive.core.fragment import MASKED
from hydrahive.core.replayed import Transitions
from hydrahive.core.schedules import value_at
from hydrahive.core.streams import stream
from hydrahive.policies.control.actors import Judged
from hydrahive.policies.control.critics import Critics

CRITIC_SUMS = ("loss", "q_mean", "td_error")
"""What is summed over rows of the critics' steps."""


@dataclass(frozen=True)
class Rows:
    """A slice of a gradient step, all `[S, ...]`.

    Attributes:
        number: Of the gradient step.
        place: Which of the step's slices it is.
        seen: Before the steps, as networks see it.
        actions: Taken there, as they are learned from.
        returns: Of the `n` steps, discounted.
        discounts: Of what `following` is worth: gamma^n, or 0 where the episode terminated before.
        following: Where the steps led to, likewise.
        illegal: Which actions are not legal there; `[S, 0]` if all always are.
        weights: Of the rows in the critics' loss.
    """

    number: int
    place: int
    seen: Tensor
    actions: Tensor
    returns: Tensor
    discounts: Tensor
    following: Tensor
    illegal: Tensor
    weights: Tensor


class Judging(Algorithm):
    """Critics, their targets, and rows of a replay; pages say what is aimed at and how the actor learns."""

    config: _OffPolicy

    atoms = 1
    """Numbers of each critic."""

    @property
    def actor(self) -> Judged:
        """The acting network."""
        return cast(Judged, self.network)

    @property
    def critics(self) -> Critics:
        """Those that learn."""
        return cast(Critics, self.on.others["critics"])

    @property
    def targets(self) -> Critics:
        """Those that follow them."""
        return cast(Critics, self.on.others["targets"])

    def others(self, network: nn.Module) -> dict[str, nn.Module]:
        """Critics, and targets that begin as a copy."""
        config = self.config
        critics = cast(Judged, network).critics(
            config.critics, self.atoms, layer_norm=config.layer_norm, dropout=config.dropout
        )
        return {"critics": critics, "targets": copy.deepcopy(critics)}

    def optimizer(self) -> OptimizerSettings:
        """Adam."""
        return OptimizerSettings("adam", self.config.optimizer_epsilon, self.config.gradient_norm)

    def optimizers(self) -> dict[str, OptimizerSettings]:
        """The critics', likewise."""
        return {"critics": self.optimizer()}

    def rates(self, round_: Round) -> tuple[float, float]:
        """The actor's and the critics' step size."""
        own = value_at(self.config.learning_rate, round_.env_steps)
        theirs = self.config.critic_learning_rate
        return own, own if theirs is None else value_at(theirs, round_.env_steps)

    def aims(self, rows: Rows) -> Tensor:
        """What the critics aim at, `[S, ...]`; without gradient."""
        raise NotImplementedError(f"{type(self).__name__} must define aims")

    def critics_loss(self, rows: Rows) -> Loss:
        """The critics' loss of some rows, and how far off each was."""
        with torch.no_grad():
            aims = self.aims(rows)
        said = self.judged(self.critics, rows.seen, rows, rows.actions, 0)  # [n, S, atoms]
        apart = said.squeeze(-1) - aims
        # J_Q = sum_i (Q_i(s, a) - y)^2 / 2 (Haarnoja et al. 2018, equation 5)
        loss = (0.5 * apart.square().sum(0) * rows.weights).sum()
        errors = apart.detach().abs().mean(0)
        return Loss(loss, summed([loss, said.detach().mean(0).sum(), errors.sum()]), errors)

    def judged(self, critics: Critics, seen: Tensor, rows: Rows, actions: Tensor, which: int) -> Tensor:
        """What critics say of actions as they are learned from, `[n, S, atoms]`.

        `which`: of the passes of a gradient step, each of which drops other units.
        """
        kept = self._kept(critics, rows, which)
        if not self.actor.is_discrete:
            said: Tensor = critics(seen, actions.tanh(), kept)
            return said
        each: Tensor = critics(seen, None, kept).unflatten(-1, (-1, self.atoms))
        picked = actions.view(1, -1, 1, 1).expand(each.shape[0], -1, 1, self.atoms)
        return each.gather(2, picked).squeeze(2)

    def _kept(self, critics: Critics, rows: Rows, which: int) -> list[Tensor] | None:
        """What dropout keeps of the critics' hidden layers."""
        share = self.config.dropout
        if not share:
            return None
        generator = stream(self.on.seed, "dropout", rows.number, rows.place, which)
        shape = (critics.n, len(rows.seen))
        drawn = [generator.random((*shape, width), np.float32) >= share for width in critics.widths]
        return [torch.from_numpy(one).to(rows.seen.device) for one in drawn]

    def drawn_noise(self, rows: Rows, which: int) -> Tensor:
        """Standard normal numbers for the actions of some rows, `[S, D]`; others in each pass of each gradient step."""
        generator = stream(self.on.seed, "actions", rows.number, rows.place, which)
        shape = (len(rows.seen), self.actor.action_width)
        return torch.from_numpy(generator.standard_normal(shape, np.float32)).to(rows.seen.device)

    def slices(self, drawn: Transitions, beta: float, number: int) -> list[Rows]:
        """A batch's slices on the device, rewards as they are learned from."""
        device, config = self.on.computing.device, self.config
        # w_i = (N P(i))^-beta / max_j w_j (Schaul et al. 2016, section 3.4)
        weights = (drawn.rows * drawn.probabilities) ** -beta
        weights = (weights / weights.max()).astype(np.float32)
        rewards = torch.tensor(drawn.rewards) * config.reward_scale
        returns = discounted(rewards, config.discount).numpy()
        discounts = np.where(drawn.terminated, 0, config.discount**drawn.steps).astype(np.float32)
        columns = [drawn.observations, drawn.actions, returns, discounts, drawn.following, ~drawn.legal, weights]
        parts = []
        for place, (low, high) in enumerate(edges(drawn.frames, min(self.on.computing.slices, drawn.frames))):
            seen, actions, reward, discount, led_to, illegal, weight = (
                torch.tensor(column[low:high]).to(device) for column in columns
            )
            seen, led_to = self.actor.normalised(seen), self.actor.normalised(led_to)
            parts.append(Rows(number, place, seen, actions, reward, discount, led_to, illegal, weight))
        return parts


def without_illegal(scores: Tensor, illegal: Tensor) -> Tensor:
    """Scores `[S, A]` with only legal actions left."""
    return scores.masked_fill(illegal, MASKED) if illegal.shape[1] else scores
