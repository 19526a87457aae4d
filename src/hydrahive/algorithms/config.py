"""The learning rules' settings; torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from hydrahive.core.config import AlgorithmConfig, changing, made, require, require_integer, require_number
from hydrahive.core.schedules import Linear, bounds, value_at
from hydrahive.policies.config import PolicyConfig


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
        require_number("c_clip", self.c_clip, 0, self.rho_clip)
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
    """

    network_maker = "hydrahive.policies.actor_critic:ActorCritic"
    maker = "hydrahive.algorithms.ppo:PPOUpdate"
    takes_replay = False

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


CORE_DEFAULTS: dict[str, dict[str, Any]] = {
    "none": {"learning_rate": 5e-4, "discount": 0.97},
    "rnn": {"learning_rate": 5e-4, "discount": 0.96},
    "gru": {"learning_rate": 5e-4, "discount": 0.975},
    "lstm": {"learning_rate": 5e-4, "discount": 0.975},
}
"""What ATH Q-learning uses for each kind of memory where the config leaves it open."""


@dataclass(frozen=True)
class EpsilonGreedy:
    """Random actions, fewer and fewer, and careful detours when nothing new comes.

    Attributes:
        start: Share of random actions at the beginning, 0 to 1.
        end: Share that is never undercut.
        decay: Factor on the share for each finished episode; 1 keeps it.
        over_env_steps: A line from `start` to `end` over so many env steps instead of the decay.
        snap: A share below this is 0, if `end` is.
        ladder: How much less the last shard explores than the first: the shards' shares are the share to the powers
            1 to 1 + ladder (Horgan et al. 2018); 0 for one share.
        careful: Whether detours are made while the replay finds the run stagnant and the share is below 1e-4; needs
            an environment that tells fatal actions, and a replay that watches for stagnation.
        detour_probability: That a detour begins, at each step that is on none.
        detour_steps: Steps of a detour; in each of them another action than the greedy one, and none that is fatal.
    """

    start: float = 0.99
    end: float = 0.0
    decay: float = 0.99
    over_env_steps: int | None = None
    snap: float = 1e-3
    ladder: float = 0.0
    careful: bool = False
    detour_probability: float = 0.005
    detour_steps: int = 20

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        require_number("start", self.start, 0, 1)
        require_number("end", self.end, 0, self.start)
        require_number("decay", self.decay, 0, 1, above=True)
        require_number("snap", self.snap, 0, 1)
        require_number("ladder", self.ladder, 0)
        require_number("detour_probability", self.detour_probability, 0, 1)
        require_integer("detour_steps", self.detour_steps, 1)
        if self.over_env_steps is not None:
            require_integer("over_env_steps", self.over_env_steps, 1)

    def epsilon(self, env_steps: int, episodes: int) -> float:
        """The share of random actions after so many env steps and finished episodes."""
        if self.over_env_steps is not None:
            share = value_at(Linear(self.start, self.end, self.over_env_steps), env_steps)
        else:
            # epsilon = max(epsilon_0 d^n, epsilon_end) after n finished episodes
            share = max(self.start * self.decay**episodes, self.end)
        return 0.0 if share < self.snap and self.end == 0 else share


@dataclass(frozen=True)
class AthQ(AlgorithmConfig):
    """Double Q-learning (van Hasselt et al. 2016) on sequences, ai-hydra's agent; without a replay, on fresh rounds.

    Attributes:
        learning_rate: Step size of Adam; a number or a line over env steps; null for the memory kind's default.
        discount: Weight of a reward one step later, 0 to 1; null for the memory kind's default.
        target_update: Share by which the target weights follow the others after each gradient step, 0 to 1.
        gradient_steps: How many, for each of what `gradient_steps_per` says.
        gradient_steps_per: `round`, or `episode` that finished in the round before.
        max_gradient_steps: Most of them in one update.
        huber_delta: Errors beyond this count linearly (Huber 1964).
        reward_clip: Rewards beyond this, on either side of 0, are learned from as this; null leaves them.
        dropout: Share of features that are dropped while learning; acting never drops any.
        gradient_norm: Longer gradients are scaled down to this Euclidean length.
        optimizer_epsilon: Added to Adam's denominator.
        exploration: How actions are tried out.
    """

    network_maker = "hydrahive.policies.q_network:QNetwork"
    maker = "hydrahive.algorithms.ath_q:AthQUpdate"

    figures = ("loss", "q_mean", "td_error", "gradient_norm", "learning_rate", "epsilon", "discount")

    learning_rate: float | Linear | None = changing(None)
    discount: float | None = changing(None)
    target_update: float = changing(1e-3)
    gradient_steps: int = 1
    gradient_steps_per: Literal["round", "episode"] = "round"
    max_gradient_steps: int = 64
    huber_delta: float = changing(1.0)
    reward_clip: float | None = changing(None)
    dropout: float = changing(0.0)
    gradient_norm: float = changing(1.0)
    optimizer_epsilon: float = changing(1e-8)
    exploration: EpsilonGreedy = field(default_factory=EpsilonGreedy)

    takes_masks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse values outside their mathematical range."""
        if self.learning_rate is not None:
            for value in bounds(self.learning_rate):
                require_number("learning_rate", value, 0)
        if self.discount is not None:
            require_number("discount", self.discount, 0, 1)
        require_number("target_update", self.target_update, 0, 1, above=True)
        require_integer("gradient_steps", self.gradient_steps, 1)
        require_integer("max_gradient_steps", self.max_gradient_steps, self.gradient_steps)
        require_number("huber_delta", self.huber_delta, 0, above=True)
        if self.reward_clip is not None:
            require_number("reward_clip", self.reward_clip, 0, above=True)
        require_number("dropout", self.dropout, 0, 0.9)
        require_number("gradient_norm", self.gradient_norm, 0, above=True)
        require_number("optimizer_epsilon", self.optimizer_epsilon, 0, above=True)

    @property
    def detours(self) -> tuple[float, int] | None:
        """Those of careful exploration."""
        how = self.exploration
        return (how.detour_probability, how.detour_steps) if how.careful else None

    def for_policy(self, policy: PolicyConfig) -> AthQ:
        """With the defaults of the policy's kind of memory."""
        defaults = CORE_DEFAULTS[policy.core_kind]
        return replace(self, **{key: value for key, value in defaults.items() if getattr(self, key) is None})

    def batches(self, finished_episodes: int) -> int:
        """As many as gradient steps."""
        per = finished_episodes if self.gradient_steps_per == "episode" else 1
        return min(self.gradient_steps * per, self.max_gradient_steps)

    def network(self, policy: Any, observation_space: Any, action_space: Any, generator: Any) -> Any:
        """A `hydrahive.policies.q_network.QNetwork`."""
        return made(self.network_maker, policy, observation_space, action_space, generator, self.exploration.ladder)
