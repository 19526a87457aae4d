"""Writes docs/benchmarks/atari.md: the curves of long Atari runs, from their folders, finished or not.

`python experiments/benchmarks/atari.py runs/pong runs/breakout`, after `hydrahive train atari/pong --name pong` and
`hydrahive train atari/breakout --name breakout`. Each run keeps its section until it is written again.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from hydrahive.runtime.config.plain import dump
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.telemetry.jsonl import read_rows

mpl.rcParams["svg.hashsalt"] = "atari"  # the same run, the same bytes

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks" / "atari.md"
HEADING = "# Atari, trained for long\n\nWritten by `experiments/benchmarks/atari.py`, a section for each game.\n"
MARKS = 6
"""Lines of the table over time."""


@dataclass(frozen=True)
class Told:
    """What a run's folder tells.

    Attributes:
        config: The run's, as YAML.
        game: The game.
        machine_class: What its bytes are relative to.
        rows: Rows with a score, in their order.
        events: All events.
    """

    config: str
    game: str
    machine_class: str
    rows: list[dict[str, Any]]
    events: list[dict[str, Any]]


def main() -> None:
    """Write the section and the picture of each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs")
    parser.add_argument("--note", default="", help="a sentence about how they were trained")
    given = parser.parse_args()
    kept = dict(_sections(PAGE.read_text())) if PAGE.exists() else {}
    for run in given.runs:
        told = read(run)
        draw(told, PAGE.parent / f"atari-{told.game}.svg")
        kept[told.game.capitalize()] = "".join(section(told, given.note)).strip()
    blocks = [f"## {title}\n\n{text}\n" for title, text in sorted(kept.items())]
    PAGE.write_text("\n".join([HEADING, *blocks]))


def _sections(page: str) -> Iterator[tuple[str, str]]:
    for block in page.split("\n## ")[1:]:
        title, _, text = block.partition("\n")
        yield title, text.strip()


def read(run: Path) -> Told:
    """What a run's folder tells."""
    folder = RunFolder(run)
    config = folder.config()
    rows = [row for row in read_rows(folder.metrics) if row.get("score_mean") is not None]
    return Told(dump(config), config.env.rom, folder.identity().machine_class, rows, read_rows(folder.events, "kind"))


def section(told: Told, note: str) -> Iterator[str]:
    """The text about one run."""
    last = told.rows[-1]
    begun = sum(event["kind"] in ("started", "resumed") for event in told.events)
    ending, ended = told.events[-1]["kind"], told.events[-1]["time"]
    hours, speed = last["seconds"] / 3600, last["env_steps"] / last["seconds"]
    so_far = "finished" if ending == "finished" else "not finished"
    yield (
        f"{last['env_steps']:,} agent steps in {hours:.1f} hours of training ({speed:,.0f} steps/s), "
        f"begun or resumed {begun} times; {last['episodes']:,} games; {so_far}. The mean of the last 100 games is "
        f"**{last['score_mean']:.2f}**, the best game {last['score_max']:g}. {note}\n\n"
        f"Machine class `{told.machine_class}`; last trained {time.strftime('%Y-%m-%d', time.gmtime(ended))}.\n\n"
        f"![Score over agent steps and hours](atari-{told.game}.svg)\n\n"
        "| agent steps | hours | mean of 100 games | entropy |\n|---|---|---|---|\n"
    )
    for share in range(1, MARKS + 1):
        row = told.rows[(len(told.rows) - 1) * share // MARKS]
        hours = row["seconds"] / 3600
        yield f"| {row['env_steps']:,} | {hours:.1f} | {row['score_mean']:.2f} | {row['entropy']:.2f} |\n"
    digest = told.events[-1].get("digest")
    if digest:
        yield f"\nDigest: `{digest}`.\n"
    yield f"\nThe run's `config.yaml`:\n\n```yaml\n{told.config.strip()}\n```\n"


def draw(told: Told, path: Path) -> None:
    """The mean of the last 100 games over agent steps and over hours of training."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasSVG(figure)
    rows = list(itertools.islice(told.rows, 0, None, max(1, len(told.rows) // 400)))
    scores = np.array([row["score_mean"] for row in rows])
    overs = {
        "million agent steps": np.array([row["env_steps"] for row in rows]) / 1e6,
        "hours of training": np.array([row["seconds"] for row in rows]) / 3600,
    }
    for axes, (label, over) in zip(figure.subplots(1, 2, sharey=True), overs.items(), strict=True):
        axes.plot(over, scores, color="#0b6e99", linewidth=1.2)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel(label)
    figure.axes[0].set_ylabel("score, mean of 100 games")
    figure.suptitle(told.game.capitalize(), fontsize=10)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
