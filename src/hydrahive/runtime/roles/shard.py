"""A fixed slice of the environments: simulates one fragment after the other, and moves between workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from hydrahive.core.errors import ConfigError, OutOfStepError
from hydrahive.core.fragment import Fragment, FragmentId, FragmentSummary
from hydrahive.core.state import SnapshotKind, State, nested, under
from hydrahive.core.streams import derived_seed, stream
from hydrahive.envs.vector import SnapshotVectorEnv, episode_facts, finished_episodes, take_state
from hydrahive.policies.agent import NOTHING, Acted, Agent, Carry, Seen
from hydrahive.policies.distributions import distribution_of
from hydrahive.policies.gaussian import Distribution
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.carried import carry_shapes
from hydrahive.runtime.roles.lookout import Lookout

CARRY = "carry"
"""The part of a shard's state that only acting advances, not stepping the environments."""


class Shard:
    """`envs_per_shard` environments with all that their future depends on.

    A fragment is a pure function of the shard's state, the weights and the round: randomness is keyed by them
    or lies in the state, inference runs in one fixed batch shape, and every array it computes on is torch's own.
    """

    def __init__(self, config: RunConfig, run_id: str, index: int, env: SnapshotVectorEnv, segment: int = 0) -> None:
        """Start shard `index` of the run at round 0; `segment` only names its fragments."""
        self.config, self.run_id, self.index, self.segment = config, run_id, index, segment
        self.env = env
        self.round = 0
        n = env.num_envs
        observations, _ = env.reset(seed=derived_seed(config.seed, "env", index))
        self._observations = np.ascontiguousarray(observations)
        self._returns = np.zeros(n, np.float64)
        self._lengths = np.zeros(n, np.int64)
        self._awaits_reset = np.zeros(n, np.bool_)
        # Torch's own memory: its operators give other bytes at other alignments.
        dtype = torch.from_numpy(np.empty(0, self._observations.dtype)).dtype
        self._input = torch.empty(self._observations.shape, dtype=dtype)
        self._distribution = distribution_of(env.single_action_space)
        self._carry = self._nothing_carried()
        self._rank = index / max(1, config.shards - 1)
        self._states_every = config.replay.keeps_memory_every if config.replay and config.policy.memory_size else None

    def simulate(
        self, round_: int, version: int, agent: Agent, lookouts: Sequence[Lookout] = ()
    ) -> tuple[Fragment, FragmentSummary]:
        """Act for one fragment with `agent`, which holds the weights `version`; `lookouts` see each step.

        Raises:
            OutOfStepError: If `round_` is not this shard's next; the state would not be the one that was asked for.
            ValueError: If the environment returns something of another shape, or a value that is not finite.
        """
        steps, columns = self.config.fragment_length, self.env.num_envs

        def drawing(purpose: str) -> np.random.Generator:
            return stream(self.config.seed, purpose, self.index, round_)

        noise = agent.noise(drawing, steps, columns)
        takes_masks = self.config.algorithm.takes_masks
        fatal = self.env.fatal_actions if self.config.algorithm.avoids_fatal_actions else None

        def act(t: int) -> Acted:
            np.copyto(self._input.numpy(), self._observations)
            legal = self.env.legal_actions()
            if legal is not None and not takes_masks:
                refuse_masks(self.config)
            seen = Seen(self._input, legal, fatal)
            return agent.act(seen, self._carry, {name: drawn[t] for name, drawn in noise.items()}, self._rank)

        with agent.acting(), agent.stirred(lambda: drawing("noise"), columns):
            return self._fragment(round_, version, self._distribution.parameters, act, lookouts)

    def replay(
        self, round_: int, version: int, actions: np.ndarray, lookouts: Sequence[Lookout] = ()
    ) -> tuple[Fragment, FragmentSummary]:
        """Step the environments through one fragment with given actions, `[T, B]`; nobody acts, `behaviour` is empty.

        Raises:
            OutOfStepError, ValueError: As `simulate`, or if the environment does not take the actions.
        """
        drawn, nothing = torch.tensor(actions), torch.empty((len(self._observations), 0))
        with torch.inference_mode():
            return self._fragment(
                round_, version, 0, lambda t: Acted(drawn[t], nothing, self._carry, NOTHING), lookouts
            )

    def carried(self) -> State:
        """What the agent carries into the next step, `[B, ...]` each; parts that hold nothing are left out."""
        return {name: kept.numpy().copy() for name, kept in self._carry.items() if kept.numel()}

    def carry_on(self, carried: State) -> None:
        """Have the agent carry what `carried` gave; ValueError if that is of another layout."""
        self._carry = self._nothing_carried()
        for name, kept in self._carry.items():
            if kept.numel():
                take_state(kept.numpy(), carried, name)

    def _fragment(
        self,
        round_: int,
        version: int,
        num_parameters: int,
        act: Callable[[int], Acted],
        lookouts: Sequence[Lookout] = (),
    ) -> tuple[Fragment, FragmentSummary]:
        """Step through one fragment; `act` acts in a step."""
        if round_ != self.round:
            raise OutOfStepError(f"shard {self.index} is at round {self.round}; round {round_} was asked for")
        started = time.perf_counter()
        kind = self.config.env.snapshot_kind
        if round_ and round_ % self.config.boundary_every == 0:
            if kind == SnapshotKind.REBUILT:
                self.env.restore(self.env.snapshot())  # as whoever is restored at this boundary does
            elif kind == SnapshotKind.RESTARTED:
                self._begin_anew()
        self.env.advance(round_ * self.config.max_steps_per_round)
        distribution = self._distribution
        record = _Recorder(
            self.config.fragment_length,
            self._observations,
            num_parameters,
            self._carry["memory"].numpy(),
            distribution,
            self.env.stack,
        )
        counts = NOTHING
        for t in range(self.config.fragment_length):
            self.env.still_alive()
            self._note_states(t, record)
            acted = act(t)
            actions, self._carry = acted.actions.numpy(), acted.carry
            counts = counts + acted.counts if counts.size else acted.counts
            record.act(t, self._observations, actions, acted.behaviour.numpy())
            self._step(t, distribution.for_env(actions), record)
            for lookout in lookouts:
                step = round_ * self.config.fragment_length + t
                lookout.see(step, self.env, self._observations, self._returns, self._lengths)
        if kind == SnapshotKind.RESTARTED and (round_ + 1) % self.config.boundary_every == 0:
            record.cut_short(self._observations)
        id_ = FragmentId(self.run_id, self.segment, round_, self.index)
        fragment = record.fragment(id_, version, self._observations)
        _refuse_nonsense(fragment)
        self.round += 1
        return fragment, record.summary(self.index, time.perf_counter() - started, counts, self.env.remarks)

    def _begin_anew(self) -> None:
        """Begin all episodes, as whoever takes over the shard at this boundary does."""
        observations, _ = self.env.reset(seed=derived_seed(self.config.seed, "env", self.index, self.round))
        self._observations = np.ascontiguousarray(observations)
        for array in (self._returns, self._lengths, self._awaits_reset):
            array[:] = 0
        self._carry = self._nothing_carried()

    def _nothing_carried(self) -> Carry:
        """What an agent carries at the first step of an episode, in memory of torch's own."""
        shapes = carry_shapes(self.config, self._distribution.action_shape)
        return {name: torch.from_numpy(np.zeros(shape, dtype)).clone() for name, (dtype, shape) in shapes.items()}

    def snapshot(self) -> State:
        """The whole state between two rounds."""
        return {
            **nested("env", self.env.snapshot()),
            "round": np.array([self.round], np.int64),
            "observations": self._observations.copy(),
            "returns": self._returns.copy(),
            "lengths": self._lengths.copy(),
            "awaits_reset": self._awaits_reset.copy(),
            **nested(CARRY, self.carried()),
        }

    def restore(self, state: State) -> None:
        """Continue from `snapshot`'s state.

        Raises:
            ValueError: If the state is of another shard layout.
        """
        self.env.restore(under("env", state))
        self.round = int(state["round"][0])
        take_state(self._observations, state, "observations")
        take_state(self._returns, state, "returns")
        take_state(self._lengths, state, "lengths")
        take_state(self._awaits_reset, state, "awaits_reset")
        self._carry = self._nothing_carried()  # which is not of a fragment's inference mode
        for name, kept in self._carry.items():
            if kept.numel():
                # Checkpoints of before numerics 3 have no such part.
                take_state(kept.numpy(), state, place if (place := f"{CARRY}/{name}") in state else name)
        if self.config.env.snapshot_kind == SnapshotKind.RESTARTED:
            self._begin_anew()

    def _note_states(self, t: int, record: _Recorder) -> None:
        """Keep the memory of those environments whose episode is at a step that a replay begins burning in at."""
        if self._states_every is None:
            return
        due = (self._lengths > 0) & (self._lengths % self._states_every == 0) & ~self._awaits_reset
        if due.any():
            record.states(t, due, self._carry["memory"].numpy())

    def _step(self, t: int, actions: np.ndarray, record: _Recorder) -> None:
        present = self.env.present()
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        if observations.shape != self._observations.shape or np.shape(rewards) != self._returns.shape:
            given = f"observations {list(observations.shape)} and rewards {list(np.shape(rewards))}"
            expected = f"{list(self._observations.shape)} and {list(self._returns.shape)}"
            raise ValueError(f"the environment returned {given} in step {t}; expected shapes {expected}")
        # Rows of environments that only reset, or in which nobody is.
        resetting = self._awaits_reset if present is None else self._awaits_reset | ~present
        self._observations = observations
        self._returns += rewards
        self._lengths += ~resetting
        record.step(t, rewards, terminated, truncated, resetting)
        ended = terminated | truncated
        if resetting.any():
            self._returns[resetting] = 0
            self._lengths[resetting] = 0
        if ended.any():
            self._end_episodes(t, ended, truncated, infos, record)
        forgetting = ended | resetting
        if forgetting.any():
            for kept in self._carry.values():
                if kept.numel():
                    kept[torch.from_numpy(forgetting)] = 0
        if self.env.resets_on_next_step:
            self._awaits_reset = ended

    def _end_episodes(
        self, t: int, ended: np.ndarray, truncated: np.ndarray, infos: dict[str, Any], record: _Recorder
    ) -> None:
        finished, scores, lengths = finished_episodes(infos, ended, self._returns, self._lengths)
        record.episodes(scores[finished], lengths[finished])
        record.facts({name: values[finished] for name, values in episode_facts(infos).items()})
        if truncated.any():
            last = self._observations if self.env.resets_on_next_step else infos["final_obs"]
            record.cuts(t, truncated, last)
        self._returns[ended] = 0
        self._lengths[ended] = 0


