"""How long it takes from a job's acceptance to its first update, and what the time goes to.

    cluster/up.sh --num-cpus=4
    python experiments/benchmarks/cold_start.py --jobs 5

Each job is a new run on the cluster whose dashboard `RAY_API_SERVER_ADDRESS` names; its folder must be readable here.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import secrets
import statistics
import time
from itertools import pairwise
from pathlib import Path

from ray.job_submission import JobSubmissionClient

PARTS = {
    "process_began": "the job's supervisor and working directory, until Python is started",
    "asked": "Python's imports, torch's most of all; reading the config",
    "connected": "connecting to the cluster",
    "gathered": "learner and env workers: processes, imports, compiled kernels from the cache",
    "time": "the ledger, the run's folder and its files",
    "first update": "the first round and the update on it",
}


def start(client: JobSubmissionClient, runs: Path) -> dict[str, float]:
    """Seconds of each part of one job's start."""
    name = f"cold-{secrets.token_hex(3)}"
    options = f"--name {name} --workers 1 --metrics_every 1 --stop.env_steps 40_000 --recording false"
    job = client.submit_job(
        entrypoint=f"hydrahive train snake/vtrace {options}", runtime_env={"working_dir": str(Path(__file__).parent)}
    )
    before = time.time()
    while not client.get_job_status(job).is_terminal():
        time.sleep(0.2)
    assert client.get_job_status(job) == "SUCCEEDED", client.get_job_logs(job)
    event = json.loads((runs / name / "events.jsonl").read_text().splitlines()[0])
    row = json.loads((runs / name / "metrics.jsonl").read_text().splitlines()[0])
    assert row["updates"] == 1
    at = [before, *(event[part] for part in PARTS if part in event), event["time"] + row["seconds"]]
    return dict(zip(PARTS, (later - earlier for earlier, later in pairwise(at)), strict=True))


def main() -> None:
    """Start some jobs one after the other and print medians."""
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=5)
    parser.add_argument(
        "--runs", type=Path, default=Path(os.environ.get("HYDRAHIVE_RUNS", "~/.hydrahive/runs")).expanduser()
    )
    given = parser.parse_args()
    client = JobSubmissionClient(os.environ.get("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:8265"))
    starts = [start(client, given.runs) for _ in range(given.jobs)]
    print("| part | seconds (median) | least | most |\n|---|---|---|---|")
    for part, text in PARTS.items():
        found = [one[part] for one in starts]
        print(f"| {text} | {statistics.median(found):.2f} | {min(found):.2f} | {max(found):.2f} |")
    whole = [sum(one.values()) for one in starts]
    print(
        f"| from the job's acceptance to the first update | {statistics.median(whole):.2f} | {min(whole):.2f} | {max(whole):.2f} |"
    )


if __name__ == "__main__":
    main()
