"""The page for everybody: what is being trained, how far it is, who has contributed, how to join."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import ray
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from hydrahive.core.errors import first_line
from hydrahive.runtime.cluster.lending.words import Wanted
from hydrahive.runtime.inspect.playing import record_run
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.runs.run_user import run_user
from hydrahive.serving.gateway.desk import Desk
from hydrahive.telemetry.jsonl import read_rows
from hydrahive.telemetry.pages.page import ACCENT, page, recording, svg, table

PAGE_SECONDS = 10.0
"""Time for which a page is shown again."""

RECORD_SECONDS = 300.0
"""Time between two recordings of a run's newest policy."""

FRAMES = 300
"""Pictures of a recording."""

POINTS = 400
"""Of a curve."""

log = logging.getLogger("hydrahive.gateway")
Work = Callable[[str], Awaitable[Sequence[Mapping[str, Any]]]]

JOIN = """<h2>Join</h2>
<p>Your computer acts for the training and earns tokens. It is trusted with nothing, and trusts the other side with
nothing: it runs only environments that come with Hydrahive, and sends only what its policy did.</p>
<pre><code>pip install 'hydrahive[volunteer]'   # Python 3.11 or newer
export HYDRAHIVE_KEY=...             # of your account; whoever runs this hive opens one
hydrahive volunteer THIS-ADDRESS     # Ctrl-C leaves</code></pre>
<p>Tokens pay for questions to trained policies: <code>hydrahive query --help</code>.</p>"""


@dataclass
class _Recorded:
    """A run's newest recording, and when the next one is due."""

    gif: bytes = b""
    due_at: float = 0.0
    making: asyncio.Task[None] | None = field(default=None, repr=False)


class Pages:
    """Makes the page, at most once in `PAGE_SECONDS`, outside of the event loop."""

    def __init__(self, desk: Desk, work_of: Work) -> None:
        """Show what a desk knows; `work_of` gives what each owner did for a run."""
        self._desk, self._work_of = desk, work_of
        self._made, self._made_at = b"", -PAGE_SECONDS
        self._recorded: dict[str, _Recorded] = {}
        self._lock = asyncio.Lock()

    async def page(self) -> bytes:
        """The page as it is now, or was a moment ago."""
        async with self._lock:
            if time.monotonic() - self._made_at >= PAGE_SECONDS:
                self._desk.sweep()
                shown = [await self._shown(wanted) for wanted, _ in self._desk.runs.values()]
                self._made = await asyncio.to_thread(_page, shown, len(self._desk.processes))
                self._made_at = time.monotonic()
            return self._made

    async def _shown(self, wanted: Wanted) -> Shown:
        named = self._desk.shown_accounts()
        try:
            work = await self._work_of(wanted.run_id)
        except Exception as error:  # the page is shown without it
            log.info("the page does without accounts: %s", first_line(error))
            work = []
        recorded = self._recorded.setdefault(wanted.run_id, _Recorded())
        if time.monotonic() >= recorded.due_at and recorded.making is None:
            recorded.making = asyncio.create_task(self._record(wanted, recorded))
        there = sum(one.proven and one.run_id == wanted.run_id for one in self._desk.processes.values())
        rows = [_contribution(row, named) for row in work]
        return Shown(wanted, there, rows, recorded.gif)

    async def _record(self, wanted: Wanted, recorded: _Recorded) -> None:
        try:
            recorded.gif = await ray.remote(num_cpus=0, max_retries=0)(_gif).remote(wanted.place)
        except Exception as error:  # there may be no checkpoint yet
            log.info("the page does without a recording: %s", first_line(error))
        recorded.due_at = time.monotonic() + (RECORD_SECONDS if recorded.gif else 3 * PAGE_SECONDS)
        recorded.making = None


@dataclass(frozen=True)
class Shown:
    """What is shown of a run.

    Attributes:
        wanted: What it wants.
        there: Volunteers' processes that work for it.
        contributions: Rows of (who, env steps, tokens).
        gif: A recording; empty without one.
    """

    wanted: Wanted
    there: int
    contributions: Sequence[Sequence[str]]
    gif: bytes


def _contribution(row: Mapping[str, Any], named: set[str]) -> list[str]:
    owner = str(row["owner"])
    who = "this hive's own machines" if owner == run_user() else owner if owner in named else "somebody"
    return [who, f"{row['env_steps']:,}", f"{row.get('earned', 0) / 1e6:,.2f}"]


def _page(shown: Sequence[Shown], processes: int) -> bytes:
    runs = "".join(map(_run, shown)) or "<p>No training wants volunteers now. Look again later.</p>"
    about = f"<p>{processes} volunteers' processes are here.</p>"
    return page("Hydrahive: the hive", f"<h1>The hive</h1>{about}{runs}{JOIN}")


def _run(shown: Shown) -> str:
    wanted = shown.wanted
    env = wanted.config.get("env", {})
    kind = str(env.get("class_path", "")).rpartition(".")[2]
    what = str(env.get("init_args", {}).get("id", kind))
    algorithm = str(wanted.config.get("algorithm", {}).get("class_path", "")).rpartition(".")[2]
    facts = [
        ("trained", f"{what} by {algorithm}"),
        ("so far", f"{wanted.env_steps:,} env steps"),
        ("volunteers' processes", f"{shown.there}"),
        ("machine class", wanted.machine_class),
    ]
    curve = f"<figure>{_curve(wanted)}</figure>"
    film = recording(shown.gif, "gif", "the newest policy") if shown.gif else ""
    by = table(("who", "env steps", "tokens"), shown.contributions, "nobody was paid yet")
    return (
        f"<h2>{escape(wanted.name)}</h2>{table(('', ''), facts)}"
        f"<div class='pictures'>{curve}{film}</div><h3>Who has contributed</h3>{by}"
    )


def _curve(wanted: Wanted) -> str:
    metrics = RunFolder(Path(wanted.place)).metrics
    rows = list(read_rows(metrics, has="score_mean")) if metrics.is_file() else []
    numbers = ((row["env_steps"], row["score_mean"]) for row in rows)
    told = [(x, y) for x, y in numbers if isinstance(x, int) and isinstance(y, int | float)]
    told = told[:: max(1, len(told) // POINTS)]
    if len(told) < 2:
        return "<p>its curve begins in a moment</p>"
    return svg(f"Score of {wanted.name}", partial(_line, told))


def _line(told: Sequence[tuple[float, float]], axes: Axes) -> None:
    axes.plot(*zip(*told, strict=True), color=ACCENT, lw=1.4)
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_xlabel("env steps", fontsize=8)
    axes.set_ylabel("mean of the last 100 episodes", fontsize=8)


def _gif(place: str) -> bytes:
    """A held-out episode of a run's newest policy."""
    with tempfile.TemporaryDirectory(prefix="hydrahive-") as folder:
        out = Path(folder) / "episode.gif"
        record_run(RunFolder(Path(place)), out, max_frames=FRAMES)
        return out.read_bytes()
