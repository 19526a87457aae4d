"""Workers join and leave at any time, and the digest does not change: on a real Ray of several nodes."""

import itertools
import json
import os
import signal
import subprocess
import sys

import torch

from chaos.harness import cluster
from conftest import TINY, digests_of, full_only, wait_for

OPTIONS = [*TINY, "--shards", 4, "--boundary_every", 5, "--metrics_every", 1]
OTHER_CAPABILITY = "default" if torch.backends.cpu.get_cpu_capability() == "AVX2" else "avx2"
"""Instructions that torch is kept to on a node, and does not use here: another machine class."""


def events_of(hydrahive, name="a"):
    path = hydrahive.runs / name / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for_event(hydrahive, process, kind):
    def happened():
        assert process.poll() is None, process.communicate()
        return any(event["kind"] == kind for event in events_of(hydrahive))

    wait_for(happened, kind)


def wait_for_cpus(process):
    """The command's first lines say what it waits for."""
    lines = itertools.islice(iter(process.stderr.readline, ""), 5)
    waiting = next(line for line in lines if "waiting for" in line)
    assert "1 CPUs, 1 of them free: waiting for the learner's 1 and an env worker's 1" in waiting


def test_nodes_join_and_are_drained_and_other_machine_classes_are_refused(hydrahive):
    with cluster(nodes=1) as nodes:
        options = [*OPTIONS, "--workers", "auto", "--address", nodes.address, "--stop.env_steps", 10**9]
        process = hydrahive.start_training("snake/vtrace", "a", *options)
        try:
            wait_for_cpus(process)
            nodes.add()
            wait_for_event(hydrahive, process, "started")
            nodes.add(env_vars={"ATEN_CPU_CAPABILITY": OTHER_CAPABILITY})
            wait_for_event(hydrahive, process, "worker_refused")
            new = nodes.add()
            wait_for_event(hydrahive, process, "worker_joined")
            drain(nodes.address, new.node_id)
            wait_for_event(hydrahive, process, "worker_left")
            # Through the coordinator, as from a machine that does not see the folder.
            assert hydrahive("pause", "a", "--address", nodes.address).stdout.startswith("a: paused at ")
            assert hydrahive("continue", "a", "--address", nodes.address).stdout.startswith("a: running at ")
            assert hydrahive("stop", "a", "--address", nodes.address).stdout.startswith("a: ended at ")
            process.communicate(timeout=60)
            assert process.returncode == 0
        finally:
            process.kill()
        reached = json.loads(hydrahive("digest", "a", "--json").stdout)
    inline = hydrahive.train("snake/vtrace", "b", *OPTIONS, "--workers", 0, "--stop.env_steps", reached["env_steps"])
    assert digests_of(inline) == digests_of(reached)
    assert [event["kind"] for event in events_of(hydrahive) if event["kind"].startswith("worker")] == [
        "worker_refused",
        "worker_joined",
        "worker_leaving",
        "worker_left",
    ]


@full_only
def test_with_too_few_cpus_it_says_so_and_trains_with_fewer(hydrahive):
    with cluster(nodes=1) as nodes:
        options = [*OPTIONS, "--workers", 1, "--address", nodes.address, "--stop.env_steps", 20_000]
        process = hydrahive.start_training("snake/vtrace", "b", *options)
        wait_for_cpus(process)
        nodes.add()
        process.communicate(timeout=120)
        assert process.returncode == 0
        options = [*OPTIONS, "--workers", 3, "--address", nodes.address, "--stop.env_steps", 20_000]
        short = hydrahive("train", "snake/vtrace", "--name", "a", "--recording", "false", *options)
        assert "2 CPUs, 2 of them free: training with 1 of 3 env workers" in short.stderr
    assert hydrahive.summary("a")["digest"] == hydrahive.summary("b")["digest"]


@full_only
def test_who_waits_for_room_pauses_and_stops(hydrahive):
    """Before anything is trained, and when a run goes on; through the coordinator, and through the folder."""
    with cluster(nodes=1) as nodes:
        far = ["--workers", 1, "--address", nodes.address, "--stop.env_steps", 10**9]
        process = hydrahive.start_training("snake/vtrace", "a", *OPTIONS, *far)
        wait_for_cpus(process)
        wait_for(lambda: hydrahive.start("stop", "a", "--address", nodes.address).wait(90) == 0, "it to be heard", 60)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert "stopped on request before anything was trained" in said
        short = [*OPTIONS, "--workers", 0, "--stop.env_steps", 20_000]
        hydrahive.train("snake/vtrace", "a", *short)
        process = hydrahive.start_training("snake/vtrace", "a", *OPTIONS, *far)
        wait_for_cpus(process)
        assert hydrahive("stop", "a").stdout.startswith("a: ended at 20,")
        process.communicate(timeout=60)
        assert process.returncode == 0
        process = hydrahive.start_training("snake/vtrace", "a", *OPTIONS, *far)
        try:
            wait_for_cpus(process)
            asked = hydrahive.start("pause", "a")
            new = nodes.add()
            assert asked.wait(60) == 0, "kept until there is something to pause"
            hydrahive("continue", "a")
            # In the middle of a run: its only worker's node goes, and it waits for another.
            os.kill(new.all_processes["raylet"][0].process.pid, signal.SIGKILL)
            wait_for_event(hydrahive, process, "worker_lost")
            assert hydrahive("pause", "a").stdout.startswith("a: paused at ")
            assert hydrahive("stop", "a").stdout.startswith("a: ended at ")
            process.communicate(timeout=60)
            assert process.returncode == 0
        finally:
            process.kill()


@full_only
def test_the_missing_are_hired_at_once_and_who_holds_no_shard_leaves_a_drained_node(hydrahive):
    with cluster(nodes=2) as nodes:
        options = [*OPTIONS[: len(TINY)], "--shards", 1, "--boundary_every", 5, "--metrics_every", 1]
        far = ["--workers", 4, "--address", nodes.address, "--stop.env_steps", 10**9]
        process = hydrahive.start_training("snake/vtrace", "a", *options, *far)
        try:
            wait_for_event(hydrahive, process, "started")
            new = [nodes.add() for _ in range(3)]
            joined = lambda: [event for event in events_of(hydrahive) if event["kind"] == "worker_joined"]  # noqa: E731
            wait_for(lambda: len(joined()) == 3, "three to join", 120)
            drain(nodes.address, new[-1].node_id)
            wait_for_event(hydrahive, process, "worker_left")
            hydrahive("stop", "a", "--address", nodes.address)
            process.communicate(timeout=60)
            assert process.returncode == 0
        finally:
            process.kill()
        reached = json.loads(hydrahive("digest", "a", "--json").stdout)
    inline = hydrahive.train("snake/vtrace", "b", *options, "--workers", 0, "--stop.env_steps", reached["env_steps"])
    assert digests_of(inline) == digests_of(reached)


def drain(address, node_id):
    arguments = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "test"]
    arguments += ["--deadline-remaining-seconds", "60"]
    ray = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", address, "--node-id", node_id]
    subprocess.run([*ray, *arguments], check=True, capture_output=True, env=os.environ, timeout=60)
