"""Whole runs, inline: what is written, what is resumed, what is refused."""

import json
import signal

import numpy as np
import pytest

from conftest import ROOT, digests_of, full_only, kill
from conftest import TINY as SMALL

TINY = [*SMALL, "--boundary_every", "5", "--checkpoint.every_boundaries", "2", "--metrics_every", "2"]


UNREPRODUCIBLE = ("second", "credited", "outstanding", "conservation")
"""Parts of the names of figures that depend on the machine's speed, or on when the ledger last answered."""


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_writes_what_the_contract_says(hydrahive):
    result = hydrahive(
        "train", "snake/vtrace", "--name", "a", *TINY, "--stop.env_steps", 60_000, "--evaluate_every", 20
    )
    folder = hydrahive.runs / "a"
    summary = hydrahive.summary("a")
    needed = (
        "env_steps updates seconds steps_per_second digest state_digest machine_class episodes score_mean score_max"
    )
    assert set(f"{needed} workers schedule lag resumed".split()) <= set(summary)
    assert summary["env_steps"] == 60_416  # the first update that reaches the stop: 59 rounds of 1,024
    assert summary["digest"] in result.stdout
    assert (folder / "episode.gif").read_bytes().startswith(b"GIF8")
    assert {"started", "finished"} <= {row["kind"] for row in rows_of(folder / "events.jsonl")}
    rows = rows_of(folder / "metrics.jsonl")
    for row in rows:
        assert {
            "rounds",
            "updates",
            "gradient_steps",
            "env_steps",
            "episodes",
            "seconds",
            "score_mean",
            "score_max",
        } <= set(row)
    learned = [row for row in rows if "loss" in row]
    for name in ("policy_loss", "value_loss", "entropy", "rho_mean", "rho_clipped_share", "explained_variance"):
        assert all(np.isfinite(row[name]) for row in learned)
    assert [row["updates"] for row in learned if row["updates"] % 5 == 0 or row["updates"] == 59]
    assert [row["updates"] for row in rows if "evaluation_mean" in row] == [20, 40]
    assert learned[-1]["lag"] == 1


def test_tensorboard_reads_the_scalars(hydrahive):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    hydrahive.train("snake/vtrace", "a", *TINY, "--stop.env_steps", 20_000)
    events = EventAccumulator(str(hydrahive.runs / "a" / "tb"))
    events.Reload()
    steps = [event.step for event in events.Scalars("loss")]
    assert steps == sorted(steps)
    assert steps[-1] == 20_480


def test_the_runs_own_config_repeats_it(hydrahive):
    first = hydrahive.train("snake/vtrace", "a", *TINY, "--stop.env_steps", 20_000, "--seed", 3)
    again = hydrahive.train(str(hydrahive.runs / "a" / "config.yaml"), "b")
    assert again["digest"] == first["digest"]
    assert again["state_digest"] == first["state_digest"]


def test_a_finished_run_says_so_and_trains_on_when_the_stop_is_raised(hydrahive):
    long = hydrahive.train("snake/vtrace", "long", *TINY, "--stop.env_steps", 40_000)
    short = hydrahive.train("snake/vtrace", "a", *TINY, "--stop.env_steps", 17_000)
    again = hydrahive("train", "snake/vtrace", "--name", "a", "--recording", "false", *TINY, "--stop.env_steps", 17_000)
    assert "finished already" in again.stdout
    assert short["digest"] in again.stdout
    raised = hydrahive.train("snake/vtrace", "a", *TINY, "--stop.env_steps", 40_000)
    assert raised["resumed"]
    assert raised["digest"] == long["digest"]
    rows = [
        [
            {k: v for k, v in row.items() if not any(word in k for word in UNREPRODUCIBLE)}
            for row in rows_of(hydrahive.runs / n / "metrics.jsonl")
        ]
        for n in ("long", "a")
    ]
    # The shorter run's own last row lies between two boundaries and is cut off again.
    assert rows[0] == rows[1]


