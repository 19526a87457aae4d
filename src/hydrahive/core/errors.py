"""Errors that end a command with one clear line."""

from __future__ import annotations

import re
from functools import partial
from typing import Any


class HydrahiveError(Exception):
    """Something went wrong that a user can read in one line; the command exits with `exit_code`."""

    exit_code = 1


class UsageError(HydrahiveError):
    """The arguments or the config cannot be used; nothing was written."""

    exit_code = 2


class ConfigError(UsageError):
    """A config key holds a value that is not accepted.

    Raised by a config's `__post_init__` with the field's bare name; the parser, which knows where that
    config stands in the file, adds the full dotted path with `within`.
    """

    def __init__(self, key: str, given: object, accepted: str) -> None:
        """Name the key, the value given and what would be accepted."""
        super().__init__(f"{key}: {given!r} is not accepted; expected {accepted}")
        self.key, self.given, self.accepted = key, given, accepted

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, object, str]]:
        """Travel between processes whole."""
        return type(self), (self.key, self.given, self.accepted)

    def within(self, path: str) -> ConfigError:
        """The same error with its key placed under the dotted `path`."""
        return ConfigError(f"{path}.{self.key}" if path else self.key, self.given, self.accepted)


def first_line(error: BaseException) -> str:
    """The first line of an error's text that says something; its type's name where none does."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)


OUT_OF_MEMORY = re.compile(r"(?i)MemoryError|out of memory|(unable to|can't|cannot) allocate")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's own, torch's on a CPU or a GPU, or one that names them."""
    return isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error)) is not None


class DivergedError(HydrahiveError):
    """The learner met a value that is not finite; no later byte would mean anything."""


class CheckpointError(HydrahiveError):
    """A checkpoint cannot be read: truncated, altered, or of another format version."""


class StoredNamesError(HydrahiveError):
    """A storage holds names that no run has, and that lead elsewhere."""


class MachineClassError(HydrahiveError):
    """A machine computes other bytes than the run was started with."""


class VersionsError(MachineClassError):
    """Other versions of our code, or of what it calls, than the run was computed with."""


class SnapshotUnsupportedError(HydrahiveError):
    """An environment holds state that cannot be captured and given back exactly."""


class StateRefusedError(HydrahiveError, ValueError):
    """A state holds what nothing of its kind holds; nothing of it was used."""


class NotAsDeclaredError(HydrahiveError, ValueError):
    """An environment gave something else than its spaces, or the contract that it follows, say."""

    def of(self, who: str) -> NotAsDeclaredError:
        """The same of somebody: `who` begins the sentence."""
        return NotAsDeclaredError(f"{who} {self}")


class LostError(HydrahiveError):
    """A process, or something it held, is gone or not where it should be; what it did can be done again."""


class LearnerLostError(LostError):
    """The learner or its replay is gone, or one is ahead of the other; the run continues from its newest boundary."""


class TakenBackError(HydrahiveError):
    """Work that was learned from was dishonest; the run goes on from before it, as a new segment."""


class SupersededError(HydrahiveError):
    """Another process trains the run now; this one must write nothing more of it."""


class OutOfStepError(LostError):
    """A shard or the learner was asked for another round than its next; a call before this one was lost."""


class FragmentError(HydrahiveError):
    """A shard's environment or policy failed inside a fragment.

    Attributes:
        shard: The shard, which is lost with it.
        round: The round that it failed in.
        what: What was raised, and where, in one line.
        trace: Its traceback.
    """

    def __init__(self, shard: int, round_: int, what: str, trace: str) -> None:
        """Name the fragment and what was raised."""
        super().__init__(f"shard {shard} failed in round {round_}: {what}")
        self.shard, self.round, self.what, self.trace = shard, round_, what, trace

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes whole."""
        return type(self), (self.shard, self.round, self.what, self.trace)


MOST_SAID = 500
"""Letters of what somebody else has said that are kept."""


class WorkerFailedError(HydrahiveError):
    """An env worker's own call raised what no honest one raises."""


