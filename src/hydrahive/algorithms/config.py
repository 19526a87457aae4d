"""What policy gradients are set to; torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from hydrahive.core.config import AlgorithmConfig, changing, made, require, require_integer, require_number
from hydrahive.core.schedules import Linear, bounds


@dataclass(frozen=True)
class VTrace(AlgorithmConfig):
    """V-trace actor-critic (Espeholt et al. 2018, IMPALA).

    Attributes:
        learning_rate: Step size of the optimizer; a number or a line over env steps.
        discount: Weight of a reward one step later, 0 to 1.
        rho_clip: Largest importance weight in the temporal differences and the policy gradient (rho-bar).
        c_clip: Largest importance weight in the traces (c-bar); at most `rho_clip`.
        trace_decay: Multiplies the traces (lambda), 0 to 1; below 1 it trades variance for bias.
        entropy_cost: Weight of the entropy bonus, per nat; a number or a line over env steps.
        value_cost: Weight of the squared value error.
        normalize_rewards: Whether rewards are divided by the deviation of the discounted returns so far, and clamped
            at 10.
        reward_clip: Rewards beyond this, on either side of 0, are learned from as this; null leaves them. Scores are
            not clipped.
        gradient_norm: Longer gradients are scaled down to this Euclidean length.
        optimizer: `adam` (Kingma and Ba 2015) or `rmsprop` (Hinton 2012).
        optimizer_epsilon: Added to the optimizer's denominator.
        rmsprop_decay: Memory of rmsprop's squared gradients, per gradient step.
        epochs: How often an update goes through its round; each time targets and importance weights are those of the
            policy as it has become. On a CPU the round then stays in memory as the network computes on it.
        minibatches: Parts of whole environments that a round is cut into, with a gradient step for each, in another
            order in each epoch; no more than let each slice of each have an environment. Replayed sequences are
            shared out among them.
        policy_clip: How far an action's probability ratio of policy and behaviour may leave 1, to the side that its
            advantage draws it to, before it teaches the policy no more (Schulman et al. 2017, PPO, equation 7); null
            for as far as it likes.
        normalize_advantages: Whether advantages are brought to mean 0 and deviation 1: of a gradient step, of each
            of its slices where there are several, and of replayed sequences by themselves.
    """

    network_maker = "hydrahive.policies.actor_critic:ActorCritic"
    maker = "hydrahive.algorithms.vtrace:VTraceUpdate"
    replays = "sequences"

    figures = (
        "loss",
        "policy_loss",
        "value_loss",
        "entropy",
        "rho_mean",
        "rho_clipped_share",
        "behaviour_kl",
        "explained_variance",
        "gradient_norm",
        "learning_rate",
        "entropy_cost",
        "discount",
    )

    learning_rate: float | Linear = changing(1e-3)
    discount: float = changing(0.99)
    rho_clip: float = changing(1.0)
    c_clip: float = changing(1.0)
    trace_decay: float = changing(0.95)
    entropy_cost: float | Linear = changing(0.01)
    value_cost: float = changing(0.5)
    normalize_rewards: bool = False
    reward_clip: float | None = changing(None)
    gradient_norm: float = changing(0.5)
    optimizer: Literal["adam", "rmsprop"] = "adam"
    optimizer_epsilon: float = changing(1e-5)
    rmsprop_decay: float = changing(0.99)
    epochs: int = changing(1)
    minibatches: int = changing(1)
    policy_clip: float | None = changing(None)
    normalize_advantages: bool = changing(False)

    def __post_init__(self) -> None:
        """Refuse values outside their mathematical range."""
        for key in ("learning_rate", "entropy_cost"):
            for value in bounds(getattr(self, key)):
                require_number(key, value, 0)
        require_number("discount", self.discount, 0, 1)
        require_number("rho_clip", self.rho_clip, 0, above=True)
        require_number("c_clip", self.c_clip, 0, self.rho_clip, by="rho_clip")
        require_number("trace_decay", self.trace_decay, 0, 1)
        require_number("value_cost", self.value_cost, 0)
        if self.reward_clip is not None:
            require_number("reward_clip", self.reward_clip, 0, above=True)
            require(not self.normalize_rewards, "reward_clip", self.reward_clip, "null, beside normalize_rewards: true")
        require_number("gradient_norm", self.gradient_norm, 0, above=True)
        require_number("optimizer_epsilon", self.optimizer_epsilon, 0, above=True)
        require_number("rmsprop_decay", self.rmsprop_decay, 0, 1)
        require_integer("epochs", self.epochs, 1, 100)
        require_integer("minibatches", self.minibatches, 1)
        told = isinstance(self.normalize_advantages, bool)
        require(told, "normalize_advantages", self.normalize_advantages, "true or false")
        if self.policy_clip is not None:
            require_number("policy_clip", self.policy_clip, 0, above=True)

    def minibatches_of(self, columns: int, slices: int) -> int:
        """Minibatches of a round of so many environments, each learned from in so many slices."""
        return min(self.minibatches, columns // slices)


@dataclass(frozen=True)
class PPO(AlgorithmConfig):
    """Proximal policy optimisation (Schulman et al. 2017): epochs on a round, its advantages fixed before the first.

    Attributes:
        learning_rate: Step size of Adam; a number or a line over env steps.
        discount: Weight of a reward one step later (gamma), 0 to 1.
        trace_decay: Lambda of the generalised advantages, 0 to 1; below 1 it trades variance for bias.
        epochs: How often an update goes through its round.
        minibatches: Gradient steps of an epoch, each on its share of the round's rows, shuffled; of whole environments
            where the policy has a memory.
        policy_clip: How far an action's probability ratio may leave 1 before it teaches the policy no more (epsilon);
            a number or a line over env steps.
        value_clip: How far a value may move in an update before it is taught no more; null for as far as it likes.
        target_kl: Mean divergence from the policy that acted of which 1.5 times end the update; null for never.
        normalize_advantages: Whether advantages are brought to mean 0 and deviation 1 in each minibatch.
        entropy_cost: Weight of the entropy bonus, per nat; a number or a line over env steps.
        value_cost: Weight of the squared value error.
        normalize_rewards: Whether rewards are divided by the deviation of the discounted returns so far, and clamped
            at 10.
        reward_clip: Rewards beyond this, on either side of 0, are learned from as this; null leaves them.
        gradient_norm: Longer gradients are scaled down to this Euclidean length.
        optimizer_epsilon: Added to Adam's denominator.
        central_critic: Whether values are of what all agents of a world see, by a critic of its own (Yu et al. 2022,
            MAPPO); each acts on what it sees itself.
    """

    network_maker = "hydrahive.policies.actor_critic:ActorCritic"
    maker = "hydrahive.algorithms.ppo:PPOUpdate"

    figures = (
        "loss",
        "policy_loss",
        "value_loss",
        "entropy",
        "clipped_share",
        "behaviour_kl",
        "explained_variance",
        "gradient_norm",
        "learning_rate",
        "entropy_cost",
        "discount",
        "policy_clip",
    )

    learning_rate: float | Linear = changing(3e-4)
    discount: float = changing(0.99)
    trace_decay: float = changing(0.95)
    epochs: int = changing(4)
    minibatches: int = changing(4)
    policy_clip: float | Linear = changing(0.2)
    value_clip: float | None = changing(None)
    target_kl: float | None = changing(None)
    normalize_advantages: bool = changing(True)
    entropy_cost: float | Linear = changing(0.0)
    value_cost: float = changing(0.5)
    normalize_rewards: bool = False
    reward_clip: float | None = changing(None)
    gradient_norm: float = changing(0.5)
    optimizer_epsilon: float = changing(1e-5)
    central_critic: bool = False

    def network(self, policy: Any, observation_space: Any, action_space: Any, generator: Any, group: int = 1) -> Any:
        """A `hydrahive.policies.actor_critic.ActorCritic`, or one with a central critic."""
        if not self.central_critic:
            return super().network(policy, observation_space, action_space, generator, group)
        maker = "hydrahive.policies.central_critic:CentralActorCritic"
        return made(maker, policy, observation_space, action_space, generator, group)

    def __post_init__(self) -> None:
        """Refuse values outside their mathematical range."""
        for key in ("learning_rate", "entropy_cost", "policy_clip"):
            for value in bounds(getattr(self, key)):
                require_number(key, value, 0)
        require_number("discount", self.discount, 0, 1)
        require_number("trace_decay", self.trace_decay, 0, 1)
        require_integer("epochs", self.epochs, 1, 100)
        require_integer("minibatches", self.minibatches, 1)
        require_number("value_cost", self.value_cost, 0)
        for key in ("value_clip", "target_kl", "reward_clip"):
            if getattr(self, key) is not None:
                require_number(key, getattr(self, key), 0, above=True)
        both = self.reward_clip is None or not self.normalize_rewards
        require(both, "reward_clip", self.reward_clip, "null, beside normalize_rewards: true")
        require_number("gradient_norm", self.gradient_norm, 0, above=True)
        require_number("optimizer_epsilon", self.optimizer_epsilon, 0, above=True)


@dataclass(frozen=True)
class Rnd:
    """Curiosity by random network distillation (Burda et al. 2019), beside any algorithm: what is new is rewarded.

    Its reward is learned from and never part of a score. Two networks like the policy's encoder look at where a step
    led: one is random and stays so, the other learns to foretell it, and is wrong where it has seldom been.

    Attributes:
        bonus: Weight of the reward, after it was divided by the deviation of its own returns.
        learning_rate: Step size of the one that learns, by Adam.
        features: Numbers that are foretold.
        discount: Of the returns whose deviation it is divided by; they go on when an episode ends.
        gradient_steps: Of the one that learns, in each update: its round is shared out among them.
    """

    bonus: float = 0.1
    learning_rate: float = 1e-4
    features: int = 64
    discount: float = 0.99
    gradient_steps: int = 1

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        require_number("bonus", self.bonus, 0)
        require_number("learning_rate", self.learning_rate, 0)
        require_integer("features", self.features, 1, 65_536)
        require_number("discount", self.discount, 0, 1)
        require_integer("gradient_steps", self.gradient_steps, 1, 1_000)


@dataclass(frozen=True)
class auto(AlgorithmConfig):  # noqa: N801  as it is written in configs
    """One of the others, chosen by what the environment shows and takes, and by the replay; told at the start.

    Attributes:
        deterministic: Whether real actions are to be the same in the same state (TD3 instead of SAC).
    """

    deterministic: bool = False
