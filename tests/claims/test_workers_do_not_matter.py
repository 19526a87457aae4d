"""The README's first promise: one digest, whoever computes the run. Small here, at full size with `make claims`."""

import json

from conftest import DIGEST_RUN, DIGEST_STEPS, FULL, digests_of, full_only
from golden.record import FOLDER
from golden.recording import golden_path, read_golden
from hydrahive.runtime.config.machine_class import machine_class
from hydrahive.runtime.config.run_config import RunConfig


def test_workers_do_not_change_the_digest(hydrahive, report):
    workers = [0, 1, 2, 3] if FULL else [0, 3]
    digests = {n: digests_of(hydrahive.train("snake/vtrace", f"w{n}", *DIGEST_RUN, "--workers", n)) for n in workers}
    for n, (digest, _) in digests.items():
        report.add("One digest", f"- `snake/vtrace`, 4 shards, {DIGEST_STEPS:,} env steps, workers {n}: `{digest}`")
    assert len(set(digests.values())) == 1
    if FULL:
        kept = read_golden(golden_path(FOLDER, machine_class(RunConfig())))
        assert kept is None or digests[0][0] == kept["readme"]["table"]["digest"], "not what the README shows"
    other = hydrahive.train("snake/vtrace", "seed", *DIGEST_RUN, "--workers", 0, "--seed", 7)
    report.add("One digest", f"- another seed, workers 0: `{other['digest']}`")
    assert other["digest"] != digests[0][0]


def test_the_digest_command_reads_what_the_summary_says(hydrahive):
    summary = hydrahive.train("cartpole/vtrace", "a", "--workers", 0, "--stop.env_steps", 5_000)
    facts = json.loads(hydrahive("digest", "a", "--json").stdout)
    assert (facts["digest"], facts["state_digest"]) == digests_of(summary)
    assert facts["machine_class"] == summary["machine_class"]


@full_only
def test_lag_is_decided_not_observed(hydrahive):
    digests = set()
    for lag in (0, 2):
        options = ["--lag", lag, "--envs_per_shard", 8, "--stop.env_steps", 8_000, "--boundary_every", 4]
        mine = {digests_of(hydrahive.train("snake/vtrace", f"{lag}-{n}", *options, "--workers", n)) for n in (0, 2)}
        assert len(mine) == 1
        digests |= mine
    assert len(digests) == 2