def test_a_key_that_changes_results_is_refused_on_resume(hydrahive):
    hydrahive.train("snake/vtrace", "a", *TINY, "--stop.env_steps", 10_000)
    refused = hydrahive("train", "snake/vtrace", "--name", "a", *TINY, "--algorithm.discount", "0.9", code=2)
    assert "algorithm.init_args.discount" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_init_from_starts_with_another_runs_weights(hydrahive):
    hydrahive.train("snake/vtrace", "a", *TINY, "--stop.env_steps", 10_000)
    fresh = hydrahive.train("snake/vtrace", "b", *TINY, "--stop.env_steps", 5_000)
    warm = hydrahive.train("snake/vtrace", "c", *TINY, "--stop.env_steps", 5_000, "--init-from", "a")
    assert warm["digest"] != fresh["digest"]
    refused = hydrahive(
        "train", "snake/vtrace", "--name", "c", *TINY, "--init-from", "b", "--stop.env_steps", 9_000, code=2
    )
    assert "other weights" in refused.stderr


@pytest.mark.parametrize("again", [[], ["--init-from", "a"]], ids=["without the flag", "with the flag"])
def test_a_run_begun_from_weights_and_killed_before_its_first_checkpoint_begins_from_them_again(hydrahive, again):
    hydrahive.train("snake/vtrace", "a", *TINY, "--stop.env_steps", 10_000)
    options = [*TINY, "--stop.env_steps", 60_000, "--checkpoint.every_boundaries", 1000, "--metrics_every", 1]
    undisturbed = hydrahive.train("snake/vtrace", "b", *options, "--init-from", "a")
    killed = hydrahive.start_training("snake/vtrace", "c", *options, "--init-from", "a")
    hydrahive.stop_at(killed, "c", 10_000, signal.SIGKILL)
    assert not list((hydrahive.runs / "c").glob("checkpoints/*"))
    assert digests_of(hydrahive.train("snake/vtrace", "c", *options, *again)) == digests_of(undisturbed)


def test_a_run_whose_first_weights_are_not_kept_is_refused_until_they_are_given_again(hydrahive):
    hydrahive.train("snake/vtrace", "a", *TINY, "--stop.env_steps", 10_000)
    options = [*TINY, "--stop.env_steps", 60_000, "--checkpoint.every_boundaries", 1000, "--metrics_every", 1]
    killed = hydrahive.start_training("snake/vtrace", "c", *options, "--init-from", "a")
    hydrahive.stop_at(killed, "c", 10_000, signal.SIGKILL)
    (hydrahive.runs / "c" / "initial.safetensors").unlink()  # as runs were written before they were kept
    refused = hydrahive("train", "snake/vtrace", "--name", "c", *options, code=2)
    assert "are not kept with it" in refused.stderr
    assert refused.stderr.count("\n") == 1
    begun = json.loads((hydrahive.runs / "c" / "run.json").read_text())["init_from"]
    assert hydrahive.train("snake/vtrace", "c", *options, "--init-from", "a")["env_steps"] >= 60_000
    assert json.loads((hydrahive.runs / "c" / "run.json").read_text())["init_from"] == begun


@pytest.mark.parametrize(("signum", "code"), [pytest.param(signal.SIGINT, 130, marks=full_only), (signal.SIGTERM, 143)])
def test_an_interrupt_keeps_the_newest_boundary_and_says_how_to_resume(hydrahive, signum, code):
    undisturbed = hydrahive.train("snake/vtrace", "b", *TINY, "--stop.env_steps", 200_000)
    options = [*TINY, "--stop.env_steps", 200_000, "--checkpoint.every_boundaries", 1000]
    process = hydrahive.start_training("snake/vtrace", "a", *options)
    assert hydrahive.stop_at(process, "a", 50_000, signum) == code
    event = rows_of(hydrahive.runs / "a" / "events.jsonl")[-1]
    assert event["kind"] == "interrupted"
    assert "same command resumes" in event["text"]
    assert hydrahive.train("snake/vtrace", "a", *options)["digest"] == undisturbed["digest"]


