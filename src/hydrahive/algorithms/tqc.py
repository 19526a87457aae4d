"""Truncated quantile critics (Kuznetsov et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from hydrahive.algorithms.base.steps import Loss, summed
from hydrahive.algorithms.control_config import TQC
from hydrahive.algorithms.off_policy import Rows
from hydrahive.algorithms.sac import SACUpdate
from hydrahive.core.errors import ConfigError
from hydrahive.policies.agent import Agent

HUBER = 1.0
"""Errors beyond this count linearly in the quantiles' loss, as in the paper."""


class TQCUpdate(SACUpdate):
    """SAC; what differs is what critics say, and what they aim at."""

    config: TQC

    def __init__(self, config: TQC, network: Agent, *rest: object) -> None:
        """As any algorithm.

        Raises:
            ConfigError: If actions are Discrete.
        """
        self.atoms = config.atoms
        super().__init__(config, network, *rest)  # type: ignore[arg-type]
        if self.actor.is_discrete:
            raise ConfigError("algorithm", "TQC", "SAC or DQN, where actions are Discrete")

    def aims(self, rows: Rows) -> Tensor:
        """Aims `[S, K]`: y = r + gamma (z - alpha log pi(a' | s')), z the smallest quantiles of all (equation 11)."""
        drawn = self.drawn(self.actor.scores(self.actor.encoded(rows.following)), rows, 0)
        said = self.judged(self.targets, rows.following, rows, drawn.actions, 1)  # [n, S, atoms]
        pooled = said.permute(1, 0, 2).flatten(1).sort(-1).values
        kept = pooled[:, : self.config.critics * (self.config.atoms - self.config.dropped)]
        values = kept - (self.temperature * drawn.log_probs).unsqueeze(-1)
        return rows.returns.unsqueeze(-1) + rows.discounts.unsqueeze(-1) * values

    def critics_loss(self, rows: Rows) -> Loss:
        """The quantiles' Huber loss (equation 13) against all aims."""
        with torch.no_grad():
            aims = self.aims(rows)  # [S, K]
        said = self.judged(self.critics, rows.seen, rows, rows.actions, 0)  # [n, S, atoms]
        apart = aims[None, :, None, :] - said.unsqueeze(-1)  # [n, S, atoms, K]
        far = apart.abs()
        huber = torch.where(far > HUBER, HUBER * (far - 0.5 * HUBER), 0.5 * apart.square())
        # tau_m = (2 m - 1) / (2 M); |tau_m - 1{y < theta_m}| L(y - theta_m)
        taus = (torch.arange(self.atoms, device=said.device) + 0.5) / self.atoms
        weighed = (taus[:, None] - (apart.detach() < 0).float()).abs() * huber
        each = weighed.mean(-1).mean(-1).sum(0)  # over aims, over quantiles; critics add up
        loss = (each * rows.weights).sum()
        means = said.detach().mean((0, 2))
        errors = (aims.mean(-1) - means).abs()
        return Loss(loss, summed([loss, means.sum(), errors.sum()]), errors)

    def actor_loss(self, rows: Rows) -> Loss:
        """J_pi = alpha log pi(a | s) - the mean of all quantiles (equation 14); and the entropy."""
        drawn = self.drawn(self.actor.scores(self.actor.encoded(rows.seen)), rows, 1)
        said = self.judged(self.critics, rows.seen, rows, drawn.actions, 2)
        loss = (self.temperature * drawn.log_probs - said.mean((0, 2))).sum()
        return Loss(loss, summed([loss, -drawn.log_probs.detach().sum()]))
