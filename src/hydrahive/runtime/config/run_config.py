"""Everything that defines a run; torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from hydrahive.algorithms import control_config, q_config  # noqa: F401  the parser knows the names of imported parts
from hydrahive.algorithms.config import Rnd, VTrace, auto
from hydrahive.core.config import (
    AlgorithmConfig,
    EnvConfig,
    ReplayConfig,
    require,
    require_integer,
    require_number,
)
from hydrahive.core.errors import ConfigError
from hydrahive.core.machine import cpus as own_cpus
from hydrahive.core.replayed import Told
from hydrahive.core.state import SnapshotKind
from hydrahive.envs.atari.config import Atari  # noqa: F401  the parser knows the names of imported parts
from hydrahive.envs.gym.config import Gym  # noqa: F401  likewise
from hydrahive.envs.gym.pooled import EnvPool  # noqa: F401  likewise
from hydrahive.envs.pettingzoo.config import PettingZoo  # noqa: F401  likewise
from hydrahive.envs.snake.config import Snake
from hydrahive.envs.swarm.config import Swarm  # noqa: F401  likewise
from hydrahive.ledger.audit_rules import AuditConfig
from hydrahive.ledger.prices import LedgerConfig, price_of
from hydrahive.pilot.config import PilotConfig
from hydrahive.policies.config import PolicyConfig
from hydrahive.replay.config import Ath, Rows
from hydrahive.rllib import config as rllib_config  # noqa: F401  likewise
from hydrahive.runtime.config.automatic import chosen
from hydrahive.runtime.config.remote import RemoteConfig
from hydrahive.telemetry.loggers import config as loggers_config  # noqa: F401  likewise
from hydrahive.telemetry.loggers.base import LoggerConfig

BYTE_NEUTRAL = (
    "workers",
    "learner.at_once",
    "learner.workers",
    "stop",
    "checkpoint",
    "faults",
    "ledger",
    "audit",
    "remote",
    "metrics_every",
    "evaluate_every",
    "evaluate_episodes",
    "evaluate_actions",
    "pictures_every",
    "recording",
    "look",
    "loggers",
    "experiment",
)
"""Keys that never change a byte of the result, so a run may be resumed with others."""


@dataclass(frozen=True)
class LearnerConfig:
    """How the learner computes.

    Attributes:
        device: `cpu`, `cuda`, or `auto`: a GPU where the cluster offers one.
        threads: CPU threads of the learner; part of the machine class.
        slices: Parts that a round's gradient is summed from, in order. They bound the learner's memory and let
            several learners share a round; smaller parts stay in the CPU's cache. Changes the bytes.
        at_once: Slices that are computed at a time, each by as many `threads`, on a CPU; also gradient steps that an
            algorithm takes together, as SAC's of critics and actor. Changes no byte.
        workers: Processes on Ray that find slices' gradients besides the learner, each with as many CPUs as `threads`,
            or a GPU, where the learner has one; at most one for each slice. `auto` has the env workers do it
            between their rounds, where that is found to be faster. Changes no byte.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 1
    slices: int = 1
    at_once: int = 1
    workers: int | Literal["auto"] = 0

    def __post_init__(self) -> None:
        """Refuse counts below one."""
        require_integer("threads", self.threads, 1, 1024)
        require_integer("slices", self.slices, 1)
        require_integer("at_once", self.at_once, 1, 1024)
        if isinstance(self.workers, int):
            require_integer("workers", self.workers, 0, 10_000)
            accepted = f"at most {self.slices}, learner.slices: who has no slice has nothing to do"
            require(self.workers <= self.slices, "workers", self.workers, accepted)

    @property
    def cpus(self) -> int:
        """CPUs that it and its slice workers reserve."""
        return self.threads * (1 + (self.workers if isinstance(self.workers, int) else 0))


@dataclass(frozen=True)
class CheckpointConfig:
    """Which boundaries are written to disk; never changes a byte of the run.

    Attributes:
        every_boundaries: Write each n-th boundary.
        keep: How many of the newest to keep, besides the best by score_mean.
    """

    every_boundaries: int = 8
    keep: int = 3

    def __post_init__(self) -> None:
        """Refuse counts below one."""
        require_integer("every_boundaries", self.every_boundaries, 1)
        require_integer("keep", self.keep, 1)


