"""T16: the head's environment is the operator's word; the first job's is that job's own."""

import os
import subprocess
import sys
from pathlib import Path

CHOICE = """
import ray, sys
from pathlib import Path
from hydrahive.runtime.coordinator.actor import CoordinatorLine, coordinator
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
         runtime_env={"env_vars": {"HYDRAHIVE_LEDGER": sys.argv[1], "HYDRAHIVE_COORDINATOR": sys.argv[1] + ".c"}})
print(ray.get(coordinator().use_ledger.remote(Path(sys.argv[1]))))
"""


def test_a_jobs_environment_chooses_neither_ledger_nor_registry(tmp_path):
    """T16: what the head was started with does, whichever job comes first."""
    environment = {**os.environ, "HYDRAHIVE_LEDGER": str(tmp_path / "the-heads.sqlite"),
                   "HYDRAHIVE_COORDINATOR": str(tmp_path / "registry.sqlite")}  # fmt: skip
    said = subprocess.run([sys.executable, "-c", CHOICE, tmp_path / "the-jobs.sqlite"], env=environment,
                          capture_output=True, text=True, timeout=120, check=True).stdout  # fmt: skip
    assert said.split() == [str(tmp_path / "the-heads.sqlite")]
    assert {path.name for path in Path(tmp_path).glob("*.sqlite")} == {"the-heads.sqlite", "registry.sqlite"}
