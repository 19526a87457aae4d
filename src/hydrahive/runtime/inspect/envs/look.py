"""A run looks at its environment before it trains: once, cheaply, and for the faults that would be quiet.

What `check-env` tries in full (`hydrahive.runtime.inspect.envs.check`).
"""

from __future__ import annotations

import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from hydrahive.core.errors import HydrahiveError, SnapshotUnsupportedError, UsageError
from hydrahive.core.state import SnapshotKind, State
from hydrahive.envs.extras import told_where
from hydrahive.envs.vector import SnapshotVectorEnv, pulse, pulse_of
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.inspect.envs.probe import (
    Given,
    Player,
    WrongError,
    first_difference,
    oddities,
    outlives_a_reset,
    refuse_unfit,
    seed_for,
    title_of,
    types_beyond_checkpoints,
    vector,
)
from hydrahive.runtime.roles.shard import refuse_masks

STEPS, SECONDS = 24, 0.1
"""Of each stretch that is played: at most so many, and so long."""

SLOW_SECONDS = 1.0
"""An environment that takes longer to be made and begun is made once, not four times."""

TELL_SECONDS = 10.0
"""After so long it is said what is waited for."""

AGAIN_SECONDS = 5.0
"""An environment that swallows what is raised in it hears it again."""


def look(config: RunConfig) -> tuple[str, ...]:
    """Look at a run's environment; what is odd about it, in sentences.

    Raises:
        UsageError: If it is wrong, in one line; with `look: tell` that line is among the oddities.
    """
    if config.look == "none":
        return ()
    name = title_of(config.env)
    try:
        with warnings.catch_warnings(), _patience(name, config.faults.hang_seconds):
            warnings.simplefilter("ignore")
            try:
                return _looked(config)
            except HydrahiveError:
                raise
            except (Exception, SystemExit):  # a simulator may fail once in a while; a run tries again, too
                return _looked(config)
    except (Exception, SystemExit) as error:
        return _refused(config, name, error)


def _refused(config: RunConfig, name: str, error: BaseException) -> tuple[str, ...]:
    text = told_where(error)
    text = text if name in text else f"{name} {text}" if isinstance(error, WrongError) else f"{name}: {text}"
    if config.look == "tell" or (config.schedule == "free-running" and isinstance(error, UnlikeError)):
        return (f"{text} (seen before training, which goes on: look is {config.look})",)
    advice = " (look: tell trains all the same)" if isinstance(error, UnlikeError) else ""
    raise UsageError(f"{'' if text.startswith('env') else 'env: '}{text}{advice}") from None


class UnlikeError(WrongError):
    """An environment does not do the same again, which only runs that promise equal bytes need."""


def _looked(config: RunConfig) -> tuple[str, ...]:
    if config.replay is not None and config.replay.needs_goals:
        config.env.goal_judge()  # which tries it
    group, is_rebuilt = config.env.group, config.env.snapshot_kind == SnapshotKind.REBUILT
    games = group if is_rebuilt or config.envs_per_shard < 2 * group else 2 * group  # rebuilding takes longer
    began = time.perf_counter()
    with vector(config, games) as first:
        mine = [Player(first, 0).begin(seed_for(config))]
        refuse_unfit(first, mine[0], None)
        mine += _stretch(first, 0)
        if first.legal_actions() is not None and not config.algorithm.takes_masks:
            refuse_masks(config)  # they came late
        said = oddities(config, first, mine)
        took = time.perf_counter() - began
        if took > SLOW_SECONDS:
            return (*said, f"looked at for {took:.1f} s, once: whether it does the same again, check-env tries")
        kept = _kept(config, first)
        after = _stretch(first, 1)
        with vector(config, games) as second:
            _refuse_unlike(config, mine, first, second)
            if config.env.snapshot_kind == SnapshotKind.RESTARTED:
                _refuse_what_outlives(config, first, second)
            else:
                _refuse_lossy(config, kept, after, first, second)
    return tuple(said)


