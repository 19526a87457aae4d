"""What a run came to."""

from __future__ import annotations

from typing import Any

from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.runs.boundary import Boundary
from hydrahive.runtime.runs.run_folder import Identity


def summary_of(
    boundary: Boundary, seconds: float, identity: Identity, config: RunConfig, run_name: str
) -> dict[str, Any]:
    """What a run came to, from its last boundary."""
    progress = boundary.progress
    _, gradient_steps, _ = (int(value) for value in boundary.learner()["counters"])
    return {
        "run": run_name,
        "run_id": identity.run_id,
        "env_steps": progress.env_steps,
        "updates": progress.updates,
        "gradient_steps": gradient_steps,
        "seconds": round(seconds, 3),
        "steps_per_second": round(progress.env_steps / seconds, 1) if seconds else None,
        "digest": boundary.digest(),
        "state_digest": boundary.state_digest(),
        "machine_class": identity.machine_class,
        "fingerprint": identity.fingerprint,
        "episodes": progress.episodes,
        "score_mean": progress.score_mean,
        "score_max": progress.score_max,
        "workers": config.workers if isinstance(config.workers, int) else None,
        "schedule": config.schedule,
        "reproducible": config.schedule == "fixed-lag" and config.stop.seconds is None,
        "lag": None if config.schedule == "rllib" else config.lag,
        "resumed": False,
    }