def refuse_masks(config: RunConfig) -> None:
    """Refuse to go on where an environment tells masks and the algorithm takes none.

    Raises:
        ConfigError: Always.
    """
    accepted = "one that takes masks, such as PPO, where an environment says which actions are legal"
    raise ConfigError("algorithm", type(config.algorithm).__name__, accepted)


def _refuse_nonsense(fragment: Fragment) -> None:
    """Keep values that are not finite away from the learner, where nobody could say whose they were.

    Raises:
        ValueError: Says what is not finite, and in which step of which environment.
    """
    for name in ("rewards", "observations"):
        values = getattr(fragment, name)
        if values.dtype.kind != "f" or np.isfinite(values).all():
            continue
        t, b = np.argwhere(~np.isfinite(values))[0][:2]
        raise _not_finite(name, max(t - (name == "observations"), 0), b)  # row t + 1 is what step t led to
    last = fragment.cut_observations
    if last.dtype.kind == "f" and not np.isfinite(last).all():
        k = np.argwhere(~np.isfinite(last))[0][0]
        raise _not_finite("observations", *fragment.cut_rows[k])


def _not_finite(name: str, t: int, b: int) -> ValueError:
    return ValueError(f"the environment returned {name} that are not finite (step {t}, environment {b} of the shard)")


