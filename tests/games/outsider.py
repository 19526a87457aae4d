"""An algorithm as users write one: config and page in one file of theirs, which nothing in the package knows."""

from dataclasses import dataclass

import torch

from hydrahive.algorithms.base.batch import stack
from hydrahive.algorithms.base.learning import Algorithm
from hydrahive.algorithms.base.optimizer import OptimizerSettings
from hydrahive.algorithms.base.steps import Loss, Step, means, summed
from hydrahive.algorithms.base.unroll import unrolled
from hydrahive.core.config import AlgorithmConfig, changing, require_number

SUMS = ("policy_loss", "value_loss", "entropy")


@dataclass(frozen=True)
class OneStepActorCritic(AlgorithmConfig):
    """The actor-critic of Mnih et al. 2016 with returns of one step.

    Attributes:
        learning_rate: Step size of RMSprop.
        discount: Weight of a reward one step later, 0 to 1.
        entropy_cost: Weight of the entropy bonus, per nat.
    """

    network_maker = "hydrahive.policies.actor_critic:ActorCritic"
    maker = "outsider:OneStepUpdate"
    figures = ("loss", *SUMS, "gradient_norm", "learning_rate")

    learning_rate: float = changing(7e-3)
    discount: float = changing(0.98)
    entropy_cost: float = changing(0.01)

    def __post_init__(self) -> None:
        require_number("learning_rate", self.learning_rate, 0)
        require_number("discount", self.discount, 0, 1)


class OneStepUpdate(Algorithm):
    """One gradient step for each round."""

    config: OneStepActorCritic

    def optimizer(self):
        return OptimizerSettings("rmsprop", 1e-5, 0.5, 0.99)

    def update(self, round_):
        computing, rows = self.on.computing, max(round_.valid_rows, 1)
        slices = stack(round_.fragments, computing.slices, computing.device)
        taken = yield Step(slices, self.loss, rows, self.config.learning_rate)
        figures = means(SUMS, [taken], [rows])
        figures["loss"] = figures["policy_loss"] + figures["value_loss"] / 2
        return {**figures, "gradient_norm": taken.norm, "learning_rate": self.config.learning_rate}

    def loss(self, batch):
        network, features = self.network, unrolled(self.network, batch)
        distribution = network.distribution
        policy = distribution.normal(network.scores(features.rows.flatten(0, 1)))
        values, mask = network.values(features.rows), batch.valid.float()
        with torch.no_grad():
            last, cuts = network.values(features.last), network.values(features.cuts)
            following = features.following(values, last, cuts, batch.cut_rows)
            # R_t = r_t + gamma V(s_{t+1})
            aims = batch.rewards + self.config.discount * (~batch.terminated).float() * following
        advantages = ((aims - values).detach() * mask).flatten()
        policy_loss = -(distribution.log_probs(policy, batch.actions.flatten(0, 1)) * advantages).sum()
        value_loss = ((aims - values).square() * mask).sum()
        entropy = (distribution.entropy(policy) * mask.flatten()).sum()
        loss = policy_loss + value_loss / 2 - self.config.entropy_cost * entropy
        return Loss(loss, summed([policy_loss, value_loss, entropy]))
