"""What a run's bytes are relative to: another version of a package is refused in one line, by whoever it comes."""

import json
import signal

import pytest

from chaos.harness import cluster, pids_of
from conftest import TINY, digests_of, full_only, wait_for

OPTIONS = [*TINY, "--shards", 4, "--boundary_every", 5, "--metrics_every", 1]


@pytest.fixture
def other_numpy(tmp_path):
    """A folder that, on the path, says that another numpy is installed."""
    facts = tmp_path / "other" / "numpy-9.9.9.dist-info" / "METADATA"
    facts.parent.mkdir(parents=True)
    facts.write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 9.9.9\n")
    return str(tmp_path / "other")


def events_of(hydrahive, name, kind):
    path = hydrahive.runs / name / "events.jsonl"
    events = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
    return [event for event in events if event["kind"] == kind]


def test_a_run_is_not_resumed_with_another_version_unless_that_is_accepted(hydrahive, other_numpy):
    options = [*OPTIONS, "--checkpoint.every_boundaries", 1]
    first = hydrahive.train("snake/vtrace", "a", *options, "--stop.env_steps", 20_000)
    assert first["fingerprint"]["numerics"]
    assert first["accepted_versions"] == []
    hydrahive.environment["PYTHONPATH"] = other_numpy
    more = [*options, "--stop.env_steps", 40_000, "--recording", "false"]
    refused = hydrahive("train", "snake/vtrace", "--name", "a", *more, code=1)
    assert refused.stderr.count("\n") == 1
    assert f"the run was computed with numpy {first['fingerprint']['numpy']}; here is numpy 9.9.9" in refused.stderr
    assert "--accept-versions" in refused.stderr
    assert hydrahive.summary("a") == first
    hydrahive("train", "snake/vtrace", "--name", "a", *more, "--accept-versions")
    told = events_of(hydrahive, "a", "versions_accepted")
    assert len(told) == 1
    assert "numpy 9.9.9" in told[0]["text"]
    second = hydrahive.summary("a")
    assert (second["segments"], second["reproducible"]) == (2, False)
    assert "numpy 9.9.9" in second["accepted_versions"][0]
    assert "numpy 9.9.9" in json.dumps(json.loads((hydrahive.runs / "a" / "segments.json").read_text()))
    assert second["fingerprint"]["numpy"].startswith("9.9.9")
    newest = max((hydrahive.runs / "a" / "checkpoints").glob("*/manifest.json"))
    assert json.loads(newest.read_text())["fingerprint"] == second["fingerprint"]
    del hydrahive.environment["PYTHONPATH"]
    back = hydrahive("train", "snake/vtrace", "--name", "a", *options, "--stop.env_steps", 60_000, code=1)
    assert "here is numpy 2" in back.stderr


def test_a_run_from_before_versions_were_written_down_is_told_of_and_goes_on(hydrahive):
    options = [*OPTIONS, "--checkpoint.every_boundaries", 1]
    undisturbed = hydrahive.train("snake/vtrace", "b", *options, "--stop.env_steps", 30_000)
    hydrahive.train("snake/vtrace", "a", *options, "--stop.env_steps", 15_000)
    path = hydrahive.runs / "a" / "run.json"
    plain = json.loads(path.read_text())
    del plain["fingerprint"]
    plain["machine_class"] = plain["machine_class"].rpartition("/arithmetic")[0]
    path.write_text(json.dumps(plain))
    assert digests_of(hydrahive.train("snake/vtrace", "a", *options, "--stop.env_steps", 30_000)) == digests_of(
        undisturbed
    )
    assert len(events_of(hydrahive, "a", "versions_unknown")) == 1
    assert json.loads(path.read_text())["fingerprint"]
    hydrahive.train("snake/vtrace", "a", *options, "--stop.env_steps", 40_000)
    assert len(events_of(hydrahive, "a", "versions_unknown")) == 1  # from then on it is written down


@full_only
def test_workers_and_learners_with_another_version_are_refused_in_one_line(hydrahive, other_numpy):
    with cluster(nodes=2) as nodes:
        options = [*OPTIONS, "--address", nodes.address, "--workers", 1, "--stop.env_steps", 10**9]
        process = hydrahive.start_training("snake/vtrace", "a", *options)

        def wait_for_events(kind, count=1):
            wait_for(lambda: len(events_of(hydrahive, "a", kind)) >= count or process.poll() is not None, kind)
            assert process.poll() is None, process.communicate()

        try:
            wait_for_events("started")
            for count, role in enumerate(("learner", "env worker"), 1):
                nodes.add(env_vars={"PYTHONPATH": other_numpy})  # the only node with room, once its own is gone
                nodes.kill(nodes.raylet_of(pids_of(role, nodes.below())[0]), replace=False)
                wait_for_events("worker_refused", count)
                nodes.add()
                wait_for_events("recovered", count)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        finally:
            process.kill()
    refused = [event["text"] for event in events_of(hydrahive, "a", "worker_refused")]
    assert [text.partition(" (node")[0] for text in refused] == ["refused the learner", "refused env worker 1"]
    for text in refused:
        assert "the run is computed with numpy 2" in text
        assert "it has numpy 9.9.9" in text
    reached = json.loads(hydrahive("digest", "a", "--json").stdout)
    inline = hydrahive.train("snake/vtrace", "c", *OPTIONS, "--workers", 0, "--stop.env_steps", reached["env_steps"])
    assert digests_of(inline) == digests_of(reached)