class _Recorder:
    """Collects a fragment; its arrays are new each time, because fragments outlive the next one's making."""

    def __init__(
        self,
        steps: int,
        observations: np.ndarray,
        num_parameters: int,
        memory: np.ndarray,
        distribution: Distribution,
        stack: int,
    ) -> None:
        n = len(observations)
        self._stack = stack
        if stack > 1:  # each frame once; those of the first observation that came before it
            self.observations = np.empty((steps + stack, n, *observations.shape[2:]), observations.dtype)
            self.observations[: stack - 1] = observations[:, :-1].swapaxes(0, 1)
        else:
            self.observations = np.empty((steps + 1, *observations.shape), observations.dtype)
        self.actions = np.empty((steps, n, *distribution.action_shape), distribution.action_dtype)
        self.behaviour = np.empty((steps, n, num_parameters), np.float32)
        self.rewards = np.empty((steps, n), np.float32)
        self.terminated = np.empty((steps, n), np.bool_)
        self.truncated = np.empty((steps, n), np.bool_)
        self.valid = np.empty((steps, n), np.bool_)
        self._memory = memory.copy()
        self._state_rows = [np.empty((0, 2), np.int32)]
        self._states = [np.empty((0, memory.shape[1]), np.float32)]
        self._cut_rows = [np.empty((0, 2), np.int32)]
        self._cut_observations = [np.empty((0, *observations.shape[1:]), observations.dtype)]
        self._scores: list[np.ndarray] = [np.empty(0, np.float64)]
        self._lengths: list[np.ndarray] = [np.empty(0, np.int64)]
        self._facts: dict[str, list[np.ndarray]] = {}

    def act(self, t: int, observations: np.ndarray, actions: np.ndarray, behaviour: np.ndarray) -> None:
        self._see(t, observations)
        self.actions[t] = actions
        self.behaviour[t] = behaviour

    def _see(self, t: int, observations: np.ndarray) -> None:
        if self._stack > 1:
            self.observations[t + self._stack - 1] = observations[:, -1]
        else:
            self.observations[t] = observations

    def step(
        self, t: int, rewards: np.ndarray, terminated: np.ndarray, truncated: np.ndarray, resetting: np.ndarray
    ) -> None:
        self.rewards[t] = rewards
        self.terminated[t] = terminated
        # An episode that both ended and was cut has ended.
        self.truncated[t] = truncated & ~terminated
        self.valid[t] = ~resetting

    def episodes(self, scores: np.ndarray, lengths: np.ndarray) -> None:
        self._scores.append(np.array(scores, np.float64))
        self._lengths.append(lengths.copy())

    def facts(self, told: dict[str, np.ndarray]) -> None:
        for name, values in told.items():
            self._facts.setdefault(name, []).append(values)

    def cuts(self, t: int, truncated: np.ndarray, last_observations: np.ndarray) -> None:
        columns = np.flatnonzero(self.truncated[t] & truncated)
        self._cut_rows.append(_rows(t, columns))
        last = np.stack(list(last_observations[columns])) if len(columns) else self._none()
        self._cut_observations.append(last.astype(self.observations.dtype, copy=False))

    def cut_short(self, observations: np.ndarray) -> None:
        """Truncate all episodes that go on behind the last step; they enter no score."""
        going_on = self.valid[-1] & ~self.terminated[-1] & ~self.truncated[-1]
        self.truncated[-1] |= going_on
        self.cuts(len(self.truncated) - 1, going_on, observations)

    def states(self, t: int, due: np.ndarray, memory: np.ndarray) -> None:
        self._state_rows.append(_rows(t, np.flatnonzero(due)))
        self._states.append(memory[due])

    def _none(self) -> np.ndarray:
        return self._cut_observations[0]

    def fragment(self, id_: FragmentId, version: int, observations: np.ndarray) -> Fragment:
        self._see(len(self.actions), observations)
        return Fragment(
            id=id_,
            version=version,
            observations=self.observations,
            actions=self.actions,
            behaviour=self.behaviour,
            rewards=self.rewards,
            terminated=self.terminated,
            truncated=self.truncated,
            valid=self.valid,
            cut_rows=np.concatenate(self._cut_rows),
            cut_observations=np.concatenate(self._cut_observations),
            memory=self._memory,
            state_rows=np.concatenate(self._state_rows),
            states=np.concatenate(self._states),
        )

    def summary(self, shard: int, seconds: float, detours: np.ndarray, remarks: tuple[str, ...]) -> FragmentSummary:
        return FragmentSummary(
            shard=shard,
            env_steps=int(self.valid.sum()),
            scores=np.concatenate(self._scores),
            lengths=np.concatenate(self._lengths),
            seconds=seconds,
            detours=detours,
            facts={name: np.concatenate(values) for name, values in self._facts.items()},
            remarks=remarks,
        )


def _rows(t: int, columns: np.ndarray) -> np.ndarray:
    """`[K, 2]` int32, the (t, b) of these columns."""
    return np.stack([np.full_like(columns, t), columns], axis=1).astype(np.int32)
