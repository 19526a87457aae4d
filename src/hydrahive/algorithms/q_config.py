"""What Q-learning is set to; torch-free."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from hydrahive.core.config import AlgorithmConfig, changing, made, require, require_integer, require_number
from hydrahive.core.replayed import Draw, Told
from hydrahive.core.schedules import Linear, bounds, value_at
from hydrahive.policies.config import PolicyConfig
from hydrahive.policies.exploration import Detours

CORE_DEFAULTS: dict[str, dict[str, Any]] = {
    "none": {"learning_rate": 5e-4, "discount": 0.97},
    "rnn": {"learning_rate": 5e-4, "discount": 0.96},
    "gru": {"learning_rate": 5e-4, "discount": 0.975},
    "lstm": {"learning_rate": 5e-4, "discount": 0.975},
}
"""What ATH Q-learning uses for each kind of memory where the config leaves it open; for others as for a GRU."""


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
        require_number("end", self.end, 0, self.start, by="start")
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
    replays = "sequences"

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
    def carries(self) -> tuple[str, ...]:
        """Steps that are left of detours."""
        return ("detours",) if self.exploration.careful else ()

    @property
    def avoids_fatal_actions(self) -> bool:
        """On detours."""
        return self.exploration.careful

    def for_policy(self, policy: PolicyConfig) -> AthQ:
        """With the defaults of the policy's kind of memory."""
        defaults = CORE_DEFAULTS.get(policy.core_kind, CORE_DEFAULTS["gru"])
        return replace(self, **{key: value for key, value in defaults.items() if getattr(self, key) is None})

    def wants(self, told: Told) -> Draw:
        """As many batches as gradient steps."""
        return Draw(self.batches(told.finished))

    def batches(self, finished_episodes: int) -> int:
        """As many as gradient steps."""
        per = finished_episodes if self.gradient_steps_per == "episode" else 1
        return min(self.gradient_steps * per, self.max_gradient_steps)

    def network(self, policy: Any, observation_space: Any, action_space: Any, generator: Any, group: int = 1) -> Any:
        """A `hydrahive.policies.q_network.QNetwork`."""
        how = self.exploration
        detours = Detours(how.detour_probability, how.detour_steps) if how.careful else None
        return made(self.network_maker, policy, observation_space, action_space, generator, how.ladder, detours)


class ByEnvSteps:
    """Gradient steps on batches of rows, as env steps come; what they are set to are fields of whoever is one."""

    n_step: int
    batch: int
    warm_up: int
    env_steps_per_gradient_step: float

    @property
    def reach(self) -> int:
        """As far as rewards are summed."""
        return self.n_step

    def wants(self, told: Told) -> Draw:
        """Gradient steps by env steps."""
        due = [self._due(env_steps) for env_steps in (told.before, told.env_steps)]
        return Draw(due[1] - due[0], self.batch)

    def _due(self, env_steps: int) -> int:
        """Gradient steps after so many env steps."""
        return int(max(0, env_steps - self.warm_up) / self.env_steps_per_gradient_step)


