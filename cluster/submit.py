"""Submit a training to a cluster as a job, show its log, and end as it ends: 0 only if it succeeded.

    cluster/submit.sh CONFIG [options of hydrahive train]

`RAY_API_SERVER_ADDRESS` names the cluster's dashboard (default: the one that `up.sh` started on this machine).
Submitting again resumes a run that was stopped, killed or lost; one that is being trained is refused.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shlex
import subprocess
import sys
import time
from pathlib import Path

import yaml
from ray.job_submission import JobStatus, JobSubmissionClient

from hydrahive.core.errors import first_line
from hydrahive.runtime.cluster.address import TOKEN_PLACE

PATIENCE_SECONDS = 300.0
"""How long a cluster may be silent, as while its head is started again over Redis."""

LOOK_SECONDS = 1.0
"""Time between two looks at a job whose log has ended."""


def main(arguments: list[str]) -> int:
    """Submit, follow, and give the exit code."""
    if not arguments:
        return fail("CONFIG is missing: the name of an experiment, or a file below this folder")
    config = arguments[0]
    if config.endswith((".yaml", ".yml")) and (Path(config).is_absolute() or not Path(config).is_file()):
        return fail(f"CONFIG: {config!r} is not a file below {Path.cwd()}, which is all that the job will see")
    logging.disable(logging.WARNING)  # what is packed, and how the log is carried
    address = os.environ["RAY_API_SERVER_ADDRESS"]
    environment = yaml.safe_load((Path(__file__).parent / "runtime_env.yaml").read_text())
    job = f"hydrahive-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    try:
        client = JobSubmissionClient(address)
        client.submit_job(
            entrypoint=shlex.join(["hydrahive", "train", *arguments]),
            submission_id=job,
            runtime_env={**environment, "working_dir": "."},
        )
    except Exception as error:  # Ray raises what its server says as RuntimeError, and more
        hint = too_large(Path.cwd()) if "413" in str(error) or "exceeds" in str(error) else ""
        return fail(f"cannot submit to {address}: {reason(error)}{hint}")
    print(f"job {job} at {address}", flush=True)
    status = asyncio.run(follow(client, job))
    if status is None:
        return fail(f"job {job} is lost with its cluster; the same command goes on from its run's last checkpoint")
    if status == JobStatus.SUCCEEDED:
        print(f"job {job} succeeded")
        return 0
    return fail(f"job {job} {status.lower()}; the same command goes on from its last checkpoint")


async def follow(client: JobSubmissionClient, job: str) -> JobStatus | None:
    """Print a job's log until it has ended; the log's end is not the job's, for what carries it may break.

    Returns:
        How the job ended; None if the cluster knows it no more, or has not answered for too long.
    """
    shown, heard, told = 0, time.monotonic(), ""
    while True:
        seen = 0
        try:
            async for text in client.tail_job_logs(job):
                new = text[max(0, shown - seen) :]
                seen += len(text)
                shown = max(shown, seen)
                print(new, end="", flush=True)
        except Exception:
            pass  # how the job is says more
        try:
            status = client.get_job_status(job)
        except Exception as error:
            if "status code 404" in str(error) or time.monotonic() - heard > PATIENCE_SECONDS:
                return None
            if reason(error) != told:
                told = reason(error)
                print(f"(the cluster does not answer: {told})", file=sys.stderr)
        else:
            heard, told = time.monotonic(), ""
            if status.is_terminal():
                return status
        await asyncio.sleep(LOOK_SECONDS)


def reason(error: Exception) -> str:
    """Why the cluster does not do it, in one line."""
    text = str(error)
    if "authenticat" in text.lower() or "status code 401" in text or "status code 403" in text:
        return f"it wants its token: {TOKEN_PLACE}"
    return first_line(error)


def too_large(folder: Path) -> str:
    """What of a job's folder makes it too large to be sent, and how to leave it out."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=folder, capture_output=True, text=True, check=False
    )
    names = listed.stdout.split("\0") if listed.returncode == 0 else [str(path) for path in folder.rglob("*")]
    sizes = {name: (folder / name).stat().st_size for name in names if name and (folder / name).is_file()}
    largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[:3]
    shown = ", ".join(f"{Path(name).as_posix()} ({sizes[name] / 1e6:,.0f} MB)" for name in largest)
    total = sum(sizes.values()) / 1e6
    return f"; the job would carry {total:,.0f} MB, most of it {shown}: name in .gitignore what it does not need"


def fail(message: str) -> int:
    """Say in one line what is wrong."""
    print(f"submit: error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
