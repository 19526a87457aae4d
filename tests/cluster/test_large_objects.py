"""What takes longer to travel between two nodes than a look at the members arrives all the same."""

import subprocess
import sys

from conftest import FULL, ROOT

SIZE_MB, LOOK_SECONDS = (3_000, 1.0) if FULL else (700, 0.02)

FETCH = """
import sys
import time

sys.path.insert(0, sys.argv[1])
size, look = int(sys.argv[2]) * 2**20, float(sys.argv[3])

import numpy as np
import ray
from ray.cluster_utils import Cluster
from hydrahive.runtime.cluster.member import fetched
from hydrahive.runtime.cluster.connecting import embedded_node

room = int(1.4 * size)
with embedded_node():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": room, "include_dashboard": False})
    cluster.add_node(num_cpus=1, object_store_memory=room)
ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")


@ray.remote(num_cpus=1)
def made():
    return np.ones(size, np.uint8)


looks = []
ref = made.remote()
value = fetched(ref, look, lambda: looks.append(time.monotonic()))
assert len(value) == size and value[::4096].all()
print("arrived, looks", len(looks))
ray.shutdown()
cluster.shutdown()
"""


def fetched():
    done = subprocess.run(
        [sys.executable, "-c", FETCH, str(ROOT / "tests"), str(SIZE_MB), str(LOOK_SECONDS)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip().splitlines()[-1]


def test_an_object_that_travels_for_longer_than_a_look_arrives():
    said = fetched()
    assert said.startswith("arrived")
    assert int(said.split()[-1]) > 0, "the members were looked after meanwhile"