@dataclass(frozen=True)
class DQN(ByEnvSteps, AlgorithmConfig):
    """Deep Q-learning (Mnih et al. 2015) from a replay of rows, and each of its improvements as a switch.

    Prioritised draws are the replay's: `replay: {class_path: Rows, init_args: {priority_exponent: 0.5}}`.

    Attributes:
        learning_rate: Step size of Adam; a number or a line over env steps.
        discount: Weight of a reward one step later, 0 to 1.
        batch: Rows of a gradient step.
        env_steps_per_gradient_step: Env steps of all environments together for each gradient step; below 1 for several.
        warm_up: Env steps before the first of them.
        target_update: Share by which the target weights follow the others, 0 to 1; 1 copies them.
        target_every: Gradient steps between two times that they do.
        n_step: Env steps whose rewards are summed before the target network judges.
        double: Whether the one network chooses the action that the target network judges (van Hasselt et al. 2016).
        duelling: Whether a state's value and its actions' advantages are told apart (Wang et al. 2016).
        noisy: Whether the heads' weights are noisy, which explores in place of random actions (Fortunato et al. 2018):
            each environment has its own noise, another in each fragment.
        distribution: Of returns that is learned instead of their mean: `none`, `categorical` over fixed values (C51,
            Bellemare et al. 2017), or `quantiles` (QR-DQN, Dabney et al. 2018).
        atoms: Values, or quantiles, of the distribution.
        lowest: The smallest of the values, where they are fixed.
        highest: The largest.
        importance: How much of the draws' unevenness the loss makes up for (beta of Schaul et al. 2016), 0 to 1; a
            number or a line over env steps. It means nothing where all rows are drawn alike.
        huber_delta: Errors beyond this count linearly (Huber 1964); null squares all. Without a distribution, or with
            quantiles.
        reward_clip: Rewards beyond this, on either side of 0, are learned from as this; null leaves them.
        gradient_norm: Longer gradients are scaled down to this Euclidean length.
        optimizer_epsilon: Added to Adam's denominator.
        exploration: How actions are tried out.
    """

    maker = "hydrahive.algorithms.dqn:DQNUpdate"
    network_maker = "hydrahive.policies.deep_q_network:DeepQNetwork"
    replays = "transitions"
    judges = True

    figures = ("loss", "q_mean", "td_error", "gradient_norm", "learning_rate", "epsilon", "discount")

    learning_rate: float | Linear = changing(1e-4)
    discount: float = changing(0.99)
    batch: int = 32
    env_steps_per_gradient_step: float = 4.0
    warm_up: int = 1_000
    target_update: float = changing(1.0)
    target_every: int = changing(2_000)
    n_step: int = 1
    double: bool = True
    duelling: bool = False
    noisy: bool = False
    distribution: Literal["none", "categorical", "quantiles"] = "none"
    atoms: int = 51
    lowest: float = -10.0
    highest: float = 10.0
    importance: float | Linear = changing(0.4)
    huber_delta: float | None = changing(1.0)
    reward_clip: float | None = changing(None)
    gradient_norm: float = changing(10.0)
    optimizer_epsilon: float = changing(1e-8)
    exploration: EpsilonGreedy = field(default_factory=lambda: EpsilonGreedy(1.0, 0.05, over_env_steps=50_000))

    def __post_init__(self) -> None:
        """Refuse values outside their mathematical range."""
        for key in ("learning_rate", "importance"):
            for value in bounds(getattr(self, key)):
                require_number(key, value, 0, 1 if key == "importance" else sys.float_info.max)
        require_number("discount", self.discount, 0, 1)
        require_integer("batch", self.batch, 1)
        require_number("env_steps_per_gradient_step", self.env_steps_per_gradient_step, 0, above=True)
        require_integer("warm_up", self.warm_up, 0)
        require_number("target_update", self.target_update, 0, 1, above=True)
        require_integer("target_every", self.target_every, 1)
        require_integer("n_step", self.n_step, 1, 1_000)
        require_integer("atoms", self.atoms, 2, 10_000)
        require_number("lowest", self.lowest)
        require_number("highest", self.highest, self.lowest, above=True, by="lowest")
        for key in ("huber_delta", "reward_clip"):
            if getattr(self, key) is not None:
                require_number(key, getattr(self, key), 0, above=True)
        whole = self.distribution != "quantiles" or self.huber_delta is not None
        require(whole, "huber_delta", None, "a number, which quantiles need")
        require_number("gradient_norm", self.gradient_norm, 0, above=True)
        require_number("optimizer_epsilon", self.optimizer_epsilon, 0, above=True)
        careful = self.exploration.careful
        require(not careful, "exploration.careful", True, "false: only sequences are watched for stagnation")

    def for_policy(self, policy: PolicyConfig) -> DQN:
        """As it is.

        Raises:
            ConfigError: If the policy has a memory, which single rows cannot teach.
        """
        kind = policy.core_kind
        require(kind == "none", "policy.core", kind, f"none for {type(self).__name__}, or AthQ, which learns sequences")
        return self

    def network(self, policy: Any, observation_space: Any, action_space: Any, generator: Any, group: int = 1) -> Any:
        """A `hydrahive.policies.deep_q_network.DeepQNetwork`."""
        kinds = {"none": 1, "categorical": self.atoms, "quantiles": self.atoms}
        support = (self.lowest, self.highest) if self.distribution == "categorical" else None
        options = {
            "duelling": self.duelling,
            "noisy": self.noisy,
            "atoms": kinds[self.distribution],
            "support": support,
        }
        ladder = self.exploration.ladder
        return made(self.network_maker, policy, observation_space, action_space, generator, ladder, **options)


@dataclass(frozen=True)
class Rainbow(DQN):
    """DQN with six improvements at once (Hessel et al. 2018), and their values; each can still be switched."""

    learning_rate: float | Linear = changing(6.25e-5)
    warm_up: int = 20_000
    n_step: int = 3
    duelling: bool = True
    noisy: bool = True
    distribution: Literal["none", "categorical", "quantiles"] = "categorical"
    importance: float | Linear = changing(Linear(0.4, 1.0, 5_000_000))
    optimizer_epsilon: float = changing(1.5e-4)
    exploration: EpsilonGreedy = field(default_factory=lambda: EpsilonGreedy(0.0, 0.0))

    replay_defaults = {"priority_exponent": 0.5}
