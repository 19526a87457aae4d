"""How fast trained policies answer: a real `hydrahive serve`, asked over HTTP by some clients at once."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hydrahive.bench.commands import COMMAND, PATIENCE_SECONDS, running
from hydrahive.core.errors import HydrahiveError
from hydrahive.ledger.entries import TREASURY
from hydrahive.ledger.ledger import Ledger

CLIENTS = (1, 16, 64)
PRICES = {"paid": "0.5", "free": "0"}
"""Tokens for a query: with the ledger's part, and without it."""

SETTLE_SECONDS = 2.0
"""Time of each measurement that is not counted."""

RICHES = 10**15
"""Micro-tokens of who asks."""


def bench_serving(config: str, overrides: Sequence[str], seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Latencies and answers a second, for 1, 16 and 64 clients on the server's own machine, each asking for one row.

    Args:
        config: A YAML file or a shipped experiment; its untrained policy answers.
        overrides: Dotted config keys, as for `hydrahive train`.
        seconds: Counted length of a measurement.
        say: Receives progress lines.

    Raises:
        HydrahiveError: If the server does not come up, or a query fails.
    """
    results: dict[str, dict[int, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="hydrahive-bench-") as place:
        once = ["--name", "run", "--workers", "0", "--recording", "false", "--stop.env_steps", "1"]
        _command("train", config, "--runs", place, *once, *overrides)
        ledger = Ledger(Path(place) / "ledger.sqlite")
        key = ledger.accounts.open("bench")
        ledger.transfers.transfer(TREASURY, "bench", RICHES, "bench")
        ledger.close()
        for title, price in PRICES.items():
            with _serving(place, price) as url:
                results[title] = {}
                for clients in CLIENTS:
                    figures = asyncio.run(_asked(url, key, clients, seconds))
                    results[title][clients] = figures
                    say(f"{title}  {serving_line(clients, figures)}")
    return {"clients": results, "cpus": os.cpu_count()}


def serving_line(clients: int, figures: dict[str, float]) -> str:
    """What some clients met, for people."""
    return (
        f"{clients:>3} clients  {figures['per_second']:>7,.0f} answers/s  p50 {figures['p50_ms']:>6.1f} ms  "
        f"p99 {figures['p99_ms']:>6.1f} ms"
    )


async def _asked(url: str, key: str, clients: int, seconds: float) -> dict[str, float]:
    """Have so many clients ask one query after the other, each over a connection of its own."""
    import aiohttp

    with urllib.request.urlopen(f"{url}/v1/model", timeout=PATIENCE_SECONDS) as answer:  # noqa: S310  an address of our own making
        shape = json.load(answer)["models"][0]["observation"]["shape"]
    body = json.dumps({"observations": np.zeros((1, *shape)).tolist()}).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    latencies: list[float] = []
    begin = time.perf_counter() + SETTLE_SECONDS
    end = begin + seconds

    async def ask(session: aiohttp.ClientSession) -> None:
        while (asked := time.perf_counter()) < end:
            async with session.post(f"{url}/v1/act", data=body, headers=headers) as answer:
                text = await answer.text()
                if answer.status != 200:
                    raise HydrahiveError(f"bench: the server answered {answer.status}: {text[:200]}")
            if asked >= begin:
                latencies.append(time.perf_counter() - asked)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=clients)) as session:
        await asyncio.gather(*(ask(session) for _ in range(clients)))
    p50, p99 = np.percentile(np.array(latencies) * 1000, [50, 99])
    return {"per_second": len(latencies) / seconds, "p50_ms": float(p50), "p99_ms": float(p99)}


@contextmanager
def _serving(runs: str, price: str) -> Iterator[str]:
    """A server of the run until the block ends; its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}", Path(runs) / "serve.log"
    arguments = ["serve", "run", "--runs", runs, "--port", str(port), "--price", price, "--rate", "1000000"]
    with running(arguments, log, lambda: _is_up(url), "the server does not come up"):
        yield url


def _is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=5) as answer:  # noqa: S310  an address of our own making
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _command(*arguments: str) -> None:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)  # noqa: S603  our own command
    if done.returncode:
        raise HydrahiveError(f"bench: {(done.stderr.splitlines() or ['it says nothing'])[-1]}")
