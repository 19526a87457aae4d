"""Trouble around a run: full stores, a storage that nobody reaches, slow links, clocks that jump."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HOLD = """
import sys
import time
import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")


@ray.remote(num_cpus=0, max_retries=0)
def hold():
    held = []  # what is read cannot be moved out of the way
    try:
        for size in (8, 4, 2, 1):
            for _ in range(100 // size):
                held.append(ray.get(ray.put(np.ones(size * 2**20, np.uint8)), timeout=2))
    except Exception:
        pass
    time.sleep(600)


ray.get(hold.options(scheduling_strategy=NodeAffinitySchedulingStrategy(sys.argv[2], soft=True)).remote())
"""


class Hog:
    """Somebody else's job, which takes a node's whole object store."""

    def __init__(self, address: str, node_id: str) -> None:
        """Begin."""
        self._process = subprocess.Popen(
            [sys.executable, "-c", HOLD, address, node_id], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def end(self) -> None:
        """The job ends, and Ray its processes."""
        self._process.kill()
        self._process.wait()


class StorageAway:
    """A bucket that is not there."""

    def __init__(self, bucket: Path) -> None:
        """Of a run."""
        self._bucket, self._aside = bucket, bucket.with_name(f"{bucket.name}-aside")
        self.has_begun = False

    def begin(self) -> bool:
        """Take it away; False if it is away already."""
        if self._bucket.is_dir():
            self._bucket.rename(self._aside)
            self._bucket.write_text("nothing can be written below a file")
            self.has_begun = True
        return self.has_begun

    def end(self) -> None:
        """Put it back."""
        self._bucket.unlink()
        self._aside.rename(self._bucket)


class SlowLinks:
    """Every packet between processes of this machine takes 20 ms longer, where the kernel can do that."""

    def __init__(self) -> None:
        """Not yet."""
        self.has_begun = False

    def begin(self) -> bool:
        """Whether links are slow now."""
        self.has_begun = self._tc("add", "netem", "delay", "20ms")
        return self.has_begun

    def end(self) -> None:
        """As before."""
        self._tc("del")

    @staticmethod
    def _tc(what: str, *how: str) -> bool:
        try:
            done = subprocess.run(
                ["tc", "qdisc", what, "dev", "lo", "root", *how], capture_output=True, check=False, timeout=10
            )
        except FileNotFoundError:
            return False
        return done.returncode == 0


SITE = """
import os
import time

path, real, real_ns = os.environ["CHAOS_CLOCK"], time.time, time.time_ns


def back():
    try:
        with open(path) as file:
            return float(file.read())
    except (OSError, ValueError):
        return 0.0


time.time = lambda: real() - back()
time.time_ns = lambda: real_ns() - int(back() * 1e9)
"""


class Clock:
    """The time of day as all Python processes of a run have it: from a file beside the real one."""

    def __init__(self, path: Path) -> None:
        """The right time."""
        self._path = path
        self._site = path.with_suffix(".site")
        self._site.mkdir(exist_ok=True)
        (self._site / "sitecustomize.py").write_text(SITE)

    def environment(self) -> dict[str, str]:
        """Has processes read it."""
        behind = filter(None, [str(self._site), os.environ.get("PYTHONPATH")])
        return {"CHAOS_CLOCK": str(self._path), "PYTHONPATH": os.pathsep.join(behind)}

    def set_back(self, seconds: float) -> None:
        """All clocks show so much less, from now on."""
        partial = self._path.with_suffix(".new")
        partial.write_text(str(seconds))
        partial.replace(self._path)
