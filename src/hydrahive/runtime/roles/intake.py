"""What is looked at before a byte of somebody else's is used: whoever consumes decides what it was given.

A fragment's id and version come from what was asked for, never from what came. What does not have the names, types,
shapes, ranges and counts that were asked for is refused before anything is learned from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hydrahive.core.errors import RefusedWorkError
from hydrahive.core.fragment import HERE, REPLAYED, VERIFIED, Fragment, FragmentId, FragmentSummary
from hydrahive.core.state import State
from hydrahive.core.watched import Frame
from hydrahive.envs.vector import MOST_REMARKS
from hydrahive.policies.distributions import distribution_of
from hydrahive.policies.exploration import DETOUR_COUNTS
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import shown_by
from hydrahive.runtime.roles.magnitudes import because_of

MOST_FACTS, MOST_FRAMES, MOST_PIXELS = 100, 64, 2**24
"""Of what is only shown: names of facts, pictures, and bytes of one."""

MOST_LETTERS = 500
"""Of a remark."""

FLOAT64, INT64 = np.dtype(np.float64), np.dtype(np.int64)

FEW = 64
"""So many numbers are sooner looked at one by one than as an array."""

OF_THE_POLICY = ("behaviour", "memory", "states")
"""What is not finite where a run diverges, too, whoever computes it."""


@dataclass(frozen=True)
class Leased:
    """A fragment that was asked for.

    Attributes:
        id: Which.
        version: The weights version that was to act.
        env_steps: How many its summary said; its bytes must have as many.
    """

    id: FragmentId
    version: int
    env_steps: int


class Intake:
    """Looks at a run's fragments."""

    def __init__(self, config: RunConfig) -> None:
        """Know what the run's fragments are like."""
        self._config = config
        space, actions, stack, _ = shown_by(config.env)
        self._distribution = distribution_of(actions)
        steps, columns, memory = config.fragment_length, config.envs_per_shard, config.policy.memory_size
        frame = space.shape[1:] if stack > 1 else space.shape
        shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
            "observations": (space.dtype, (steps + stack, columns, *frame)),
            "actions": (self._distribution.action_dtype, (steps, columns, *self._distribution.action_shape)),
            "behaviour": (np.float32, (steps, columns, self._distribution.parameters)),
            "rewards": (np.float32, (steps, columns)),
            "terminated": (np.bool_, (steps, columns)),
            "truncated": (np.bool_, (steps, columns)),
            "valid": (np.bool_, (steps, columns)),
            "cut_rows": (np.int32, (-1, 2)),
            "cut_observations": (space.dtype, (-1, *space.shape)),
            "memory": (np.float32, (columns, memory)),
            "state_rows": (np.int32, (-1, 2)),
            "states": (np.float32, (-1, memory)),
        }
        self._shapes = {name: (np.dtype(dtype), shape) for name, (dtype, shape) in shapes.items()}
        self._rows = steps, columns

    def fragments(self, part: Any, leased: Sequence[Leased]) -> list[Fragment]:
        """A worker's share of a round, under the names that were asked for.

        Raises:
            RefusedWorkError: If it is anything else; says what.
        """
        if not isinstance(part, list) or len(part) != len(leased):
            raise _refused(leased[0].id, f"{_kind(part)} came in place of {len(leased)} fragments")
        return [self._fragment(given, one) for given, one in zip(part, leased, strict=True)]

    def _fragment(self, given: Any, leased: Leased) -> Fragment:
        if type(given) is not Fragment:
            raise _refused(leased.id, f"{_kind(given)} came in place of a fragment")
        for name, (dtype, shape) in self._shapes.items():
            array = getattr(given, name, None)
            if array is None or not _is_array(array, dtype, shape):
                raise _refused(leased.id, f"its {name} are {_kind(array)}; expected {dtype}{_shown(shape)}")
            # An action that is not legal may have the probability e^-inf.
            if not _is_finite(array, from_below=name == "behaviour"):
                is_policys = name in OF_THE_POLICY
                why = because_of([given], self._config) if is_policys else ""
                raise _refused(leased.id, f"its {name} are not finite{why}", of_the_policy=is_policys)
        self._see_counts(given, leased)
        self._see_rows(given, leased)
        return replace(given, id=leased.id, version=leased.version)

    def _see_counts(self, given: Fragment, leased: Leased) -> None:
        if not self._distribution.takes(given.actions):
            raise _refused(leased.id, "its actions are none of the environment's")
        for name in ("terminated", "truncated", "valid"):
            if getattr(given, name).view(np.uint8).max(initial=0) > 1:
                raise _refused(leased.id, f"its {name} are neither true nor false")
        if (given.terminated & given.truncated).any():
            raise _refused(leased.id, "its episodes both ended and were cut")
        if int(given.valid.sum()) != leased.env_steps:
            raise _refused(leased.id, f"it has {int(given.valid.sum())} env steps; {leased.env_steps} were told")

    def _see_rows(self, given: Fragment, leased: Leased) -> None:
        cuts, states = given.cut_rows, given.state_rows
        if len(cuts) != given.truncated.sum() or len(cuts) != len(given.cut_observations):
            raise _refused(leased.id, "it has not one last observation for each episode that was cut")
        if len(states) != len(given.states):
            raise _refused(leased.id, "it has not one memory for each row that it names")
        for name, rows in (("cut_rows", cuts), ("state_rows", states)):
            inside = ((rows >= 0) & (rows < self._rows)).all()
            if not inside or len(np.unique(rows, axis=0)) != len(rows):
                raise _refused(leased.id, f"its {name} are not rows of it, each once")
        if len(cuts) and not given.truncated[cuts[:, 0], cuts[:, 1]].all():
            raise _refused(leased.id, "its cut_rows are not those of the episodes that were cut")


