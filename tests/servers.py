"""A real server, as `hydrahive serve` brings it up."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conftest import COMMAND, FULL, TINY, Hydrahive, wait_for
from hydrahive.ledger.entries import TREASURY
from hydrahive.ledger.ledger import Ledger
from hydrahive.serving.policy import ServedPolicy

PRICE = 500_000
CALLS = 10_000 if FULL else 600


@dataclass
class Server:
    """A running `hydrahive serve`."""

    hydrahive: Hydrahive
    port: int
    process: subprocess.Popen[str]
    keys: dict[str, str]

    def call(self, method: str, path: str, body: Any = None, key: str | None = None, **headers: str) -> tuple[int, Any]:
        """Status and answer."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = {
            "Content-Type": "application/json",
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            assert "Traceback" not in text
            assert ".py" not in text
            return error.code, json.loads(text)

    def ledger(self) -> Ledger:
        return Ledger(self.hydrahive.runs / "ledger.sqlite", create=False)

    def query(self, *words: str, key: str, code: int = 0, text: str | None = None) -> str:
        """The command."""
        environment = {**os.environ, "HYDRAHIVE_KEY": key, "HYDRAHIVE_URL": f"http://127.0.0.1:{self.port}"}
        command = [*COMMAND, "query", *words]
        done = subprocess.run(
            command, env=environment, input=text, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


def rows(policy: ServedPolicy, count: int, seed: int = 0) -> list[Any]:
    return np.random.default_rng(seed).integers(0, 2, (count, *policy.space.shape)).tolist()


@contextmanager
def a_server(folder: Path) -> Iterator[Server]:
    """Two runs served, one with a memory, and three accounts."""
    hydrahive = Hydrahive(folder)
    hydrahive.train("snake/vtrace", "snake", *TINY, "--stop.env_steps", 20_000)
    hydrahive.train("snake/vtrace", "gru", *TINY, "--policy.core", "Gru", "--stop.env_steps", 20_000)
    keys = {}
    for name, queries in {"rich": 10**6, "poor": CALLS // 5, "alice": 20}.items():
        said = hydrahive("ledger", "accounts", "open", name).stdout
        keys[name] = re.search(r"hh_[\w-]+", said)[0]
        ledger = Ledger(hydrahive.runs / "ledger.sqlite", create=False)
        ledger.transfers.transfer(TREASURY, name, queries * PRICE, f"gift/{name}")
        ledger.close()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = hydrahive.start("serve", "snake", "gru", "--port", port, "--rate", 100_000, "--replicas", 2)
    server = Server(hydrahive, port, process, keys)

    def is_up() -> bool:
        assert process.poll() is None, process.communicate()
        try:
            return server.call("GET", "/healthz")[0] == 200
        except (OSError, ValueError):  # Serve itself answers before the application is there
            return False

    try:
        wait_for(is_up, "the server")
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 143