def _kept(config: RunConfig, env: SnapshotVectorEnv) -> State:
    try:
        kept = env.snapshot()
        odd = types_beyond_checkpoints(kept)
        if odd:
            raise WrongError(
                f"has snapshots with arrays of {', '.join(odd)}; expected numbers, as checkpoints hold them"
            )
        return kept
    except SnapshotUnsupportedError as refusal:  # in the middle of a game, and not when it was made
        raise WrongError(f"cannot be kept: {refusal}{_cut(config)}") from None


def _cut(config: RunConfig) -> str:
    """What to do about state that is not kept."""
    return "; env.snapshots: none cuts its episodes at boundaries instead" if hasattr(config.env, "snapshots") else ""


def _stretch(env: SnapshotVectorEnv, seed: int) -> list[Given]:
    """Some steps of a player, each held against the spaces."""
    given: list[Given] = []
    player, began = Player(env, seed), time.perf_counter()
    while not given or (len(given) < STEPS and time.perf_counter() - began < SECONDS):
        pulse()
        given.append(player.step())
        refuse_unfit(env, given[-1], len(given))
    return given


def _refuse_unlike(config: RunConfig, mine: list[Given], first: SnapshotVectorEnv, second: SnapshotVectorEnv) -> None:
    """A second one, played while the first goes on, does what the first did."""
    beside, player = Player(first, 2), Player(second, 0)
    theirs = [player.begin(seed_for(config))]
    for _ in mine[1:]:
        pulse()
        beside.step()
        theirs.append(player.step())
    step = first_difference(mine, theirs)
    if step is not None:
        since = "from its first observation on" if step == 0 else f"from step {step} on"
        raise UnlikeError(
            f"gives something else {since} when it is made a second time in one process, with the same seed and "
            "actions; expected the same, drawn from reset's seed alone and kept by each of them (class attributes, "
            "globals and the clock are everybody's)"
        )


def _refuse_lossy(
    config: RunConfig, kept: State, after: list[Given], first: SnapshotVectorEnv, second: SnapshotVectorEnv
) -> None:
    """One that is restored goes on as the one did that the snapshot was taken of."""
    kind = config.env.snapshot_kind
    if kind == SnapshotKind.REBUILT:  # which says that two restored ones are alike; and they are slow to make
        first.restore(kept)
        after = Player(first, 1).steps(len(after))
        second.restore(kept)
        theirs = Player(second, 1).steps(len(after))
    else:
        with vector(config, second.num_envs) as third:
            third.restore(kept)
            theirs = Player(third, 1).steps(len(after))
    step = first_difference(after, theirs)
    if step is not None:
        who = "two that are restored differ" if kind == SnapshotKind.REBUILT else "it goes on otherwise when restored"
        raise UnlikeError(
            f"declares {kind.value} snapshots, but {who} (step {step + 1} after one): expected all its state in "
            f"attributes that can be set{_cut(config)}"
        )


def _refuse_what_outlives(config: RunConfig, first: SnapshotVectorEnv, second: SnapshotVectorEnv) -> None:
    """Without snapshots whoever takes over begins anew, as whoever goes on does."""
    step = outlives_a_reset(config, first, second, STEPS, SECONDS)
    if step is not None:
        raise UnlikeError(
            f"does not begin anew when reset with a seed: one that has played longer differs from step {step} on"
        )


@contextmanager
def _patience(name: str, seconds: float) -> Iterator[None]:
    """Say what is waited for, and end it when no sign of life comes; only a main thread can end what hangs."""
    waiting = threading.Timer(TELL_SECONDS, _say, (f"looking at {name} before training takes {TELL_SECONDS:.0f} s",))
    waiting.daemon = True
    waiting.start()
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGALRM, _hung(name, seconds)) if is_main else None

    def alive() -> None:
        if is_main:
            signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)

    try:
        alive()
        with pulse_of(alive):
            yield
    finally:
        waiting.cancel()
        if is_main:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def _say(text: str) -> None:
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def _hung(name: str, seconds: float) -> Callable[[int, FrameType | None], None]:
    def ring(_signum: int, frame: FrameType | None) -> None:
        at = f" ({frame.f_code.co_filename}:{frame.f_lineno})" if frame else ""
        raise WrongError(f"hangs: {name} did not come back for {seconds:g} s{at}; faults.hang_seconds gives it longer")

    return ring
