"""Memory does not grow: of the driver, the worker, the learner and the object store."""

import gc
import json
import statistics
import time
from functools import partial
from pathlib import Path

import pytest

import hydrahive
from chaos.harness import ancestors
from conftest import FULL, wait_for

MINUTES = 10
SAMPLE_SECONDS = 10


def _past(moment):
    return time.monotonic() > moment


def resident_mib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return 0.0


def processes(driver):
    """The run's processes by role: actors are found by Ray's process titles below this driver."""
    found = {"driver": driver}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            title = (path / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        for role, mark in (
            ("learner", "ray::LearnerActor"),
            ("env worker", "ray::EnvWorkerActor"),
            ("object store", "raylet/raylet"),
            ("coordinator", "ray::CoordinatorActor"),
        ):
            if mark in title and driver in ancestors(int(path.name)):  # others may train here, too
                found[role] = int(path.name)
    return found


@pytest.mark.skipif(not FULL, reason="ten minutes; run by make claims")
def test_memory_does_not_grow_in_ten_minutes(hydrahive, report):
    process = hydrahive.start_training(
        "snake/vtrace", "a", "--stop.env_steps", 10**9, "--stop.seconds", 60 * MINUTES + 30
    )
    metrics = hydrahive.runs / "a" / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.stat().st_size > 20_000, "the run to warm up")
    roles = processes(process.pid)
    assert set(roles) == {"driver", "learner", "env worker", "object store", "coordinator"}
    samples = {role: [] for role in roles}
    end = time.monotonic() + 60 * MINUTES
    while time.monotonic() < end:
        for role, pid in roles.items():
            samples[role].append(resident_mib(pid))
        process.poll()
        next_sample = time.monotonic() + SAMPLE_SECONDS
        wait_for(partial(_past, next_sample), "the next sample")
    process.terminate()
    process.communicate(timeout=60)
    for role, values in samples.items():
        early, late = max(values[5:12]), max(values[-7:])
        report.add(
            "Memory",
            f"- {role}: {early:.0f} MiB after the first minutes, {late:.0f} MiB after {MINUTES} (anonymous resident memory)",
        )
        assert late < early * 1.1 + 16


UPDATES = 400_000
MOST_GROWTH = 0.03
"""From the second quarter of the updates to the last; allocators' arenas and Ray's own tables are not more exact."""


@pytest.mark.skipif(not FULL, reason="a quarter of an hour; run by make claims")
def test_memory_is_flat_over_400_000_updates_of_one_step(hydrahive, report):
    options = ["--shards", 1, "--envs_per_shard", 1, "--fragment_length", 1, "--boundary_every", 500, "--workers", 1]
    options += ["--metrics_every", 500, "--checkpoint.every_boundaries", 20, "--stop.env_steps", UPDATES]
    process = hydrahive.start_training("cartpole/vtrace", "a", *options)
    metrics = hydrahive.runs / "a" / "metrics.jsonl"
    updates = lambda: json.loads(metrics.read_text().splitlines()[-1])["updates"]  # noqa: E731
    wait_for(lambda: metrics.exists() and metrics.stat().st_size > 20_000, "the run to warm up", 900)
    roles, samples = processes(process.pid), []
    while process.poll() is None:
        samples.append((updates(), {role: resident_mib(pid) for role, pid in roles.items()}))
        time.sleep(2)
    assert process.returncode == 0, process.communicate()
    late, grown = [sample for sample in samples if sample[0] > UPDATES // 4], {}
    for role in roles:
        sizes = [of[role] for _, of in late if of[role]]
        quarter = len(sizes) // 4
        early, last = statistics.median(sizes[:quarter]), statistics.median(sizes[-quarter:])
        grown[role] = last / early - 1
        report.add(
            "Memory", f"- {role}: {early:.1f} MiB, and {last:.1f} MiB at the end of {UPDATES:,} updates of one step"
        )
    assert max(grown.values()) < MOST_GROWTH, grown


def test_an_update_leaves_no_object_behind(tmp_path):
    """Exactly, where memory is not: as many objects at each checkpoint, however many updates lie between."""
    counted = {}

    def count(row):
        gc.collect()
        counted[row["updates"]] = len(gc.get_objects())

    hydrahive.train(
        "cartpole/vtrace", runs=tmp_path, workers=0, quiet=True, shards=1, envs_per_shard=1, fragment_length=1,
        boundary_every=50, metrics_every=50, recording=False, checkpoint={"every_boundaries": 4},
        stop={"updates": 1_500, "env_steps": 10**9}, on_row=count,
    )  # fmt: skip
    phases = [updates for updates in counted if updates % 200 == 50 and updates > 400]
    assert len(phases) >= 5
    counts = [counted[updates] for updates in phases]
    assert max(counts) - min(counts) < 100, f"{max(phases) - min(phases):,} updates: {counts}"