def summaries(config: RunConfig, given: Any, shards: Sequence[int], round_: int) -> list[FragmentSummary]:
    """What a worker says of its share of a round.

    Raises:
        RefusedWorkError: If it is no such thing; says what.
    """
    id_ = FragmentId("", 0, round_, shards[0])
    if not isinstance(given, list) or len(given) != len(shards):
        raise _refused(id_, f"{_kind(given)} came in place of {len(shards)} summaries")
    for summary, shard in zip(given, shards, strict=True):
        wrong = _wrong_with(summary, shard, config.max_steps_per_fragment)
        if wrong:
            raise _refused(replace(id_, shard=shard), wrong)
    return given


def _wrong_with(summary: Any, shard: int, most: int) -> str:
    """What is wrong with a summary; empty if nothing is."""
    if type(summary) is not FragmentSummary:
        return f"{_kind(summary)} came in place of a summary"
    if type(summary.shard) is not int or summary.shard != shard:
        return f"its summary is of shard {summary.shard!r}"
    if type(summary.env_steps) is not int or not 0 <= summary.env_steps <= most:
        return f"its summary tells {summary.env_steps!r} env steps; expected 0 to {most}"
    scores, lengths = summary.scores, summary.lengths
    if not _is_vector(scores, FLOAT64) or not _are_finite(scores) or len(scores) > most:
        return "its scores are no finite numbers"
    if not _is_vector(lengths, INT64) or len(lengths) != len(scores) or _least(lengths) < 0:
        return "its episodes' lengths are not one each"
    detours = summary.detours
    if not _is_vector(detours, INT64) or len(detours) not in (0, len(DETOUR_COUNTS)):
        return "its detours are not counted"
    if type(summary.seconds) is not float or not 0 <= summary.seconds < math.inf:
        return f"its summary tells {summary.seconds!r} seconds"
    if summary.lent not in ("", HERE, REPLAYED, VERIFIED):
        return "its summary does not say who acted"
    return _wrong_to_show(summary, most) if _are_sentences(summary.remarks) else "its remarks are no sentences"


def _wrong_to_show(summary: FragmentSummary, most: int) -> str:
    """What is wrong with what is only shown; empty if nothing is."""
    facts: Any = summary.facts
    if not isinstance(facts, dict) or len(facts) > MOST_FACTS:
        return "its facts have no names"
    for name, values in facts.items():
        if not isinstance(name, str) or len(name) > MOST_FACTS or not _is_vector(values, FLOAT64):
            return "its facts are no numbers with names"
        if len(values) > most:
            return f"it tells {len(values)} times of {name!r}"
    frames: Any = summary.frames
    if not isinstance(frames, tuple) or len(frames) > MOST_FRAMES:
        return "its frames are no pictures"
    for frame in frames:
        picture = frame.picture if type(frame) is Frame else None
        if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.ndim not in (2, 3):
            return "its frames are no pictures"
        if picture.nbytes > MOST_PIXELS:
            return f"one of its frames has {picture.nbytes:,} bytes"
        if any(type(number) not in (int, float) for number in (frame.env, frame.step, frame.reward, frame.length)):
            return "its frames do not say of what they are"
    return ""


