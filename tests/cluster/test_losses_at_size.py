"""Losses that one machine seldom shows: a store and a disk without room, twenty nodes gone, a coordinator that is slow."""

import json
import os
import signal
import time

import pytest

from chaos.around import Hog
from chaos.harness import STORE_BYTES, cluster, pids_of
from conftest import TINY, digests_of, full_only, wait_for

OPTIONS = [*TINY, "--boundary_every", 5, "--metrics_every", 1, "--checkpoint.every_boundaries", 1]


def events_of(hydrahive, name="a"):
    path = hydrahive.runs / name / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def reached(hydrahive, name="a"):
    rows = hydrahive.runs / name / "metrics.jsonl"
    lines = rows.read_text().splitlines() if rows.exists() else []
    return json.loads(lines[-1])["env_steps"] if lines else 0


def inline_digests(hydrahive, steps, *options):
    return digests_of(hydrahive.train("snake/vtrace", "inline", *options, "--workers", 0, "--stop.env_steps", steps))


@full_only
@pytest.mark.parametrize("disk", ["has room", "is full"])
def test_a_full_object_store_is_waited_for_or_ends_the_run_in_a_line(hydrahive, disk):
    options, steps = [*OPTIONS, "--shards", 4], 400_000
    full = {"RAY_local_fs_capacity_threshold": "0.0001"} if disk == "is full" else {}
    with cluster(nodes=3, **full) as nodes:
        far = ["--workers", 2, "--address", nodes.address, "--stop.env_steps", steps]
        process = hydrahive.start_training("snake/vtrace", "a", *options, *far)
        wait_for(lambda: reached(hydrahive) > steps // 10, "training", 120)
        hogs = [Hog(nodes.address, nodes.node_id_of(pid)) for pid in pids_of("env worker", nodes.below())]
        time.sleep(15)
        for hog in hogs:
            hog.end()
        _out, said = process.communicate(timeout=240)
        assert process.returncode in (0, 1), said
        assert "Traceback" not in said
        if process.returncode == 1:
            assert said.splitlines()[-1].startswith("hydrahive: error: ")
            assert reached(hydrahive) > 0
            hydrahive.train("snake/vtrace", "a", *options, *far)
    assert digests_of(hydrahive.summary("a")) == inline_digests(hydrahive, steps, *options)
    assert STORE_BYTES < 10**9, "a hog can fill it"


@full_only
def test_twenty_nodes_leave_within_a_minute(hydrahive):
    options = [*OPTIONS, "--shards", 20]
    with cluster(nodes=22) as nodes:
        far = ["--workers", 20, "--address", nodes.address, "--stop.env_steps", 10**9]
        process = hydrahive.start_training("snake/vtrace", "a", *options, *far)
        try:
            wait_for(lambda: len(pids_of("env worker", nodes.below())) >= 20, "twenty workers", 300)
            wait_for(lambda: reached(hydrahive) > 0, "training", 120)
            raylets = {nodes.raylet_of(pid) for pid in pids_of("env worker", nodes.below())}
            learner = nodes.raylet_of(pids_of("learner", nodes.below())[0])
            leaving, began = [raylet for raylet in raylets if raylet not in (None, learner)][:20], time.monotonic()
            for raylet in leaving:
                nodes.kill(raylet, replace=False)
                time.sleep(1.5)
            assert time.monotonic() - began < 60
            nodes.add()
            nodes.add()
            at = reached(hydrahive)
            wait_for(lambda: reached(hydrahive) > at + 10_000 or process.poll() is not None, "training", 180)
            assert process.poll() is None, process.communicate()[1][-2000:]
            hydrahive("stop", "a")
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert len(set(leaving)) == 20
    steps = json.loads(hydrahive("digest", "a", "--json").stdout)
    assert digests_of(steps) == inline_digests(hydrahive, steps["env_steps"], *options)


@full_only
def test_a_coordinator_that_restarts_slowly_is_waited_for(hydrahive):
    """It is killed, and what Ray starts in its place is stopped for 40 s each time; requests still arrive."""
    options = [*OPTIONS, "--shards", 2]
    with cluster(nodes=2) as nodes:
        far = ["--workers", 1, "--address", nodes.address, "--stop.env_steps", 10**9]
        process = hydrahive.start_training("snake/vtrace", "a", *options, *far)
        try:
            wait_for(lambda: reached(hydrahive) > 0, "training", 120)
            [first] = pids_of("coordinator", nodes.below())
            os.kill(first, signal.SIGKILL)
            wait_for(lambda: [pid for pid in pids_of("coordinator", nodes.below()) if pid != first], "another", 60)
            [second] = [pid for pid in pids_of("coordinator", nodes.below()) if pid != first]
            os.kill(second, signal.SIGSTOP)
            at, began = reached(hydrahive), time.monotonic()
            wait_for(lambda: time.monotonic() - began > 40, "time", 60)
            assert reached(hydrahive) > at, "training goes on"
            os.kill(second, signal.SIGCONT)
            assert hydrahive("stop", "a", "--address", nodes.address).stdout.startswith("a: ended at ")
            process.communicate(timeout=60)
            assert process.returncode == 0
        finally:
            process.kill()
        assert not [event for event in events_of(hydrahive) if event["kind"] in ("worker_lost", "learner_lost")]
        rows = hydrahive("ledger", "balance", "--json").stdout.splitlines()
    paid = sum(json.loads(row)["env_steps"] for row in rows)
    assert paid == json.loads(hydrahive("digest", "a", "--json").stdout)["env_steps"]
