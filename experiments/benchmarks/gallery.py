"""Writes docs/gallery.md: experiments, trained one after the other on this machine, with recordings and curves.

`python experiments/benchmarks/gallery.py [EXPERIMENT ...]`; without names all of `SHOWN`. What is there already is kept,
in `docs/gallery/`, until it is written again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from PIL import Image, ImageSequence

import hydrahive
from hydrahive.runtime.config.shipped import find_config
from hydrahive.telemetry.pages.page import ACCENT, svg

ROOT = Path(__file__).parents[2]
PAGE, FOLDER = ROOT / "docs" / "gallery.md", ROOT / "docs" / "gallery"

SHOWN: Mapping[str, str] = {
    "snake/ppo": "A snake that eats.",
    "swarm/vtrace-lstm": "Robots with lidar and a memory, each on its way to one goal after the other.",
    "cartpole/ppo": "The pole stands.",
    "cartpole/blind-ppo": "The same without being told of speeds: a memory finds them out.",
    "cartpole/dqn": "By Q-learning.",
    "classic/acrobot": "Two links swing themselves up.",
    "classic/lunarlander": "Lands between the flags.",
    "classic/pendulum": "Real actions, by SAC, in 6,000 steps.",
    "minigrid/doorkey": "Finds the key, opens the door.",
    "minatar/breakout": "Breakout in miniature.",
    "pettingzoo/speaker-listener": "Who knows where to go cannot walk, and says it to who can.",
    "pettingzoo/connect-four": "Plays against itself.",
    "robotics/fetch-reach": "An arm reaches for a point, with hindsight.",
}
"""What is shown, and in which words."""

INTRODUCTION = "What is shipped, trained by `hydrahive train NAME`. Written by `experiments/benchmarks/gallery.py`."

LARGEST = 280
"""Pixels of a side of a picture."""

FRAMES = 160
"""Of a recording; longer ones are large and say no more."""

GREY = "#7d8790"
"""Is read on white as on black."""


@dataclass(frozen=True)
class Told:
    """What is said of a run.

    Attributes:
        env_steps: How many.
        seconds: Of training.
        score: Mean of 100 held-out episodes.
        low: Lower end of its 95% interval.
        high: Upper end.
        digest: The run's.
        machine_class: Its class.
        machine: What it was computed on.
    """

    env_steps: int
    seconds: float
    score: float
    low: float
    high: float
    digest: str
    machine_class: str
    machine: str


def main() -> None:
    """Train, record, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="experiments (default: all that are shown)")
    parser.add_argument("--runs", type=Path, default=Path("runs/gallery"), help="where the runs go")
    given = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for name in given.names or SHOWN:
        began = time.perf_counter()
        told = shown(name, given.runs)
        (FOLDER / f"{_flat(name)}.json").write_text(json.dumps(vars(told), indent=1) + "\n")
        took = time.perf_counter() - began
        print(f"{name}: {told.score:.2f} after {told.seconds:.0f} s ({took:.0f} s in all)", flush=True)
        PAGE.write_text(page())


def shown(name: str, runs: Path) -> Told:
    """Train an experiment in a process of its own, and keep its picture and curve."""
    command = [sys.executable, "-P", "-m", "hydrahive.cli.main", "train", name, "--name", _flat(name)]
    subprocess.run([*command, "--runs", str(runs), "--recording", "false", "--resume", "auto"], check=True)
    run = hydrahive.Run(_flat(name), runs)
    found = run.evaluate(100)
    run.play(FOLDER / f"{_flat(name)}.gif")
    _smaller(FOLDER / f"{_flat(name)}.gif")
    x, y = run.rows["env_steps"], run.rows["score_mean"]
    known = np.isfinite(y)
    drawn = svg("score over env steps", partial(_curve, x[known], y[known]), 4.0, 2.4)
    (FOLDER / f"{_flat(name)}.svg").write_text(drawn.replace("currentColor", GREY))
    summary: Any = run.summary
    return Told(
        summary["env_steps"],
        summary["seconds"],
        found["mean"],
        found["mean_low"],
        found["mean_high"],
        run.digest,
        summary["machine_class"],
        machine(),
    )


def machine() -> str:
    """The processor, and how many of its cores."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return f"{len(names)} cores of {names[0]}" if names else "a machine that does not say its name"


def _curve(x: np.ndarray, y: np.ndarray, axes: Axes) -> None:
    axes.plot(x, y, color=ACCENT, lw=1.4)


def _smaller(path: Path) -> None:
    """A recording's first frames, no larger than they are looked at."""
    with Image.open(path) as picture:
        duration = picture.info.get("duration", 50)
        frames = [frame.convert("RGB") for frame in itertools.islice(ImageSequence.Iterator(picture), FRAMES)]
    scale = min(1.0, LARGEST / max(frames[0].size))
    size = tuple(max(1, round(side * scale)) for side in frames[0].size)
    palette = frames[len(frames) // 2].resize(size).quantize(48)
    small = [frame.resize(size).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    small[0].save(path, save_all=True, append_images=small[1:], duration=duration, loop=0, optimize=True)


def page() -> str:
    """The page, of all that lies in the folder."""
    paths = {name: FOLDER / f"{_flat(name)}.json" for name in SHOWN}
    told = {name: Told(**json.loads(path.read_text())) for name, path in paths.items() if path.exists()}
    blocks = ["# Gallery", INTRODUCTION]
    blocks.append("<div class='gallery' markdown>")
    for name, one in told.items():
        picture = f"gallery/{_flat(name)}"
        blocks += [
            "<div markdown>",
            f"**`{name}`** {SHOWN[name]}",
            f"![{name}]({picture}.gif)",
            f"{one.env_steps:,} steps, {_time(one.seconds)}; {one.score:,.2f} on 100 held-out episodes.",
            f"![score over env steps]({picture}.svg)",
            "</div>",
        ]
    blocks += ["</div>", "## In figures", _table(told)]
    return "\n\n".join(blocks) + "\n"


def _table(told: Mapping[str, Told]) -> str:
    rows = ["| experiment | env steps | training | score (95%) | digest |", "|---|---|---|---|---|"]
    for name, one in told.items():
        path = find_config(name)[0].relative_to(ROOT)
        score = f"{one.score:,.2f} ({one.low:,.2f} to {one.high:,.2f})"
        rows.append(
            f"| [`{name}`](../{path}) | {one.env_steps:,} | {_time(one.seconds)} | {score} | `{one.digest[:12]}` |"
        )
    machines = dict.fromkeys(f"{one.machine}, `{one.machine_class.partition('/')[0]}`" for one in told.values())
    return "\n".join(rows) + "\n\nMeasured on " + "; ".join(machines) + "."


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} minutes"


def _flat(name: str) -> str:
    return name.replace("/", "-")


if __name__ == "__main__":
    main()
