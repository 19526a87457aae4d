"""Whether an environment does the same again: with a seed, without one, beside another, and in other processes."""

from __future__ import annotations

import hashlib
import locale
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from hydrahive.envs.vector import SnapshotVectorEnv
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.plain import dump
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.inspect.envs.probe import (
    Given,
    Noted,
    Player,
    WrongError,
    first_difference,
    seed_for,
    vector,
)

STEPS, SECONDS = 300, 3.0
"""That are compared, at most."""

END_STEPS, END_SECONDS = 20_000, 5.0
"""For which an end is waited for."""

WORLDS = ({"PYTHONHASHSEED": "1", "TZ": "UTC"}, {"PYTHONHASHSEED": "2", "TZ": "Pacific/Chatham"})
"""Where two processes are; the second has another locale, too."""

PROCESS_SECONDS = 100


def seeding(config: RunConfig) -> str:
    """The same seed gives the same, another one something else."""
    runs = [_story(config, seed) for seed in (5, 5, 6)]
    step = first_difference(runs[0], runs[1])
    if step is not None:
        raise WrongError(f"the same seed and actions give something else from step {step} on")
    if first_difference(runs[0], runs[2]) is None:
        return Noted("the same seed gives the same; another seed gives the same, too: nothing in it is random")
    return "the same seed gives the same, another seed something else"


def _story(config: RunConfig, seed: int) -> list[Given]:
    with vector(config) as env:
        player = Player(env, 0)
        return [player.begin(seed_for(config, f"check {seed}")), *player.steps(STEPS, SECONDS)]


def unseeded(config: RunConfig) -> str:
    """What a reset without a seed draws depends on the seed that came before."""
    runs = []
    for _ in range(2):
        with vector(config) as env:
            player = Player(env, 0)
            player.begin(seed_for(config))
            player.steps(20)
            runs.append([player.begin(None), *player.steps(STEPS // 3, SECONDS)])
    step = first_difference(*runs)
    if step is not None:
        raise WrongError(
            "a reset without a seed gives something else each time: expected what follows from the seed before, as "
            "Gymnasium's np_random does (episodes begin anew by such resets)"
        )
    return "a reset without a seed follows from the seed before it"


def second(config: RunConfig) -> str:
    """A second vector in the same process, stepped in turn with another, plays as it would alone."""
    alone = _story(config, 5)
    with vector(config) as other, vector(config) as env:
        beside, player = Player(other, 7), Player(env, 0)
        beside.begin(seed_for(config, "check beside"))
        together = [player.begin(seed_for(config, "check 5"))]
        for _ in alone[1:]:
            beside.step()
            together.append(player.step())
    step = first_difference(alone, together)
    if step is not None:
        raise WrongError(
            f"plays otherwise beside another one in the same process, from step {step} on: they share something (a "
            "class's attribute, a module's global, arguments that are changed)"
        )
    return "two in one process do not touch each other"


def processes(config: RunConfig) -> str:
    """Two processes with other hash seeds, time zones and locales play alike."""
    with tempfile.TemporaryDirectory(prefix="hydrahive-check-") as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(dump(config), "utf-8")
        told = [_told_by(path, {**world, **_locale(i)}) for i, world in enumerate(WORLDS)]
    for step, (mine, theirs) in enumerate(zip(*told, strict=False)):
        if mine != theirs:
            raise WrongError(
                f"another process, with another PYTHONHASHSEED, time zone and locale, plays otherwise from step {step} "
                "on: is it a set's order, the clock, or what a locale formats?"
            )
    return "alike in processes with other hash seeds, time zones and locales"


def _locale(number: int) -> dict[str, str]:
    """Another one for the second process, if this machine has one whose numbers look otherwise."""
    if number == 0:
        return {"LC_ALL": "C"}
    for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8"):
        before = locale.setlocale(locale.LC_ALL)
        try:
            locale.setlocale(locale.LC_ALL, name)
        except locale.Error:
            continue
        finally:
            locale.setlocale(locale.LC_ALL, before)
        return {"LC_ALL": name}
    return {}


def _told_by(path: Path, world: dict[str, str]) -> list[str]:
    """Digests of the steps that a process of its own has played."""
    command = [sys.executable, "-m", __name__, str(path)]
    around = {**os.environ, **world, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(  # noqa: S603  this very module
        command, env=around, capture_output=True, text=True, timeout=PROCESS_SECONDS, check=False
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise WrongError(f"another process cannot play it: {said[-1]}")
    return done.stdout.rpartition(MARK)[2].split()


MARK = "digests of steps:"
"""After what an environment may have printed."""


def autoreset(config: RunConfig) -> str:
    """When episodes begin anew, and whether that is as the vector declares."""
    with vector(config) as mine, vector(config) as theirs:
        ended = _until_one_ends(config, mine, theirs)
        if ended is None:
            return Noted("no episode has ended, so that no beginning anew was seen")
        if not mine.resets_on_next_step:
            return "episodes begin anew in the step in which they end, whose last observation is told"
        rewards, odd = _step_unlike(config, mine, theirs, ended)
    if odd:
        raise WrongError(
            "declares that the step after an end only resets (next-step), but what comes of it depends on the action"
        )
    if rewards.any():
        raise WrongError(
            f"pays {rewards[rewards != 0][0]:.3g} in the step after an end, which only resets; expected no reward"
        )
    return "episodes begin anew in the step after their end, whose action does nothing"


def _until_one_ends(config: RunConfig, *envs: SnapshotVectorEnv) -> np.ndarray | None:
    """Play all alike until a game ends; which ones did, bool `[num_envs]`."""
    players = [Player(env, 3) for env in envs]
    for player in players:
        player.begin(seed_for(config))
    for _ in range(min(END_STEPS, config.env.longest_episode or END_STEPS)):
        for player in players:
            player.step()
        if players[0].ends.any():
            return players[0].ends > 0
    return None


def _step_unlike(
    config: RunConfig, mine: SnapshotVectorEnv, theirs: SnapshotVectorEnv, ended: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Rewards of those that ended in the step after, and whether what they then see depends on their action."""
    first, other = Player(mine, 11).step(), Player(theirs, 12).step()
    return first[1][ended], not np.array_equal(first[0][ended], other[0][ended])


def _main(path: Path) -> None:
    """Print a digest of each step, for another process to compare."""
    story = _story(load_run_config(path), 5)
    digests = (hashlib.sha256(b"".join(part.tobytes() for part in given)).hexdigest()[:16] for given in story)
    print(MARK, *digests)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