def _are_sentences(given: Any) -> bool:
    """Whether it is a few texts, none of them long."""
    are_few = isinstance(given, tuple) and len(given) <= MOST_REMARKS
    return are_few and all(type(text) is str and len(text) <= MOST_LETTERS and text.isprintable() for text in given)


def shard_state(config: RunConfig, given: Any, shard: int, round_: int) -> State:
    """A shard's state that a worker gives: plain arrays, and of the round that was asked for.

    Raises:
        RefusedWorkError: If it is no such thing; says what.
    """
    id_ = FragmentId("", 0, round_, shard)
    if not isinstance(given, dict):
        raise _refused(id_, f"{_kind(given)} came in place of its state")
    for name, array in given.items():
        if not isinstance(name, str) or type(array) is not np.ndarray or array.dtype.hasobject:
            raise _refused(id_, f"its state's {str(name)[:100]!r} is no array of plain numbers")
    if not _is_array(given.get("round"), np.dtype(np.int64), (1,)) or (config_round := int(given["round"][0])) < 0:
        raise _refused(id_, "its state does not say of which round it is")
    if round_ >= 0 and config.schedule == "fixed-lag" and config_round != round_:
        raise _refused(id_, f"its state is of round {config_round}")
    return given


def positions(given: Any, shards: int) -> Mapping[int, int]:
    """Which shards a worker says that it holds, and at which rounds.

    Raises:
        RefusedWorkError: If it says no such thing.
    """
    rows = given.items() if isinstance(given, dict) else [(None, None)]
    if not all(type(at) is int and type(shard) is int and 0 <= shard < shards and at >= 0 for shard, at in rows):
        raise _refused(FragmentId("", 0, 0, 0), "it does not say which shards it holds")
    return dict(rows)


def _refused(id_: FragmentId, what: str, *, of_the_policy: bool = False) -> RefusedWorkError:
    return RefusedWorkError(id_.shard, id_.round, what, of_the_policy=of_the_policy)


def _is_array(given: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    """Whether it is an array of this type and shape; -1 stands for any length."""
    if type(given) is not np.ndarray or given.dtype != dtype or given.ndim != len(shape):
        return False
    return all(wanted in (-1, has) for wanted, has in zip(shape, given.shape, strict=True))


def _is_finite(array: np.ndarray, *, from_below: bool = False) -> bool:
    """Whether all values are finite, or `from_below` minus infinity; their ends show it, without another array."""
    if array.dtype.kind != "f" or not array.size:
        return True
    lowest, highest = array.min(), array.max()  # not a number, where there is one
    return bool((np.isfinite(lowest) or (from_below and lowest == -np.inf)) and np.isfinite(highest))


def _is_vector(given: Any, dtype: np.dtype[Any]) -> bool:
    """Whether it is an array of this type and one dimension."""
    return type(given) is np.ndarray and given.dtype == dtype and given.ndim == 1


def _are_finite(numbers: np.ndarray) -> bool:
    """Whether all of a vector's are."""
    return all(map(math.isfinite, numbers.tolist())) if len(numbers) <= FEW else _is_finite(numbers)


def _least(numbers: np.ndarray) -> int:
    """The least of a vector's, and of 0."""
    return min(0, *numbers.tolist()) if 0 < len(numbers) <= FEW else int(numbers.min(initial=0))


def _kind(given: Any) -> str:
    """What something is, in a few words, whatever it holds."""
    if type(given) is np.ndarray:
        return f"{given.dtype}{_shown(given.shape)}"
    return f"{len(given)} of something" if type(given) is list else f"a {type(given).__name__}"


def _shown(shape: tuple[int, ...]) -> str:
    return f"[{', '.join('N' if size < 0 else str(size) for size in shape)}]"