class RefusedWorkError(FragmentError):
    """A fragment that came is not what was asked for, or a gradient (shard -1); nothing of it was used.

    Attributes:
        of_the_policy: Whether it may be the run's own fault, whoever computes it: its policy's, which has diverged, or
            its environment's.
        worker: Who gave it, by its number, once that is known.
    """

    worker: int | None = None

    def __init__(self, shard: int, round_: int, what: str, *, of_the_policy: bool = False) -> None:
        """Name the fragment and what is wrong with it, of which no more is kept than can be told."""
        what = one_line(what.replace("\0", ""))[:MOST_SAID]
        super().__init__(shard, round_, what, "")
        of = f"work on shard {shard} of round {round_}" if shard >= 0 else f"a gradient of update {round_}"
        self.args = (f"{of} is refused: {what}",)
        self.of_the_policy = of_the_policy

    def by(self, worker: int) -> RefusedWorkError:
        """The same, of a worker's."""
        self.worker = worker
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes whole."""
        return partial(type(self), of_the_policy=self.of_the_policy), (self.shard, self.round, self.what)


class LedgerError(HydrahiveError):
    """The ledger cannot be used: where it lies, what it holds, or who asks."""


class RefusedError(LedgerError):
    """The ledger was asked for something that it must not do; nothing has moved, and the refusal is recorded.

    Attributes:
        code: What is wrong, in one word, for example `overdraft` or `wrong-key`.
    """

    def __init__(self, code: str, text: str) -> None:
        """Name the reason for machines and say it for people."""
        super().__init__(text)
        self.code = code

    def __reduce__(self) -> tuple[type[RefusedError], tuple[str, str]]:
        """Travel between processes whole."""
        return type(self), (self.code, str(self))


def one_line(error: object) -> str:
    """An error's text without line breaks."""
    return re.sub(r"\s+", " ", str(error)).strip()


EXTRAS = {
    "ale_py": "atari",
    "Box2D": "box2d",
    "dm_control": "dm-control",
    "envpool": "envpool",
    "fastapi": "serve",
    "gymnasium_robotics": "robotics",
    "imageio_ffmpeg": "video",
    "minatar": "minatar",
    "minigrid": "minigrid",
    "mlflow": "mlflow",
    "mpe2": "mpe",
    "mujoco": "mujoco",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "optuna": "tune",
    "pandas": "tune",
    "pygame": "pettingzoo",
    "ray": "ray",
    "rich": "watch",
    "rlcard": "pettingzoo",
    "shimmy": "dm-control",
    "stable_baselines3": "sb3",
    "starlette": "serve",
    "textual": "watch",
    "textual_plotext": "watch",
    "tree": "rllib",
    "urllib3": "volunteer",
    "uvicorn": "serve",
    "wandb": "wandb",
}
"""By what a package is imported as."""

SAID = {
    "box2d": "box2d",
    "mujoco": "mujoco",
    "pygame": "pettingzoo",
    "ray[rllib]": "rllib",
    "ray[serve": "serve",
    "ray[tune]": "tune",
}
"""By what others' code says where it looks for a package itself: "run `pip install gymnasium[box2d]`"."""


def how_to_install(error: BaseException) -> str | None:
    """`pip install 'hydrahive[...]'` for what an error says is missing; None if it is about something else."""
    said = str(error).lower()
    if isinstance(error, ModuleNotFoundError):
        extra = EXTRAS.get((error.name or "").partition(".")[0])
    elif isinstance(error, ImportError) or "install" in said:
        extra = next((extra for text, extra in SAID.items() if text in said), None)
    else:
        extra = None
    return extra and f"pip install 'hydrahive[{extra}]'"


def not_installed(what: str, error: ImportError) -> UsageError:
    """What to say where `what` needs a package that is missing."""
    install = how_to_install(error)
    return UsageError(f"{what} needs {f'what is not installed: {install}' if install else first_line(error)}")
