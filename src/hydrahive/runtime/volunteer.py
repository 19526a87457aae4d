"""A machine that joins somebody's cluster and earns for its owner: `ray start`, and the proof of whose it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from hydrahive.core.errors import HydrahiveError, RefusedError, UsageError
from hydrahive.runtime.coordinator_actor import coordinator
from hydrahive.runtime.interrupts import Interrupts
from hydrahive.runtime.ray_cluster import OWNER_LABEL, connected

NODE_LABEL = "hydrahive.node"
"""The Ray node label that this machine's own node is found by."""

JOIN_SECONDS = 60.0
"""Longest wait for the node to show up in the cluster."""

LOOK_SECONDS = 0.5
"""Time between two looks at the node."""

SAY_SECONDS = 10.0
"""Time between two lines about what was earned."""

LEAVE_SECONDS = 20.0
"""Longest wait for the node to hand its shards over, and for its processes to end."""


class Volunteer:
    """One Ray node, labelled with its owner's account, which its key proves."""

    def __init__(self, owner: str, key: str, address: str, cpus: int, say: Callable[[str], None]) -> None:
        """Get ready to join.

        Args:
            owner: The account to earn for.
            key: Its API key.
            address: The cluster's head, `HOST:PORT`.
            cpus: CPUs to offer.
            say: Takes lines for people.
        """
        self._owner, self._key, self._address, self._cpus, self._say = owner, key, address, cpus, say
        self._mark = uuid.uuid4().hex[:12]

    def work(self) -> None:
        """Join, prove whose node it is, and stay until interrupted or the cluster is gone.

        Raises:
            RefusedError: If the key is not the account's.
            HydrahiveError: If the cluster cannot be joined.
            Interrupted: After Ctrl-C or SIGTERM; the node has left.
        """
        with tempfile.TemporaryFile("w+") as log:
            node = subprocess.Popen(self._command(), stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                self._await_raylet(node, log)
                interrupts = Interrupts()
                with connected(self._address), interrupts.installed():
                    node_id = self._await_node(node)
                    self._enroll(node, node_id)
                    try:
                        self._stay(node)
                    finally:
                        self._drain(node_id)
            finally:
                _end(node)

    def _command(self) -> list[str]:
        labels = f"{OWNER_LABEL}={self._owner},{NODE_LABEL}={self._mark}"
        return [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={self._address}"),
            *(f"--labels={labels}", f"--num-cpus={self._cpus}", "--num-gpus=0", "--block", "--disable-usage-stats"),
        ]

    def _await_raylet(self, node: subprocess.Popen[bytes], log: Any) -> None:
        """Wait until `ray start` says that its node runs."""
        deadline = time.monotonic() + JOIN_SECONDS
        while "--block" not in _read(log):
            if node.poll() is not None or time.monotonic() > deadline:
                raise HydrahiveError(f"cannot join the cluster at {self._address}: {_reason(_read(log))}")
            time.sleep(LOOK_SECONDS)

    def _await_node(self, node: subprocess.Popen[bytes]) -> str:
        deadline = time.monotonic() + JOIN_SECONDS
        while node.poll() is None and time.monotonic() < deadline:
            for found in ray.nodes():
                if found["Labels"].get(NODE_LABEL) == self._mark and found["Alive"]:
                    return str(found["NodeID"])
            time.sleep(LOOK_SECONDS)
        raise HydrahiveError(f"this machine's node did not show up in the cluster at {self._address}")

    def _enroll(self, node: subprocess.Popen[bytes], node_id: str) -> None:
        """Show the key, as soon as the cluster has a ledger to check it with."""
        said = False
        while node.poll() is None:
            try:
                ray.get(coordinator().enroll.remote(node_id, self._owner, self._key))
            except RayTaskError as error:
                if isinstance(error.cause, RefusedError) or not isinstance(error.cause, UsageError):
                    raise (error.cause if isinstance(error.cause, HydrahiveError) else error) from None
                if not said:
                    self._say(f"waiting: {error.cause}")
                said = True
            except RayError:
                said = False  # the coordinator is being restarted
            else:
                self._say(f"joined {self._address} with {self._cpus} CPUs, earning for {self._owner}; Ctrl-C leaves")
                return
            time.sleep(LOOK_SECONDS)
        raise HydrahiveError(f"the cluster at {self._address} is gone")

    def _stay(self, node: subprocess.Popen[bytes]) -> None:
        next_line, last = time.monotonic() + SAY_SECONDS, ""
        while node.poll() is None:
            time.sleep(LOOK_SECONDS)
            if time.monotonic() < next_line:
                continue
            next_line += SAY_SECONDS
            line = self._earnings()
            if line != last:
                self._say(line)
            last = line
        self._say(f"the cluster at {self._address} is gone")

    def _earnings(self) -> str:
        try:
            row = ray.get(coordinator().earnings.remote(self._owner), timeout=SAY_SECONDS)
        except RayError:
            return "the coordinator is away"
        return (
            f"{self._owner}: {row['env_steps']:,} env steps, {row['balance'] / 1e6:,.6f} tokens" if row else self._owner
        )

    def _drain(self, node_id: str) -> None:
        """Let the runs take their shards back."""
        drain = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", self._address]
        drain += ["--node-id", node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "leaving"]
        drain += ["--deadline-remaining-seconds", str(int(LEAVE_SECONDS))]
        try:
            subprocess.run(drain, capture_output=True, timeout=LEAVE_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return  # nobody is there any more who could take the shards
        deadline = time.monotonic() + LEAVE_SECONDS
        while _is_busy(node_id) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)


def _reason(log: str) -> str:
    """Why `ray start` failed, from what it printed."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if not lines or "Failed to connect" in log or "Unable to connect" in log:
        return "no Ray cluster answers there"
    return lines[-1]


def _is_busy(node_id: str) -> bool:
    """Whether actors still run on a node."""
    state = ray._private.state
    free = state.available_resources_per_node().get(node_id, {})
    total: dict[str, float] = {}
    for found in ray.nodes():
        if found["NodeID"] == node_id and found["Alive"]:
            total = found["Resources"]
    return float(free.get("CPU", 0)) < total.get("CPU", 0)


def _read(log: Any) -> str:
    log.seek(0)
    return str(log.read())


def _end(node: subprocess.Popen[bytes]) -> None:
    """End `ray start` and all that it started."""
    if node.poll() is None:
        node.send_signal(signal.SIGTERM)
        try:
            node.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(node.pid, signal.SIGKILL)
            node.wait()