def test_an_interrupt_while_ray_waits_for_a_slow_round_keeps_the_newest_boundary(hydrahive):
    hydrahive.environment["PYTHONPATH"] = str(ROOT / "tests" / "games")
    shape = ["--shards", 1, "--envs_per_shard", 2, "--fragment_length", 10, "--lag", 0, "--boundary_every", 1]
    options = [*shape, "--env.id", "games:Slow-v0", "--checkpoint.every_boundaries", 1000, "--metrics_every", 1]
    process = hydrahive.start_training("cartpole/vtrace", "a", *options, "--workers", 1)
    assert hydrahive.stop_at(process, "a", 60, signal.SIGINT) == 130
    event = rows_of(hydrahive.runs / "a" / "events.jsonl")[-1]
    assert event["kind"] == "interrupted"
    assert "kept up to" in event["text"]


def test_a_truncated_checkpoint_is_passed_over_and_the_event_recorded(hydrahive):
    undisturbed = hydrahive.train("snake/vtrace", "b", *TINY, "--stop.env_steps", 150_000)
    process = hydrahive.start_training("snake/vtrace", "a", *TINY, "--stop.env_steps", 150_000)
    hydrahive.stop_at(process, "a", 90_000, signal.SIGKILL)
    newest = max(path for path in (hydrahive.runs / "a" / "checkpoints").iterdir() if path.name.isdigit())
    (newest / "state.safetensors").write_bytes(b"short")
    resumed = hydrahive.train("snake/vtrace", "a", *TINY, "--stop.env_steps", 150_000)
    assert resumed["digest"] == undisturbed["digest"]
    assert "checkpoint_passed_over" in {row["kind"] for row in rows_of(hydrahive.runs / "a" / "events.jsonl")}


def test_divergence_stops_the_run_and_keeps_the_last_good_checkpoint(hydrahive):
    options = [*TINY, "--boundary_every", 1, "--algorithm.learning_rate", "1e25", "--algorithm.gradient_norm", "1e20"]
    failed = hydrahive("train", "snake/vtrace", "--name", "a", *options, code=1)
    assert "hydrahive: error:" in failed.stderr
    assert "gradient" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "diverged" in {row["kind"] for row in rows_of(hydrahive.runs / "a" / "events.jsonl")}
    kept = json.loads(hydrahive("digest", "a", "--json").stdout)
    assert kept["updates"] >= 1


def test_two_processes_do_not_train_one_run(hydrahive):
    process = hydrahive.start_training("snake/vtrace", "a", *TINY, "--stop.env_steps", 10**9)
    try:
        from conftest import wait_for

        wait_for(lambda: (hydrahive.runs / "a" / "metrics.jsonl").exists(), "the first run to begin")
        refused = hydrahive("train", "snake/vtrace", "--name", "a", *TINY, "--stop.env_steps", 10**9, code=2)
        assert "another process" in refused.stderr
    finally:
        kill(process)


def test_a_disk_that_takes_no_more_stops_the_run_with_one_line(hydrahive):
    """The limit on file sizes makes the kernel refuse the checkpoint's bytes as a full disk does."""
    import subprocess
    import sys

    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000));"
        "from hydrahive.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    wide = ["--policy.encoder.hidden", "[256, 256]", "--stop.env_steps", "100_000", "--runs", str(hydrahive.runs)]
    result = subprocess.run(
        [sys.executable, "-c", script, "train", "snake/vtrace", "--name", "a", "--recording", "false", *TINY, *wide],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 1, result.stderr
    assert "cannot write" in result.stderr
    assert "Traceback" not in result.stderr
    left = list((hydrahive.runs / "a" / "checkpoints").iterdir())
    assert left == []
