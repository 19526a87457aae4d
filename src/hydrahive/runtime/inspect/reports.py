"""A run's report, put together from its folder and its ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydrahive.core.durable import write_whole
from hydrahive.core.errors import HydrahiveError
from hydrahive.ledger.ledger import Ledger, ledger_path
from hydrahive.ledger.statements import work_of
from hydrahive.runtime.inspect.snapshots import about_run
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.telemetry.jsonl import read_rows
from hydrahive.telemetry.pages.report import Told, report_page
from hydrahive.telemetry.story import read_story


def write_report(folder: RunFolder, out: Path) -> None:
    """Write the page of a run, live or finished.

    Raises:
        HydrahiveError: If its config cannot be read.
    """
    story = read_story(folder.metrics, folder.events, folder.episodes)
    about = about_run(folder, story)
    told = Told(
        about,
        {**_summary(folder), **about.facts},
        story,
        list(read_rows(folder.metrics, has="evaluation_mean")),
        _tokens(folder),
        _recording(folder),
    )
    write_whole(out, report_page(told))


def _summary(folder: RunFolder) -> dict[str, str]:
    """What its end says besides; of one that still goes on, that it does."""
    summary: dict[str, Any] | None = folder.read_summary()
    if summary is None:
        return {"state": "not finished"}
    mean = summary.get("score_mean")
    facts = {"state": "finished", "digest": str(summary.get("digest", "-"))}
    facts["mean of the last 100 scores"] = "-" if mean is None else f"{mean:,.2f}"
    return facts | {"machine class": str(summary.get("machine_class", "-"))}


def _tokens(folder: RunFolder) -> list[list[str]]:
    """Who was paid for it, in the ledger that `hydrahive ledger` shows; nobody where none can be read."""
    path = ledger_path(None, folder.path.absolute().parent)
    if path is None or not path.is_file():
        return []
    try:
        ledger = Ledger(path, create=False)
    except HydrahiveError:
        return []
    try:
        rows = work_of(ledger.journal, folder.identity().run_id)
    finally:
        ledger.close()
    return [[row["owner"], f"{row['env_steps']:,}", f"{row['earned'] / 1e6:,.6f}"] for row in rows]


def _recording(folder: RunFolder) -> tuple[bytes, str] | None:
    path = folder.recording
    return (path.read_bytes(), path.suffix[1:]) if path.is_file() else None
