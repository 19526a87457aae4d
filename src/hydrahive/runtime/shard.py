"""A fixed slice of the environments: simulates one fragment after the other, and moves between workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from hydrahive.core.errors import OutOfStepError
from hydrahive.core.fragment import Fragment, FragmentId, FragmentSummary
from hydrahive.core.state import State, nested, under
from hydrahive.core.streams import derived_seed, stream
from hydrahive.envs.vector import SnapshotVectorEnv, take_state
from hydrahive.policies.actor_critic import ActorCritic
from hydrahive.policies.categorical import gumbel_noise
from hydrahive.runtime.config import RunConfig


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

    def simulate(self, round_: int, version: int, policy: ActorCritic) -> tuple[Fragment, FragmentSummary]:
        """Act for one fragment with `policy`, which holds the weights `version`.

        Raises:
            OutOfStepError: If `round_` is not this shard's next; the state would not be the one that was asked for.
            ValueError: If the environment returns something of another shape, or a value that is not finite.
        """
        noise = torch.from_numpy(self._noise(round_, policy.num_actions))

        def act(t: int) -> tuple[np.ndarray, np.ndarray]:
            np.copyto(self._input.numpy(), self._observations)
            logits = policy.logits(self._input)
            return torch.argmax(logits + noise[t], dim=-1).numpy(), logits.numpy()

        return self._fragment(round_, version, policy.num_actions, act)

    def replay(self, round_: int, version: int, actions: np.ndarray) -> tuple[Fragment, FragmentSummary]:
        """Step the environments through one fragment with given actions, `[T, B]`; nobody acts, `behaviour` is empty.

        Raises:
            OutOfStepError: As `simulate`.
            ValueError: As `simulate`, or if the environment does not take the actions.
        """
        nothing = np.empty((len(self._observations), 0), np.float32)
        return self._fragment(round_, version, 0, lambda t: (actions[t], nothing))

    def _fragment(
        self, round_: int, version: int, num_parameters: int, act: Callable[[int], tuple[np.ndarray, np.ndarray]]
    ) -> tuple[Fragment, FragmentSummary]:
        """Step through one fragment; `act` gives a step's actions, and the parameters they were drawn from."""
        if round_ != self.round:
            raise OutOfStepError(f"shard {self.index} is at round {self.round}; round {round_} was asked for")
        started = time.perf_counter()
        record = _Recorder(self.config.fragment_length, self._observations, num_parameters)
        with torch.inference_mode():
            for t in range(self.config.fragment_length):
                actions, behaviour = act(t)
                record.act(t, self._observations, actions, behaviour)
                self._step(t, actions, record)
        id_ = FragmentId(self.run_id, self.segment, round_, self.index)
        fragment = record.fragment(id_, version, self._observations)
        _refuse_nonsense(fragment)
        self.round += 1
        return fragment, record.summary(self.index, time.perf_counter() - started)

    def snapshot(self) -> State:
        """The whole state between two rounds."""
        return {
            **nested("env", self.env.snapshot()),
            "round": np.array([self.round], np.int64),
            "observations": self._observations.copy(),
            "returns": self._returns.copy(),
            "lengths": self._lengths.copy(),
            "awaits_reset": self._awaits_reset.copy(),
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

    def _noise(self, round_: int, num_actions: int) -> np.ndarray:
        generator = stream(self.config.seed, "act", self.index, round_)
        return gumbel_noise(generator, (self.config.fragment_length, self.env.num_envs, num_actions))

    def _step(self, t: int, actions: np.ndarray, record: _Recorder) -> None:
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        if observations.shape != self._observations.shape or np.shape(rewards) != actions.shape:
            given = f"observations {list(observations.shape)} and rewards {list(np.shape(rewards))}"
            expected = f"{list(self._observations.shape)} and {list(actions.shape)}"
            raise ValueError(f"the environment returned {given} in step {t}; expected shapes {expected}")
        resetting = self._awaits_reset
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
        if self.env.resets_on_next_step:
            self._awaits_reset = ended

    def _end_episodes(
        self, t: int, ended: np.ndarray, truncated: np.ndarray, infos: dict[str, Any], record: _Recorder
    ) -> None:
        scores = infos.get("final_info", {}).get("score", self._returns)
        record.episodes(scores[ended], self._lengths[ended])
        if truncated.any():
            last = self._observations if self.env.resets_on_next_step else infos["final_obs"]
            record.cuts(t, truncated, last)
        self._returns[ended] = 0
        self._lengths[ended] = 0


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
        raise ValueError(
            f"the environment returned {name} that are not finite (step {t}, environment {b} of the shard)"
        )


class _Recorder:
    """Collects a fragment; its arrays are new each time, because fragments outlive the next one's making."""

    def __init__(self, steps: int, observations: np.ndarray, num_parameters: int) -> None:
        n = len(observations)
        self.observations = np.empty((steps + 1, *observations.shape), observations.dtype)
        self.actions = np.empty((steps, n), np.int64)
        self.behaviour = np.empty((steps, n, num_parameters), np.float32)
        self.rewards = np.empty((steps, n), np.float32)
        self.terminated = np.empty((steps, n), np.bool_)
        self.truncated = np.empty((steps, n), np.bool_)
        self.valid = np.empty((steps, n), np.bool_)
        self._cut_rows = [np.empty((0, 2), np.int32)]
        self._cut_observations = [np.empty((0, *observations.shape[1:]), observations.dtype)]
        self._scores: list[np.ndarray] = [np.empty(0, np.float64)]
        self._lengths: list[np.ndarray] = [np.empty(0, np.int64)]

    def act(self, t: int, observations: np.ndarray, actions: np.ndarray, behaviour: np.ndarray) -> None:
        self.observations[t] = observations
        self.actions[t] = actions
        self.behaviour[t] = behaviour

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

    def cuts(self, t: int, truncated: np.ndarray, last_observations: np.ndarray) -> None:
        columns = np.flatnonzero(self.truncated[t] & truncated)
        self._cut_rows.append(np.stack([np.full_like(columns, t), columns], axis=1).astype(np.int32))
        self._cut_observations.append(np.stack(list(last_observations[columns])) if len(columns) else self._none())

    def _none(self) -> np.ndarray:
        return self._cut_observations[0]

    def fragment(self, id_: FragmentId, version: int, observations: np.ndarray) -> Fragment:
        self.observations[-1] = observations
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
        )

    def summary(self, shard: int, seconds: float) -> FragmentSummary:
        return FragmentSummary(
            shard=shard,
            env_steps=int(self.valid.sum()),
            scores=np.concatenate(self._scores),
            lengths=np.concatenate(self._lengths),
            seconds=seconds,
        )
