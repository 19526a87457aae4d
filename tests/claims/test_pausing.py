"""Pausing, continuing and stopping a live run from another terminal changes no byte."""

import json

from conftest import TINY, digests_of, wait_for

OPTIONS = [*TINY, "--boundary_every", 5, "--metrics_every", 1, "--stop.env_steps", 200_000]


def steps_of(hydrahive, name):
    path = hydrahive.runs / name / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    lines = text[: text.rfind("\n") + 1].splitlines()  # the last one may be in the making
    return json.loads(lines[-1])["env_steps"] if lines else 0


def test_pause_continue_and_stop(hydrahive):
    """Inline; `test_elastic.py` does the same to a run on a cluster."""
    options = [*OPTIONS, "--workers", 0]
    undisturbed = hydrahive.train("snake/vtrace", "b", *OPTIONS)
    process = hydrahive.start_training("snake/vtrace", "a", *options)
    wait_for(lambda: steps_of(hydrahive, "a") > 30_000, "the run to come so far")
    assert hydrahive("pause", "a").stdout.startswith("a: paused at ")
    paused_at = steps_of(hydrahive, "a")
    assert paused_at < 200_000
    # Its newest boundary is on disk: a pause may last until the machine is switched off.
    kept = json.loads(hydrahive("digest", "a", "--json").stdout)
    assert 0 < kept["env_steps"] <= paused_at
    assert steps_of(hydrahive, "a") == paused_at
    assert hydrahive("continue", "a").stdout.startswith("a: running at ")
    wait_for(lambda: steps_of(hydrahive, "a") > paused_at + 20_000, "the run to go on")
    assert hydrahive("stop", "a").stdout.startswith("a: ended at ")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "the same command resumes it" in said
    assert not (hydrahive.runs / "a" / "summary.json").exists()
    assert digests_of(hydrahive.train("snake/vtrace", "a", *options)) == digests_of(undisturbed)
    kinds = [json.loads(line)["kind"] for line in (hydrahive.runs / "a" / "events.jsonl").read_text().splitlines()]
    story = [kind for kind in kinds if kind in ("started", "paused", "continued", "stopped", "resumed", "finished")]
    assert story == ["started", "paused", "continued", "stopped", "resumed", "finished"]


def test_a_run_that_nobody_trains_cannot_be_asked(hydrahive):
    hydrahive.train("snake/vtrace", "a", *TINY, "--stop.env_steps", 2_000)
    refused = hydrahive("pause", "a", code=1)
    assert refused.stderr == "hydrahive: error: run 'a' is not being trained now; nothing to pause\n"
    unknown = hydrahive("stop", "b", code=2)
    assert unknown.stderr.startswith("hydrahive: error: RUN: 'b' is neither a run's folder nor a run in")
