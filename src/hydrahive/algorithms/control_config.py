"""What off-policy control is set to; torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hydrahive.algorithms.q_config import ByEnvSteps
from hydrahive.core.config import AlgorithmConfig, changing, made, require, require_integer, require_number
from hydrahive.core.schedules import Linear, bounds
from hydrahive.policies.config import PolicyConfig


@dataclass(frozen=True)
class _OffPolicy(ByEnvSteps, AlgorithmConfig):
    """What actors with critics have in common; not chosen itself.

    Attributes:
        learning_rate: Step size of the actor's Adam; a number or a line over env steps.
        critic_learning_rate: Of the critics'; null for the actor's.
        discount: Weight of a reward one step later, 0 to 1.
        batch: Rows of a gradient step.
        env_steps_per_gradient_step: Env steps of all environments together for each gradient step of the critics;
            below 1 for several.
        warm_up: Env steps before the first of them.
        target_update: Share by which the target critics follow the others after each, 0 to 1.
        n_step: Env steps whose rewards are summed before the target critics judge.
        critics: How many judge independently.
        layer_norm: Whether the critics' hidden layers are normalised (Ba et al. 2016): for many gradient steps a row.
        dropout: Share of the critics' hidden units that is dropped while learning (Hiraoka et al. 2022, DroQ).
        importance: How much of prioritised draws' unevenness the critics' loss makes up for (beta of Schaul et al.
            2016), 0 to 1; a number or a line over env steps.
        reward_scale: Rewards are learned from as so many times as much.
        gradient_norm: Longer gradients are scaled down to this Euclidean length.
        optimizer_epsilon: Added to Adam's denominator.
    """

    replays = "transitions"
    judges = True
    replay_defaults = {"capacity": 1_000_000}

    learning_rate: float | Linear = changing(3e-4)
    critic_learning_rate: float | Linear | None = changing(None)
    discount: float = changing(0.99)
    batch: int = 256
    env_steps_per_gradient_step: float = 1.0
    warm_up: int = 1_000
    target_update: float = changing(0.005)
    n_step: int = 1
    critics: int = 2
    layer_norm: bool = False
    dropout: float = changing(0.0)
    importance: float | Linear = changing(0.4)
    reward_scale: float = changing(1.0)
    gradient_norm: float = changing(100.0)
    optimizer_epsilon: float = changing(1e-8)

    def __post_init__(self) -> None:
        """Refuse values outside their mathematical range."""
        for key in ("learning_rate", "critic_learning_rate"):
            if getattr(self, key) is not None:
                for value in bounds(getattr(self, key)):
                    require_number(key, value, 0)
        for value in bounds(self.importance):
            require_number("importance", value, 0, 1)
        require_number("discount", self.discount, 0, 1)
        require_integer("batch", self.batch, 1)
        require_number("env_steps_per_gradient_step", self.env_steps_per_gradient_step, 0, above=True)
        require_integer("warm_up", self.warm_up, 0)
        require_number("target_update", self.target_update, 0, 1, above=True)
        require_integer("n_step", self.n_step, 1, 1_000)
        require_integer("critics", self.critics, 1, 100)
        require_number("dropout", self.dropout, 0, 0.9)
        require_number("reward_scale", self.reward_scale, 0, above=True)
        require_number("gradient_norm", self.gradient_norm, 0, above=True)
        require_number("optimizer_epsilon", self.optimizer_epsilon, 0, above=True)

    def for_policy(self, policy: PolicyConfig) -> AlgorithmConfig:
        """As it is.

        Raises:
            ConfigError: If the policy has a memory, which single rows cannot teach.
        """
        kind = policy.core_kind
        require(kind == "none", "policy.core", kind, f"none for {type(self).__name__}, which learns from single rows")
        return self


@dataclass(frozen=True)
class SAC(_OffPolicy):
    """Soft actor-critic with automatic temperature (Haarnoja et al. 2018, arXiv 1812.05905); also for Discrete actions.

    Attributes:
        temperature: Weight of the entropy at first; later what keeps the entropy at its target.
        temperature_learning_rate: Step size of its Adam; 0 keeps it.
        target_entropy: In nats, of actions between -1 and 1; null for minus their dimensions, and for Discrete actions
            for `discrete_entropy` of the largest.
        discrete_entropy: Share of the largest entropy that is the target for Discrete actions (Christodoulou 2019).
    """

    maker = "hydrahive.algorithms.sac:SACUpdate"
    network_maker = "hydrahive.policies.control.actors:SoftActor"

    figures = (
        "loss",
        "q_mean",
        "td_error",
        "actor_loss",
        "entropy",
        "temperature",
        "gradient_norm",
        "learning_rate",
        "discount",
    )

    temperature: float = 1.0
    temperature_learning_rate: float | Linear = changing(3e-4)
    target_entropy: float | None = changing(None)
    discrete_entropy: float = changing(0.5)

    def __post_init__(self) -> None:
        """Refuse values outside their mathematical range."""
        super().__post_init__()
        require_number("temperature", self.temperature, 0, above=True)
        for value in bounds(self.temperature_learning_rate):
            require_number("temperature_learning_rate", value, 0)
        if self.target_entropy is not None:
            require_number("target_entropy", self.target_entropy)
        require_number("discrete_entropy", self.discrete_entropy, 0, 1)


@dataclass(frozen=True)
class TQC(SAC):
    """Truncated quantile critics (Kuznetsov et al. 2020): SAC whose critics foresee distributions of returns.

    Attributes:
        atoms: Quantiles of each critic.
        dropped: The largest of them, for each critic, that aims leave out: less is overestimated.
    """

    maker = "hydrahive.algorithms.tqc:TQCUpdate"

    critics: int = 5
    atoms: int = 25
    dropped: int = 2

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        require_integer("atoms", self.atoms, 1, 1_000)
        accepted = f"an integer from 0 to {self.atoms - 1}, below atoms"
        require(type(self.dropped) is int and 0 <= self.dropped < self.atoms, "dropped", self.dropped, accepted)


@dataclass(frozen=True)
class TD3(_OffPolicy):
    """Twin delayed deep deterministic policy gradients (Fujimoto et al. 2018).

    Attributes:
        policy_delay: Gradient steps of the critics for each of the actor, after which the targets follow, too.
        target_noise: Deviation of the noise on the target actor's actions, which are between -1 and 1.
        target_noise_clip: Where that noise ends.
        action_noise: Deviation of the noise that actions are tried out with.
        noise_correlation: How much of a step's noise is left in the next (Ornstein and Uhlenbeck 1930); 0 for none.
    """

    maker = "hydrahive.algorithms.td3:TD3Update"
    network_maker = "hydrahive.policies.control.actors:DeterministicActor"

    figures = ("loss", "q_mean", "td_error", "actor_loss", "gradient_norm", "learning_rate", "discount")

    learning_rate: float | Linear = changing(1e-3)
    policy_delay: int = 2
    target_noise: float = changing(0.2)
    target_noise_clip: float = changing(0.5)
    action_noise: float = 0.1
    noise_correlation: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values outside their mathematical range."""
        super().__post_init__()
        require_integer("policy_delay", self.policy_delay, 1, 1_000)
        require_number("target_noise", self.target_noise, 0)
        require_number("target_noise_clip", self.target_noise_clip, 0)
        require_number("action_noise", self.action_noise, 0)
        require_number("noise_correlation", self.noise_correlation, 0, 1)

    @property
    def carries_noise(self) -> bool:
        """Where a step's noise depends on the one before."""
        return self.noise_correlation > 0

    def network(self, policy: Any, observation_space: Any, action_space: Any, generator: Any, group: int = 1) -> Any:
        """A `hydrahive.policies.control.actors.DeterministicActor`."""
        noise = (self.action_noise, self.noise_correlation)
        return made(self.network_maker, policy, observation_space, action_space, generator, *noise)


@dataclass(frozen=True)
class DDPG(TD3):
    """Deep deterministic policy gradients (Lillicrap et al. 2016): TD3 with one critic, no delay, no target noise."""

    critics: int = 1
    policy_delay: int = 1
    target_noise: float = changing(0.0)
