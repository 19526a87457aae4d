"""What a pilot costs besides its validations."""

from __future__ import annotations

import time
from contextlib import contextmanager

from conftest import FULL, Report
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.shipped import shipped_experiments
from hydrahive.runtime.fleet.inline import InlineFleet
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.training.keeper import Keeper
from hydrahive.runtime.training.piloting.steering import Steering
from hydrahive.runtime.training.request import Request
from hydrahive.runtime.training.train import train

STEPS = 3_000_000 if FULL else 500_000


def test_besides_its_validations_a_pilot_costs_little(tmp_path, monkeypatch, report: Report) -> None:
    """Of the time that a run takes: what decides, what it writes, and the checkpoints that it has kept."""
    spent: dict[str, float] = {}

    within: list[str] = []

    @contextmanager
    def noted(name):
        began = time.perf_counter()
        within.append(name)
        yield
        within.pop()
        spent[name] = spent.get(name, 0.0) + time.perf_counter() - began

    def watched(owner, name, called, when=lambda *_: True):
        own = getattr(owner, name)

        def call(self, *given):
            if not when(self, *given):
                return own(self, *given)
            with noted(called):
                return own(self, *given)

        monkeypatch.setattr(owner, name, call)

    every = 8

    def is_for_the_pilot(keeper, boundary):
        return boundary.updates // keeper._config.boundary_every % every and boundary.updates not in keeper._on_disk

    watched(Steering, "take", "pilot")
    watched(InlineFleet, "validate", "decided", lambda *_: "pilot" in within)
    watched(InlineFleet, "validate", "validations")
    watched(Keeper, "_save", "saves", is_for_the_pilot)
    options = [
        "--workers=0",
        f"--stop.env_steps={STEPS}",
        "--recording=false",
        f"--checkpoint.every_boundaries={every}",
    ]
    config = load_run_config(shipped_experiments()["snake/piloted"], options)
    with noted("all"):
        train(Request(config, RunFolder(tmp_path / "run"), runs=tmp_path, quiet=True))
    deciding, kept = spent["pilot"] - spent["decided"], spent.get("saves", 0.0)
    own = deciding + kept
    share = own / (spent["all"] - spent["validations"])
    report.add(
        "The pilot's cost",
        f"snake/piloted, {STEPS:,} env steps inline: {share:.2%} of the time besides its validations "
        f"({spent['validations']:.1f} s of {spent['all']:.1f} s): decisions and their log "
        f"{deciding:.2f} s, checkpoints kept for it {kept:.2f} s",
    )
    assert share <= (0.03 if FULL else 0.2)  # where other tests write to the same disk, theirs is in it
