"""The Ray that a command starts for itself, and the actor that every cluster keeps, are no larger than they must be."""

import subprocess
import sys
from pathlib import Path

from chaos.harness import ancestors

CONNECTED = """
import ray
from hydrahive.runtime.cluster.connecting import connect
connect(None, 1)
print(ray.get(ray.remote(lambda: 7).remote()), flush=True)
input()
ray.shutdown()
"""

KNOWS = "import sys, hydrahive.runtime.coordinator.actor; print('ray' in sys.modules, 'torch' in sys.modules)"


def commands_below(pid):
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if pid in ancestors(int(path.parent.name)):
                found.append(path.read_bytes().replace(b"\0", b" ").decode())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return "\n".join(found)


def test_it_has_no_processes_for_people_who_look_at_clusters():
    command = [sys.executable, "-c", CONNECTED]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "7\n"
        processes = commands_below(process.pid)
        process.communicate("\n", timeout=60)
    assert "raylet" in processes
    assert "gcs_server" in processes
    for spared in ("dashboard.py", "monitor.py"):
        assert spared not in processes


def test_the_coordinator_knows_no_torch():
    done = subprocess.run([sys.executable, "-c", KNOWS], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "True False\n"
