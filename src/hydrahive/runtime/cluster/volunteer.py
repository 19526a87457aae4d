"""A machine that joins a cluster: `ray start`, and, where it earns for somebody, the proof of whose it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from hydrahive.core.errors import HydrahiveError, RefusedError, UsageError
from hydrahive.core.interrupts import Interrupts
from hydrahive.runtime.cluster.address import await_answer, refusal
from hydrahive.runtime.cluster.connecting import (
    OWNER_LABEL,
    VOLUNTEER,
    VOLUNTEER_LABEL,
    connected,
    free_by_node,
)
from hydrahive.runtime.coordinator.actor import coordinator

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
    """One Ray node; labelled with its owner's account, which its key proves, unless it is the cluster's own."""

    def __init__(self, owner: str | None, key: str | None, address: str, cpus: int, say: Callable[[str], None]) -> None:
        """Get ready to join.

        Args:
            owner: The account to earn for; None for whoever's run it works for.
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
        await_answer(self._address)
        signal.signal(signal.SIGTERM, _leave)  # until the run's own handler is there
        # Nodes of one machine must not share Ray's folder: each would unpack a job's files over the others'.
        with (
            tempfile.TemporaryFile("w+") as log,
            tempfile.TemporaryDirectory(prefix="hydrahive-", ignore_cleanup_errors=True) as place,
        ):
            # Drivers that are sent to this node find the commands that lie beside this Python.
            environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"}
            node = subprocess.Popen(  # noqa: S603  Ray's own command, no shell
                self._command(place), env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                self._await_raylet(node, log)
                interrupts = Interrupts()
                with connected(self._address), interrupts.installed():
                    node_id = self._await_node(node)
                    if self._owner is not None:
                        self._enroll(node, node_id)
                    self._say(f"joined {self._address} with {self._cpus} CPUs{self._earning}; Ctrl-C leaves")
                    try:
                        self._stay(node)
                    finally:
                        drain(self._address, node_id)
            finally:
                _end(node)

    @property
    def _earning(self) -> str:
        return f", earning for {self._owner}" if self._owner is not None else ""

    def _command(self, place: str) -> list[str]:
        labels = f"{NODE_LABEL}={self._mark}"
        options = [f"--num-cpus={self._cpus}", f"--temp-dir={place}", "--block", "--disable-usage-stats"]
        if self._owner is not None:
            labels += f",{OWNER_LABEL}={self._owner},{VOLUNTEER_LABEL}={VOLUNTEER}"
            options += ["--num-gpus=0"]  # somebody else's machine never learns
        address = f"--address={self._address}"
        return [sys.executable, "-m", "ray.scripts.scripts", "start", address, f"--labels={labels}", *options]

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
                return
            time.sleep(LOOK_SECONDS)
        raise HydrahiveError(f"the cluster at {self._address} is gone")

    def _stay(self, node: subprocess.Popen[bytes]) -> None:
        next_line, last = time.monotonic() + SAY_SECONDS, ""
        while node.poll() is None:
            time.sleep(LOOK_SECONDS)
            if self._owner is None or time.monotonic() < next_line:
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
        if not row:
            return str(self._owner)
        return f"{self._owner}: {row['env_steps']:,} env steps, {row['balance'] / 1e6:,.6f} tokens"


def drain(address: str, node_id: str, seconds: float = LEAVE_SECONDS) -> bool:
    """Let the runs take their shards back from a node; whether it is free of them within so many seconds.

    This process must be connected to the cluster, whose head is at `address`.
    """
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", address]
    command += ["--node-id", node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "leaving"]
    command += ["--deadline-remaining-seconds", str(int(seconds))]
    deadline = time.monotonic() + seconds
    try:
        subprocess.run(command, capture_output=True, timeout=seconds, check=False)  # noqa: S603  Ray's own command, no shell
    except subprocess.TimeoutExpired:
        return False  # nobody is there any more who could take the shards
    while _is_busy(node_id):
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True


def drain_here(seconds: float) -> bool:
    """Drain the node of the cluster that runs on this machine, as `drain`.

    Raises:
        HydrahiveError: If there is none.
    """
    with connected("auto"):
        context = ray.get_runtime_context()
        return drain(context.gcs_address, context.get_node_id(), seconds)


def _reason(log: str) -> str:
    """Why `ray start` failed, from what it printed."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return refusal(log if "onnect" in log or "authenticat" in log.lower() or "mismatch" in log else "".join(lines[-1:]))


def _is_busy(node_id: str) -> bool:
    """Whether actors still run on a node."""
    free = free_by_node().get(node_id, {})
    total: dict[str, float] = {}
    for found in ray.nodes():
        if found["NodeID"] == node_id and found["Alive"]:
            total = found["Resources"]
    return float(free.get("CPU", 0)) < total.get("CPU", 0)


def _leave(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)


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
