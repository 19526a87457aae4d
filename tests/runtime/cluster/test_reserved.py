"""In a placement group every role has a bundle of its own."""

import json
import subprocess
import sys

SCRIPT = """
import json, ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy as In
from hydrahive.runtime.cluster.capacity import reserved
from hydrahive.runtime.cluster.connecting import connect

connect(None, 5)


@ray.remote(num_cpus=0)
def trial():
    def place(strategy):
        return strategy.placement_group_bundle_index

    return [place(reserved()), *(place(reserved(worker)) for worker in range(4))]


group = ray.util.placement_group([{"CPU": 1}] * 5)
print(json.dumps([reserved() is None, ray.get(trial.options(scheduling_strategy=In(group, 0)).remote())]))
ray.shutdown()
"""


def test_no_env_worker_takes_the_learners_bundle():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [True, [1, 2, 3, 4, -1]]
