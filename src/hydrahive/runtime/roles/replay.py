"""What the replay does: takes each round, and draws what the next update learns from besides its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hydrahive.core.errors import OutOfStepError
from hydrahive.core.fragment import Fragment, FragmentSummary
from hydrahive.core.replayed import Draw, Judgement, ReplayEvent, Sample, Told
from hydrahive.core.state import State, nested
from hydrahive.core.streams import stream
from hydrahive.policies.distributions import distribution_of
from hydrahive.replay.episodes import JudgedGoals, Layout
from hydrahive.replay.interface import Memory
from hydrahive.replay.memory import SequenceReplay
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import shown_by
from hydrahive.runtime.roles.intake import Intake, Leased, summaries


@dataclass(frozen=True)
class ReplayTold:
    """What the replay says after a round: what has happened, and its figures."""

    events: tuple[ReplayEvent, ...]
    figures: dict[str, float]


def replay_layout(config: RunConfig) -> Layout:
    """What a run's replay holds."""
    space, actions, stack, masks = shown_by(config.env)
    distribution = distribution_of(actions)
    return Layout(
        columns=config.shards * config.envs_per_shard,
        fragment_length=config.fragment_length,
        observation_shape=space.shape,
        observation_dtype=space.dtype,
        parameters=distribution.parameters,
        memory=config.policy.memory_size,
        action_shape=distribution.action_shape,
        action_dtype=distribution.action_dtype,
        stack=stack,
        masks=masks,
        steps=config.algorithm.reach,
        goals=_goals(config, space),
    )


def _goals(config: RunConfig, space: Any) -> JudgedGoals | None:
    """Where observations tell goals, and the environment that judges them, if the replay needs them."""
    if config.replay is None or not config.replay.needs_goals:
        return None
    judge, goals = config.env.goal_judge(), space.goals
    achieved, desired = (slice(start, start + goals.size) for start in (goals.achieved, goals.desired))
    return JudgedGoals(achieved, desired, judge)


class Replay:
    """A run's replay; after r rounds it stands at position r, and the sample for update r follows from that alone."""

    def __init__(self, config: RunConfig) -> None:
        """Begin empty at position 0."""
        self._config, self._layout, self._intake = config, replay_layout(config), Intake(config)
        self._memory = self._empty()
        self._memory.mark("0")
        self._position = self._env_steps = self._before = 0

    def take(
        self,
        round_: int,
        judged: Judgement | None,
        *parts: Sequence[Fragment] | Sequence[FragmentSummary],
        leased: Sequence[Sequence[Leased]] | None = None,
    ) -> tuple[Sample, ReplayTold]:
        """Take the round of an update, and draw for the next one.

        Args:
            round_: The update; must be the replay's position.
            judged: How far off the update before it found what it learned from. So the sample for the next one does
                not wait for this one.
            *parts: The round's fragments, however they are grouped, then their summaries, grouped likewise.
            leased: What was asked for, grouped likewise; None where this process has made them itself.

        Raises:
            RefusedWorkError: If a part is not what was asked for; nothing was taken.
            OutOfStepError: If `round_` is not the position: a call before this one was lost.
        """
        if round_ != self._position:
            raise OutOfStepError(f"the replay is at round {self._position}; round {round_} was given")
        if leased is not None:
            parts = self._looked_at(parts, leased)
        everything: list[Any] = [one for part in parts for one in part]
        half = len(everything) // 2
        pairs = sorted(zip(everything[:half], everything[half:], strict=True), key=lambda pair: int(pair[0].id.shard))
        fragments, said = zip(*pairs, strict=True)
        self._memory.judge(judged)
        self._memory.insert(fragments, said)
        self._position += 1
        self._before = self._env_steps
        self._env_steps += sum(summary.env_steps for summary in said)
        draw = self._wanted()
        if self._memory.can_draw(draw):
            self._memory.serve(draw.batches)
        elif draw.batches and draw.size != 0:
            self._memory.starve()
        told = ReplayTold(tuple(self._memory.take_events()), self._memory.figures())
        return self.sample(), told

    def _looked_at(self, parts: Sequence[Any], leased: Sequence[Sequence[Leased]]) -> tuple[Any, ...]:
        """The parts, once they are known to be what was asked for."""
        half = len(leased)
        said = [
            summaries(self._config, part, [one.id.shard for one in wanted], wanted[0].id.round)
            for part, wanted in zip(parts[half:], leased, strict=True)
        ]
        return (*map(self._intake.fragments, parts[:half], leased), *said)

    def sample(self) -> Sample:
        """What the update at this position learns from besides its round; the same however often it is asked for."""
        draw = self._wanted()
        if not self._memory.can_draw(draw):
            return Sample(stagnant=self._memory.stagnant)
        return self._memory.sample(stream(self._config.seed, "replay", self._position), draw)

    def position(self) -> int:
        """Rounds taken, after all calls made so far."""
        return self._position

    def state(self, since: int) -> State:
        """The state under `state/`, and under `block/` the episodes stored since the cut at position `since`."""
        taken = np.array([self._position, self._env_steps, self._before], np.int64)
        state = {**self._memory.state(), "position": taken}
        block = self._memory.block_since(str(since))
        self._memory.mark(str(self._position))
        return {**nested("state", state), **nested("block", block)}

    def restore(self, state: State | None, blocks: Sequence[State]) -> None:
        """Continue from `state` and the blocks up to it; from the beginning if there is none."""
        self._memory = self._empty()
        # Checkpoints of before numerics 3 count rounds only.
        taken = [] if state is None else state["position"].tolist()
        self._position, self._env_steps, self._before = [*taken, 0, 0, 0][:3]
        if state is None:
            self._memory.mark("0")
        else:
            self._memory.restore(state, blocks, str(self._position))

    def _empty(self) -> Memory:
        assert self._config.replay is not None, "the run has a replay"
        memory: Memory = self._config.replay.build(self._layout)
        return memory

    def _wanted(self) -> Draw:
        """What the next update draws."""
        told = Told(self._env_steps, self._before, self._memory.finished_in_round)
        draw = self._config.algorithm.wants(told)
        if draw is not None:
            return draw
        assert isinstance(self._memory, SequenceReplay), "who learns from rows says how many"
        frames = self._config.replayed_frames
        return Draw(1, max(1, frames // self._memory.sequence) if frames else 0)
