"""The README's first promise: one digest, however often the run is stopped. Small here, full with `make claims`."""

import signal

from conftest import DIGEST_RUN, DIGEST_STEPS, FULL, digests_of


def test_killing_and_interrupting_do_not_change_the_digest(hydrahive, report):
    undisturbed = digests_of(hydrahive.train("snake/vtrace", "undisturbed", *DIGEST_RUN, "--workers", 0))
    killed = hydrahive.start_training("snake/vtrace", "killed", *DIGEST_RUN, "--workers", 1)
    hydrahive.stop_at(killed, "killed", DIGEST_STEPS // 2, signal.SIGKILL)
    resumed = hydrahive.train("snake/vtrace", "killed", *DIGEST_RUN, "--workers", 2, "--checkpoint.keep", 1)
    assert resumed["resumed"]
    assert digests_of(resumed) == undisturbed
    report.add(
        "One digest",
        f"- SIGKILL half-way with 1 worker, resumed with 2 and other `checkpoint.*`: `{resumed['digest']}`",
    )
    twice = hydrahive.start_training("snake/vtrace", "twice", *DIGEST_RUN, "--workers", 0)
    assert hydrahive.stop_at(twice, "twice", DIGEST_STEPS // 3, signal.SIGINT) == 130
    twice = hydrahive.start_training("snake/vtrace", "twice", *DIGEST_RUN, "--workers", 1 if FULL else 0)
    assert hydrahive.stop_at(twice, "twice", 2 * DIGEST_STEPS // 3, signal.SIGTERM) == 143
    finished = hydrahive.train("snake/vtrace", "twice", *DIGEST_RUN, "--workers", 0)
    assert digests_of(finished) == undisturbed
    report.add("One digest", f"- interrupted twice, with 0, {1 if FULL else 0} and 0 workers: `{finished['digest']}`")