@dataclass(frozen=True)
class FaultConfig:
    """What is done when something fails; never changes a byte of the run.

    Attributes:
        attempts: How often a fragment is tried, each time elsewhere where there is an elsewhere, before the run
            ends with its error; more than twice as many losses without an update in between end it, too.
        hang_seconds: Time at one fragment after which its worker is given up. The first fragment on a machine
            may compile kernels for half a minute. Inline, nobody is there to notice.
        kept_versions_mb: Most memory for the weights versions since the last boundary, from which lost shards are
            replayed, in MiB; a config that needs more is refused.
    """

    attempts: int = 3
    hang_seconds: float = 120.0
    kept_versions_mb: int = 256

    def __post_init__(self) -> None:
        """Refuse counts below one."""
        require_integer("attempts", self.attempts, 1)
        require_number("hang_seconds", self.hang_seconds, 0, above=True)
        require_integer("kept_versions_mb", self.kept_versions_mb, 1)


@dataclass(frozen=True)
class StopConfig:
    """When the run is finished: at the first of these. May be raised to train a finished run further.

    Attributes:
        env_steps: After the update that reaches this many env steps.
        updates: After this many updates; null for no such limit.
        score_mean: At the first boundary where the mean score of the last 100 episodes is this high.
        seconds: At the first boundary after this many seconds of training; where that lies depends on the
            machine's speed, so such a run ends elsewhere when it is repeated.
    """

    env_steps: int = 5_000_000
    updates: int | None = None
    score_mean: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuse ends that are never or at once."""
        require_integer("env_steps", self.env_steps, 1)
        if self.updates is not None:
            require_integer("updates", self.updates, 1)
        if self.score_mean is not None:
            require_number("score_mean", self.score_mean)
        if self.seconds is not None:
            require_number("seconds", self.seconds, 0, above=True)


@dataclass(frozen=True)
class Change:
    """Another value of a key, from an update on.

    Attributes:
        from_update: Updates done before the first one that is made with it; a boundary.
        key: Dotted, below `algorithm`.
        value: What it is from then on.
    """

    from_update: int
    key: str
    value: Any

    def __post_init__(self) -> None:
        """Refuse an update before the first."""
        require_integer("from_update", self.from_update, 0)


@dataclass(frozen=True)
class RunConfig:
    """One training run.

    Attributes:
        seed: Master seed; every random stream is keyed by it.
        env: The environment.
        shards: Fixed slices of the environments, the unit that workers compute and exchange. Never depends on
            the cluster.
        envs_per_shard: Environments in each shard; they are stepped and inferred as one batch.
        fragment_length: Steps of a fragment, in env steps of each environment.
        lag: Updates between the weights that act and the weights that learn; 1 lets both happen at once.
        schedule: `fixed-lag` is reproducible to the byte; `free-running` consumes fragments as they come,
            measures the lag and is not reproducible; `rllib`, likewise, is what RLlib's algorithms have.
        boundary_every: Updates between consistent cuts of the run, from which it can be continued.
        policy: The agent's network.
        algorithm: The learning rule; `auto` takes one by what the environment shows and takes.
        changes: Values that are others from an update on, as population-based training finds them.
        replay: A memory of episodes that updates learn from besides, or instead of, their round; null for none.
        curiosity: Rewards for what is new, beside those of the environment; null for none.
        learner: How the learner computes.
        workers: Env-worker processes; 0 runs everything inline without Ray; `auto` uses the CPUs that are left
            beside the learner, at most one worker for each shard.
        precision: Of matrix products; weights and all else stay float32. `medium` is torch's setting of that name:
            products go to oneDNN, which is twice as fast as MKL on AMD and uses bfloat16 inside where the CPU has
            a unit for it (AMX); `highest` keeps float32 products everywhere; `bfloat16` also casts the learner's
            layers and the recurrent ones that act (autocast), on GPUs and on CPUs with a unit for it. Part of the
            machine class.
        portable: Pin the CPU instruction sets to AVX2, so that more machines share a machine class; needs
            `precision: highest`.
        checkpoint: Which boundaries are written to disk.
        faults: What is done when something fails.
        ledger: Whether and at what price work is credited.
        audit: Whose work is computed again, and how much of it.
        remote: What is lent to volunteers outside of Ray.
        pilot: What the run decides by itself from validations; null for nothing.
        stop: When the run is finished.
        metrics_every: Updates between rows of metrics.
        evaluate_every: Updates between evaluations on held-out seeds beside the training; 0 for none.
        evaluate_episodes: Episodes of each such evaluation.
        evaluate_actions: How policies are evaluated and shown: `greedy` takes the likeliest actions, `sampled` draws
            them as in training, `convention` does what is usual for the environment.
        pictures_every: Updates between pictures of the policy for TensorBoard, played beside the training
            (inline, it waits); 0 for none.
        recording: Whether to record a game of the trained policy as `episode.gif` at the end.
        look: What is done when the environment is found wrong before training: `refuse` to train, `tell` it and train,
            or look at nothing (`none`).
        loggers: Who else is told the run's story, besides its folder: `Csv`, `Wandb`, `Mlflow`, or classes of yours.
        experiment: Name of the experiment the config came from, for display.
    """

    seed: int = 1970
    env: EnvConfig = field(default_factory=Snake)
    shards: int = 2
    envs_per_shard: int = 64
    fragment_length: int = 32
    lag: int = 1
    schedule: Literal["fixed-lag", "free-running", "rllib"] = "fixed-lag"
    boundary_every: int = 25
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    algorithm: AlgorithmConfig = field(default_factory=VTrace)
    changes: list[Change] = field(default_factory=list)
    replay: ReplayConfig | None = None
    curiosity: Rnd | None = None
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    workers: int | Literal["auto"] = 1
    precision: Literal["medium", "highest", "bfloat16"] = "medium"
    portable: bool = False
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    faults: FaultConfig = field(default_factory=FaultConfig)
    ledger: LedgerConfig = field(default_factory=LedgerConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    remote: RemoteConfig = field(default_factory=RemoteConfig)
    pilot: PilotConfig | None = None
    stop: StopConfig = field(default_factory=StopConfig)
    metrics_every: int = 10
    evaluate_every: int = 0
    evaluate_episodes: int = 32
    evaluate_actions: Literal["convention", "greedy", "sampled"] = "convention"
    pictures_every: int = 0
    recording: bool = True
    look: Literal["refuse", "tell", "none"] = "refuse"
    loggers: list[LoggerConfig] = field(default_factory=list)
    experiment: str = ""

    because: ClassVar[str] = ""
    """Of one whose algorithm was chosen: which, and why."""

    def __post_init__(self) -> None:
        """Refuse counts that make no sense."""
        require_integer("seed", self.seed, 0, 2**63 - 1)
        require_integer("shards", self.shards, 1)
        require_integer("envs_per_shard", self.envs_per_shard, 1)
        require_integer("fragment_length", self.fragment_length, 1)
        require_integer("lag", self.lag, 0, 64)
        require_integer("boundary_every", self.boundary_every, 1)
        require_integer("metrics_every", self.metrics_every, 1)
        require_integer("evaluate_every", self.evaluate_every, 0)
        require_integer("pictures_every", self.pictures_every, 0)
        require_integer("evaluate_episodes", self.evaluate_episodes, 1)
        if isinstance(self.workers, int):
            require_integer("workers", self.workers, 0, 10_000)
        portable = not self.portable or self.precision == "highest"
        require(portable, "precision", self.precision, "'highest', which portable: true needs")
        audited = self.audit.workers == "all" and self.schedule == "free-running"
        require(not audited, "audit.workers", "all", "'none' or 'others': free-running work cannot be computed again")
        lent = self.remote.share > 0 and self.schedule == "free-running"
        require(not lent, "remote.share", self.remote.share, "0: free-running work cannot be computed again")
        fits = self.algorithm.schedule == ("rllib" if self.schedule == "rllib" else "")
        require(fits, "schedule", self.schedule, "rllib with algorithm: Rllib, and another with any other")
        whole = self.schedule == "rllib" or self.envs_per_shard % self.env.group == 0
        accepted = f"a multiple of {self.env.group}, the environments that belong together"
        require(whole, "envs_per_shard", self.envs_per_shard, accepted)
        if isinstance(self.algorithm, auto):
            algorithm, because = chosen(
                self.env, self.replay, self.max_steps_per_round, deterministic=self.algorithm.deterministic,
                has_memory=self.policy.memory_size > 0,
            )  # fmt: skip
            object.__setattr__(self, "algorithm", algorithm)
            object.__setattr__(self, "because", f"algorithm: auto takes {because}")
        object.__setattr__(self, "algorithm", self.algorithm.for_policy(self.policy))
        if self.replay is None and self.algorithm.replays == "transitions":
            object.__setattr__(self, "replay", Rows(**self.algorithm.replay_defaults))
        for change in self.changes:
            at = change.from_update % self.boundary_every == 0
            require(
                at, "changes", change.from_update, f"from_update at a boundary, a multiple of {self.boundary_every}"
            )
        self._refuse_unfit_pilot()
        price_of(self.ledger, self.env.step_weight)  # which refuses what no ledger could sum
        self._refuse_careful_without_need()
        together = self.replay is None or self.schedule == "fixed-lag"
        require(
            together,
            "schedule",
            self.schedule,
            "'fixed-lag', which a replay needs: free-running leaves gaps in episodes",
        )
        self._refuse_unfit_replay()
        columns = self.shards * self.envs_per_shard
        if self.learner.slices > columns:
            accepted = f"at most {columns}, the number of environments"
            raise ConfigError("learner.slices", self.learner.slices, accepted)

    def _refuse_unfit_pilot(self) -> None:
        if self.pilot is None:
            return
        repeats = self.schedule == "fixed-lag"
        require(repeats, "schedule", self.schedule, "'fixed-lag', for a pilot's decisions are part of what repeats")
        accepted = f"at least {self.pilot_lead}: updates of so many boundaries are under way"
        require(self.pilot.delay >= self.pilot_lead, "pilot.delay", self.pilot.delay, accepted)

    @property
    def pilot_lead(self) -> int:
        """Boundaries from one at which something is decided to the first update that nobody has been given yet."""
        return -(-(self.lag + 1) // self.boundary_every)

    def _refuse_unfit_replay(self) -> None:
        name, wanted = type(self.algorithm).__name__, self.algorithm.replays
        if self.replay is None:
            return
        require(wanted != "nothing", "replay", "one", f"null, for {name} learns from fresh rounds only")
        accepted = {"sequences": "Ath or Uniform", "transitions": "Rows or Hindsight"}.get(wanted, "")
        given = type(self.replay).__name__
        require(self.replay.gives == wanted, "replay", given, f"{accepted}, for {name} learns from {wanted}")
        if self.replay.needs_scores:
            kept = self.env.snapshot_kind != SnapshotKind.RESTARTED
            require(
                kept, "replay", given, "one that goes by no scores: episodes are cut at boundaries (snapshots: none)"
            )
            accepted = f"one that goes by no scores, or life_loss_ends: false: {given} needs the score of every episode"
            require(self.env.scores_all_episodes, "replay", given, accepted)
        draw = self.algorithm.wants(Told(0, 0, 0))
        if draw is not None and draw.size is not None:
            accepted = f"at least {draw.size}, the rows of a batch"
            require(self.replay.capacity >= draw.size, "replay.capacity", self.replay.capacity, accepted)
        if draw is None:
            frames = self.replayed_frames
            accepted = f"at most {self.replay.capacity / self.max_steps_per_round:g}: more frames than replay.capacity"
            require(frames <= self.replay.capacity, "replay.ratio", getattr(self.replay, "ratio", None), accepted)

    def _refuse_careful_without_need(self) -> None:
        if not self.algorithm.avoids_fatal_actions:
            return
        key, env = "algorithm.exploration.careful", type(self.env).__name__
        require(self.env.tells_fatal_actions, key, True, f"false: {env} does not tell which actions are fatal")
        watches = isinstance(self.replay, Ath) and self.replay.stagnation_episodes is not None
        require(watches, key, True, "false, or a replay of class Ath with stagnation_episodes")

    @property
    def replayed_frames(self) -> int:
        """Frames of the sequences that an update learns from beside a whole round; at least one sequence is drawn."""
        return self.replay.frames_beside(self.max_steps_per_round) if self.replay else 0

    @property
    def max_steps_per_round(self) -> int:
        """Env steps of a round in which no row is a mere reset."""
        return self.algorithm.round_steps or self.shards * self.max_steps_per_fragment

    @property
    def max_steps_per_fragment(self) -> int:
        """Env steps of a fragment in which no row is a mere reset."""
        return self.envs_per_shard * self.fragment_length

    def worker_count(self, cpus: int | None = None) -> int:
        """How many env workers to start where `cpus` CPUs are free (default: this machine's)."""
        if isinstance(self.workers, int):
            return self.workers
        available = cpus if cpus is not None else own_cpus()
        most = available if self.schedule == "rllib" else self.shards
        return max(1, min(most, available - self.learner.cpus))
